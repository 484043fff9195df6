//! Appending a push to a scope's log.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::base::{BaseCheck, check_base, is_lost, lineage};
use super::marks;
use super::marks::find_restore;
use crate::record::{
    Fork, Offer, Owner, PushRecord, ServerRow, ServerScope, StoredVerdict, author_of,
};
use crate::rows::ServerRows;
use sync_core::clock::{Clock, DRIFT_BOUND, Now};
use sync_core::error::Result;
use sync_core::model::{
    Change, DocumentState, Epoch, Limits, LogEntry, LogMark, NewLog, PushBatch, Rejection,
    RejectionCode, Scope, Seq, ServerStart, ServerState, Stamp, Verdict, VerdictKind, Verdicts,
};
use sync_core::resolver::Resolution;

/// Decides about the changes of one push, inside the transaction that appends them. It must be pure
/// and quick, and must not block.
///
/// Changes are decided in their order, each on the result of the one before it. For each:
///
/// 1. A state that the server already holds is accepted, and a stamp that is too far ahead is
///    rejected, both without a call.
/// 2. [`admit`](Self::admit) is called. A refusal becomes the verdict *rejected*.
/// 3. If the change was made on the state that the server holds, it is accepted, and if a newer
///    state was made from it already, superseded.
/// 4. [`resolve`](Self::resolve) is called only for a conflict; two deletions, and equal bodies,
///    are no conflict. Its result becomes the verdict as described there.
/// 5. A state that the resolver made is passed to [`admit`](Self::admit) as well. If it is refused
///    there, the verdict is *conflict*, as if it had not been resolved: the replica decides.
///
/// So `admit` is called at most twice and `resolve` at most once for each change; neither is called
/// for a batch that gets its original verdicts again. A panic of either fails the whole push with
/// `Internal`, and nothing of it is kept; the storage keeps working.
pub trait Judge: Send + Sync + fmt::Debug {
    /// Decides whether the change may be made to that current state (none: the server holds no
    /// trace of the document): authorisation and validation. The default admits every change.
    ///
    /// # Errors
    /// The refusal, which becomes the verdict.
    fn admit(&self, change: &Change, current: Option<&DocumentState>) -> Result<(), Rejection> {
        let _ = (change, current);
        Ok(())
    }

    /// Resolves a conflict of a collection that the server resolves; none where that is left to the
    /// replica, as the default does.
    ///
    /// The change is the local side. None and `Defer` become the verdict *conflict*, with the state
    /// that the server holds; `Remote` becomes *superseded*; `Local` writes the change and is
    /// *accepted*; `Merge` and `Delete` write a new state of the server and become
    /// *merged*, with that state, or *superseded* if the server holds that already.
    fn resolve(
        &self,
        scope: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Option<Resolution> {
        let _ = (scope, change, current);
        None
    }
}

/// The context of an append.
#[derive(Clone, Copy, Debug)]
pub struct AppendContext {
    /// The server's time.
    pub now: Now,
    /// This start of the server.
    pub start: ServerStart,
    /// How far ahead of the server's time a stamp may be.
    pub drift: Duration,
    /// The beginning of the scope's log, if this push is the first call for it. An older log
    /// without a key gets this one.
    pub fresh: NewLog,
    /// The owner of the pushing replica; none where every client is the same principal.
    pub owner: Option<Owner>,
}

impl AppendContext {
    /// Creates the context of a push whose stamps may be as far ahead as [`DRIFT_BOUND`], in a
    /// server on which every client is the same principal.
    #[must_use]
    pub fn new(now: Now, start: ServerStart, fresh: NewLog) -> Self {
        Self { now, start, drift: DRIFT_BOUND, fresh, owner: None }
    }
}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The verdicts.
    pub verdicts: Verdicts,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The head before.
    pub before: Seq,
    /// The head now.
    pub head: Seq,
    /// The horizon.
    pub horizon: Seq,
    /// The mark of the log at the head.
    pub mark: Option<LogMark>,
    /// The written entries, by position.
    pub entries: Vec<LogEntry>,
    /// The number of appends to the scope that erased something so far. A read at another number
    /// may contain erased data, and must not be sent.
    pub erasures: u64,
    /// The log was restored from a backup, as the batch's mark shows. Then nothing was done, and
    /// the verdicts have no meaning: a new epoch has to begin.
    pub fork: Option<Fork>,
}

