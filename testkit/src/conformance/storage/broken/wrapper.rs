//! A storage with a fault.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use sync_core::clock::{Now, ServerTime};
use sync_core::error::{ErrorKind, Result};
use sync_core::model::{
    Chunk, Collection, DocumentKey, FencingToken, Limits, LocalSeq, PushBatch, PushId, ReplicaId,
    Reset, Scope, VerdictKind, Verdicts, WriteLimits,
};
use sync_core::replica::{
    Applied, Checked, Committed, Context, Decision, Failed, FeedPage, Forget, LocalTransaction,
    ReplicaState, Scan, StoragePage, Stored, Unsettled, UnsettledAfter, UnsettledEntry,
    WriteOperation,
};
use sync_core::resolver::Resolvers;
use sync_core::storage::Storage;
use tokio::sync::watch;

use super::StorageFault as Fault;
use super::memory::{GivesIn, Shared, cut, stamp_by_wall_clock, write_anew};
use crate::conformance::faults::PreparedCrash;
use crate::conformance::tools::ALL;

/// A correct storage, with the fault that breaks it.
pub(super) struct BrokenStorage {
    pub(super) inner: Arc<dyn Storage>,
    pub(super) fault: Fault,
    crash: PreparedCrash,
    pub(super) memory: Shared,
    silence: watch::Sender<u64>,
}

impl std::fmt::Debug for BrokenStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BrokenStorage").field(&self.fault).field(&self.inner).finish()
    }
}

