//! A replica's storage over a synchronous core.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::blocking_executor::{BlockingExecutor, ThreadOptions};
use super::recent::Recent;
use super::replica_writer::ReplicaWriter;
use super::transactional::{Durability, Snapshot};
use super::write_coalescer::WriteCoalescer;
use sync_core::clock::{Now, ServerTime};
use sync_core::error::Result;
use sync_core::model::{
    Chunk, Collection, DocumentKey, FencingToken, Limits, LocalSeq, PushBatch, PushId, ReplicaId,
    Reset, Scope, Verdicts, WriteLimits,
};
use sync_core::replica::rows::ReplicaReads;
use sync_core::replica::{
    Applied, Checked, Committed, Context, Decision, Failed, FeedPage, Forget, LocalTransaction,
    ReplicaState, Scan, StoragePage, Stored, Unsettled, UnsettledAfter, UnsettledEntry, ops,
};
use sync_core::storage::Storage;

/// A [`Storage`] made of a core that writes and cores that read, on separate threads.
#[derive(Debug)]
pub struct ThreadedStorage<W, R> {
    threads: BlockingExecutor<WriteCoalescer<W>, R>,
    limits: WriteLimits,
    recent: Arc<Recent>,
}

impl<W: ReplicaWriter, R: ReplicaReads + Snapshot> ThreadedStorage<W, R> {
    /// Starts the threads. The writer's storage must hold a replica already ([`ops::initialise`]).
    ///
    /// # Errors
    /// `Storage` if a thread cannot be started.
    pub fn start(
        writer: W,
        readers: Vec<R>,
        limits: WriteLimits,
        options: ThreadOptions,
    ) -> Result<Self> {
        let threads = BlockingExecutor::start(WriteCoalescer::new(writer), readers, options)?;
        Ok(Self { threads, limits, recent: Arc::default() })
    }

    /// Runs a job in a transaction, and keeps its changes in memory before any waiting reader is
    /// woken.
    async fn commit(
        &self,
        durability: Durability,
        job: impl FnOnce(&mut WriteCoalescer<W>) -> Result<Committed> + Send + 'static,
    ) -> Result<Committed> {
        let recent = Arc::clone(&self.recent);
        self.threads.write_then(durability, job, move |c| recent.add(c)).await
    }

    /// Returns the sender that wakes all waiters for commits: for backends that detect the commits
    /// of other processes.
    #[must_use]
    pub fn notifier(&self) -> Arc<watch::Sender<u64>> {
        self.threads.notifier()
    }
}

