//! What a replica sends to the server, and the server's verdicts.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Body, Collection, DocumentId, DocumentState, Epoch, LogMark, PushId, ReplicaId, Revision,
    Scope, Seq, ServerState, Settled, Stamp,
};
use crate::codec::Codec;

/// Names the server state that an edit was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BaseRef {
    /// Its revision.
    pub revision: Revision,
    /// The life of the log that it was settled in.
    pub epoch: Epoch,
    /// Its position there, or [`NOT_IN_LOG`](Self::NOT_IN_LOG).
    pub seq: Seq,
    /// Whether it was a tombstone: a base that the server may have purged.
    pub tombstone: bool,
}

impl BaseRef {
    /// Creates the reference to a state that was settled at that position of the log.
    #[must_use]
    pub fn of(state: &DocumentState, epoch: Epoch, seq: Seq) -> Self {
        Self { revision: state.revision, epoch, seq, tombstone: state.is_deleted() }
    }

    /// The position of a base that was in no log: a pushed state out of which the server made
    /// another one.
    pub const NOT_IN_LOG: Seq = Seq(u64::MAX);
}

impl From<&Settled> for BaseRef {
    fn from(settled: &Settled) -> Self {
        Self {
            revision: settled.state.revision,
            epoch: settled.epoch,
            seq: settled.seq,
            tombstone: settled.state.is_deleted(),
        }
    }
}

/// One document state on its way to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The collection.
    pub collection: Collection,
    /// The id within it.
    pub id: DocumentId,
    /// The settled state that the edit was made on; none for an insert.
    ///
    /// A base from an earlier life of the log, above the cut at which that life ended, makes the
    /// change a *re-offer*. If the base names the change's own revision, the settled state itself
    /// is offered again.
    pub base: Option<BaseRef>,
    /// The base's body. It is sent if the server resolves conflicts and its resolver requires it.
    pub base_body: Option<Body>,
    /// The new state. The server sets the stamp of its revision, and `created`, where they are 0.
    pub state: DocumentState,
}

impl Change {
    /// Creates the change of a document of which the replica knows no settled state.
    #[must_use]
    pub fn new(collection: Collection, id: DocumentId, state: DocumentState) -> Self {
        Self { collection, id, base: None, base_body: None, state }
    }

    /// The base as a resolver on the server sees it: its body only if the change carries it, and of
    /// its stamps only the revision.
    #[must_use]
    pub fn base_state(&self) -> Option<DocumentState> {
        self.base.map(|base| DocumentState::new(base.revision, self.base_body.clone()))
    }

    /// Returns roughly how many bytes this change takes up, for limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.collection.as_bytes().len()
            + self.id.as_bytes().len()
            + self.base_body.as_ref().map_or(0, Body::len)
            + self.state.weight()
    }
}

/// An immutable, durable slice of a replica's outbox, of one scope. Retries send the same batch.
///
/// A batch of which something was erased since cannot be sent again as it was: it is *recalled*.
/// The recall has the batch's name, its [digest](Self::digest) and its changes without bodies. A
/// server that has applied the batch returns its verdicts. A server that has not answers
/// [`Verdicts::Recalled`], and will not apply the batch later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PushBatch {
    /// The scope that all its changes belong to.
    pub scope: Scope,
    /// The replica that made the batch.
    pub replica: ReplicaId,
    /// Its name.
    pub id: PushId,
    /// The changes, in the order in which they were written.
    pub changes: Vec<Change>,
    /// If the batch is recalled, the digest of the batch as it was.
    pub recall: Option<u128>,
    /// The newest mark of the log that the replica has. A server whose log contradicts it was
    /// restored from a backup, and applies no batch until that is resolved. It is not part of the
    /// [digest](Self::digest).
    pub mark: Option<LogMark>,
}

impl PushBatch {
    /// Creates a batch that is not recalled, of a replica that has no mark of the log.
    #[must_use]
    pub fn new(scope: Scope, replica: ReplicaId, id: PushId, changes: Vec<Change>) -> Self {
        Self { scope, replica, id, changes, recall: None, mark: None }
    }

    /// The most changes that are read of a batch from outside, where decoding stops: a small packed
    /// message could hold millions. What a server takes is far below.
    pub const CHANGES: usize = 100_000;

    /// Returns the recall of this batch, with the digest of the batch as it was.
    ///
    /// ```
    /// # use sync_core::model::{PushBatch, PushId, ReplicaId, Scope};
    /// # let (scope, replica) = (Scope::default(), ReplicaId([1; 16]));
    /// let batch = PushBatch::new(scope, replica, PushId(1), Vec::new());
    /// let digest = batch.digest();
    /// let recall = batch.recalled(digest);
    /// assert_eq!((recall.recall, recall.digest()), (Some(digest), digest));
    /// ```
    #[must_use]
    pub fn recalled(mut self, digest: u128) -> Self {
        for change in &mut self.changes {
            change.state.body = None;
            change.base_body = None;
        }
        Self { recall: Some(digest), ..self }
    }

