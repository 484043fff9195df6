//! A storage, the lease of its engine, and short methods to use it.

use std::sync::Arc;

use sync_core::error::Result;
use sync_core::model::{
    Chunk, Digest, DocumentKey, FencingToken, Limits, LocalSeq, PushBatch, Scope, Verdicts,
};
use sync_core::replica::{
    Applied, Committed, Context, Decision, DocumentChange, LocalTransaction, LocalWrite,
    OutboxCounts, ReplicaState, Scan, ScopeSummary, Stored, Sums, Unsettled, UnsettledAfter,
    UnsettledEntry, WriteOperation,
};
use sync_core::resolver::Resolvers;
use sync_core::storage::Storage;

use super::super::tools::{ALL, body, json, key, must, now, soon};
use super::StorageHarness;

/// A storage with the lease of its engine.
pub(super) struct Fixture {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) lease: FencingToken,
    pub(super) resolvers: Resolvers,
}

/// Returns a write of a document.
pub(super) fn put(name: &str, json: &str) -> LocalWrite {
    let DocumentKey { collection, id, .. } = key(name);
    LocalWrite { collection, id, operation: WriteOperation::Put(body(json)) }
}

/// Returns a deletion of a document, which has to exist.
pub(super) fn delete(name: &str) -> LocalWrite {
    let DocumentKey { collection, id, .. } = key(name);
    LocalWrite { collection, id, operation: WriteOperation::Delete }
}

/// Returns a transaction of writes in the default scope.
pub(super) fn transaction(writes: impl IntoIterator<Item = LocalWrite>) -> LocalTransaction {
    LocalTransaction { scope: Scope::default(), writes: writes.into_iter().collect() }
}

impl Fixture {
    /// Opens the place and takes the lease.
    pub(super) async fn open<H: StorageHarness>(harness: &H) -> Self {
        Self::over(must(soon("open", harness.open()).await, "the storage opens")).await
    }

    pub(super) async fn over(storage: Arc<dyn Storage>) -> Self {
        let lease = must(storage.claim("the suite".to_owned()).await, "the lease is taken");
        Self { storage, lease, resolvers: Resolvers::default() }
    }

    pub(super) fn cx(&self) -> Context {
        Context { now: now(), resolvers: self.resolvers.clone(), lease: self.lease }
    }

    // ---- writes

    pub(super) async fn try_write(
        &self,
        writes: impl IntoIterator<Item = LocalWrite>,
    ) -> Result<Committed> {
        self.storage.write(now(), transaction(writes)).await
    }

    pub(super) async fn write(&self, writes: impl IntoIterator<Item = LocalWrite>) -> Committed {
        must(self.try_write(writes).await, "a local write")
    }

    pub(super) async fn put(&self, name: &str, json: &str) -> Committed {
        self.write([put(name, json)]).await
    }

    pub(super) async fn delete(&self, name: &str) -> Committed {
        self.write([delete(name)]).await
    }

    /// Puts `PREFIX-00000` and so on, one transaction each.
    pub(super) async fn fill(&self, prefix: &str, count: usize) {
        for n in 0..count {
            self.put(&format!("{prefix}-{n:05}"), &n.to_string()).await;
        }
    }

    pub(super) async fn decide(&self, name: &str, decision: Decision) -> Result<Committed> {
        self.storage.decide(now(), key(name), decision).await
    }

    // ---- the engine

    /// Returns the batch in flight, or forms one; none if there is nothing to push.
    pub(super) async fn next_push(&self, limits: Limits) -> Option<PushBatch> {
        let batch = self.storage.next_push(self.cx(), Scope::default(), limits).await;
        must(batch, "a batch is formed")
    }

    /// Returns the batch, which must exist.
    #[allow(clippy::panic, reason = "this is how a case fails")]
    pub(super) async fn push(&self) -> PushBatch {
        match self.next_push(Limits::PUSH).await {
            Some(batch) => batch,
            None => panic!("there should be something to push: {:?}", self.state().await),
        }
    }

    pub(super) async fn try_settle(
        &self,
        batch: &PushBatch,
        verdicts: Verdicts,
    ) -> Result<Committed> {
        self.storage.settle(self.cx(), batch.scope.clone(), batch.id, verdicts).await
    }

    pub(super) async fn settle(&self, batch: &PushBatch, verdicts: Verdicts) -> Committed {
        must(self.try_settle(batch, verdicts).await, "verdicts are taken in")
    }

    pub(super) async fn try_apply(&self, chunk: Chunk) -> Result<Applied> {
        self.storage.apply(self.cx(), chunk).await
    }

    /// Applies a chunk that fits.
    pub(super) async fn apply(&self, chunk: Chunk) -> Applied {
        let what = format!("the chunk ({}, {}]", chunk.after, chunk.next);
        let applied = must(self.try_apply(chunk).await, "a chunk is taken in");
        assert!(applied.moved, "{what} was not taken in at {:?}", applied.checkpoint);
        applied
    }

