//! The facts and commands of the engine.

use super::{Event, Goal};
use crate::error::{Error, ErrorKind, Retry};
use crate::model::{
    Bookmark, Checkpoint, Collection, Cursor, Epoch, Limits, LogMark, PushId, Reset, Scope, Seq,
    Verdicts,
};

/// Names one request or payload; never used twice by one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The part of an error that decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// Whether to try again.
    pub retry: Retry,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), retry: error.retry() }
    }
}

/// A chunk without its entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChunkMeta {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The position before its first entry.
    pub after: Seq,
    /// The position of its end.
    pub next: Seq,
    /// The head when it was read.
    pub head: Seq,
    /// How many entries it has.
    pub entries: usize,
    /// Roughly its bytes.
    pub weight: usize,
    /// A custom backend's bookmark of its end.
    pub bookmark: Option<Bookmark>,
    /// The mark of the log at its end.
    pub mark: Option<LogMark>,
}

impl ChunkMeta {
    /// Returns the cursor that continues after the chunk, which began at `cursor`.
    pub(super) fn follow(&self, cursor: &Cursor) -> Cursor {
        let next = cursor.advanced(self.epoch, self.next, self.head, self.mark.as_ref());
        next.at(self.bookmark.clone())
    }
}

impl From<&crate::model::Chunk> for ChunkMeta {
    fn from(chunk: &crate::model::Chunk) -> Self {
        let (entries, weight) = (chunk.entries.len(), chunk.weight());
        let crate::model::Chunk { epoch, after, next, head, .. } = *chunk;
        let (bookmark, mark) = (chunk.bookmark(), chunk.mark.clone());
        Self { epoch, after, next, head, entries, weight, bookmark, mark }
    }
}

/// The result of a pull, or an event of a live stream. The payload of a chunk is kept under the
/// ticket of the input.
pub type Delivery = crate::model::Delivery<ChunkMeta>;

/// A batch without its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchMeta {
    /// Its name.
    pub id: PushId,
    /// How many documents it holds.
    pub documents: usize,
    /// Roughly its bytes.
    pub bytes: usize,
    /// Whether it is the recall of a batch.
    pub recall: bool,
}

impl From<&crate::model::PushBatch> for BatchMeta {
    fn from(batch: &crate::model::PushBatch) -> Self {
        Self {
            id: batch.id,
            documents: batch.changes.len(),
            bytes: batch.weight(),
            recall: batch.recall.is_some(),
        }
    }
}

/// The effect of the verdicts on a batch on its edits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settlement {
    /// The number of edits with a verdict; none means that the verdicts belong to another epoch of
    /// the log.
    pub applied: usize,
    /// How many edits made progress: the others are as they were, and free to be pushed again.
    pub moved: usize,
    /// Collections whose position was discarded, because a verdict had no room for the state that
    /// the server holds.
    pub backfilled: Vec<Collection>,
}

impl From<&crate::replica::Committed> for Settlement {
    fn from(committed: &crate::replica::Committed) -> Self {
        Self {
            applied: committed.applied,
            moved: committed.progressed,
            backfilled: committed.backfilled.clone(),
        }
    }
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Verdicts; their payload is kept under the ticket of the input. The newest position among
    /// them.
    Decided(Seq),
    /// The batch was recalled before the server applied it.
    Recalled,
    /// The server has another batch under this id: a new identity is needed.
    Cloned,
}

impl From<&Verdicts> for Answer {
    fn from(verdicts: &Verdicts) -> Self {
        match verdicts {
            Verdicts::Decided { verdicts, .. } => {
                Self::Decided(verdicts.iter().map(|v| v.seq).max().unwrap_or_default())
            }
            Verdicts::Recalled => Self::Recalled,
            Verdicts::Stale | Verdicts::Cloned => Self::Cloned,
        }
    }
}