    /// Returns roughly how many bytes its changes take up on the wire.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.changes.iter().map(Change::weight).sum()
    }

    /// Returns the 128-bit XXH3 hash of the keys and the digests of all changes. It distinguishes
    /// batches of the same name. Base bodies are left out: the base's revision identifies them.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.recall.unwrap_or_else(|| {
            let changes = self.changes.iter();
            digest_of(changes.map(|c| (&c.collection, &c.id, digest_of_state(c.base, &c.state))))
        })
    }
}

/// Returns the digest of a batch, from those of its changes.
pub(crate) fn digest_of<'a>(
    changes: impl Iterator<Item = (&'a Collection, &'a DocumentId, u128)>,
) -> u128 {
    let mut bytes = Vec::new();
    for (collection, id, digest) in changes {
        collection.encode(&mut bytes);
        id.encode(&mut bytes);
        digest.encode(&mut bytes);
    }
    xxh3_128(&bytes)
}

/// Returns what a change to a document adds to the digest of its batch.
pub(crate) fn digest_of_state(base: Option<BaseRef>, state: &DocumentState) -> u128 {
    let mut bytes = Vec::new();
    base.encode(&mut bytes);
    state.encode(&mut bytes);
    xxh3_128(&bytes)
}

/// The server's verdict on one change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The position of the state that the verdict is about.
    pub seq: Seq,
    /// The decision.
    pub kind: VerdictKind,
    /// The state that the server has now. Present for superseded, merged and conflict, for a change
    /// that was rejected by its clock, and for a rejected one that would have erased the document.
    /// Present for accepted only if the state was stored under a revision that the change did not
    /// name: the change left its stamp to the server, or the backend has its own revisions
    /// (`custom_backend` of `transport-kit`). It may be newer than a verdict that is sent again.
    /// None if the states of all verdicts together would be too large for one message: the replica
    /// pulls it, or receives it when it pushes again.
    pub current: Option<ServerState>,
}

/// The server's decision on a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VerdictKind {
    /// The change is the document's state at that position.
    Accepted,
    /// The server kept its own state; nothing is left to decide.
    Superseded,
    /// The server resolved a conflict into a new state.
    Merged,
    /// The change was made on another state than the server's current one: the replica resolves the
    /// conflict and pushes again.
    Conflict,
    /// The change was rejected and is not stored.
    Rejected(Rejection),
}

/// Why a change was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rejection {
    /// The kind of rejection.
    pub code: RejectionCode,
    /// A sentence for people, of at most [`Rejection::REASON_BYTES`].
    pub reason: String,
}

impl Rejection {
    /// The longest reason that is kept and sent.
    pub const REASON_BYTES: usize = 1_024;

    /// Cuts the reason to the bound: it is stored with the verdicts, and in the quarantine.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let end = self.reason.floor_char_boundary(Self::REASON_BYTES);
        self.reason.truncate(end);
        self
    }
}

/// The kinds of rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    /// The principal may not make this change.
    Forbidden,
    /// The app's validation rejected it.
    Invalid,
    /// It is over the server's limits.
    TooLarge,
    /// Its stamp is too far ahead of the server's time: the replica stamps it again.
    Clock {
        /// The server's time.
        server_time: Stamp,
    },
}

/// The verdicts on one batch, in the order of its changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdicts {
    /// One verdict for each change.
    Decided {
        /// The life of the log that the positions belong to.
        epoch: Epoch,
        /// The server's mark of the log up to its head.
        mark: Option<LogMark>,
        /// The verdicts, as many as the batch has changes.
        verdicts: Vec<Verdict>,
    },
    /// The batch was recalled before the server applied it. It has no effect, even if it arrives
    /// later.
    Recalled,
    /// The server has received a newer batch of this replica: this one is an old duplicate, without
    /// effect.
    Stale,
    /// The server has another batch under this id: the replica was cloned or rolled back, and
    /// needs a new identity.
    Cloned,
}

impl Verdicts {
    /// Returns the rejection of a batch that was recalled because it is too large to send: one
    /// verdict for each document, with the reason that the other side gave.
    #[must_use]
    pub fn too_large(epoch: Epoch, documents: usize, said: Option<String>) -> Self {
        let reason = said.unwrap_or_else(|| "it is too large for the way to the server".to_owned());
        let rejection = Rejection { code: RejectionCode::TooLarge, reason };
        let kind = VerdictKind::Rejected(rejection);
        let verdict = Verdict { seq: Seq(0), kind, current: None };
        Self::Decided { epoch, mark: None, verdicts: vec![verdict; documents] }
    }
}
