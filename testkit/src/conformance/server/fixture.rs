//! A server's storage with short methods, and readers and writers of its log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::error::Result;
use sync_core::model::{
    BaseRef, Change, Checkpoint, Chunk, Cursor, Digest, DocumentState, Epoch, Limits, LogEntry,
    LogKey, NewLog, PushBatch, PushId, Rejection, ReplicaId, Revision, Scope, Seq, ServerStart,
    Stamp, Verdict, VerdictKind, Verdicts,
};
use sync_core::resolver::Resolution;
use sync_server::ops::{AppendContext, Appended, ChangesReply, Judge};
use sync_server::record::{Fork, ServerScope};
use sync_server::{ServerStorage, Visible};

use super::super::tools::{ALL, body, key, must, now, soon};
use super::ServerStorageHarness;

/// The epoch with which a new scope begins.
pub(super) const FRESH: Epoch = Epoch([0xf0; 16]);
/// The identities of a new log.
pub(super) const NEW: NewLog = NewLog { epoch: FRESH, key: LogKey([7; 16]) };

/// The replica whose changes these are, where it does not matter which one.
pub(super) const WRITER: ReplicaId = ReplicaId([0x11; 16]);

type Admit = dyn Fn(&Change) -> Result<(), Rejection> + Send + Sync;
type Resolve = dyn Fn(&Change, Option<&DocumentState>) -> Option<Resolution> + Send + Sync;

/// A judge whose decisions a case sets.
pub(super) struct Told {
    admit: Box<Admit>,
    resolve: Box<Resolve>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

impl Told {
    /// Makes a judge that admits everything and leaves conflicts to the replicas.
    pub(super) fn open() -> Arc<Self> {
        Self::admitting(|_| Ok(()))
    }

    pub(super) fn admitting(
        admit: impl Fn(&Change) -> Result<(), Rejection> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { admit: Box::new(admit), resolve: Box::new(|_, _| None) })
    }

    pub(super) fn resolving(
        resolve: impl Fn(&Change, Option<&DocumentState>) -> Option<Resolution> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { admit: Box::new(|_| Ok(())), resolve: Box::new(resolve) })
    }
}

impl Judge for Told {
    fn admit(&self, change: &Change, _: Option<&DocumentState>) -> Result<(), Rejection> {
        (self.admit)(change)
    }

    fn resolve(
        &self,
        _: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Option<Resolution> {
        (self.resolve)(change, current)
    }
}

/// Returns the context of an append.
pub(super) fn context() -> AppendContext {
    AppendContext::new(now(), ServerStart(1), NEW)
}

/// Returns a change that was made on that base: a body, or a deletion.
pub(super) fn change(name: &str, json: Option<&str>, base: Option<BaseRef>) -> Change {
    // No two states share a stamp, even within a millisecond.
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed) as u16;
    let key = key(name);
    let revision = Revision { stamp: Stamp::new(now().0, counter), replica: WRITER };
    let state = DocumentState::new(revision, json.map(body));
    Change { collection: key.collection, id: key.id, base, base_body: None, state }
}

/// Returns an insert.
pub(super) fn insert(name: &str, json: &str) -> Change {
    change(name, Some(json), None)
}

/// Returns a batch of the default scope.
pub(super) fn batch(replica: ReplicaId, id: u64, changes: Vec<Change>) -> PushBatch {
    PushBatch::new(Scope::default(), replica, PushId(id), changes)
}

/// Returns the verdicts, which must be decided.
#[track_caller]
pub(super) fn decided(appended: &Appended) -> &[Verdict] {
    match &appended.verdicts {
        Verdicts::Decided { verdicts, .. } => verdicts,
        other => panic!("decided verdicts were expected, not {other:?}"),
    }
}

/// A server's storage, with the last settled states of its documents.
pub(super) struct Fixture {
    pub(super) storage: Arc<dyn ServerStorage>,
    pushes: AtomicU64,
    known: Mutex<BTreeMap<String, BaseRef>>,
}

impl Fixture {
    pub(super) async fn open<H: ServerStorageHarness>(harness: &H) -> Self {
        let storage = must(soon("open", harness.open()).await, "the storage opens");
        Self { storage, pushes: AtomicU64::new(0), known: Mutex::default() }
    }

    /// Opens what the storage left behind, and continues.
    pub(super) async fn reopen<H: ServerStorageHarness>(self, harness: &H) -> Self {
        let storage = must(soon("open", harness.open()).await, "the storage opens again");
        Self { storage, ..self }
    }

    // ---- writing

    /// Returns a change on the last settled state.
    pub(super) fn next(&self, name: &str, json: Option<&str>) -> Change {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(name, json, known.get(name).copied())
    }

