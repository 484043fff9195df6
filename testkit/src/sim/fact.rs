//! What oracles are told.

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
    /// A chunk was taken in.
    Pulled,
    /// Verdicts were taken in.
    Settled,
    /// A position was given up.
    Reset,
    /// A batch was formed, or the identity changed: edits were stamped anew.
    Stamped,
    /// The app decided about a document; the states that its decision was made of.
    Decided(Vec<Revision>),
    /// The edit was refused and moved into the quarantine.
    Refused,
    /// The scope left the device.
    Forgotten,
    /// The power failed: what was taken in and not synced is taken in again.
    RolledBack,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The app wrote a document, and the write is committed.
    Wrote {
        /// On which client.
        client: usize,
        /// Which document.
        key: DocumentKey,
        /// The state that the app saw before.
        before: Option<DocumentState>,
        /// The state that the write made; none if it undid a document that no other client can have
        /// received.
        after: Option<DocumentState>,
        /// The local transaction.
        unit: LocalSeq,
        /// When, in milliseconds since the beginning.
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
        /// Why.
        cause: Cause,
    },
    /// A resolver was asked: by a client, or by the server.
    Asked {
        /// The client; none for the server.
        client: Option<usize>,
        /// What was asked and answered.
        call: ResolverCall,
    },
    /// A client has a batch to push.
    Formed {
        /// The client.
        client: usize,
        /// The batch.
        batch: PushBatch,
    },
    /// The server took a batch in.
    Appended {
        /// The batch.
        batch: PushBatch,
        /// What it held of the batch's documents before, in the order of the batch.
        held: Vec<Option<ServerRow>>,
        /// What it answers.
        verdicts: Verdicts,
        /// What it wrote.
        entries: Vec<LogEntry>,
        /// Its row about the scope afterwards.
        scope: ServerScope,
        /// Its time, in Unix milliseconds.
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
        /// Whether the client may see its scope at that time.
        allowed: bool,
    },
    /// A client's storage was handed a chunk.
    Applied {
        /// The client.
        client: usize,
        /// The chunk's scope.
        scope: Scope,
        /// Where the chunk began and ended.
        span: (sync_core::model::Seq, sync_core::model::Seq),
        /// Whether it was taken in.
        moved: bool,
        /// Where the client stood before.
        before: Checkpoint,
        /// Where it stands now.
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
    /// The server begins a new life of a log.
    Began {
        /// The scope.
        scope: Scope,
    },
    /// A client gives up its position because the server says so.
    Reset {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
        /// Why.
        reason: ResetReason,
    },
    /// The server's clock was set, or another server's clock counts.
    ServerClockSet,
    /// A device was copied onto another one.
    Cloned {
        /// From which client.
        from: usize,
        /// Onto which.
        to: usize,
        /// The identity that both have now.
        replica: ReplicaId,
        /// The documents of which the device holds an edit that is not settled.
        unsettled: BTreeSet<DocumentKey>,
    },
    /// A device that shared its identity with another one took a new one, and no other shares the
    /// old one.
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
        /// The documents of which the copy holds an edit that is not settled.
        unsettled: BTreeSet<DocumentKey>,
    },
    /// The copy of a device's files took their place.
    PutBack {
        /// The client.
        client: usize,
    },
    /// A device lost everything on it.
    Wiped {
        /// The client.
        client: usize,
    },
    /// The server refused an edit for good, and the client put it into its quarantine.
    Refused {
        /// The client.
        client: usize,
        /// The document.
        key: DocumentKey,
        /// Why.
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
    /// A client counts what it keeps in memory and tries.
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
        /// When, in milliseconds since the beginning.
        at: u64,
    },
    /// A client asks for a chunk.
    Pulls {
        /// The client.
        client: usize,
        /// Of which scope.
        scope: Scope,
        /// When, in milliseconds since the beginning.
        at: u64,
    },
    /// A client pushes a batch.
    Pushes {
        /// The client.
        client: usize,
        /// Of which scope.
        scope: Scope,
        /// When, in milliseconds since the beginning.
        at: u64,
    },
    /// A client has taken in verdicts.
    Settled {
        /// The client.
        client: usize,
        /// Of which scope.
        scope: Scope,
        /// How many edits made progress.
        moved: usize,
    },
    /// The server answers a client with documents.
    Served {
        /// The client.
        client: usize,
        /// The collections that the client may see; none for all of them.
        visible: Option<BTreeSet<Collection>>,
        /// The collections of the documents.
        told: BTreeSet<Collection>,
        /// The chunk, if it is one.
        chunk: Option<Arc<Chunk>>,
    },
    /// A verdict does not tell a client the server's state, because the client may not see it any
    /// more.
    Withheld {
        /// The client.
        client: usize,
        /// The document.
        key: DocumentKey,
    },
    /// A batch in flight that held documents of a collection that leaves is given up: the others
    /// are pushed again under another name, whether or not the server has taken them in.
    Dissolved {
        /// The documents of the batch.
        keys: BTreeSet<DocumentKey>,
    },
    /// A client chooses the collections that it syncs; all of them with none.
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
    /// A client stands at the head with nothing left to push, as far as it knows.
    Rested {
        /// The client.
        client: usize,
        /// The scope.
        scope: Scope,
    },
}

/// Looks at what is stored.
pub trait Look {
    /// How many clients there are.
    fn clients(&self) -> usize;

    /// The scopes that a client follows.
    fn scopes_of(&self, client: usize) -> Vec<Scope>;

    /// What a client keeps of a document.
    fn record(&mut self, client: usize, key: &DocumentKey) -> Option<Record>;

    /// Everything that a client keeps of a scope.
    fn records(&mut self, client: usize, scope: &Scope) -> Vec<(DocumentKey, Record)>;

    /// Where a client stands.
    fn checkpoint(&mut self, client: usize, scope: &Scope) -> Checkpoint;

    /// The server's row about a scope.
    fn server_scope(&mut self, scope: &Scope) -> Option<ServerScope>;

    /// The server's documents of a scope, by position.
    fn server_rows(&mut self, scope: &Scope) -> Vec<(DocumentKey, ServerRow)>;
}
