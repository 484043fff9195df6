//! The rules by which one document applies a server state or a verdict. They are pure functions on
//! a record.
//!
//! ```text
//!             local write                    batch formed
//!   clean ----------------> dirty --------------------------> dirty, in flight
//!     ^                      |  ^                              |   |    | local write
//!     |      remote state:   |  | rejected, edited since       |   |    v
//!     |      the resolver    |  +------------------------------+   |  dirty again, in flight
//!     |      says Remote     |                                     |    |
//!     +----------------------+<---- accepted, superseded, merged --+    | accepted: base := pushed
//!     |                                                                 v
//!     +------------------------------------- own echo ---------------- dirty
//! ```
//!
//! [`apply_remote`] applies one server state. The first row that fits decides; comments in the code
//! name the row.
//!
//! | Rule | The record | The server's state | What happens |
//! |---|---|---|---|
//! | 1 | any | at or below the known position | nothing |
//! | 2 | clean | any | it replaces the document |
//! | E | has an edit | knows of a newer erasure | it replaces the document, and the edit is discarded |
//! | E | has an edit | knows of an older erasure | the edit is pushed again on top of it, without its body |
//! | 3 | has an edit | equals the local state | the echo of an own push: the document is clean |
//! | 4 | has an edit | equals the base, what is in flight, or a former identity's state | the edit's base moves to it |
//! | 5 | in flight, or deferred | any other | it waits as the pending remote state |
//! | 6 | has an edit | any other, and the server resolves the collection | it waits; the next push decides |
//! | 6 | has an edit | shows the same body, or both are deleted | it replaces the document |
//! | 6 | has an edit | any other | the resolver of the collection decides: [`apply_resolution`] applies its answer |
//!
//! [`settling`](super::settling) applies a verdict, with one function for each kind.
//!
//! While a document is in flight a newer server state is held as the pending remote state, because
//! only the verdict shows whether that state descends from the pushed one. The server's order
//! decides between settled states; stamps decide only inside resolvers.

use std::cmp::Ordering;

use super::record::{Edit, Record, ReplicaMeta};
use super::stamping;
use crate::clock::Now;
use crate::model::{DocumentKey, DocumentState, Epoch, ServerState, Settled};
use crate::resolver::{Conflict, Resolution, ResolveOn, Resolvers};

/// The input of the rules, apart from the record.
pub(crate) struct RuleContext<'a> {
    pub(crate) now: Now,
    pub(crate) epoch: Epoch,
    pub(crate) meta: &'a mut ReplicaMeta,
    pub(crate) resolvers: &'a Resolvers,
}

/// The effect of applying a server state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApplyOutcome {
    /// It was already known.
    Nothing,
    /// The document was clean, or nothing was in conflict, and shows the new state.
    Replaced,
    /// It was a state of this replica: the document is clean.
    Cleaned,
    /// It is the new base of the edit.
    Rebased,
    /// It is held as the pending remote state.
    Waiting,
    /// A resolver decided.
    Resolved(Decided),
}

/// How a conflict ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// The server's state wins.
    Remote,
    /// The local edit wins.
    Local,
    /// A body merged from both.
    Merged,
    /// The document is deleted.
    Deleted,
    /// It waits for the app.
    Deferred,
    /// Another replica erased the document, and the local edit, which was made without knowledge of
    /// it, was discarded. No resolver was called.
    Erased,
}

/// Applies one server state by the first rule that fits.
pub(crate) fn apply_remote(
    record: &mut Record,
    key: &DocumentKey,
    incoming: ServerState,
    cx: &mut RuleContext<'_>,
) -> ApplyOutcome {
    if incoming.seq <= record.server_seq {
        return ApplyOutcome::Nothing; // rule 1
    }
    if record.edit().is_none() {
        replace(record, incoming); // rule 2
        return ApplyOutcome::Replaced;
    }
    if let Some(taken) = by_erasure(record, &incoming, cx) {
        return taken; // rule E
    }
    // Two clones may have made one revision of two states: only an equal state is the own one.
    let state = incoming.state.as_ref();
    if state.is_some() && state == record.current.as_ref() {
        record.server_seq = incoming.seq; // rule 3
        clean(record);
        return ApplyOutcome::Cleaned;
    }
    if state.is_some() && state == record.base().map(|b| &b.state) {
        // This follows a reset that voided the known positions: nothing happened to the document.
        rebase(record, incoming, cx.epoch);
        return ApplyOutcome::Rebased;
    }
    let is_pushed = record.in_flight().is_some() && state == record.pushed_state();
    if state.is_some() && (is_pushed || is_former(record, state)) {
        rebase(record, incoming, cx.epoch); // rule 4
        return ApplyOutcome::Rebased;
    }
    let on_server = cx.resolvers.resolve_on(&key.collection) == ResolveOn::Server;
    let waits = record.in_flight().is_some() // rule 5
        || record.is_deferred()
        || on_server; // rule 6, where the push decides
    if waits {
        hold_remote(record, incoming);
        return if end_if_equal(record) { ApplyOutcome::Replaced } else { ApplyOutcome::Waiting };
    }
    resolve(record, key, incoming, cx) // rule 6
}