struct LogWriter<'a> {
    rows: &'a mut dyn ServerRows,
    row: ServerScope,
    /// The first position of this append.
    first: Seq,
    entries: Vec<LogEntry>,
    /// Whether a body was stored of which nothing may stay.
    erased: bool,
}

/// Appends a push: idempotency record, base check, judge, verdicts, positions and index in one
/// transaction.
///
/// # Errors
/// The errors of the rows.
pub fn append(
    rows: &mut dyn ServerRows,
    cx: &AppendContext,
    batch: &PushBatch,
    judge: &dyn Judge,
) -> Result<Appended> {
    // A scope begins with its first accepted write.
    let found = rows.scope(&batch.scope)?;
    let is_new = found.is_none();
    let mut row = found.unwrap_or_else(|| ServerScope::beginning_with(cx.fresh));
    if let Some(fork) = find_restore(&*rows, &batch.scope, &row, batch.mark.as_ref())? {
        return Ok(Appended { fork: Some(fork), ..unchanged(&row, Verdicts::Stale) });
    }
    let digest = batch.digest();
    let record = rows.push_record(&batch.scope, batch.replica)?;
    let first = record.as_ref().and_then(|record| record.owner);
    if first.zip(cx.owner).is_some_and(|(first, owner)| first != owner) {
        // The id belongs to another principal: this replica needs another one.
        return Ok(unchanged(&row, Verdicts::Cloned));
    }
    let owner = first.or(cx.owner);
    if let Some(record) = record {
        if batch.id < record.id {
            return Ok(unchanged(&row, Verdicts::Stale));
        }
        if batch.id == record.id {
            let is_recalled = record.verdicts.is_empty() && !batch.changes.is_empty();
            if digest == record.digest && is_recalled {
                return Ok(unchanged(&row, Verdicts::Recalled));
            }
            if digest != record.digest || record.verdicts.len() != batch.changes.len() {
                return Ok(unchanged(&row, Verdicts::Cloned));
            }
            let verdicts = tell_again(rows, &row, batch, &record)?;
            let (epoch, mark) = (row.epoch, marks::mark_at_head(&row));
            return Ok(unchanged(&row, Verdicts::Decided { epoch, mark, verdicts }));
        }
    }
    if batch.recall.is_some() {
        // The row has to be stored before the verdicts promise it.
        rows.put_scope(&batch.scope, &row)?;
        let record = PushRecord { id: batch.id, digest, verdicts: Vec::new(), owner };
        rows.put_push_record(&batch.scope, batch.replica, &record)?;
        return Ok(unchanged(&row, Verdicts::Recalled));
    }
    row.key.get_or_insert(cx.fresh.key);
    let before = row.head;
    let mut log =
        LogWriter { rows, first: row.head.next(), row, entries: Vec::new(), erased: false };
    let mut verdicts = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        verdicts.push(log.decide(cx, &batch.scope, change, judge)?);
    }
    let LogWriter { rows, mut row, first, entries, erased } = log;
    if is_new && entries.is_empty() {
        // The same batch would be rejected again.
        let (epoch, mark) = (row.epoch, None);
        let verdicts = Verdicts::Decided { epoch, mark, verdicts: bound(verdicts) };
        return Ok(unchanged(&row, verdicts));
    }
    if !entries.is_empty() {
        marks::register_start(rows, &batch.scope, &mut row, cx.start, first)?;
    }
    row.erasures += u64::from(erased);
    let stored =
        verdicts.iter().map(|v| StoredVerdict { seq: v.seq, kind: v.kind.clone() }).collect();
    let record = PushRecord { id: batch.id, digest, verdicts: stored, owner };
    rows.put_push_record(&batch.scope, batch.replica, &record)?;
    rows.put_scope(&batch.scope, &row)?;
    if erased {
        rows.note_erasure()?;
    }
    let (epoch, mark) = (row.epoch, marks::mark_at_head(&row));
    let verdicts = Verdicts::Decided { epoch, mark, verdicts: bound(verdicts) };
    Ok(Appended { before, entries, ..unchanged(&row, verdicts) })
}

