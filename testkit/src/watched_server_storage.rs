//! A server's storage that counts what is read, and can delay answers after the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sync_core::error::Result;
use sync_core::model::{Cursor, Epoch, Limits, NewLog, PushBatch, PushId, ReplicaId, Scope, Seq};
use sync_server::ops::{Acknowledgement, AppendContext, Appended, ChangesReply, Judge};
use sync_server::record::{Acknowledged, Fork, ServerScope};
use sync_server::{ServerStorage, Visible};
use tokio::sync::watch;

/// A [`ServerStorage`] that counts the bytes of the chunks that are read, and can delay the answers
/// to appends after they are committed: the state in which a client loses its connection without
/// knowing whether its push arrived.
#[derive(Debug)]
pub struct WatchedServerStorage {
    inner: Arc<dyn ServerStorage>,
    /// The bytes of chunks that were read.
    read: AtomicUsize,
    /// Whether answers to appends are delayed.
    holding: watch::Sender<bool>,
    /// The number of committed appends.
    committed: watch::Sender<usize>,
}

impl WatchedServerStorage {
    /// Wraps a storage. No answer is delayed at first.
    #[must_use]
    pub fn new(inner: Arc<dyn ServerStorage>) -> Self {
        let (read, holding) = (AtomicUsize::new(0), watch::Sender::new(false));
        Self { inner, read, holding, committed: watch::Sender::new(0) }
    }

    /// Returns the bytes of chunks that were read so far.
    #[must_use]
    pub fn bytes_read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Delays the answers to appends, or releases them. The appends are committed.
    pub fn hold_answers(&self, hold: bool) {
        self.holding.send_replace(hold);
    }

    /// Returns a receiver of the number of committed appends.
    #[must_use]
    pub fn appends(&self) -> watch::Receiver<usize> {
        self.committed.subscribe()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ServerStorage for WatchedServerStorage {
    async fn scope(&self, scope: Scope, fresh: NewLog) -> Result<ServerScope> {
        self.inner.scope(scope, fresh).await
    }

    async fn find_scope(&self, scope: Scope) -> Result<Option<ServerScope>> {
        self.inner.find_scope(scope).await
    }

    async fn scopes(&self, after: Option<Scope>, limit: usize) -> Result<Vec<Scope>> {
        self.inner.scopes(after, limit).await
    }

    async fn append(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended> {
        let appended = self.inner.append(cx, batch, judge).await;
        self.committed.send_modify(|n| *n += 1);
        // The sender lives as long as the storage.
        let _ = self.holding.subscribe().wait_for(|hold| !hold).await;
        appended
    }

    async fn changes(
        &self,
        scope: Scope,
        cursor: Cursor,
        limits: Limits,
        visible: Visible,
    ) -> Result<ChangesReply> {
        let reply = self.inner.changes(scope, cursor, limits, visible).await?;
        if let ChangesReply::Chunk(chunk) = &reply {
            self.read.fetch_add(chunk.weight(), Ordering::Relaxed);
        }
        Ok(reply)
    }

    async fn acknowledge(
        &self,
        scope: Scope,
        replica: ReplicaId,
        ack: Acknowledgement,
    ) -> Result<Option<Fork>> {
        self.inner.acknowledge(scope, replica, ack).await
    }

    async fn replica(
        &self,
        scope: Scope,
        replica: ReplicaId,
    ) -> Result<(Option<Acknowledged>, Option<PushId>)> {
        self.inner.replica(scope, replica).await
    }

    async fn begin_epoch(
        &self,
        scope: Scope,
        from: Epoch,
        cut: Seq,
        fresh: Epoch,
    ) -> Result<ServerScope> {
        self.inner.begin_epoch(scope, from, cut, fresh).await
    }

    async fn purge_erased(&self) -> Result<bool> {
        self.inner.purge_erased().await
    }

    async fn purge(&self, scope: Scope, up_to: Seq) -> Result<u64> {
        self.inner.purge(scope, up_to).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
