//! What a server asks of its storage.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::threads::{Durability, Snapshot, ThreadOptions, Threads, Transactional};
use crate::error::Result;
use crate::model::{Collection, Cursor, Epoch, Limits, PushBatch, ReplicaId, Reset, Scope, Seq};
use crate::server::ops::{self, Acknowledgement, AppendContext, Appended, ChangesReply, Judge};
use crate::server::record::{Acknowledged, ServerScope};
use crate::server::rows::{ServerReads, ServerRows};

/// Which collections a reader may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Visible {
    /// All of them.
    #[default]
    All,
    /// These.
    Only(Arc<BTreeSet<Collection>>),
}

impl Visible {
    /// Whether that collection may be seen.
    #[must_use]
    pub fn includes(&self, collection: &Collection) -> bool {
        match self {
            Self::All => true,
            Self::Only(these) => these.contains(collection),
        }
    }
}

/// The storage of a server.
///
/// Every method is one transaction: it happens whole or not at all. Positions are given out in commit order, also with
/// many writers; never by a clock, and never before the commit.
///
/// Errors that all methods share: `Storage` when reading or writing failed (nothing was changed, a later try may work),
/// `Incompatible` when what is stored is damaged, `Closed` after [`close`](Self::close).
#[async_trait]
pub trait ServerStorage: Send + Sync + fmt::Debug + 'static {
    /// The scope; one that nobody has heard of begins with the epoch `fresh`. Its head is that of the newest commit.
    async fn scope(&self, scope: Scope, fresh: Epoch) -> Result<ServerScope>;

    /// The scope, if anybody has heard of it.
    async fn find_scope(&self, scope: Scope) -> Result<Option<ServerScope>>;

    /// Names of scopes in order, those after `after`, at most `limit`.
    async fn scopes(&self, after: Option<Scope>, limit: usize) -> Result<Vec<Scope>>;

    /// Appends a push: idempotency record, base check, judge, verdicts, positions and index together. When it returns,
    /// the verdicts survive a power failure.
    ///
    /// A batch that was appended before gets its original verdicts; a batch older than the newest of its replica is
    /// [`Stale`](crate::model::Verdicts::Stale) and has no effect.
    async fn append(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended>;

    /// The chunk that follows on a cursor. Whoever has taken it in has seen the newest state of every document whose
    /// newest position is at or below its `next`, and nothing at or below `next` appears later.
    ///
    /// Fails with `NotFound` for an unknown scope.
    async fn changes(
        &self,
        scope: Scope,
        cursor: Cursor,
        limits: Limits,
        visible: Visible,
    ) -> Result<ChangesReply>;

    /// Takes note of how far a replica is. May be lost to a power failure. A digest that differs at the same position is
    /// answered by a reset.
    async fn acknowledge(
        &self,
        scope: Scope,
        replica: ReplicaId,
        ack: Acknowledgement,
    ) -> Result<Option<Reset>>;

    /// How far a replica has acknowledged, and its newest push.
    async fn replica(
        &self,
        scope: Scope,
        replica: ReplicaId,
    ) -> Result<(Option<Acknowledged>, Option<crate::model::PushId>)>;

    /// Ends the life of the log at `cut` and begins another with the epoch `fresh`, unless `from` is not the current one
    /// any more. The answer is the scope as it is then.
    async fn begin_epoch(
        &self,
        scope: Scope,
        from: Epoch,
        cut: Seq,
        fresh: Epoch,
    ) -> Result<ServerScope>;

    /// Forgets the tombstones at or below a position and moves the horizon there; how many they were.
    async fn purge(&self, scope: Scope, up_to: Seq) -> Result<u64>;

    /// Finishes what was asked and lets go of the file. Closing twice is fine.
    async fn close(&self) -> Result<()>;
}

/// A [`ServerStorage`] made of a core that writes and cores that read, on threads of its own.
#[derive(Debug)]
pub struct ServerThreads<W, R> {
    threads: Threads<W, R>,
}

impl<W: ServerRows + Transactional, R: ServerReads + Snapshot> ServerThreads<W, R> {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Storage` if a thread cannot be started.
    pub fn start(writer: W, readers: Vec<R>, options: ThreadOptions) -> Result<Self> {
        Ok(Self { threads: Threads::start(writer, readers, options)? })
    }
}

#[async_trait]
impl<W: ServerRows + Transactional, R: ServerReads + Snapshot> ServerStorage for ServerThreads<W, R>
where
    Self: fmt::Debug,
{
    async fn scope(&self, scope: Scope, fresh: Epoch) -> Result<ServerScope> {
        if let Some(row) = self.find_scope(scope.clone()).await? {
            return Ok(row);
        }
        self.threads
            .write(Durability::Power, move |rows| ops::open_scope(rows, &scope, fresh))
            .await
    }

    async fn find_scope(&self, scope: Scope) -> Result<Option<ServerScope>> {
        self.threads.read(move |rows| rows.scope(&scope)).await
    }

    async fn scopes(&self, after: Option<Scope>, limit: usize) -> Result<Vec<Scope>> {
        self.threads.read(move |rows| rows.scopes(after.as_ref(), limit)).await
    }

    async fn append(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended> {
        self.threads
            .write(Durability::Power, move |rows| ops::append(rows, &cx, &batch, &*judge))
            .await
    }

    async fn changes(
        &self,
        scope: Scope,
        cursor: Cursor,
        limits: Limits,
        visible: Visible,
    ) -> Result<ChangesReply> {
        self.threads
            .read(move |rows| ops::changes(rows, &scope, &cursor, limits, &|c| visible.includes(c)))
            .await
    }

    async fn acknowledge(
        &self,
        scope: Scope,
        replica: ReplicaId,
        ack: Acknowledgement,
    ) -> Result<Option<Reset>> {
        self.threads
            .write(Durability::Process, move |rows| ops::acknowledge(rows, &scope, replica, &ack))
            .await
    }

    async fn replica(
        &self,
        scope: Scope,
        replica: ReplicaId,
    ) -> Result<(Option<Acknowledged>, Option<crate::model::PushId>)> {
        self.threads
            .read(move |rows| {
                let push = rows.push_record(&scope, replica)?.map(|r| r.id);
                Ok((rows.acknowledged(&scope, replica)?, push))
            })
            .await
    }

    async fn begin_epoch(
        &self,
        scope: Scope,
        from: Epoch,
        cut: Seq,
        fresh: Epoch,
    ) -> Result<ServerScope> {
        self.threads
            .write(Durability::Power, move |rows| ops::begin_epoch(rows, &scope, from, cut, fresh))
            .await
    }

    async fn purge(&self, scope: Scope, up_to: Seq) -> Result<u64> {
        self.threads.write(Durability::Power, move |rows| ops::purge(rows, &scope, up_to)).await
    }

    async fn close(&self) -> Result<()> {
        self.threads.close().await;
        Ok(())
    }
}
