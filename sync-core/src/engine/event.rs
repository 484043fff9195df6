//! What the engine tells the app.

use crate::error::ErrorKind;
use crate::model::{Reset, Scope, Seq};

use super::Failure;

/// Something that happened to the sync as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A connection is there.
    Connected,
    /// The connection is gone, or could not be made; another attempt follows unless it was refused
    /// for good.
    Disconnected(Failure),
    /// A step of a scope's sync failed, or moved nothing, on a connection that works; another
    /// attempt follows.
    Stalled(Scope, Failure),
    /// The server refuses this replica; a retry cannot succeed until the configuration, the token
    /// or the server changes.
    Refused(ErrorKind),
    /// A scope is behind and catches up.
    CatchUpStarted(Scope),
    /// A chunk was taken in.
    CheckpointMoved {
        /// The scope.
        scope: Scope,
        /// Where it stands.
        position: Seq,
        /// The newest head that was heard of.
        head: Seq,
    },
    /// A measure of a scope moved: its position, or edits that the server settled. Failed attempts
    /// before it are over.
    Advanced(Scope),
    /// A scope has reached the head.
    CatchUpDone(Scope),
    /// A scope's position was given up.
    Reset(Scope, Reset),
    /// Replica and server stand at the same position with different documents, and pulling
    /// everything afresh did not help.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It was not started, was stopped, or was refused for good.
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

/// How far a scope is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeProgress {
    /// Documents taken in since the engine began.
    pub pulled: u64,
    /// Where it stands.
    pub position: Seq,
    /// The newest head that was heard of.
    pub head: Seq,
}

impl ScopeProgress {
    /// How many positions are left: at least as many as documents.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.head.0.saturating_sub(self.position.0)
    }
}

/// A look at the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The state as a whole.
    pub phase: Phase,
    /// Every scope.
    pub scopes: Vec<(Scope, ScopeProgress)>,
    /// Why it, or one of its scopes, was refused for good.
    pub refused: Option<ErrorKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_what_lies_between_the_position_and_the_head() {
        let at =
            |position, head| ScopeProgress { position: Seq(position), head: Seq(head), pulled: 0 };
        let remaining = [at(3, 10), at(9, 10), at(10, 10), at(11, 10)].map(|p| p.remaining());
        assert_eq!(remaining, [7, 1, 0, 0]);
    }
}