    pub(super) async fn try_append(
        &self,
        batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended> {
        self.storage.append(context(), batch, judge).await
    }

    pub(super) async fn append_by(&self, batch: &PushBatch, judge: Arc<dyn Judge>) -> Appended {
        let appended = must(self.try_append(batch.clone(), judge).await, "a push is appended");
        self.learn(batch, &appended);
        appended
    }

    /// Appends a batch with a judge that admits every change.
    pub(super) async fn append(&self, batch: &PushBatch) -> Appended {
        self.append_by(batch, Told::open()).await
    }

    /// Returns the next batch of the writer.
    pub(super) fn batch(&self, changes: Vec<Change>) -> PushBatch {
        let id = self.pushes.fetch_add(1, Ordering::Relaxed) + 1;
        batch(WRITER, id, changes)
    }

    /// Pushes documents on the last settled states; all of them must be accepted.
    pub(super) async fn push(&self, documents: &[(&str, Option<&str>)]) -> Appended {
        let changes = documents.iter().map(|(name, json)| self.next(name, *json)).collect();
        let appended = self.append(&self.batch(changes)).await;
        for (verdict, (name, _)) in decided(&appended).iter().zip(documents) {
            assert_eq!(verdict.kind, VerdictKind::Accepted, "the push of {name}");
        }
        appended
    }

    /// Pushes `PREFIX-00000` and so on in one batch.
    pub(super) async fn fill(&self, prefix: &str, count: usize) -> Appended {
        let names: Vec<_> = (0..count).map(|n| format!("{prefix}-{n:05}")).collect();
        let documents: Vec<_> = names.iter().map(|n| (n.as_str(), Some("1"))).collect();
        self.push(&documents).await
    }

    fn learn(&self, batch: &PushBatch, appended: &Appended) {
        let Verdicts::Decided { epoch, verdicts, .. } = &appended.verdicts else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (change, verdict) in batch.changes.iter().zip(verdicts) {
            if verdict.kind == VerdictKind::Accepted {
                let base = BaseRef::of(&change.state, *epoch, verdict.seq);
                let name = match change.collection.as_str() {
                    "notes" => change.id.as_str().to_owned(),
                    other => format!("{other}/{}", change.id),
                };
                known.insert(name, base);
            }
        }
    }

    // ---- reading

    pub(super) async fn try_changes(&self, cursor: Cursor, limits: Limits) -> Result<ChangesReply> {
        self.storage.changes(Scope::default(), cursor, limits, Visible::All).await
    }

    pub(super) async fn chunk(&self, cursor: Cursor, limits: Limits) -> Chunk {
        match must(self.try_changes(cursor, limits).await, "changes are read") {
            ChangesReply::Chunk(chunk) => chunk,
            ChangesReply::Reset(fork) => panic!("a chunk was expected, not {fork:?}"),
        }
    }

    pub(super) async fn fork(&self, cursor: Cursor) -> Fork {
        match must(self.try_changes(cursor, ALL).await, "changes are read") {
            ChangesReply::Reset(fork) => fork,
            ChangesReply::Chunk(chunk) => panic!("a fork was expected, not {chunk:?}"),
        }
    }

    /// Returns every document, in order of positions.
    pub(super) async fn all(&self) -> Vec<LogEntry> {
        let chunk = self.chunk(Cursor::default(), ALL).await;
        assert_eq!(chunk.next, chunk.head, "everything was asked for");
        chunk.entries
    }

    pub(super) async fn scope(&self) -> ServerScope {
        must(self.storage.scope(Scope::default(), NEW).await, "the scope is read")
    }

    /// Returns a cursor at a position of the current epoch.
    pub(super) async fn at(&self, position: u64) -> Cursor {
        let seq = Seq(position);
        let scope = self.scope().await;
        Cursor { epoch: Some(scope.epoch), after: seq, position: seq, ..Cursor::default() }
    }

    /// Checks that counts, digest and positions of the scope match its documents.
    pub(super) async fn check(&self) {
        let (entries, scope) = (self.all().await, self.scope().await);
        let (mut digest, mut documents, mut last) = (Digest::default(), 0, Seq(0));
        let mut keys = std::collections::BTreeSet::new();
        for entry in &entries {
            assert!(last < entry.seq, "{} is out of order at {}", entry.id, entry.seq);
            last = entry.seq;
            let key = (entry.collection.clone(), entry.id.clone());
            assert!(keys.insert(key), "{} is twice in the log", entry.id);
            if !entry.state.is_deleted() {
                documents += 1;
                digest.add(&entry.collection, &entry.id, &entry.state.revision);
            }
        }
        assert!(last <= scope.head && scope.horizon <= scope.head, "{scope:?} at {last}");
        assert_eq!((scope.documents, scope.digest), (documents, digest), "counts and digest");
    }
}

/// A reader that follows a log, as a replica does.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) checkpoint: Checkpoint,
    /// The newest state that the reader received of each document.
    pub(super) seen: BTreeMap<String, LogEntry>,
}

impl Reader {
    /// Applies the next chunk.
    pub(super) async fn step(&mut self, storage: &dyn ServerStorage, limits: Limits) -> Chunk {
        let cursor = self.checkpoint.cursor();
        let reply = storage.changes(Scope::default(), cursor, limits, Visible::All).await;
        let chunk = match must(reply, "changes are read") {
            ChangesReply::Chunk(chunk) => chunk,
            ChangesReply::Reset(fork) => panic!("a chunk was expected, not {fork:?}"),
        };
        let after = self.checkpoint.after();
        assert_eq!(chunk.after, after, "a chunk begins where it was asked for");
        assert!(chunk.after <= chunk.next && chunk.next <= chunk.head, "{chunk:?}");
        assert!(chunk.next > after || chunk.next == chunk.head, "no progress: {chunk:?}");
        for entry in &chunk.entries {
            assert!(after < entry.seq && entry.seq <= chunk.next, "{entry:?} in {chunk:?}");
            let name = format!("{}/{}", entry.collection, entry.id);
            let old = self.seen.insert(name, entry.clone());
            assert!(old.is_none_or(|o| o.seq < entry.seq), "{} went back", entry.id);
        }
        self.checkpoint.epoch = Some(chunk.epoch);
        self.checkpoint.advance(chunk.next);
        chunk
    }

    /// Applies chunks until the head.
    pub(super) async fn follow(&mut self, storage: &dyn ServerStorage, limits: Limits) -> Seq {
        while self.step(storage, limits).await.has_more() {}
        self.checkpoint.after()
    }
}