#[async_trait]
impl<W: ReplicaWriter, R: ReplicaReads + Snapshot> Storage for ThreadedStorage<W, R>
where
    Self: fmt::Debug,
{
    async fn state(&self) -> Result<ReplicaState> {
        self.threads.read(|rows| ops::state(rows)).await
    }

    async fn check(&self) -> Result<Vec<Checked>> {
        self.threads.read(|rows| ops::check(rows)).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Vec<Option<Stored>>> {
        self.threads.read(move |rows| ops::get(rows, &keys)).await
    }

    async fn scan(&self, scan: Scan) -> Result<StoragePage<Stored>> {
        self.threads.read(move |rows| ops::scan(rows, &scan)).await
    }

    async fn feed(&self, after: LocalSeq, limits: Limits) -> Result<FeedPage> {
        self.threads.check_open()?;
        if let Ok(changes) = self.recent.after(after, limits) {
            return Ok(FeedPage { changes, more: true, gap: false });
        }
        let recent = Arc::clone(&self.recent);
        // All commits of this process that the rows show are recorded by then, because no commit is
        // under way.
        let read = move |rows: &R| {
            let mut page = ops::feed(rows, after, limits)?;
            match recent.after(after, limits) {
                Ok(changes) => return Ok(FeedPage { changes, more: true, gap: false }),
                Err(None) => {}
                // From the place on where every operation is kept, none is left out.
                Err(Some(next)) => {
                    page.changes.retain(|c| c.at < next);
                    page.more = true;
                    if page.changes.is_empty()
                        && let Ok(changes) = recent.after(LocalSeq(next.0 - 1), limits)
                    {
                        page.changes = changes;
                    }
                }
            }
            Ok(page)
        };
        self.threads.read_between_commits(read).await
    }

    async fn unsettled(
        &self,
        scope: Scope,
        which: Unsettled,
        after: UnsettledAfter,
        limits: Limits,
    ) -> Result<StoragePage<UnsettledEntry>> {
        self.threads.read(move |rows| ops::unsettled(rows, &scope, which, &after, limits)).await
    }

    async fn unsettled_of(&self, key: DocumentKey) -> Result<Vec<(Unsettled, UnsettledEntry)>> {
        self.threads.read(move |rows| ops::unsettled_of(rows, &key)).await
    }

    async fn write(&self, now: Now, transaction: LocalTransaction) -> Result<Committed> {
        let limits = self.limits;
        self.commit(Durability::Power, move |rows| ops::write(rows, now, &limits, &transaction))
            .await
    }

    async fn decide(&self, now: Now, key: DocumentKey, decision: Decision) -> Result<Committed> {
        self.commit(Durability::Power, move |rows| ops::decide(rows, now, &key, &decision)).await
    }

    async fn forget(
        &self,
        now: Now,
        lease: Option<FencingToken>,
        what: Forget,
    ) -> Result<Committed> {
        self.commit(Durability::Power, move |rows| ops::forget(rows, now, lease, &what)).await
    }

    async fn declare_local_only(&self, collections: BTreeSet<Collection>) -> Result<()> {
        let declare =
            move |rows: &mut WriteCoalescer<W>| ops::declare_local_only(rows, &collections);
        self.threads.write(Durability::Power, declare).await
    }

    async fn claim(&self, holder: String) -> Result<FencingToken> {
        let claim = move |rows: &mut WriteCoalescer<W>| {
            rows.lock_engine()?;
            ops::claim(rows, &holder)
        };
        self.threads.write(Durability::Process, claim).await
    }

    async fn release(&self, lease: FencingToken) -> Result<()> {
        let release = move |rows: &mut WriteCoalescer<W>| {
            if rows.meta()?.is_some_and(|m| m.lease == lease) {
                rows.unlock_engine();
            }
            Ok(())
        };
        self.threads.write(Durability::Process, release).await
    }

    async fn set_collections(
        &self,
        cx: Context,
        scope: Scope,
        collections: Option<BTreeSet<Collection>>,
    ) -> Result<Committed> {
        self.commit(Durability::Power, move |rows| {
            ops::set_collections(rows, &cx, &scope, collections.as_ref())
        })
        .await
    }

    async fn note_server(&self, cx: Context, time: ServerTime, limits: WriteLimits) -> Result<()> {
        self.threads
            .write(Durability::Process, move |rows| {
                ops::note_server(rows, cx.now, cx.lease, time, limits)
            })
            .await
    }

    async fn note_attempt(&self, cx: Context, scope: Scope, failed: Option<Failed>) -> Result<()> {
        self.threads
            .write(Durability::Process, move |rows| {
                ops::note_attempt(rows, cx.lease, &scope, failed)
            })
            .await
    }

    async fn next_push(
        &self,
        cx: Context,
        scope: Scope,
        limits: Limits,
    ) -> Result<Option<PushBatch>> {
        self.threads
            .write(Durability::Power, move |rows| ops::next_push(rows, &cx, &scope, limits))
            .await
    }

    async fn settle(
        &self,
        cx: Context,
        scope: Scope,
        id: PushId,
        verdicts: Verdicts,
    ) -> Result<Committed> {
        self.commit(Durability::Process, move |rows| ops::settle(rows, &cx, &scope, id, &verdicts))
            .await
    }

    async fn apply(&self, cx: Context, chunk: Chunk) -> Result<Applied> {
        let recent = Arc::clone(&self.recent);
        let apply = move |rows: &mut WriteCoalescer<W>| ops::apply(rows, &cx, &chunk);
        self.threads.write_then(Durability::Process, apply, move |a| recent.add(&a.committed)).await
    }

    async fn reset(&self, cx: Context, scope: Scope, reset: Reset) -> Result<Committed> {
        self.commit(Durability::Process, move |rows| ops::reset(rows, &cx, &scope, &reset)).await
    }

    async fn reidentify(&self, cx: Context, replica: ReplicaId) -> Result<Committed> {
        self.commit(Durability::Process, move |rows| ops::reidentify(rows, &cx, replica)).await
    }

    async fn purge_erased(&self) -> Result<bool> {
        self.threads.purge_erased().await
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.threads.commits()
    }

    async fn close(&self) -> Result<()> {
        self.threads.close().await;
        Ok(())
    }
}
