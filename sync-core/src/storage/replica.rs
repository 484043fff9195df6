//! What a replica asks of its storage.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::recent::Recent;
use super::threads::{Durability, Snapshot, ThreadOptions, Threads, Transactional};
use crate::clock::Now;
use crate::error::Result;
use crate::model::{
    Chunk, DocumentKey, Generation, Limits, LocalSeq, PushBatch, PushId, ReplicaId, Reset, Scope,
    Verdicts,
};
use crate::replica::rows::{ReplicaReads, ReplicaRows};
use crate::replica::{
    Applied, Committed, Context, Decision, FeedPage, Forget, LocalTransaction, Page, ReplicaState,
    Scan, Stored, Unsettled, UnsettledAfter, UnsettledEntry, WriteLimits, ops,
};

/// The storage of a replica.
///
/// Every method is one transaction: it happens whole or not at all. Arguments are owned: a future that is dropped may
/// still commit. The next call that writes comes after it; a call that only reads may still be answered from before.
/// Time comes in as an argument; stamps are taken inside the transaction from the clock that the storage keeps, because
/// several processes may share one replica. Resolvers are called inside the transaction; an error or a panic of theirs
/// means [`Defer`](crate::resolver::Resolution::Defer).
///
/// Errors that all methods share: `Storage` when reading or writing failed (nothing was changed, a later try may work),
/// `Incompatible` when what is stored is damaged, `Closed` after [`close`](Self::close).
#[async_trait]
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// The replica at a glance: identity, scopes with checkpoints, counts and digests. Costs the number of scopes, not of
    /// documents.
    async fn state(&self) -> Result<ReplicaState>;

    /// Live documents, one answer a key in the order of the keys.
    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Vec<Option<Stored>>>;

    /// A page of live documents in order of (collection, id).
    async fn scan(&self, scan: Scan) -> Result<Page<Stored>>;

    /// What changed after a place in the replica's feed, by place. Every operation with the state before it, as long as
    /// this process made it and remembers it; of what other processes did, and of what is longer ago, each document once,
    /// in its newest state. A page that is not empty may be followed by more.
    async fn feed(&self, after: LocalSeq, limits: Limits) -> Result<FeedPage>;

    /// A page of what is not settled in a scope.
    async fn unsettled(
        &self,
        scope: Scope,
        which: Unsettled,
        after: UnsettledAfter,
        limits: Limits,
    ) -> Result<Page<UnsettledEntry>>;

    /// Writes documents together with their outbox entries; the base of a document is the settled state before its first
    /// unsettled edit. When it returns, the write survives a power failure.
    ///
    /// Fails with `InvalidInput` over the limits, `AlreadyExists` or `NotFound` as the operations say.
    async fn write(&self, now: Now, transaction: LocalTransaction) -> Result<Committed>;

    /// Carries out what the app decided about a quarantined edit or a deferred conflict. Durable as a write.
    ///
    /// Fails with `NotFound` if there is nothing to decide.
    async fn decide(&self, now: Now, key: DocumentKey, decision: Decision) -> Result<Committed>;

    /// Removes a scope or a collection from the device; unsynced own bodies go to the quarantine. Durable as a write.
    async fn forget(&self, now: Now, what: Forget) -> Result<Committed>;

    /// Takes the engine lease for this holder. Whoever held it before changes nothing any more.
    ///
    /// Fails with `Busy`, naming the holder, if another living process holds it.
    async fn claim(&self, holder: String) -> Result<Generation>;

    /// Gives the lease back; nothing happens if it is not held any more.
    async fn release(&self, lease: Generation) -> Result<()>;

    /// Takes note of the server's time. Fails with `Superseded` for an old lease, as do the following.
    async fn note_server_time(&self, cx: Context, server: Now) -> Result<()>;

    /// The batch in flight, or else forms one of whole transactions from the front of the outbox, bounded by the limits.
    /// When it returns, the batch survives a power failure: a retry sends the same.
    async fn next_push(
        &self,
        cx: Context,
        scope: Scope,
        limits: Limits,
    ) -> Result<Option<PushBatch>>;

    /// Takes in the verdicts on a batch if it is the one in flight; else nothing happens. May be lost to a power failure:
    /// the batch is then pushed again and gets the same verdicts.
    ///
    /// Fails with `Protocol` if the verdicts do not fit the batch.
    async fn settle(
        &self,
        cx: Context,
        scope: Scope,
        id: PushId,
        verdicts: Verdicts,
    ) -> Result<Committed>;

    /// Takes in a chunk, documents and checkpoint together, if it begins where the replica stands; else nothing happens,
    /// and the answer says so. May be lost to a power failure: the chunk is then pulled again.
    ///
    /// Fails with `Protocol` if the chunk contradicts itself.
    async fn apply(&self, cx: Context, chunk: Chunk) -> Result<Applied>;

    /// Gives up the position of a scope and keeps every unsynced edit; what was settled and is lost on the server becomes
    /// a push that offers it again.
    async fn reset(&self, cx: Context, scope: Scope, reset: Reset) -> Result<Committed>;

    /// Takes another identity: the batch in flight is dissolved, unsettled edits are stamped anew.
    async fn reidentify(&self, cx: Context, replica: ReplicaId) -> Result<Committed>;

    /// A counter that moves when something was committed, by this process or another one. A wake-up carries no data.
    fn commits(&self) -> watch::Receiver<u64>;

    /// Finishes what was asked and lets go of the file. Closing twice is fine.
    async fn close(&self) -> Result<()>;
}

