//! The events that the engine reports to the app.

use crate::error::ErrorKind;
use crate::model::{Reset, Scope, Seq};

use super::Failure;

/// Something that happened to the sync as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A connection was made.
    Connected,
    /// The connection was lost, or could not be made; another attempt follows unless it was refused
    /// permanently.
    Disconnected(Failure),
    /// A step of a scope's sync failed, or moved nothing, on a connection that works; another
    /// attempt follows.
    Stalled(Scope, Failure),
    /// The server refuses this replica; a retry cannot succeed until the configuration, the token
    /// or the server changes.
    Refused(ErrorKind),
    /// A scope is behind and catches up.
    CatchUpStarted(Scope),
    /// A chunk was applied.
    CheckpointMoved {
        /// The scope.
        scope: Scope,
        /// Its position.
        position: Seq,
        /// The newest known head.
        head: Seq,
    },
    /// A measure of a scope moved: its position, or edits that the server settled. Failed attempts
    /// before it are over.
    Advanced(Scope),
    /// A scope has reached the head.
    CatchUpDone(Scope),
    /// A scope's position was discarded.
    Reset(Scope, Reset),
    /// Replica and server have different documents at the same position, and pulling everything
    /// again did not help.
    Diverged(Scope),
    /// The replica has a new identity: its file was copied or restored.
    Reidentified,
    /// The server does not serve a scope; a retry cannot succeed until the access or the server
    /// changes.
    ScopeRefused(Scope, ErrorKind),
    /// A scope may not be seen any more, and has left this device. Edits of it that were not synced
    /// are in the quarantine.
    ScopeGone(Scope),
    /// Everything is pushed and pulled.
    InSync,
}

/// The state of the sync as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It was not started, was stopped, or was refused permanently.
    #[default]
    Stopped,
    /// It tries to connect.
    Connecting,
    /// There is no connection; another attempt follows.
    Offline,
    /// It is connected, and something is on its way.
    Syncing,
    /// It is connected, and nothing is left to do.
    InSync,
}

/// The progress of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeProgress {
    /// Documents applied since the engine began.
    pub pulled: u64,
    /// Its position.
    pub position: Seq,
    /// The newest known head.
    pub head: Seq,
}

impl ScopeProgress {
    /// Returns how many positions are left: at least as many as documents.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.head.0.saturating_sub(self.position.0)
    }
}

/// A snapshot of the engine's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The state as a whole.
    pub phase: Phase,
    /// Every scope.
    pub scopes: Vec<(Scope, ScopeProgress)>,
    /// The reason if it, or one of its scopes, was refused permanently.
    pub refused: Option<ErrorKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_positions_are_those_between_the_position_and_the_head() {
        let at =
            |position, head| ScopeProgress { position: Seq(position), head: Seq(head), pulled: 0 };
        let remaining = [at(3, 10), at(9, 10), at(10, 10), at(11, 10)].map(|p| p.remaining());
        assert_eq!(remaining, [7, 1, 0, 0]);
    }
}
