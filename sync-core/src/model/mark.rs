//! Marks: what a server attests of its log, so that a restored backup is detected.
//!
//! A server registers each of its starts in the log of a scope, before its first append there: the
//! random id of the start ([`ServerStart`]) and the first position it wrote. A log that was
//! restored from a backup and continued has another start at the position after the backup, so two
//! lives of a log differ in their starts. The idea is that of leader epochs in replicated logs
//! (Kafka's KIP-101).
//!
//! A [`LogMark`] names the position up to which it is valid, the start that wrote it and some of
//! the starts before. It has a keyed checksum ([`LogKey`], SipHash-2-4 by Aumasson and Bernstein,
//! 2012). The key is kept with the log and is part of its backups. So a mark with a valid checksum
//! was issued by this log or by a life of it that was lost; a position or a start that a client
//! made up proves nothing.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::{Epoch, Seq, ServerStart};
use crate::codec::Codec;

/// A server start and the position at which it first wrote to a scope's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StartRecord {
    /// The start.
    pub start: ServerStart,
    /// The first position that it assigned in this scope.
    pub first: Seq,
}

impl StartRecord {
    /// How many of the newest starts the row of a scope holds; the storage keeps all of them.
    pub const KEPT: usize = 32;
}

/// The positions from one registered server start to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogRun {
    /// The start.
    pub start: ServerStart,
    /// The first position of the run.
    pub first: Seq,
    /// The last position of the run.
    pub last: Seq,
}

impl LogRun {
    /// Returns whether both are runs of one start; their lengths may differ.
    #[must_use]
    pub fn is_same_start(&self, other: &Self) -> bool {
        (self.start, self.first) == (other.start, other.first)
    }
}

/// The secret with which the marks of one scope's log are made. It is kept in the scope's row, and
/// so in every backup.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogKey(pub [u8; 16]);

impl fmt::Debug for LogKey {
    /// Does not print the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey(..)")
    }
}

/// The random values of a new log, used if a call is the first for its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NewLog {
    /// The first life of the log.
    pub epoch: Epoch,
    /// The secret with which its marks are made.
    pub key: LogKey,
}

/// What a server attests of a log up to one position. Opaque to replicas, which store the newest
/// one and send it back.
///
/// ```
/// use sync_core::model::{Epoch, LogKey, LogMark, LogRun, Seq, ServerStart};
/// let key = LogKey([7; 16]);
/// let run = LogRun { start: ServerStart(1), first: Seq(1), last: Seq(9) };
/// let mark = LogMark::sign(Epoch([1; 16]), vec![run], &key);
/// assert!(mark.is_authentic(&key) && mark.at == Seq(9));
/// let forged = LogMark { at: Seq(10), ..mark.clone() };
/// assert!(!forged.is_authentic(&key));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogMark {
    /// The life of the log.
    pub epoch: Epoch,
    /// The position up to which the mark is valid: the end of the last run.
    pub at: Seq,
    /// Runs of the log in their order. The last one ends at `at`; of those before it some may be
    /// left out, more of the older ones.
    pub runs: Vec<LogRun>,
    /// The keyed checksum of all of the above.
    pub proof: u64,
}

impl LogMark {
    /// The most runs that a mark names.
    pub const RUNS: usize = 24;

    /// Signs a mark of these runs, which are in order.
    #[must_use]
    pub fn sign(epoch: Epoch, runs: Vec<LogRun>, key: &LogKey) -> Self {
        let at = runs.last().map_or(Seq(0), |run| run.last);
        let mut mark = Self { epoch, at, runs, proof: 0 };
        mark.proof = mark.checksum(key);
        mark
    }

    /// Returns whether the mark was made with that key.
    #[must_use]
    pub fn is_authentic(&self, key: &LogKey) -> bool {
        self.proof == self.checksum(key)
    }

    fn checksum(&self, key: &LogKey) -> u64 {
        let mut bytes = Vec::with_capacity(32 + self.runs.len() * 24);
        self.epoch.encode(&mut bytes);
        self.at.encode(&mut bytes);
        self.runs.encode(&mut bytes);
        let mut hasher = SipHasher24::new_with_key(&key.0);
        hasher.write(&bytes);
        hasher.finish()
    }