/// Returns the answer to a batch that wrote nothing.
fn unchanged(row: &ServerScope, verdicts: Verdicts) -> Appended {
    Appended {
        verdicts,
        epoch: row.epoch,
        before: row.head,
        head: row.head,
        horizon: row.horizon,
        mark: marks::mark_at_head(row),
        entries: Vec::new(),
        erasures: row.erasures,
        fork: None,
    }
}

/// The most bytes of states in the verdicts on one batch; one state is always included. The replica
/// pulls a state that is left out, or gets it when it pushes again.
const TOLD: usize = Limits::CHUNK.bytes;

/// Leaves out the states that would make the verdicts too large for a link.
fn bound(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let mut bytes = 0;
    for verdict in &mut verdicts {
        let Some(state) = verdict.current.as_ref().and_then(|c| c.state.as_ref()) else { continue };
        let (before, weight) = (bytes, state.weight());
        bytes += weight;
        if before > 0 && bytes > TOLD {
            verdict.current = None;
        }
    }
    verdicts
}

/// Returns the original verdicts of a retried batch, with the states that the server holds now.
fn tell_again(
    rows: &dyn ServerRows,
    scope: &ServerScope,
    batch: &PushBatch,
    record: &PushRecord,
) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::with_capacity(record.verdicts.len());
    for (stored, change) in record.verdicts.iter().zip(&batch.changes) {
        let row = || rows.row(&batch.scope, &change.collection, &change.id);
        let current = match stored.kind {
            VerdictKind::Accepted if !is_unstamped(change) => None,
            VerdictKind::Rejected(_) => {
                let row = row()?;
                let is_told = is_told(&stored.kind, change, row.as_ref().map(|r| &r.state));
                is_told.then(|| held(scope, row.as_ref()))
            }
            VerdictKind::Accepted
            | VerdictKind::Superseded
            | VerdictKind::Merged
            | VerdictKind::Conflict => Some(held(scope, row()?.as_ref())),
        };
        verdicts.push(Verdict { seq: stored.seq, kind: stored.kind.clone(), current });
    }
    Ok(bound(verdicts))
}

/// Returns whether the verdict on a refused change includes the current state: a replica that would
/// have erased the document does not have it any more, and one whose clock was refused needs the
/// stamp that it has to exceed.
fn is_told(kind: &VerdictKind, change: &Change, held: Option<&DocumentState>) -> bool {
    let is_clock =
        matches!(kind, VerdictKind::Rejected(Rejection { code: RejectionCode::Clock { .. }, .. }));
    is_clock || erases(change, held)
}

fn held(scope: &ServerScope, row: Option<&ServerRow>) -> ServerState {
    match row {
        Some(row) => ServerState { seq: row.seq, state: Some(row.state.clone()) },
        None => ServerState { seq: scope.head, state: None },
    }
}