/// Decides by an erasure that one side knows and the other does not: it wins and no resolver is
/// called, because the other side's bodies have to be removed. None if both know the same, or the
/// server has no state.
fn by_erasure(
    record: &mut Record,
    incoming: &ServerState,
    cx: &mut RuleContext<'_>,
) -> Option<ApplyOutcome> {
    let (local, remote) = (record.current.clone()?, incoming.state.as_ref()?);
    match remote.erased.cmp(&local.erased) {
        Ordering::Equal => None,
        Ordering::Greater => {
            replace(record, incoming.clone());
            Some(if local.is_deleted() {
                ApplyOutcome::Replaced
            } else {
                ApplyOutcome::Resolved(Decided::Erased)
            })
        }
        Ordering::Less => {
            if record.in_flight().is_some() {
                hold_remote(record, incoming.clone()); // rule 5
                return Some(ApplyOutcome::Waiting);
            }
            let state = Some(remote.clone().without_body());
            let told = ServerState { seq: incoming.seq, state };
            apply_resolution(record, Resolution::Local, local, told, cx);
            Some(ApplyOutcome::Rebased)
        }
    }
}

pub(crate) fn decided(taken: ApplyOutcome) -> Option<Decided> {
    match taken {
        ApplyOutcome::Resolved(decided) => Some(decided),
        _ => None,
    }
}

/// Whether a state is an own one that was sent under an earlier identity, or may have.
pub(super) fn is_former(record: &Record, state: Option<&DocumentState>) -> bool {
    let former = record.pending.as_ref().map_or(&[][..], |p| &p.former);
    former.iter().any(|own| Some(own) == state)
}

/// Ends a conflict that waits for the app, if both sides have become the same: nothing is left to
/// decide. Whether it did.
pub(crate) fn end_if_equal(record: &mut Record) -> bool {
    let Some(pending) = record.pending.as_mut().filter(|p| p.deferred) else { return false };
    let (Some(pending_remote), Some(local)) = (&pending.pending_remote, &record.current) else {
        return false;
    };
    let is_same =
        pending_remote.state.as_ref().map_or(local.is_deleted(), |s| s.shows_the_same(local));
    if !is_same {
        return false;
    }
    let Some(pending_remote) = pending.pending_remote.take() else { return false };
    replace(record, pending_remote);
    true
}

/// Removes and returns the pending remote state, unless the app has to decide about it.
pub(crate) fn take_pending_remote(record: &mut Record) -> Option<ServerState> {
    if record.is_deferred() {
        return None;
    }
    record.pending.as_mut()?.pending_remote.take()
}

/// Replaces the document by the server's state: it is clean.
pub(super) fn replace(record: &mut Record, incoming: ServerState) {
    record.server_seq = incoming.seq;
    record.set_current(incoming.state);
    clean(record);
}

fn clean(record: &mut Record) {
    let known = record.server_seq;
    clean_keeping_remote(record);
    if let Some(pending) = record.pending.as_mut() {
        pending.pending_remote = pending.pending_remote.take().filter(|s| s.seq > known);
    }
    record.normalize();
}

pub(super) fn clean_keeping_remote(record: &mut Record) {
    if let Some(pending) = record.pending.as_mut() {
        pending.edit = None;
        pending.deferred = false;
        pending.former.clear();
    }
}

/// Makes the incoming state the base of the edit.
fn rebase(record: &mut Record, incoming: ServerState, epoch: Epoch) {
    record.server_seq = incoming.seq;
    let Some(state) = incoming.state else { return };
    let pending = record.pending_mut();
    pending.former.clear();
    if let Some(edit) = pending.edit.as_mut() {
        edit.base = Some(Settled { epoch, seq: incoming.seq, state });
        edit.base_not_in_log = false;
    }
}

