//! Settling applies a verdict to the document that was pushed. Pure, as the other
//! [rules](super::rules).

use super::record::{Edit, InFlight, Record};
use super::rules::{
    Decided, RuleContext, apply_remote, clean_keeping_remote, decided, hold_remote, is_former,
    is_lost, replace, resolve, take_pending_remote,
};
use super::stamping::{self, Parent};
use crate::clock::{Now, ServerTime};
use crate::model::{
    DocumentKey, DocumentState, Rejection, RejectionCode, Seq, ServerState, Settled, Verdict,
    VerdictKind,
};

/// The effect of a verdict apart from changing the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How conflicts ended: with the state of the verdict, and with the pending remote state.
    pub(crate) decided: Vec<Decided>,
    /// The refused state and its base, for the quarantine.
    pub(crate) refused: Option<(DocumentState, Option<Settled>)>,
}

/// The document's part of the batch that a verdict ends.
struct Pushed {
    state: DocumentState,
    /// Whether the document was edited after the batch was formed.
    edited_since: bool,
    /// Whether the state was erased while it was in flight.
    is_withdrawn: bool,
    /// Whether the verdict is newer than the state that the document was made from.
    is_news: bool,
}

/// Settles the document's part of a batch: applies the verdict, then the pending remote
/// state.
pub(crate) fn settle(
    record: &mut Record,
    key: &DocumentKey,
    verdict: &Verdict,
    cx: &mut RuleContext<'_>,
) -> Outcome {
    let mut outcome = Outcome { decided: Vec::new(), refused: None };
    let Some(pushed) = end_batch(record, verdict, cx) else { return outcome };
    // One function for each verdict; one that is not news changes nothing more.
    match &verdict.kind {
        VerdictKind::Rejected(rejection) => {
            outcome.refused = reject(record, key, rejection, pushed, verdict.current.as_ref(), cx);
        }
        VerdictKind::Accepted if pushed.is_news => accept(record, pushed, verdict, cx),
        VerdictKind::Superseded | VerdictKind::Merged if pushed.is_news => {
            outcome.decided.extend(supersede(record, key, pushed, verdict, cx));
        }
        VerdictKind::Conflict => {
            outcome.decided.extend(meet_conflict(record, key, &pushed, verdict, cx))
        }
        VerdictKind::Accepted | VerdictKind::Superseded | VerdictKind::Merged => {}
    }
    if let Some(pending_remote) = take_pending_remote(record) {
        outcome.decided.extend(decided(apply_remote(record, key, pending_remote, cx)));
    }
    record.normalize();
    outcome
}

/// Removes the document from the batch in flight. None if it was not in it.
fn end_batch(record: &mut Record, verdict: &Verdict, cx: &mut RuleContext<'_>) -> Option<Pushed> {
    let state = record.pushed()?;
    let told = verdict.current.as_ref();
    if let Some(told) = told.and_then(|current| current.state.as_ref()) {
        cx.meta.note_told(cx.now, told);
    }
    let edited_since = record.current.as_ref().is_none_or(|c| c.revision != state.revision);
    let is_withdrawn = record.in_flight().is_some_and(InFlight::is_withdrawn);
    record.pending_mut().in_flight = None;
    let is_back = told.is_some_and(|told| is_back(record, told));
    // A reset voids what is known, and not what the document was made of: a verdict on an older
    // state stays old.
    let is_older = verdict.seq < record.settled_at();
    let is_newer = verdict.seq > record.server_seq && !is_older;
    let is_news = is_newer || is_back;
    Some(Pushed { state, edited_since, is_withdrawn, is_news })
}

/// Moves the refused state, with its base, to the quarantine, unless it was edited since, or its
/// clock is the reason.
fn reject(
    record: &mut Record,
    key: &DocumentKey,
    rejection: &Rejection,
    pushed: Pushed,
    held: Option<&ServerState>,
    cx: &mut RuleContext<'_>,
) -> Option<(DocumentState, Option<Settled>)> {
    let Pushed { state, edited_since, .. } = pushed;
    if let RejectionCode::Clock { server_time } = rejection.code {
        refused_by_clock(record, Now(server_time.millis()), held, !edited_since, cx);
        return None;
    }
    if record.edit().is_none() || edited_since {
        return None;
    }
    let has_erased = drop_stripped_remote(record, &state);
    let erases = has_erased || is_refused_erasure(&state, record.base());
    let base = revert_to_base(record, &state, cx);
    if has_erased {
        record.set_current(None);
        record.server_seq = Seq(0);
    }
    if let Some(held) = held.filter(|_| erases) {
        apply_remote(record, key, held.clone(), cx);
    }
    Some((state, base))
}

/// Accepts the pushed state as the server's: a later edit was made on it, or the document is clean.
fn accept(record: &mut Record, pushed: Pushed, verdict: &Verdict, cx: &mut RuleContext<'_>) {
    if pushed.edited_since && record.edit().is_none() {
        // An erasure removed the edit while it was in flight, and the server had purged that
        // erasure when the push arrived: the document has a new life, which the log sends with its
        // body.
        return;
    }
    record.server_seq = verdict.seq;
    // A custom backend gives what it stored a version of its own: that is the settled state then.
    let stored = verdict.current.as_ref().and_then(|c| c.state.clone());
    let state = stored.clone().unwrap_or(pushed.state);
    cx.meta.note_told(cx.now, &state);
    match record.pending_mut().edit.as_mut() {
        Some(edit) if pushed.edited_since => {
            edit.base = Some(Settled { epoch: cx.epoch, seq: verdict.seq, state });
            edit.base_not_in_log = false;
        }
        _ => {
            clean_keeping_remote(record);
            if let Some(stored) = stored.filter(|_| !pushed.edited_since) {
                record.set_current(Some(stored));
            }
        }
    }
}

