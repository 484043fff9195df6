//! A storage that only counts the documents of the chunks that it applies.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use sync_core::clock::{Now, ServerTime};
use sync_core::error::Result;
use sync_core::model::{
    Chunk, Collection, DocumentKey, FencingToken, Limits, LocalSeq, PushBatch, PushId, ReplicaId,
    Reset, Scope, Verdicts, WriteLimits,
};
use sync_core::replica::{
    Applied, Checked, Committed, Context, Decision, Failed, FeedPage, Forget, LocalTransaction,
    ReplicaState, Scan, ScopeSummary, StoragePage, Stored, Unsettled, UnsettledAfter,
    UnsettledEntry,
};
use sync_core::storage::Storage;
use tokio::sync::watch;

/// Counts documents and discards them. Stores the checkpoint.
#[derive(Debug)]
pub(super) struct Counting {
    scope: Mutex<ScopeSummary>,
    commits: watch::Sender<u64>,
}

impl Default for Counting {
    fn default() -> Self {
        // This storage keeps no digests: they must not be compared.
        let scope = ScopeSummary { is_partial: true, ..ScopeSummary::default() };
        Self { scope: Mutex::new(scope), commits: watch::Sender::new(0) }
    }
}

#[async_trait]
impl Storage for Counting {
    async fn apply(&self, _: Context, chunk: Chunk) -> Result<Applied> {
        let mut scope = self.scope.lock().unwrap_or_else(PoisonError::into_inner);
        scope.documents += chunk.entries.len() as u64;
        scope.checkpoint.epoch = Some(chunk.epoch);
        scope.checkpoint.mark = chunk.mark;
        scope.checkpoint.advance(chunk.next);
        let committed = Committed { applied: chunk.entries.len(), ..Committed::default() };
        self.commits.send_modify(|n| *n += 1);
        Ok(Applied { moved: true, checkpoint: scope.checkpoint.clone(), committed })
    }

    async fn state(&self) -> Result<ReplicaState> {
        Ok(ReplicaState {
            scopes: vec![self.scope.lock().unwrap_or_else(PoisonError::into_inner).clone()],
            ..ReplicaState::new(ReplicaId([3; 16]))
        })
    }

    async fn check(&self) -> Result<Vec<Checked>> {
        Ok(Vec::new())
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Vec<Option<Stored>>> {
        Ok(vec![None; keys.len()])
    }

    async fn scan(&self, _: Scan) -> Result<StoragePage<Stored>> {
        Ok(StoragePage { items: Vec::new(), more: false })
    }

    async fn feed(&self, _: LocalSeq, _: Limits) -> Result<FeedPage> {
        Ok(FeedPage { changes: Vec::new(), more: false, gap: false })
    }

    async fn unsettled(
        &self,
        _: Scope,
        _: Unsettled,
        _: UnsettledAfter,
        _: Limits,
    ) -> Result<StoragePage<UnsettledEntry>> {
        Ok(StoragePage { items: Vec::new(), more: false })
    }

    async fn unsettled_of(&self, _: DocumentKey) -> Result<Vec<(Unsettled, UnsettledEntry)>> {
        Ok(Vec::new())
    }

    async fn write(&self, _: Now, _: LocalTransaction) -> Result<Committed> {
        Ok(Committed::default())
    }

    async fn decide(&self, _: Now, _: DocumentKey, _: Decision) -> Result<Committed> {
        Ok(Committed::default())
    }

    async fn forget(&self, _: Now, _: Option<FencingToken>, _: Forget) -> Result<Committed> {
        Ok(Committed::default())
    }

    async fn declare_local_only(&self, _: BTreeSet<Collection>) -> Result<()> {
        Ok(())
    }

    async fn claim(&self, _: String) -> Result<FencingToken> {
        Ok(FencingToken(1))
    }

    async fn release(&self, _: FencingToken) -> Result<()> {
        Ok(())
    }

    async fn set_collections(
        &self,
        _: Context,
        _: Scope,
        _: Option<BTreeSet<Collection>>,
    ) -> Result<Committed> {
        Ok(Committed::default())
    }

    async fn note_server(&self, _: Context, _: ServerTime, _: WriteLimits) -> Result<()> {
        Ok(())
    }

    async fn note_attempt(&self, _: Context, _: Scope, _: Option<Failed>) -> Result<()> {
        Ok(())
    }

    async fn next_push(&self, _: Context, _: Scope, _: Limits) -> Result<Option<PushBatch>> {
        Ok(None)
    }

    async fn settle(&self, _: Context, _: Scope, _: PushId, _: Verdicts) -> Result<Committed> {
        Ok(Committed::default())
    }

    async fn reset(&self, _: Context, _: Scope, _: Reset) -> Result<Committed> {
        Ok(Committed::default())
    }

    async fn reidentify(&self, _: Context, _: ReplicaId) -> Result<Committed> {
        Ok(Committed::default())
    }

    async fn purge_erased(&self) -> Result<bool> {
        Ok(true)
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