/// A core that writes a replica's rows.
pub trait ReplicaWriter: ReplicaRows + Transactional {
    /// Makes sure that no other living process runs the engine, before a lease is taken. Backends that allow one process
    /// have nothing to do.
    ///
    /// # Errors
    /// `Busy`, naming the holder.
    fn lock_engine(&mut self) -> Result<()> {
        Ok(())
    }

    /// Lets other processes run the engine.
    fn unlock_engine(&mut self) {}
}

/// A [`Storage`] made of a core that writes and cores that read, on threads of its own.
#[derive(Debug)]
pub struct ReplicaThreads<W, R> {
    threads: Threads<W, R>,
    limits: WriteLimits,
    recent: Arc<Recent>,
}

impl<W: ReplicaWriter, R: ReplicaReads + Snapshot> ReplicaThreads<W, R> {
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
        let threads = Threads::start(writer, readers, options)?;
        Ok(Self { threads, limits, recent: Arc::default() })
    }

    /// Runs a job in a transaction, and remembers what it changed before anybody is woken.
    async fn commit(
        &self,
        durability: Durability,
        job: impl FnOnce(&mut W) -> Result<Committed> + Send + 'static,
    ) -> Result<Committed> {
        let recent = Arc::clone(&self.recent);
        self.threads.write_then(durability, job, move |c| recent.add(&c.changes)).await
    }

    /// Wakes whoever waits for commits: for backends that notice the commits of other processes.
    #[must_use]
    pub fn notifier(&self) -> Arc<watch::Sender<u64>> {
        self.threads.notifier()
    }
}

#[async_trait]
impl<W: ReplicaWriter, R: ReplicaReads + Snapshot> Storage for ReplicaThreads<W, R>
where
    Self: fmt::Debug,
{
    async fn state(&self) -> Result<ReplicaState> {
        self.threads.read(|rows| ops::state(rows)).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Vec<Option<Stored>>> {
        self.threads.read(move |rows| ops::get(rows, &keys)).await
    }

    async fn scan(&self, scan: Scan) -> Result<Page<Stored>> {
        self.threads.read(move |rows| ops::scan(rows, &scan)).await
    }

    async fn feed(&self, after: LocalSeq, limits: Limits) -> Result<FeedPage> {
        self.threads.check_open()?;
        let next = match self.recent.after(after, limits) {
            Ok(changes) => return Ok(FeedPage { changes, more: true, gap: false }),
            Err(next) => next,
        };
        let mut page = self.threads.read(move |rows| ops::feed(rows, after, limits)).await?;
        // From where every operation is remembered, none is left out.
        if let Some(next) = next {
            page.changes.retain(|c| c.at < next);
            page.more = true;
            if page.changes.is_empty()
                && let Ok(changes) = self.recent.after(LocalSeq(next.0 - 1), limits)
            {
                page.changes = changes;
            }
        }
        Ok(page)
    }

    async fn unsettled(
        &self,
        scope: Scope,
        which: Unsettled,
        after: UnsettledAfter,
        limits: Limits,
    ) -> Result<Page<UnsettledEntry>> {
        self.threads.read(move |rows| ops::unsettled(rows, &scope, which, &after, limits)).await
    }

    async fn write(&self, now: Now, transaction: LocalTransaction) -> Result<Committed> {
        let limits = self.limits;
        self.commit(Durability::Power, move |rows| ops::write(rows, now, &limits, &transaction))
            .await
    }

    async fn decide(&self, now: Now, key: DocumentKey, decision: Decision) -> Result<Committed> {
        self.commit(Durability::Power, move |rows| ops::decide(rows, now, &key, &decision)).await
    }

    async fn forget(&self, now: Now, what: Forget) -> Result<Committed> {
        self.commit(Durability::Power, move |rows| ops::forget(rows, now, &what)).await
    }

    async fn claim(&self, holder: String) -> Result<Generation> {
        let claim = move |rows: &mut W| {
            rows.lock_engine()?;
            ops::claim(rows, &holder)
        };
        self.threads.write(Durability::Process, claim).await
    }

    async fn release(&self, lease: Generation) -> Result<()> {
        let release = move |rows: &mut W| {
            if rows.meta()?.is_some_and(|m| m.lease == lease) {
                rows.unlock_engine();
            }
            Ok(())
        };
        self.threads.write(Durability::Process, release).await
    }

    async fn note_server_time(&self, cx: Context, server: Now) -> Result<()> {
        self.threads
            .write(Durability::Process, move |rows| {
                ops::note_server_time(rows, cx.now, cx.lease, server)
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
        let apply = move |rows: &mut W| ops::apply(rows, &cx, &chunk);
        self.threads.write_then(Durability::Process, apply, move |a| recent.add(&a.changes)).await
    }

    async fn reset(&self, cx: Context, scope: Scope, reset: Reset) -> Result<Committed> {
        self.commit(Durability::Process, move |rows| ops::reset(rows, &cx, &scope, &reset)).await
    }

    async fn reidentify(&self, cx: Context, replica: ReplicaId) -> Result<Committed> {
        self.commit(Durability::Process, move |rows| ops::reidentify(rows, &cx, replica)).await
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.threads.commits()
    }

    async fn close(&self) -> Result<()> {
        self.threads.close().await;
        Ok(())
    }
}
