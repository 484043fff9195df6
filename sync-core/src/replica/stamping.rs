//! Stamps of edits that were made while a clock was wrong.
//!
//! An edit keeps the time at which it was made, whatever identity or retry it gets. Only a stamp
//! that no correct clock can have returned yet is replaced: one that is further ahead of the
//! server's time than the drift bound allows, and later than the state it was made on.

use super::record::{Pending, Record, ReplicaMeta};
use crate::clock::{Clock, DRIFT_BOUND, FIRST_OF_FOLLOWERS, Now, ServerTime};
use crate::model::{DocumentState, ReplicaId, Revision, Stamp};

/// The parents that a new stamp has to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent<'a> {
    /// The base, however far ahead it is.
    Always,
    /// The base, unless it is beyond the drift bound and further ahead than this state of the
    /// server: the server does not accept what follows it.
    UpTo(Option<&'a DocumentState>),
}

impl Parent<'_> {
    fn admits(self, base: Stamp, time: Now) -> bool {
        match self {
            Self::Always => true,
            Self::UpTo(held) => {
                let held = held.map_or(Stamp::ZERO, |held| held.revision.stamp);
                !Clock::is_beyond_parent(base, time, DRIFT_BOUND, held)
            }
        }
    }

    /// Returns the erasure that the server holds, if an edit that knows `known` knows it too. A
    /// restore may have removed the later one from the log; the edit has to stay later than the
    /// remaining one.
    fn erasure_below(self, known: Option<Revision>) -> Option<Revision> {
        match self {
            Self::Always => None,
            Self::UpTo(held) => DocumentState::erasure_of(held).filter(|held| known >= Some(*held)),
        }
    }
}

/// Applies the server's time. Returns by how many milliseconds the offset of this machine's clock
/// changed.
pub(crate) fn correct(meta: &mut ReplicaMeta, time: ServerTime, heard: Now) -> i64 {
    let before = meta.clock_offset;
    meta.clock_offset = time.offset(before, heard);
    meta.clock_offset.saturating_sub(before)
}

/// Returns the stamps of the state that an edit was made on: its successors may be as far ahead.
fn base_stamps(record: &Record) -> (Stamp, Stamp) {
    let base = record.edit().and_then(|e| e.base.as_ref());
    base.map_or((Stamp::ZERO, Stamp::ZERO), |b| {
        (b.state.revision.stamp, b.state.revision.stamp.max(b.state.author.stamp))
    })
}

/// Returns whether this replica made the erasure of an edit, and it is newer than the base, so that
/// only this replica knows it.
fn is_unsettled(erased: Revision, record: &Record, edited: &DocumentState) -> bool {
    let base = record.edit().and_then(|e| e.base.as_ref()).and_then(|b| b.state.erased);
    erased.replica == edited.revision.replica && base.is_none_or(|base| base < erased)
}

/// Gives an edit a new stamp if its clock ran ahead; see [`restamp`] for `shift`. Returns whether
/// it did.
pub(crate) fn put_right(record: &mut Record, meta: &mut ReplicaMeta, now: Now, shift: i64) -> bool {
    let is_fast = is_fast(record, meta, now);
    if is_fast {
        restamp(record, meta, now, shift, Parent::Always);
    }
    is_fast
}

/// Returns whether the stamp of an edit, or of its author, is beyond any correct clock.
fn is_fast(record: &Record, meta: &ReplicaMeta, now: Now) -> bool {
    let Some(state) = record.current.as_ref().filter(|_| record.edit().is_some()) else {
        return false;
    };
    let (parent, author) = base_stamps(record);
    let time = meta.corrected(now);
    Clock::is_beyond_parent(state.revision.stamp, time, DRIFT_BOUND, parent)
        || Clock::is_beyond_parent(state.author.stamp, time, DRIFT_BOUND, author)
}

/// Gives an edit a new stamp. If the offset of the clock has changed by `shift` since it was made,
/// its stamp was wrong by that much; otherwise it is only known that it was made before now.
pub(crate) fn restamp(
    record: &mut Record,
    meta: &mut ReplicaMeta,
    now: Now,
    shift: i64,
    parent: Parent<'_>,
) {
    let Some(old) = record.current.clone().filter(|_| record.edit().is_some()) else { return };
    let time = meta.corrected(now);
    let (base, base_author) = base_stamps(record);
    let is_followed = parent.admits(base, time);
    let base = if is_followed { base } else { Stamp::ZERO };
    // A settled erasure stays known, and the edit stays later than it. Otherwise it would count as
    // an edit from before.
    let known = old.erased.filter(|e| !is_unsettled(*e, record, &old));
    let known = known.filter(|e| parent.admits(e.stamp, time));
    let known = known.max(parent.erasure_below(old.erased));
    let base = base.max(known.map_or(Stamp::ZERO, |e| e.stamp));
    let meant = old.revision.stamp.millis().saturating_add_signed(shift);
    // The counters of followers are not in use at a time that this clock never had.
    let meant = Stamp::new(meant, old.revision.stamp.counter() | FIRST_OF_FOLLOWERS);
    let revision = if shift != 0 && meant > base && meant < Stamp::new(time.0, 0) {
        Revision { stamp: meant, replica: meta.replica }
    } else {
        meta.revision(now, base)
    };
    let is_wrong =
        Clock::is_beyond_parent(old.author.stamp, time, DRIFT_BOUND, base_author) || !is_followed;
    let author = match old.author {
        author if author == old.revision => revision,
        author if is_wrong => Revision { stamp: author.stamp.min(revision.stamp), ..author },
        author => author,
    };
    let erased = old.erased.map(|e| if e == old.revision { revision } else { e.min(revision) });
    let created = old.created.min(revision.stamp);
    let body = old.body;
    record.set_current(Some(DocumentState { revision, author, created, body, erased }));
}

/// Moves an edit to another identity, and keeps its time. The states that it had so far may have
/// been sent: those that are received are recognised.
pub(crate) fn reidentify(record: &mut Record, replica: ReplicaId) {
    let pushed = record.pushed_state().cloned();
    let Some(old) = record.current.clone().filter(|_| record.edit().is_some()) else {
        record.pending.iter_mut().for_each(|pending| pending.in_flight = None);
        return;
    };
    let pending = record.pending_mut();
    pending.in_flight = None;
    let is_reoffer = pending.edit.as_ref().and_then(|e| e.base.as_ref()).map(|b| b.state.revision)
        == Some(old.revision);
    if is_reoffer {
        return;
    }
    pending.former.extend(pushed.filter(|pushed| *pushed != old));
    pending.former.push(old.clone());
    pending.former.drain(..pending.former.len().saturating_sub(Pending::FORMER));
    let revision = Revision { replica, ..old.revision };
    let author = if old.author == old.revision { revision } else { old.author };
    // An erasure under an edit keeps its revision, or what others wrote with knowledge of it would
    // be removed.
    let erased = old.erased.map(|e| if e == old.revision { revision } else { e });
    record.set_current(Some(DocumentState { revision, author, erased, ..old }));
}
