//! Events of the sync.

mod kind;
mod queue;
mod stream;

use serde::Serialize;
use sync_core::engine::Event;
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{DocumentKey, Rejection, Reset, Revision, Scope, Seq};
use sync_core::replica::{ConflictReport, Decided, DocumentChange, Operation, Origin};

pub use kind::EventKind;
pub(crate) use queue::EventSender;
pub use stream::{EventFilter, EventStream};

#[cfg(doc)]
use crate::Replica;

/// An event of a replica's sync: about the sync as a whole, or about a document that it changed.
///
/// Events carry no bodies: they name the document to read. The app's own writes on this replica are
/// not among them. An app that needs every document in its newest state uses a
/// [watch](crate::Collection::watch_all), which never lags.
///
/// Serialized, an event is the name of its [kind](Self::kind) and its content:
/// `{"event":"catch_up_done","detail":"default"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", content = "detail", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncEvent {
    /// A connection was made.
    Connected,
    /// The connection was lost, or could not be made.
    Disconnected {
        /// The reason.
        why: ErrorKind,
        /// Whether another attempt may follow by itself.
        retries: bool,
    },
    /// A step of the sync failed on a connection that works; another attempt follows.
    Stalled {
        /// The scope.
        scope: Scope,
        /// The reason.
        why: ErrorKind,
    },
    /// As many attempts in a row failed as the option
    /// [`max_failures`](crate::ReplicaConfig::max_failures) allows: the activity of the status is
    /// [`Error`](crate::Activity::Error) from now on. Sent once; the sync keeps retrying.
    Failing(u32),
    /// The server refuses this replica; a retry cannot succeed until the configuration, the token
    /// or the server changes.
    Refused(ErrorKind),
    /// The token is missing or not valid any more: the sync continues when it gets a valid one.
    /// Sent instead of [`Refused`](Self::Refused) or [`ScopeRefused`](Self::ScopeRefused).
    TokenNeeded,
    /// The replica is behind and catches up.
    CatchUpStarted(Scope),
    /// A chunk was applied while the replica catches up.
    CatchUpProgress {
        /// The scope.
        scope: Scope,
        /// Its position.
        position: Seq,
        /// The newest known head.
        head: Seq,
    },
    /// The replica has reached the head.
    CatchUpDone(Scope),
    /// A chunk was applied, at any time; while the replica catches up,
    /// [`CatchUpProgress`](Self::CatchUpProgress) follows.
    CheckpointMoved {
        /// The scope.
        scope: Scope,
        /// Its position.
        position: Seq,
        /// The newest known head.
        head: Seq,
    },
    /// The sync changed a document as the app sees it.
    ChangeApplied {
        /// The document.
        key: DocumentKey,
        /// The operation on the document.
        operation: Operation,
        /// Where the state comes from.
        origin: Origin,
        /// The revision of the new state; none if nothing is left of the document.
        revision: Option<Revision>,
    },
    /// A conflict was found, and the resolver resolved it.
    ConflictResolved {
        /// The document.
        key: DocumentKey,
        /// The result.
        decided: Decided,
    },
    /// A conflict was found, and waits for the app: see [`Replica::conflicts`].
    ConflictDeferred(DocumentKey),
    /// A document was erased together with an edit that this replica made without knowledge of the
    /// erasure, and that was not synced or was refused before. See
    /// [`Collection::erase`](crate::Collection::erase).
    EditErased(DocumentKey),
    /// The server refused an edit permanently: it is in the [quarantine](Replica::quarantine).
    Rejected {
        /// The document.
        key: DocumentKey,
        /// The reason.
        rejection: Rejection,
    },
    /// The replica's position was discarded: it pulls what is missing, and may catch up from the
    /// beginning.
    Reset(Scope, Reset),
    /// Replica and server have different documents at the same position, and pulling everything
    /// again did not help.
    Diverged(Scope),
    /// The replica has a new identity: its file was copied or restored.
    Reidentified,
    /// The server does not serve the scope; a retry cannot succeed until the access or the server
    /// changes.
    ScopeRefused {
        /// The scope.
        scope: Scope,
        /// The reason.
        why: ErrorKind,
    },
    /// The scope may not be read any more, and was removed from this device. Edits that were not
    /// synced are in the quarantine.
    ScopeGone(Scope),
    /// Everything is pushed and pulled.
    InSync,
    /// This many events that the filter accepts were dropped here, because they were read too
    /// slowly. Every filter lets it through.
    Lagged(u64),
}

