//! Bounds of an exploration: which events may happen, and how often.

use super::action::ModelAction;
use testkit::resolvers::ResolverKind;

/// Bounds of an exploration: which events may happen, and how many of each are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Actions that happen before the exploration begins. They count.
    pub before: &'static [ModelAction],
    /// How often the app of each replica may write or delete.
    pub writes: [usize; 2],
    /// The documents that it may write. Odd ones are in the collection that the server resolves, if
    /// there is one.
    pub documents: &'static [usize],
    /// Whether it may delete too.
    pub deletes: bool,
    /// The resolver of the replicas.
    pub resolver: ResolverKind,
    /// Whether there is a collection that the server resolves.
    pub on_server: bool,
    /// The largest number of documents in a chunk.
    pub chunk: usize,
    /// The largest number of messages in transit at a time.
    pub in_flight: usize,
    /// How many messages may arrive and stay in transit.
    pub doubled: usize,
    /// How many messages may be lost.
    pub lost: usize,
    /// How many chunks may be requested before the one in front of them was applied, without
    /// engines.
    pub ahead: usize,
    /// How many links may be lost, with engines.
    pub cut: usize,
    /// How many replicas may crash and restart, with engines.
    pub crashed: usize,
    /// How often the server may restart, which cuts every link.
    pub restarted: usize,
    /// How often every tombstone may be purged.
    pub purged: usize,
    /// How many backups may be made and restored.
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

    /// Returns the possible actions on the messages in transit (equal ones once) and on the server.
    pub(super) fn common<M: PartialEq>(
        &self,
        messages: &[M],
        has_backup: bool,
        actions: &mut Vec<ModelAction>,
    ) {
        for (message, this) in messages.iter().enumerate() {
            if message > 0 && messages[message - 1] == *this {
                continue;
            }
            actions.push(ModelAction::Deliver { message });
            if self.doubled > 0 {
                actions.push(ModelAction::Double { message });
            }
            if self.lost > 0 {
                actions.push(ModelAction::Lose { message });
            }
        }
        if self.restarted > 0 {
            actions.push(ModelAction::Restart);
        }
        if self.purged > 0 {
            actions.push(ModelAction::Purge);
        }
        if self.restored > 0 {
            actions.push(if has_backup { ModelAction::Restore } else { ModelAction::Backup });
        }
    }
}