/// Applies another state of the server, which descends from the pushed one: superseded, or merged.
fn supersede(
    record: &mut Record,
    key: &DocumentKey,
    pushed: Pushed,
    verdict: &Verdict,
    cx: &mut RuleContext<'_>,
) -> Option<Decided> {
    if pushed.edited_since && record.edit().is_some() {
        let base = Settled { epoch: cx.epoch, seq: verdict.seq, state: pushed.state };
        // The edit was not made on a state that was erased in flight.
        let edit = record.pending_mut().edit.as_mut();
        if let Some(edit) = edit.filter(|_| !pushed.is_withdrawn) {
            edit.base = Some(base);
            edit.base_not_in_log = true;
        }
        let taken = verdict.current.clone().map(|c| apply_remote(record, key, c, cx));
        return taken.and_then(decided);
    }
    let Some(incoming) = verdict.current.clone() else {
        // Nothing is left to push; the server's state is pulled, or is held as the pending remote
        // state.
        clean_keeping_remote(record);
        return None;
    };
    let erased = DocumentState::erasure_of(incoming.state.as_ref());
    let is_erased = record.live().is_some_and(|local| local.erased < erased);
    replace(record, incoming);
    is_erased.then_some(Decided::Erased)
}

/// Handles a conflict that the server leaves to the replica.
fn meet_conflict(
    record: &mut Record,
    key: &DocumentKey,
    pushed: &Pushed,
    verdict: &Verdict,
    cx: &mut RuleContext<'_>,
) -> Option<Decided> {
    // An empty log has no position that could be newer.
    let newer =
        |c: &ServerState| pushed.is_news || c.seq > record.server_seq || verdict.seq == Seq(0);
    let incoming = verdict.current.clone().filter(newer)?;
    let is_true = record.edit().is_some() && !is_own(record, &incoming);
    // If the server resolves this collection, it did not: pushing again would not end.
    let decide = if is_true { resolve } else { apply_remote };
    decided(decide(record, key, incoming, cx))
}

/// Handles a rejection of the pushed state's clock. The server returned its time and its state.
fn refused_by_clock(
    record: &mut Record,
    told: Now,
    held: Option<&ServerState>,
    is_newest: bool,
    cx: &mut RuleContext<'_>,
) {
    let shift = stamping::correct(cx.meta, ServerTime { sent: cx.now, server: told }, cx.now);
    if is_newest {
        let parent = held.map_or(Parent::Always, |held| Parent::UpTo(held.state.as_ref()));
        stamping::restamp(record, cx.meta, cx.now, shift, parent);
    }
    let has_slot = record.pending.as_ref().is_some_and(|pending| pending.pending_remote.is_some());
    // The pending remote state may have been replaced, or purged, by the server's state.
    if let Some(held) = held.filter(|_| has_slot) {
        hold_remote(record, held.clone());
    }
}

/// Returns whether the server holds a tombstone that a full pull had not found: a restore brought
/// back the state before its purge. That moves no position, so nothing else shows it.
fn is_back(record: &Record, told: &ServerState) -> bool {
    record.edit().is_some_and(|edit| edit.base.is_none())
        && told.state.as_ref().is_some_and(DocumentState::is_deleted)
}

fn is_own(record: &Record, incoming: &ServerState) -> bool {
    let state = incoming.state.as_ref();
    let base = record.edit().and_then(|e| e.base.as_ref());
    state.is_some()
        && (state == record.current.as_ref()
            || state == base.map(|b| &b.state)
            || is_former(record, state))
}

/// Returns whether the refused state would have erased its base. The body is removed here: the
/// server returns its state.
fn is_refused_erasure(refused: &DocumentState, base: Option<&Settled>) -> bool {
    refused.erased > DocumentState::erasure_of(base.map(|b| &b.state))
}

/// A pending state that does not know the erasure may be without its body: once the erasure is
/// refused, the server has to send the state again. Returns whether there was such a state.
fn drop_stripped_remote(record: &mut Record, refused: &DocumentState) -> bool {
    let Some(pending) = record.pending.as_mut() else { return false };
    let is_stripped = |pending_remote: &ServerState| {
        pending_remote.state.as_ref().is_some_and(|s| s.erased < refused.erased)
    };
    pending.pending_remote.take_if(|pending_remote| is_stripped(pending_remote)).is_some()
}

/// Removes the refused edit; the document shows the settled state that it was made on. A base that
/// was lost with an old epoch of the log is offered again; if the base is the refused state itself,
/// the document is absent.
fn revert_to_base(
    record: &mut Record,
    refused: &DocumentState,
    cx: &mut RuleContext<'_>,
) -> Option<Settled> {
    let edit = record.pending_mut().edit.take();
    record.pending_mut().deferred = false;
    let base = edit.and_then(|e| e.base).filter(|b| b.state.revision != refused.revision);
    if is_refused_erasure(refused, base.as_ref()) {
        record.set_current(None);
        record.server_seq = Seq(0);
        return None;
    }
    record.set_current(base.as_ref().map(|b| b.state.clone()));
    if let Some(lost) = base.clone().filter(|b| is_lost(record, b, cx.epoch)) {
        let transaction = cx.meta.next_local();
        record.pending_mut().edit =
            Some(Edit { transaction, base: Some(lost), was_sent: true, base_not_in_log: false });
    }
    base
}