impl SyncEvent {
    /// Returns the kind of the event.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Connected => EventKind::Connected,
            Self::Disconnected { .. } => EventKind::Disconnected,
            Self::Stalled { .. } => EventKind::Stalled,
            Self::Failing(_) => EventKind::Failing,
            Self::Refused(_) => EventKind::Refused,
            Self::TokenNeeded => EventKind::TokenNeeded,
            Self::CatchUpStarted(_) => EventKind::CatchUpStarted,
            Self::CatchUpProgress { .. } => EventKind::CatchUpProgress,
            Self::CatchUpDone(_) => EventKind::CatchUpDone,
            Self::CheckpointMoved { .. } => EventKind::CheckpointMoved,
            Self::ChangeApplied { .. } => EventKind::ChangeApplied,
            Self::ConflictResolved { .. } => EventKind::ConflictResolved,
            Self::ConflictDeferred(_) => EventKind::ConflictDeferred,
            Self::EditErased(_) => EventKind::EditErased,
            Self::Rejected { .. } => EventKind::Rejected,
            Self::Reset(..) => EventKind::Reset,
            Self::Diverged(_) => EventKind::Diverged,
            Self::Reidentified => EventKind::Reidentified,
            Self::ScopeRefused { .. } => EventKind::ScopeRefused,
            Self::ScopeGone(_) => EventKind::ScopeGone,
            Self::InSync => EventKind::InSync,
            Self::Lagged(_) => EventKind::Lagged,
        }
    }

    /// Returns the document that it is about; none if it is about the sync as a whole.
    #[must_use]
    pub fn document(&self) -> Option<&DocumentKey> {
        match self {
            Self::ChangeApplied { key, .. }
            | Self::ConflictResolved { key, .. }
            | Self::ConflictDeferred(key)
            | Self::EditErased(key)
            | Self::Rejected { key, .. } => Some(key),
            _ => None,
        }
    }
}

impl SyncEvent {
    /// Returns the event of an app for an event of the engine, if there is one.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let unauthenticated = ErrorKind::Unauthenticated;
        Some(match event.clone() {
            Event::Connected => Self::Connected,
            Event::Disconnected(failure) => {
                let (why, retries) = (failure.kind, failure.retry != Retry::Never);
                Self::Disconnected { why, retries }
            }
            Event::Stalled(scope, failure) => Self::Stalled { scope, why: failure.kind },
            Event::Refused(why) | Event::ScopeRefused(_, why) if why == unauthenticated => {
                Self::TokenNeeded
            }
            Event::Refused(why) => Self::Refused(why),
            Event::CatchUpStarted(scope) => Self::CatchUpStarted(scope),
            Event::CheckpointMoved { scope, position, head } => {
                Self::CheckpointMoved { scope, position, head }
            }
            Event::CatchUpDone(scope) => Self::CatchUpDone(scope),
            Event::Reset(scope, reset) => Self::Reset(scope, reset),
            Event::Diverged(scope) => Self::Diverged(scope),
            Event::Reidentified => Self::Reidentified,
            Event::ScopeRefused(scope, why) => Self::ScopeRefused { scope, why },
            Event::ScopeGone(scope) => Self::ScopeGone(scope),
            Event::InSync => Self::InSync,
            // A newer engine may have events that this version does not know.
            _ => return None,
        })
    }

    pub(crate) fn of_change(change: &DocumentChange) -> Self {
        Self::ChangeApplied {
            key: change.key.clone(),
            operation: change.operation,
            origin: change.origin,
            revision: change.document.as_ref().map(|d| d.revision),
        }
    }

    pub(crate) fn of_conflict(report: &ConflictReport) -> Self {
        let key = report.key.clone();
        match report.decided {
            Decided::Deferred => Self::ConflictDeferred(key),
            Decided::Erased => Self::EditErased(key),
            decided => Self::ConflictResolved { key, decided },
        }
    }
}
