//! The kinds of events, with their names.

#[cfg(doc)]
use super::SyncEvent;

/// Declares the kinds of events with their names.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $word:literal,)+) => {
        /// The kinds of [`SyncEvent`]s.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])+ $kind,)+
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Returns its name, such as `catch_up_started`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)+
                }
            }
        }
    };
}

kinds! {
    /// [`SyncEvent::Connected`].
    Connected = "connected",
    /// [`SyncEvent::Disconnected`].
    Disconnected = "disconnected",
    /// [`SyncEvent::Stalled`].
    Stalled = "stalled",
    /// [`SyncEvent::Failing`].
    Failing = "failing",
    /// [`SyncEvent::Refused`].
    Refused = "refused",
    /// [`SyncEvent::TokenNeeded`].
    TokenNeeded = "token_needed",
    /// [`SyncEvent::CatchUpStarted`].
    CatchUpStarted = "catch_up_started",
    /// [`SyncEvent::CatchUpProgress`].
    CatchUpProgress = "catch_up_progress",
    /// [`SyncEvent::CatchUpDone`].
    CatchUpDone = "catch_up_done",
    /// [`SyncEvent::CheckpointMoved`].
    CheckpointMoved = "checkpoint_moved",
    /// [`SyncEvent::ChangeApplied`].
    ChangeApplied = "change_applied",
    /// [`SyncEvent::ConflictResolved`].
    ConflictResolved = "conflict_resolved",
    /// [`SyncEvent::ConflictDeferred`].
    ConflictDeferred = "conflict_deferred",
    /// [`SyncEvent::EditErased`].
    EditErased = "edit_erased",
    /// [`SyncEvent::Rejected`].
    Rejected = "rejected",
    /// [`SyncEvent::Reset`].
    Reset = "reset",
    /// [`SyncEvent::Diverged`].
    Diverged = "diverged",
    /// [`SyncEvent::Reidentified`].
    Reidentified = "reidentified",
    /// [`SyncEvent::ScopeRefused`].
    ScopeRefused = "scope_refused",
    /// [`SyncEvent::ScopeGone`].
    ScopeGone = "scope_gone",
    /// [`SyncEvent::InSync`].
    InSync = "in_sync",
    /// [`SyncEvent::Lagged`].
    Lagged = "lagged",
}