    /// Returns whether the two marks cannot be of one life of a log: some position belongs to
    /// different starts.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        let disagree = |a: &LogRun, b: &LogRun| {
            let overlap = a.first.max(b.first) <= a.last.min(b.last);
            overlap && !a.is_same_start(b)
        };
        self.epoch == other.epoch
            && self.runs.iter().any(|a| other.runs.iter().any(|b| disagree(a, b)))
    }

    /// Returns whether this mark shows that an older one is of the same log: it names the start
    /// that the older one ends with, at least up to the older one's position. `false` proves
    /// nothing.
    #[must_use]
    pub fn confirms(&self, older: &Self) -> bool {
        let Some(last) = older.runs.last() else { return false };
        let reaches = |run: &LogRun| run.is_same_start(last) && older.at <= run.last;
        self.epoch == older.epoch && self.runs.iter().any(reaches)
    }

    /// Returns whether the runs are in order, bounded, and end at the mark's position. A decoder
    /// requires this.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let ordered = self.runs.iter().all(|run| run.first <= run.last)
            && self.runs.windows(2).all(|pair| pair[0].last < pair[1].first);
        let end = self.runs.last().map(|run| run.last);
        ordered && self.runs.len() <= Self::RUNS && end == Some(self.at)
    }

    /// Returns the mark of the higher position; if the epochs differ, the new mark.
    #[must_use]
    pub fn newer(old: Option<Self>, new: Option<Self>) -> Option<Self> {
        match (old, new) {
            (Some(old), Some(new)) if old.epoch == new.epoch && old.at > new.at => Some(old),
            (old, new) => new.or(old),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: LogKey = LogKey([7; 16]);

    fn mark(runs: &[(u64, u64, u64)]) -> LogMark {
        let run = |&(start, first, last): &(u64, u64, u64)| LogRun {
            start: ServerStart(start),
            first: Seq(first),
            last: Seq(last),
        };
        LogMark::sign(Epoch([1; 16]), runs.iter().map(run).collect(), &KEY)
    }

    #[test]
    fn nothing_of_a_mark_can_be_changed_without_the_key() {
        let good = mark(&[(1, 1, 4), (2, 5, 9)]);
        assert!(good.is_authentic(&KEY) && good.is_well_formed());
        assert!(!good.is_authentic(&LogKey([8; 16])));
        let mut forged = good.clone();
        forged.at = Seq(10);
        assert!(!forged.is_authentic(&KEY));
        let mut forged = good.clone();
        forged.runs[0].start = ServerStart(3);
        assert!(!forged.is_authentic(&KEY));
        let forged = LogMark { epoch: Epoch([2; 16]), ..good };
        assert!(!forged.is_authentic(&KEY));
    }

    #[test]
    fn marks_contradict_each_other_if_one_position_has_two_starts() {
        let before = mark(&[(1, 1, 4), (2, 5, 9)]);
        assert!(!before.contradicts(&before));
        assert!(!before.contradicts(&mark(&[(1, 1, 3)])), "an earlier position of the same log");
        assert!(!before.contradicts(&mark(&[(2, 5, 12), (3, 13, 20)])), "it went on");
        assert!(before.contradicts(&mark(&[(1, 1, 4), (9, 5, 6)])));
        assert!(before.contradicts(&mark(&[(2, 5, 7), (9, 8, 20)])), "a restore to 7");
        assert!(mark(&[(2, 5, 12), (3, 13, 20)]).confirms(&before));
        assert!(before.confirms(&before) && !before.confirms(&mark(&[(2, 5, 10)])));
        assert!(!mark(&[(1, 1, 4), (9, 5, 60)]).confirms(&before));
        let other_epoch = LogMark { epoch: Epoch([2; 16]), ..mark(&[(9, 1, 9)]) };
        assert!(!before.contradicts(&other_epoch));
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{KEY:?}"), "LogKey(..)");
    }
}