impl BrokenStorage {
    pub(super) fn new(inner: Arc<dyn Storage>, fault: Fault, crash: PreparedCrash) -> Self {
        let silence = watch::Sender::new(0);
        Self { inner, fault, crash, memory: Shared::default(), silence }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Returns the context for the correct storage.
    async fn context(&self, mut cx: Context) -> Result<Context> {
        if self.has(Fault::LeasesNotChecked) {
            cx.lease = self.inner.state().await?.lease.0;
        }
        if self.has(Fault::FailedResolversGiveIn) {
            cx.resolvers = Resolvers::new(GivesIn(cx.resolvers));
        }
        Ok(cx)
    }

    /// Waits until a reader has read the half-finished transaction, or for a bounded time.
    pub(super) async fn let_others_look(&self) {
        let before = self.memory.lock().looks;
        for _ in 0..2_000 {
            if self.memory.lock().looks > before {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Executes the writes one by one, each in a separate transaction.
    async fn write_one_by_one(&self, now: Now, transaction: LocalTransaction) -> Result<Committed> {
        let mut all = Committed::default();
        for write in transaction.writes {
            let one = LocalTransaction { scope: transaction.scope.clone(), writes: vec![write] };
            all.changes.extend(self.inner.write(now, one).await?.changes);
            if self.has(Fault::TransactionsSeenInHalves) {
                self.let_others_look().await;
            }
        }
        Ok(all)
    }

    /// Stores the revisions that the next edits are reported to be made on.
    async fn remember_previous(&self, transaction: &LocalTransaction) -> Result<()> {
        let keys: Vec<_> = transaction
            .writes
            .iter()
            .map(|w| {
                DocumentKey::new(transaction.scope.clone(), w.collection.clone(), w.id.clone())
            })
            .collect();
        let found = self.inner.get(keys).await?;
        let mut memory = self.memory.lock();
        for stored in found.into_iter().flatten().filter(|s| s.dirty) {
            memory.previous.insert(stored.key, stored.state.revision);
        }
        Ok(())
    }

    async fn scan_by_offset(&self, scan: Scan) -> Result<StoragePage<Stored>> {
        let skipped = scan
            .after
            .as_ref()
            .map_or(0, |after| self.memory.lock().offsets.get(after).copied().unwrap_or_default());
        let all = Scan { after: None, limits: ALL, ..scan.clone() };
        let mut items = self.inner.scan(all).await?.items;
        items.drain(..skipped.min(items.len()));
        let more = items.len() > scan.limits.documents;
        items.truncate(scan.limits.documents);
        if let Some(last) = items.last() {
            let place = (last.key.collection.clone(), last.key.id.clone());
            self.memory.lock().offsets.insert(place, skipped + items.len());
        }
        Ok(StoragePage { items, more })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for BrokenStorage {
    async fn state(&self) -> Result<ReplicaState> {
        let mut state = self.inner.state().await?;
        if self.has(Fault::DigestLeftBehind)
            && let Some(scope) = state.scopes.first_mut()
        {
            scope.digest = *self.memory.lock().digest.get_or_insert(scope.digest);
        }
        let mut memory = self.memory.lock();
        memory.looks += 1;
        if let (Some(standing), Some(scope)) = (memory.standing, state.scopes.first_mut()) {
            scope.checkpoint.position = standing;
        }
        drop(memory);
        Ok(state)
    }

    async fn check(&self) -> Result<Vec<Checked>> {
        self.inner.check().await
    }

    async fn get(&self, mut keys: Vec<DocumentKey>) -> Result<Vec<Option<Stored>>> {
        if self.has(Fault::NamesCutShort) {
            keys.iter_mut().for_each(|key| key.id = cut(&key.id));
        }
        let mut found = self.inner.get(keys).await?;
        self.memory.lock().looks += 1;
        if self.has(Fault::BodiesWrittenAnew) {
            found.iter_mut().flatten().for_each(write_anew);
        }
        Ok(found)
    }

    async fn scan(&self, scan: Scan) -> Result<StoragePage<Stored>> {
        if self.has(Fault::PagesByOffset) {
            return self.scan_by_offset(scan).await;
        }
        self.inner.scan(scan).await
    }

    async fn feed(&self, after: LocalSeq, limits: Limits) -> Result<FeedPage> {
        let rounds_up = self.has(Fault::FeedRoundedUp) && after > LocalSeq(0);
        self.inner.feed(if rounds_up { after.next() } else { after }, limits).await
    }

    async fn unsettled(
        &self,
        scope: Scope,
        which: Unsettled,
        after: UnsettledAfter,
        limits: Limits,
    ) -> Result<StoragePage<UnsettledEntry>> {
        let mut page = self.inner.unsettled(scope, which, after, limits).await?;
        let memory = self.memory.lock();
        page.items.retain(|e| !memory.dropped.contains(&e.key));
        Ok(page)
    }

    async fn unsettled_of(&self, key: DocumentKey) -> Result<Vec<(Unsettled, UnsettledEntry)>> {
        let mut found = self.inner.unsettled_of(key).await?;
        let memory = self.memory.lock();
        found.retain(|(_, entry)| !memory.dropped.contains(&entry.key));
        Ok(found)
    }

    async fn write(&self, now: Now, mut transaction: LocalTransaction) -> Result<Committed> {
        let is_put =
            |w: &sync_core::replica::LocalWrite| matches!(w.operation, WriteOperation::Put(_));
        match self.fault {
            Fault::WritesLostInCrash => self.crash.lose_from_here().await?,
            Fault::BasesOverwritten => self.remember_previous(&transaction).await?,
            Fault::NamesCutShort => {
                transaction.writes.iter_mut().for_each(|w| w.id = cut(&w.id));
            }
            Fault::ErasuresWrittenAsDeletions => {
                let erasures =
                    transaction.writes.iter_mut().filter(|w| w.operation == WriteOperation::Erase);
                erasures.for_each(|w| w.operation = WriteOperation::Delete);
            }
            Fault::TransactionsWriteByWrite => {
                return self.write_one_by_one(now, transaction).await;
            }
            Fault::HalvesWhenDropped | Fault::TransactionsSeenInHalves
                if transaction.writes.iter().all(is_put) =>
            {
                return self.write_one_by_one(now, transaction).await;
            }
            _ => {}
        }
        let mut written = self.inner.write(now, transaction).await;
        match (self.fault, &mut written) {
            (Fault::StampsByWallClock, Ok(committed)) => stamp_by_wall_clock(committed, now.0),
            (Fault::DiskErrorsSwallowed, Err(e)) if e.kind() == ErrorKind::Storage => {
                return Ok(Committed::default());
            }
            _ => {}
        }
        written
    }

    async fn decide(&self, now: Now, key: DocumentKey, decision: Decision) -> Result<Committed> {
        self.inner.decide(now, key, decision).await
    }

    async fn forget(
        &self,
        now: Now,
        lease: Option<FencingToken>,
        what: Forget,
    ) -> Result<Committed> {
        let Forget::Scope(scope) = &what else { return self.inner.forget(now, lease, what).await };
        if !self.has(Fault::ForgettingEndsEarly) {
            return self.inner.forget(now, lease, what).await;
        }
        let scan = Scan { scope: scope.clone(), collection: None, after: None, limits: ALL };
        let items = self.inner.scan(scan).await?.items;
        let mut collections: Vec<_> = items.into_iter().map(|s| s.key.collection).collect();
        collections.dedup();
        collections.pop();
        let mut all = Committed::default();
        for collection in collections {
            let one = Forget::Collection(scope.clone(), collection);
            all.refused.extend(self.inner.forget(now, lease, one).await?.refused);
        }
        Ok(all)
    }

    async fn declare_local_only(&self, collections: BTreeSet<Collection>) -> Result<()> {
        match self.fault {
            Fault::DeclarationsDropped => Ok(()),
            _ => self.inner.declare_local_only(collections).await,
        }
    }

    async fn set_collections(
        &self,
        cx: Context,
        scope: Scope,
        collections: Option<BTreeSet<Collection>>,
    ) -> Result<Committed> {
        let cx = self.context(cx).await?;
        let before = self.inner.state().await?.checkpoint(&scope);
        let chosen = self.inner.set_collections(cx.clone(), scope.clone(), collections).await?;
        if let (true, Some(epoch)) = (self.has(Fault::ChoiceKeepsThePosition), before.epoch) {
            let after = self.inner.state().await?.checkpoint(&scope).after();
            let kept = Chunk {
                next: before.position,
                head: before.position,
                mark: before.mark,
                ..Chunk::empty(scope, epoch, after)
            };
            self.inner.apply(cx, kept).await?;
        }
        Ok(chosen)
    }

    async fn claim(&self, holder: String) -> Result<FencingToken> {
        self.inner.claim(holder).await
    }

    async fn release(&self, lease: FencingToken) -> Result<()> {
        self.inner.release(lease).await
    }

    async fn note_server(&self, cx: Context, time: ServerTime, limits: WriteLimits) -> Result<()> {
        if self.has(Fault::ServersLimitsForgotten) {
            let limits = WriteLimits::default();
            return self.inner.note_server(self.context(cx).await?, time, limits).await;
        }
        self.inner.note_server(self.context(cx).await?, time, limits).await
    }

    async fn note_attempt(&self, cx: Context, scope: Scope, failed: Option<Failed>) -> Result<()> {
        if self.has(Fault::FailuresForgotten) {
            return Ok(());
        }
        self.inner.note_attempt(self.context(cx).await?, scope, failed).await
    }

    async fn next_push(
        &self,
        cx: Context,
        scope: Scope,
        limits: Limits,
    ) -> Result<Option<PushBatch>> {
        if self.has(Fault::BatchesLostInCrash) {
            self.crash.lose_from_here().await?;
        }
        let limits = if self.has(Fault::BatchesUnbounded) { ALL } else { limits };
        let batch = self.inner.next_push(self.context(cx).await?, scope, limits).await?;
        Ok(batch.and_then(|batch| self.tell(batch)))
    }

    async fn settle(
        &self,
        cx: Context,
        scope: Scope,
        id: PushId,
        verdicts: Verdicts,
    ) -> Result<Committed> {
        let (id, verdicts) = self.fit(id, verdicts);
        let cx = self.context(cx).await?;
        let settled = self.inner.settle(cx.clone(), scope.clone(), id, verdicts.clone()).await?;
        match (self.fault, verdicts) {
            (Fault::EditsDuringPushLost, _) => self.drop_newer_edits(&scope).await?,
            (Fault::RefusedEditsDropped, Verdicts::Decided { verdicts, .. }) => {
                let refused =
                    |v: &sync_core::model::Verdict| matches!(v.kind, VerdictKind::Rejected(_));
                if verdicts.iter().any(refused) {
                    for (key, _) in &settled.refused {
                        self.inner.decide(cx.now, key.clone(), Decision::Discard).await?;
                    }
                }
            }
            (Fault::VerdictsMovePosition, Verdicts::Decided { epoch, verdicts, .. }) => {
                let after = self.inner.state().await?.checkpoint(&scope).after();
                let newest = verdicts.iter().map(|v| v.seq).max().unwrap_or_default().max(after);
                let chunk =
                    Chunk { next: newest, head: newest, ..Chunk::empty(scope, epoch, after) };
                self.inner.apply(cx, chunk).await?;
            }
            _ => {}
        }
        Ok(settled)
    }

    async fn apply(&self, cx: Context, mut chunk: Chunk) -> Result<Applied> {
        let cx = self.context(cx).await?;
        self.memory.lock().digest = None;
        match self.fault {
            Fault::ChunksInHalves => return self.apply_in_halves(cx, chunk).await,
            Fault::PositionsNotCompared => chunk = self.pretend_to_fit(chunk).await?,
            Fault::StartsNotRemembered => chunk.mark = None,
            Fault::ErasuresHeardAsDeletions => {
                chunk.entries.iter_mut().for_each(|e| e.state.erased = None);
            }
            Fault::LeftOutBodiesDeleted => chunk.left_out.clear(),
            Fault::LeftOutBodiesLost => {
                let lost = std::mem::take(&mut chunk.left_out);
                chunk.entries.retain(|entry| !lost.contains_key(&entry.seq));
            }
            Fault::OwnWritesFiltered => {
                let own = self.inner.state().await?.replica;
                chunk.entries.retain(|e| e.state.revision.replica != own);
            }
            Fault::ChangesDroppedDuringPush => {
                let state = self.inner.state().await?;
                if state.scope(&chunk.scope).is_some_and(|s| s.in_flight.is_some()) {
                    chunk.entries.clear();
                }
            }
            Fault::CheckpointBeforeDocuments => {
                let empty = Chunk { entries: Vec::new(), ..chunk.clone() };
                return match self.inner.apply(cx.clone(), chunk).await {
                    Err(error) => self.inner.apply(cx, empty).await.and(Err(error)),
                    applied => applied,
                };
            }
            _ => {}
        }
        self.inner.apply(cx, chunk).await
    }

    async fn reset(&self, cx: Context, scope: Scope, reset: Reset) -> Result<Committed> {
        if self.has(Fault::ResetsWipeEdits) {
            self.inner.forget(cx.now, Some(cx.lease), Forget::Scope(scope.clone())).await?;
        }
        self.inner.reset(self.context(cx).await?, scope, reset).await
    }

    async fn reidentify(&self, cx: Context, replica: ReplicaId) -> Result<Committed> {
        self.inner.reidentify(self.context(cx).await?, replica).await
    }

    async fn purge_erased(&self) -> Result<bool> {
        self.inner.purge_erased().await
    }

    fn commits(&self) -> watch::Receiver<u64> {
        if self.has(Fault::CommitsInSilence) {
            return self.silence.subscribe();
        }
        self.inner.commits()
    }

    async fn close(&self) -> Result<()> {
        if self.has(Fault::OpenAfterClosing) {
            return Ok(());
        }
        self.inner.close().await
    }
}