    // ---- reading

    pub(super) async fn state(&self) -> ReplicaState {
        must(self.storage.state().await, "the state is read")
    }

    /// Returns the state of the default scope.
    #[allow(clippy::panic, reason = "this is how a case fails")]
    pub(super) async fn summary(&self) -> ScopeSummary {
        let state = self.state().await;
        match state.scope(&Scope::default()) {
            Some(summary) => summary.clone(),
            None => panic!("the default scope is missing: {state:?}"),
        }
    }

    pub(super) async fn outbox(&self) -> OutboxCounts {
        self.state().await.outbox(&Scope::default())
    }

    /// Returns the position of the default scope.
    pub(super) async fn position(&self) -> u64 {
        self.state().await.checkpoint(&Scope::default()).after().0
    }

    pub(super) async fn get(&self, name: &str) -> Option<Stored> {
        let mut found = must(self.storage.get(vec![key(name)]).await, "a document is read");
        assert_eq!(found.len(), 1, "one key, one answer");
        found.pop().flatten()
    }

    /// Returns the live JSON of a document.
    pub(super) async fn text(&self, name: &str) -> Option<String> {
        self.get(name).await.map(|stored| json(&stored.state).to_owned())
    }

    /// Returns every live document of the default scope, page by page.
    pub(super) async fn documents(&self) -> Vec<Stored> {
        self.documents_by(ALL).await
    }

    pub(super) async fn documents_by(&self, limits: Limits) -> Vec<Stored> {
        let mut scan = Scan { scope: Scope::default(), collection: None, after: None, limits };
        let mut all: Vec<Stored> = Vec::new();
        loop {
            let page = must(self.storage.scan(scan.clone()).await, "a page is read");
            scan.after = page.items.last().map(|s| (s.key.collection.clone(), s.key.id.clone()));
            assert!(!page.more || scan.after.is_some(), "an empty page says that more follow");
            all.extend(page.items);
            if !page.more {
                return all;
            }
        }
    }

    /// Returns every unsettled entry of one kind, page by page.
    pub(super) async fn unsettled(&self, which: Unsettled, limits: Limits) -> Vec<UnsettledEntry> {
        let mut all: Vec<UnsettledEntry> = Vec::new();
        let mut after = UnsettledAfter::Start;
        loop {
            let page = self.storage.unsettled(Scope::default(), which, after.clone(), limits).await;
            let page = must(page, "a page of what is not settled");
            if let Some(last) = page.items.last() {
                let ticket = last.refused.as_ref().map_or(0, |(_, _, ticket)| *ticket);
                let (transaction, key) = (last.transaction, last.key.clone());
                after = UnsettledAfter::Entry { transaction, key, ticket };
            }
            assert!(!page.more || !page.items.is_empty(), "an empty page says that more follow");
            all.extend(page.items);
            if !page.more {
                return all;
            }
        }
    }

    /// Returns the feed after a place, page by page.
    pub(super) async fn feed(&self, mut after: LocalSeq, limits: Limits) -> Vec<DocumentChange> {
        let mut all: Vec<DocumentChange> = Vec::new();
        loop {
            let page = must(self.storage.feed(after, limits).await, "a page of the feed");
            if page.changes.is_empty() {
                assert!(!page.more, "an empty page says that more follow");
                return all;
            }
            for change in page.changes {
                assert!(after < change.at, "the feed goes back from {after} to {}", change.at);
                after = change.at;
                all.push(change);
            }
        }
    }

    /// Checks that counts, digest and batch of the default scope match its documents.
    pub(super) async fn check(&self) {
        let state = self.state().await;
        let Some(stored) = state.scope(&Scope::default()) else { return };
        let mut digest = Digest::default();
        let documents = self.documents().await;
        for Stored { key, state, .. } in &documents {
            digest.add(&key.collection, &key.id, &state.revision);
        }
        let count = async |which| self.unsettled(which, ALL).await.len() as u64;
        let counted = OutboxCounts {
            pending: count(Unsettled::Pending).await,
            in_flight: count(Unsettled::InFlight).await,
            quarantined: count(Unsettled::Quarantine).await,
            deferred: count(Unsettled::Deferred).await,
            not_chosen: 0,
        };
        assert_eq!(stored.documents, documents.len() as u64, "the number of documents");
        assert_eq!(stored.digest, digest, "the digest of the documents");
        assert_eq!(stored.outbox, counted, "the counts of what is not settled");
        let checked = must(self.storage.check().await, "the storage counts");
        let checked = checked.iter().find(|c| c.scope == Scope::default()).map(|c| c.counted);
        let sums = Sums { documents: stored.documents, digest };
        assert_eq!(checked, Some(sums), "what the storage counts");
        assert_eq!(
            stored.in_flight.is_some(),
            counted.in_flight > 0,
            "a batch is in flight exactly if documents are"
        );
    }
}