impl LogWriter<'_> {
    fn decide(
        &mut self,
        cx: &AppendContext,
        scope: &Scope,
        change: &Change,
        judge: &dyn Judge,
    ) -> Result<Verdict> {
        let current = self.rows.row(scope, &change.collection, &change.id)?;
        let now_held = held(&self.row, current.as_ref());
        let stamped = self.stamped(cx.now, change, current.as_ref());
        let (is_ours, change) = (matches!(stamped, Cow::Owned(_)), &*stamped);
        let verdict = |seq, kind| Ok(Verdict { seq, kind, current: None });
        let with_current =
            |kind| Ok(Verdict { seq: now_held.seq, kind, current: Some(now_held.clone()) });
        let check = check_base(&self.row, change, current.as_ref());
        if check == BaseCheck::AlreadyStored {
            return verdict(now_held.seq, VerdictKind::Accepted);
        }
        let state = current.as_ref().map(|c| &c.state);
        let accepted = |seq, state: &DocumentState| {
            // A client that left the stamp to the server receives it here: its next edit names it
            // as its base.
            let current = is_ours.then(|| ServerState { seq, state: Some(state.clone()) });
            Ok(Verdict { seq, kind: VerdictKind::Accepted, current })
        };
        if let Err(rejection) = self.admit(cx, change, is_ours, state, judge) {
            let kind = VerdictKind::Rejected(rejection.bounded());
            let current = is_told(&kind, change, state).then(|| now_held.clone());
            return Ok(Verdict { seq: self.row.head, kind, current });
        }
        match check {
            BaseCheck::AlreadyStored | BaseCheck::Stale | BaseCheck::Erased => {
                return with_current(VerdictKind::Superseded);
            }
            BaseCheck::FastForward(offer) => {
                let seq =
                    self.write(scope, change, current.as_ref(), change.state.clone(), offer)?;
                return accepted(seq, &change.state);
            }
            BaseCheck::Conflicts => {}
        }
        if state.is_some_and(|s| s.shows_the_same(&change.state)) {
            return with_current(VerdictKind::Superseded);
        }
        let lineage = lineage(&self.row, change, current.as_ref());
        let shared = without_lost_base(&self.row, change);
        let held_body = state.and_then(|s| s.body.as_ref());
        let (body, author) = match judge.resolve(scope, &shared, state) {
            None | Some(Resolution::Defer) => return with_current(VerdictKind::Conflict),
            Some(Resolution::Remote) => return with_current(VerdictKind::Superseded),
            // The resolver returned the state that is already held: as on a replica, that state
            // wins with its author.
            Some(Resolution::Merge(body)) if held_body == Some(&body) => {
                return with_current(VerdictKind::Superseded);
            }
            Some(Resolution::Delete) if held_body.is_none() => {
                return with_current(VerdictKind::Superseded);
            }
            Some(Resolution::Local) => {
                let seq =
                    self.write(scope, change, current.as_ref(), change.state.clone(), lineage)?;
                return accepted(seq, &change.state);
            }
            Some(Resolution::Merge(body)) => (Some(body), later(state, change)),
            Some(Resolution::Delete) => (None, later(state, change)),
        };
        let merged = self.mint(cx.now, change, state, author, body);
        let made = Change { state: merged.clone(), ..change.clone() };
        if judge.admit(&made, state).is_err() {
            // The app's server does not accept the result of the resolver: the replica has to
            // decide.
            return with_current(VerdictKind::Conflict);
        }
        let seq = self.write(scope, change, current.as_ref(), merged.clone(), lineage)?;
        let current = Some(ServerState { seq, state: Some(merged) });
        Ok(Verdict { seq, kind: VerdictKind::Merged, current })
    }

    /// Returns the change as it is decided: one without a stamp gets the server's time. This
    /// happens here, in the transaction and after the batch was found to be new, so that a batch
    /// that is sent again is the same batch.
    fn stamped<'c>(
        &self,
        now: Now,
        change: &'c Change,
        current: Option<&ServerRow>,
    ) -> Cow<'c, Change> {
        if !is_unstamped(change) {
            return Cow::Borrowed(change);
        }
        let mut change = change.clone();
        let state = &mut change.state;
        let parent = current.map_or(Stamp::ZERO, |c| c.state.revision.stamp);
        let unstamped = state.revision;
        state.revision.stamp = self.clock().tick(now, parent);
        if state.author == unstamped {
            state.author = state.revision;
        }
        if state.erased == Some(unstamped) {
            state.erased = Some(state.revision);
        } else if state.erased.is_none() {
            // A client that names the current state as its base knows the erasure of that state.
            let base = change.base.map(|b| b.revision);
            let known = current.filter(|c| Some(c.state.revision) == base);
            state.erased = known.and_then(|c| c.state.erased);
        }
        if state.created == Stamp::ZERO {
            let living = current.filter(|c| !c.state.is_deleted());
            state.created = living.map_or(state.revision.stamp, |c| c.state.created);
        }
        Cow::Owned(change)
    }

    fn admit(
        &self,
        cx: &AppendContext,
        change: &Change,
        is_ours: bool,
        current: Option<&DocumentState>,
        judge: &dyn Judge,
    ) -> Result<(), Rejection> {
        if change.state.erased.is_some_and(|erased| erased > change.state.revision) {
            return Err(Rejection {
                code: RejectionCode::Invalid,
                reason: "it includes an erasure that is later than itself".to_owned(),
            });
        }
        // An edit of a stored state is accepted, and its author's stamp too: otherwise a clock that
        // was ahead and was corrected would refuse every edit of the documents that were written
        // meanwhile.
        let (parent, author) = current.map_or((Stamp::ZERO, Stamp::ZERO), |c| {
            (c.revision.stamp, c.revision.stamp.max(c.author.stamp))
        });
        let is_beyond = |stamp, parent| Clock::is_beyond_parent(stamp, cx.now, cx.drift, parent);
        let DocumentState { revision, author: by, created, .. } = &change.state;
        // A stamp of our own is not judged by our clock, which may have been set back.
        let is_ahead =
            (!is_ours && is_beyond(revision.stamp, parent)) || is_beyond(by.stamp, author);
        if is_ahead {
            return Err(Rejection {
                code: RejectionCode::Clock { server_time: Stamp::new(cx.now.0, 0) },
                reason: format!(
                    "the stamp {} is too far ahead of the server's time, which is {}",
                    revision.stamp.max(by.stamp),
                    Stamp::new(cx.now.0, 0)
                ),
            });
        }
        if *created > revision.stamp.max(by.stamp).max(author) {
            return Err(Rejection {
                code: RejectionCode::Invalid,
                reason: "the creation of the document is later than the change".to_owned(),
            });
        }
        judge.admit(change, current)
    }

    /// Returns the clock of the states that the server stamps itself.
    fn clock(&self) -> Clock {
        Clock { high_water: self.row.high_water, ahead: Stamp::ZERO }
    }

    /// Makes a new state of the server, later than both states that it was made from.
    fn mint(
        &mut self,
        now: Now,
        change: &Change,
        current: Option<&DocumentState>,
        author: sync_core::model::Revision,
        body: Option<sync_core::model::Body>,
    ) -> DocumentState {
        let parent =
            current.map_or(Stamp::ZERO, |c| c.revision.stamp).max(change.state.revision.stamp);
        let stamp = self.clock().tick(now, parent);
        let revision = sync_core::model::Revision { stamp, replica: author_of(self.row.epoch) };
        let created =
            current.filter(|c| !c.is_deleted()).map_or(change.state.created, |c| c.created);
        let erased = current.and_then(|c| c.erased).max(change.state.erased);
        DocumentState { revision, author, created, body, erased }
    }

    fn write(
        &mut self,
        scope: &Scope,
        change: &Change,
        old: Option<&ServerRow>,
        state: DocumentState,
        offered: Option<Offer>,
    ) -> Result<Seq> {
        let (collection, id) = (&change.collection, &change.id);
        let row = &mut self.row;
        row.head = row.head.next();
        row.high_water = row.high_water.max(state.revision.stamp);
        let seq = row.head;
        if let Some(old) = old.filter(|o| !o.state.is_deleted()) {
            row.documents = row.documents.saturating_sub(1);
            row.digest.remove(collection, id, &old.state.revision);
        }
        if !state.is_deleted() {
            row.documents = row.documents.saturating_add(1);
            row.digest.add(collection, id, &state.revision);
        }
        self.erased |= old.is_some_and(|old| old.state.erased < state.erased);
        let new = ServerRow { seq, first: self.first, state, offered };
        self.rows.put_row(scope, collection, id, old, &new)?;
        if old.is_some_and(|o| o.first == self.first) {
            // A batch should name a document once; if it does not, only the newest state is sent.
            self.entries.retain(|e| e.id != *id || e.collection != *collection);
        }
        let (collection, id) = (collection.clone(), id.clone());
        self.entries.push(LogEntry { seq, collection, id, state: new.state });
        Ok(seq)
    }
}

/// Returns whether a change leaves its stamp to the server. No clock ever returns the stamp 0.
fn is_unstamped(change: &Change) -> bool {
    change.state.revision.stamp == Stamp::ZERO
}

/// Returns whether a change would erase the stored document.
fn erases(change: &Change, held: Option<&DocumentState>) -> bool {
    held.is_some_and(|held| held.erased < change.state.erased)
}

/// Returns the change for a resolver: a base that was lost with an old epoch of the log is no
/// common ancestor.
fn without_lost_base<'a>(scope: &ServerScope, change: &'a Change) -> Cow<'a, Change> {
    match change.base {
        Some(base) if is_lost(scope, base) => {
            Cow::Owned(Change { base: None, base_body: None, ..change.clone() })
        }
        _ => Cow::Borrowed(change),
    }
}

fn later(current: Option<&DocumentState>, change: &Change) -> sync_core::model::Revision {
    current.map_or(change.state.author, |c| c.author.max(change.state.author))
}
