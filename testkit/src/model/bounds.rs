//! What may happen, and how often.

use super::action::Action;
use crate::search::ResolverKind;

/// What may happen in an exploration, and how often: what is counted is what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// What has happened before the exploration begins; it counts.
    pub before: &'static [Action],
    /// How often the app of each replica may write or delete.
    pub writes: [usize; 2],
    /// Which documents it may write: odd ones are in a collection that the server resolves, if
    /// there is one.
    pub documents: &'static [usize],
    /// Whether it may delete too.
    pub deletes: bool,
    /// The resolver of the replicas.
    pub resolver: ResolverKind,
    /// Whether there is a collection that the server resolves.
    pub on_server: bool,
    /// The most documents of a chunk.
    pub chunk: usize,
    /// The most messages that are on their way at a time.
    pub in_flight: usize,
    /// Messages that arrive and are on their way still.
    pub doubled: usize,
    /// Messages that are lost.
    pub lost: usize,
    /// Chunks that are asked for before the one in front of them was applied, where no engine asks.
    pub ahead: usize,
    /// Links that are lost, where engines have some.
    pub cut: usize,
    /// Replicas that die and start again, where they have something in memory.
    pub crashed: usize,
    /// Starts of the server, with whose death all links are lost.
    pub restarted: usize,
    /// Purges of every tombstone.
    pub purged: usize,
    /// Backups that are made and restored.
    pub restored: usize,
}

impl Bounds {
    /// One write on each replica, of one document, over a network without faults.
    pub const LEAST: Self = Self {
        before: &[],
        writes: [1, 1],
        documents: &[0],
        deletes: false,
        resolver: ResolverKind::LastWriteWins,
        on_server: false,
        chunk: 1_000,
        in_flight: 3,
        doubled: 0,
        lost: 0,
        ahead: 0,
        cut: 0,
        crashed: 0,
        restarted: 0,
        purged: 0,
        restored: 0,
    };

    /// What can happen to the messages on their way, equal ones side by side, and to the server.
    pub(super) fn common<M: PartialEq>(
        &self,
        messages: &[M],
        has_backup: bool,
        actions: &mut Vec<Action>,
    ) {
        for (message, this) in messages.iter().enumerate() {
            if message > 0 && messages[message - 1] == *this {
                continue;
            }
            actions.push(Action::Deliver { message });
            if self.doubled > 0 {
                actions.push(Action::Double { message });
            }
            if self.lost > 0 {
                actions.push(Action::Lose { message });
            }
        }
        if self.restarted > 0 {
            actions.push(Action::Restart);
        }
        if self.purged > 0 {
            actions.push(Action::Purge);
        }
        if self.restored > 0 {
            actions.push(if has_backup { Action::Restore } else { Action::Backup });
        }
    }
}
