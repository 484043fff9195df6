//! The facts that oracles check.

use std::collections::BTreeSet;
use std::sync::Arc;

use sync_core::engine::Direction;
use sync_core::model::{
    Checkpoint, Chunk, Collection, DocumentKey, DocumentState, LocalSeq, LogEntry, PushBatch,
    Rejection, ReplicaId, ResetReason, Revision, Scope, Verdicts,
};
use sync_core::replica::record::Record;
use sync_server::record::{ServerRow, ServerScope};

use crate::world::ResolverCall;

/// Why a replica shows another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A chunk was applied.
    Pulled,
    /// Verdicts were applied.
    Settled,
    /// The position was reset.
    Reset,
    /// A batch was formed, or the identity changed: edits got new stamps.
    Stamped,
    /// The app decided about a document, with the states that the decision was made of.
    Decided(Vec<Revision>),
    /// The edit was rejected and moved into the quarantine.
    Refused,
    /// The scope left the device.
    Forgotten,
    /// The power failed: unsynced changes from the server are applied again.
    RolledBack,
}

/// An event of a run.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The app wrote a document, and the write is committed.
    Wrote {
        /// The client.
        client: usize,
        /// The document.
        key: DocumentKey,
        /// The state that the app read before.
        before: Option<DocumentState>,
        /// The state that the write made; none if it removed a document that no other client can
        /// have received.
        after: Option<DocumentState>,
        /// The local transaction.
        unit: LocalSeq,
        /// The time in milliseconds since the beginning.
        at: u64,
    },
    /// A client shows another state of a document than before, and the app did not write it.
    Changed {
        /// The client.
        client: usize,
        /// The document.
        key: DocumentKey,
        /// The state before.
        before: Option<DocumentState>,
        /// The state now.
        after: Option<DocumentState>,
        /// The cause.
        cause: Cause,
    },
    /// A resolver was called: by a client, or by the server.
    Asked {
        /// The client; none for the server.
        client: Option<usize>,
        /// The call and its result.
        call: ResolverCall,
    },
    /// A client formed a batch.
    Formed {
        /// The client.
        client: usize,
        /// The batch.
        batch: PushBatch,
    },
    /// The server appended a batch.
    Appended {
        /// The batch.
        batch: PushBatch,
        /// The states of the batch's documents before, in the order of the batch.
        held: Vec<Option<ServerRow>>,
        /// The verdicts.
        verdicts: Verdicts,
        /// The written entries.
        entries: Vec<LogEntry>,
        /// Its row about the scope afterwards.
        scope: ServerScope,
        /// The server's time, in Unix milliseconds.
        now: u64,
    },
    /// The server purged a document's tombstone.
    Purged {
        /// The document.
        key: DocumentKey,
        /// The tombstone.
        state: DocumentState,
    },
    /// A chunk reached a client.
    Received {
        /// The client.
        client: usize,
        /// The chunk.
        chunk: Arc<Chunk>,
        /// Whether the client may read its scope at that time.
        allowed: bool,
    },
    /// A client's storage was given a chunk.
    Applied {
        /// The client.
        client: usize,
        /// The chunk's scope.
        scope: Scope,
        /// The positions at which the chunk began and ended.
        span: (sync_core::model::Seq, sync_core::model::Seq),
        /// Whether it was applied.
        moved: bool,
        /// The client's checkpoint before.
        before: Checkpoint,
        /// The client's checkpoint now.
        after: Checkpoint,
    },
    /// A client's process ended.
    Crashed {
        /// The client.
        client: usize,
        /// Whether the power failed.
        power: bool,
    },
    /// A client's storage was opened again.
    Reopened {
        /// The client.
        client: usize,
        /// Whether the power had failed.
        power: bool,
    },
    /// The server was restored from a backup.
    Restored {
        /// The scopes whose logs were restored.
        scopes: Vec<Scope>,
        /// The documents of which the backup does not hold what the server held.
        lost: BTreeSet<DocumentKey>,
    },
    /// The server begins a new epoch of a log.
    Began {
        /// The scope.
        scope: Scope,
    },
    /// A client resets its position because the server demands it.
    Reset {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
        /// The reason.
        reason: ResetReason,
    },
    /// The server's clock was set, or another server's clock is used.
    ServerClockSet,
    /// A device was copied onto another one.
    Cloned {
        /// From which client.
        from: usize,
        /// Onto which.
        to: usize,
        /// The identity that both have now.
        replica: ReplicaId,
        /// The documents of which the device holds an unsettled edit.
        unsettled: BTreeSet<DocumentKey>,
    },
    /// A device that shared its identity with another one took a new one, and the old one is unique
    /// again.
    Unshared {
        /// The identity that one device has now.
        replica: ReplicaId,
    },
    /// A client's clock was set, or stands still.
    ClockSet {
        /// The client.
        client: usize,
    },
    /// The files of a device were copied.
    Copied {
        /// The client.
        client: usize,
        /// The documents of which the copy holds an unsettled edit.
        unsettled: BTreeSet<DocumentKey>,
    },
    /// A device was restored from the copy of its files.
    PutBack {
        /// The client.
        client: usize,
    },
    /// A device lost everything on it.
    Wiped {
        /// The client.
        client: usize,
    },
    /// The server rejected an edit for good, and the client moved it into its quarantine.
    Refused {
        /// The client.
        client: usize,
        /// The document.
        key: DocumentKey,
        /// The reason.
        rejection: Rejection,
    },
    /// The server found another digest at the position of a client.
    Differed {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
    },
    /// A scope left a client's device.
    Forgot {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
    },
    /// A client's counts of what it holds in memory and of its attempts.
    Counted {
        /// The client.
        client: usize,
        /// Chunks and verdicts that wait for the storage.
        payloads: usize,
        /// Requests without an answer.
        requests: usize,
        /// Documents in the outbox.
        outbox: u64,
        /// The most documents that there can be.
        documents: u64,
    },
    /// A client tries to connect.
    Connects {
        /// The client.
        client: usize,
        /// The time in milliseconds since the beginning.
        at: u64,
    },
    /// A client requests a chunk.
    Pulls {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
        /// The time in milliseconds since the beginning.
        at: u64,
    },
    /// A client pushes a batch.
    Pushes {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
        /// The time in milliseconds since the beginning.
        at: u64,
    },
    /// A client has settled verdicts.
    Settled {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
        /// How many edits made progress.
        moved: usize,
    },
    /// The server answers a client with documents.
    Served {
        /// The client.
        client: usize,
        /// The collections that the client may read; none for all of them.
        visible: Option<BTreeSet<Collection>>,
        /// The collections of the documents.
        told: BTreeSet<Collection>,
        /// The chunk, if it is one.
        chunk: Option<Arc<Chunk>>,
    },
    /// A verdict does not contain the server's state, because the client may not read it any more.
    Withheld {
        /// The client.
        client: usize,
        /// The document.
        key: DocumentKey,
    },
    /// A batch in flight that held documents of a collection that leaves is dissolved: the others
    /// are pushed again under another id, whether or not the server has appended them.
    Dissolved {
        /// The documents of the batch.
        keys: BTreeSet<DocumentKey>,
    },
    /// A client chooses the collections that it syncs; all of them if there are none.
    Chose {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
        /// The collections.
        collections: Option<BTreeSet<Collection>>,
    },
    /// A client's app opens its replica with a direction.
    Directed {
        /// The client.
        client: usize,
        /// The direction.
        direction: Direction,
    },
    /// A client is at the head with nothing left to push, as far as it knows.
    Rested {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
    },
}

/// Reads the stored rows.
pub trait Look {
    /// Returns the number of clients.
    fn clients(&self) -> usize;

    /// Returns the scopes that a client follows.
    fn scopes_of(&self, client: usize) -> Vec<Scope>;

    /// Returns a client's record of a document.
    fn record(&mut self, client: usize, key: &DocumentKey) -> Option<Record>;

    /// Returns all records of a client in a scope.
    fn records(&mut self, client: usize, scope: &Scope) -> Vec<(DocumentKey, Record)>;

    /// Returns a client's checkpoint.
    fn checkpoint(&mut self, client: usize, scope: &Scope) -> Checkpoint;

    /// Returns the server's row about a scope.
    fn server_scope(&mut self, scope: &Scope) -> Option<ServerScope>;

    /// Returns the server's documents of a scope, by position.
    fn server_rows(&mut self, scope: &Scope) -> Vec<(DocumentKey, ServerRow)>;
}