/// The server's greeting for a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeGreeting {
    /// The scope.
    pub scope: Scope,
    /// The cursor that the replica sent.
    pub asked: Cursor,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The head.
    pub head: Seq,
    /// The reset, if the replica's position is not valid.
    pub reset: Option<Reset>,
    /// The newest batch that the server remembers of this replica.
    pub last_push: PushId,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A scope is to be synced, with that checkpoint.
    Opened {
        /// The scope.
        scope: Scope,
        /// The stored checkpoint.
        checkpoint: Checkpoint,
    },
    /// Begin, or change the goal; a wait for the next attempt ends.
    Run(Goal),
    /// Close the connection and end everything.
    Stop,
    /// A connection was made.
    Connected {
        /// The ticket of the command.
        ticket: Ticket,
        /// The greetings of the scopes.
        scopes: Vec<ScopeGreeting>,
        /// The newest batch that this replica ever formed.
        last_push: PushId,
    },
    /// There is no connection, or it is lost.
    LinkLost {
        /// The ticket of the connect command.
        ticket: Ticket,
        /// The reason.
        failure: Failure,
    },
    /// A pull was answered, or a live stream delivered something.
    Delivered {
        /// The scope.
        scope: Scope,
        /// The ticket of the pull, or of the subscription.
        ticket: Ticket,
        /// The name of the payload, fresh from [`Engine::ticket`](super::Engine::ticket).
        payload: Ticket,
        /// The result.
        result: Result<Delivery, Failure>,
    },
    /// A chunk was passed to the storage.
    Applied {
        /// The scope.
        scope: Scope,
        /// The payload's ticket.
        payload: Ticket,
        /// Whether it fitted, and the position of the replica.
        result: Result<(bool, Checkpoint), Failure>,
    },
    /// A batch was requested from the storage.
    NextBatch {
        /// The scope.
        scope: Scope,
        /// The batch in flight, or its recall, if there is anything to push.
        result: Result<Option<BatchMeta>, Failure>,
    },
    /// A push was answered.
    Pushed {
        /// The scope.
        scope: Scope,
        /// The ticket of the command.
        ticket: Ticket,
        /// The result.
        result: Result<Answer, Failure>,
    },
    /// Verdicts, or a [refusal](Output::Refuse), were passed to the storage.
    Settled {
        /// The scope.
        scope: Scope,
        /// The effect.
        result: Result<Settlement, Failure>,
    },
    /// The server recorded a position; a reset if its documents differ there.
    Acknowledged {
        /// The scope.
        scope: Scope,
        /// The request.
        ticket: Ticket,
        /// The result.
        result: Result<Option<Reset>, Failure>,
    },
    /// A reset was executed.
    ResetDone {
        /// The scope.
        scope: Scope,
        /// The position of the replica.
        result: Result<Checkpoint, Failure>,
    },
    /// A scope that may not be seen any more was removed from the device.
    Forgotten {
        /// The scope.
        scope: Scope,
        /// Whether it succeeded.
        result: Result<(), Failure>,
    },
    /// The replica has a new identity.
    Reidentified {
        /// Whether it succeeded.
        result: Result<(), Failure>,
    },
    /// There is something to push.
    OutboxGrew {
        /// The scope.
        scope: Scope,
    },
    /// Bytes moved on the link since the last such fact, counted where they leave and enter this
    /// machine. A request is not overdue while bytes move.
    Transferred {
        /// To the server.
        up: u64,
        /// From the server.
        down: u64,
    },
    /// Time passed.
    Tick,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Connect, greeting with the checkpoints of these scopes; answer with `Connected` or
    /// `LinkLost`.
    Connect {
        /// Names the connection.
        ticket: Ticket,
        /// The scopes.
        scopes: Vec<Scope>,
    },
    /// Close the connection; its pending requests will not be answered.
    Disconnect {
        /// The connection.
        ticket: Ticket,
    },
    /// Pull the chunk after a cursor; the result is `Delivered`.
    Pull {
        /// The scope.
        scope: Scope,
        /// Names the request.
        ticket: Ticket,
        /// The cursor.
        cursor: Cursor,
        /// The most that a chunk may hold.
        limits: Limits,
    },
    /// Open a live stream after a cursor. Nothing is read from it yet.
    Subscribe {
        /// The scope.
        scope: Scope,
        /// Names the stream.
        ticket: Ticket,
        /// The cursor.
        cursor: Cursor,
        /// The most that a chunk may hold.
        limits: Limits,
    },
    /// Read the next event of a live stream; answer with `Delivered`.
    NextLive {
        /// The scope.
        scope: Scope,
        /// The stream.
        ticket: Ticket,
    },
    /// Close a live stream.
    Unsubscribe {
        /// The scope.
        scope: Scope,
        /// The stream.
        ticket: Ticket,
    },
    /// Pass a chunk to the storage; the result is `Applied`.
    Apply {
        /// The scope.
        scope: Scope,
        /// The chunk.
        payload: Ticket,
    },
    /// A payload is not needed any more.
    Discard {
        /// The payload.
        payload: Ticket,
    },
    /// Send the replica's position to the server; the result is `Acknowledged`.
    Acknowledge {
        /// The scope.
        scope: Scope,
        /// The request. An answer after the loss of its link changes nothing.
        ticket: Ticket,
        /// The newest position that a verdict named: below it the replica's digest cannot be
        /// compared.
        settled: Seq,
    },
    /// Request a batch from the storage; the result is `NextBatch`. With [`Limits::NONE`], a batch
    /// in flight is recalled.
    NextBatch {
        /// The scope.
        scope: Scope,
        /// The most that it may hold.
        limits: Limits,
    },
    /// Push the batch that was formed; answer with `Pushed`.
    Push {
        /// The scope.
        scope: Scope,
        /// Names the request, and the verdicts.
        ticket: Ticket,
        /// The batch.
        push: PushId,
    },
    /// Pass verdicts to the storage; the result is `Settled`.
    Settle {
        /// The scope.
        scope: Scope,
        /// The verdicts.
        ticket: Ticket,
        /// The batch.
        push: PushId,
    },
    /// Pass the rejection of a batch that is too large to send, and was recalled, to the storage;
    /// the result is `Settled`.
    Refuse {
        /// The scope.
        scope: Scope,
        /// The batch.
        push: PushId,
        /// The epoch of the log.
        epoch: Epoch,
        /// How many documents it holds.
        documents: usize,
    },
    /// Reset a scope; answer with `ResetDone`.
    Reset {
        /// The scope.
        scope: Scope,
        /// The reset.
        reset: Reset,
    },
    /// Remove a scope from the device; answer with `Forgotten`.
    Forget {
        /// The scope.
        scope: Scope,
    },
    /// Take a new identity; answer with `Reidentified`.
    Reidentify,
    /// Report to the app.
    Emit(Event),
}