/// Holds a state as the pending remote state, if it is newer than the one that is held.
pub(crate) fn hold_remote(record: &mut Record, incoming: ServerState) {
    let pending_remote = &mut record.pending_mut().pending_remote;
    if pending_remote.as_ref().is_none_or(|s| s.seq < incoming.seq) {
        *pending_remote = Some(incoming);
    }
}

/// Resolves a true conflict.
pub(super) fn resolve(
    record: &mut Record,
    key: &DocumentKey,
    incoming: ServerState,
    cx: &mut RuleContext<'_>,
) -> ApplyOutcome {
    // Resolvers must not compare stamps of a clock that was wrong.
    stamping::put_right(record, cx.meta, cx.now, 0);
    let (Some(local), Some(edit)) = (record.current.clone(), record.edit().cloned()) else {
        replace(record, incoming);
        return ApplyOutcome::Replaced;
    };
    if let Some(taken) = by_erasure(record, &incoming, cx) {
        return taken;
    }
    let remote = incoming.state.as_ref();
    if remote.map_or(local.is_deleted(), |r| r.shows_the_same(&local)) {
        replace(record, incoming);
        return ApplyOutcome::Replaced;
    }
    let on_server = cx.resolvers.resolve_on(&key.collection) == ResolveOn::Server;
    let resolution = if on_server {
        Resolution::Defer
    } else {
        // A base that was lost with an old epoch of the log is no common ancestor: the server's
        // state does not descend from it.
        let base = edit.base.as_ref().filter(|b| !is_lost(record, b, cx.epoch)).map(|b| &b.state);
        cx.resolvers.decide(&Conflict::new(key, base, &local, remote))
    };
    ApplyOutcome::Resolved(apply_resolution(record, resolution, local, incoming, cx))
}

/// Applies the decision of a resolver, or of the app, about `local` against `incoming`.
pub(crate) fn apply_resolution(
    record: &mut Record,
    resolution: Resolution,
    local: DocumentState,
    incoming: ServerState,
    cx: &mut RuleContext<'_>,
) -> Decided {
    let remote = incoming.state.as_ref();
    let shows = |body: Option<&crate::model::Body>| {
        remote.map_or(body.is_none(), |r| r.body.as_ref() == body)
    };
    let later = remote.map_or(local.author, |r| r.author.max(local.author));
    let (decided, body, author) = match resolution {
        Resolution::Defer => {
            let pending = record.pending_mut();
            pending.deferred = true;
            hold_remote(record, incoming);
            // A newer state than the one that was decided about may have waited already.
            return if end_if_equal(record) { Decided::Remote } else { Decided::Deferred };
        }
        // The resolver's result is the server's state: nothing is left to push.
        Resolution::Merge(ref body) if shows(Some(body)) => (Decided::Remote, None, later),
        Resolution::Delete if shows(None) => (Decided::Remote, None, later),
        Resolution::Remote => (Decided::Remote, None, later),
        Resolution::Local => (Decided::Local, local.body.clone(), local.author),
        Resolution::Merge(body) => (Decided::Merged, Some(body), later),
        Resolution::Delete => (Decided::Deleted, None, later),
    };
    if decided == Decided::Remote {
        replace(record, incoming);
        return decided;
    }
    let parents = remote.map_or(local.revision, |r| r.revision.max(local.revision));
    let created =
        remote.filter(|r| !r.is_deleted()).map_or(local.created, |r| r.created.min(local.created));
    let revision = cx.meta.revision(cx.now, parents.stamp);
    let erased = local.erased.max(DocumentState::erasure_of(remote));
    record.server_seq = incoming.seq;
    let (epoch, seq) = (cx.epoch, incoming.seq);
    let edit = Edit {
        transaction: cx.meta.next_local(),
        base: incoming.state.map(|state| Settled { epoch, seq, state }),
        was_sent: true,
        base_not_in_log: false,
    };
    record.set_current(Some(DocumentState { revision, author, created, body, erased }));
    let pending = record.pending_mut();
    pending.edit = Some(edit);
    pending.deferred = false;
    pending.pending_remote = pending.pending_remote.take().filter(|s| s.seq > seq);
    decided
}

/// Returns whether a base was lost with an old epoch of the log: the server has neither it nor its
/// ancestors.
pub(super) fn is_lost(record: &Record, base: &Settled, epoch: Epoch) -> bool {
    base.epoch != epoch && base.seq > record.settled_at()
}
