//! A server's storage over a synchronous core.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::blocking_executor::{BlockingExecutor, ThreadOptions};
use super::scope_cache::{Lookup, ScopeCache};
use super::transactional::{Durability, Snapshot, Transactional};
use sync_core::error::Result;
use sync_core::model::{Cursor, Epoch, Limits, NewLog, PushBatch, ReplicaId, Scope, Seq};
use sync_server::ops::{self, Acknowledgement, AppendContext, Appended, ChangesReply, Judge};
use sync_server::record::{Acknowledged, Fork, ServerScope};
use sync_server::rows::{ServerReads, ServerRows};
use sync_server::{ServerStorage, Visible};

/// A [`ServerStorage`] made of a core that writes and cores that read, on separate threads.
///
/// Requests without news are answered without a thread, if the cores that read have a
/// [probe](Snapshot::probe).
#[derive(Debug)]
pub struct ThreadedServerStorage<W, R> {
    /// Declared before `threads`, so that its probe is dropped before the writer: the connection
    /// that closes a file last cleans it up.
    newest: ScopeCache,
    threads: BlockingExecutor<W, R>,
}

impl<W: ServerRows + Transactional, R: ServerReads + Snapshot> ThreadedServerStorage<W, R> {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Storage` if a thread cannot be started; else as the [probe](Snapshot::probe).
    pub fn start(writer: W, readers: Vec<R>, options: ThreadOptions) -> Result<Self> {
        let probe = readers.first().map(Snapshot::probe).transpose()?.flatten();
        let threads = BlockingExecutor::start(writer, readers, options)?;
        Ok(Self { newest: ScopeCache::new(probe), threads })
    }
}

#[async_trait]
impl<W: ServerRows + Transactional, R: ServerReads + Snapshot> ServerStorage
    for ThreadedServerStorage<W, R>
where
    Self: fmt::Debug,
{
    async fn scope(&self, scope: Scope, fresh: NewLog) -> Result<ServerScope> {
        if let Some(row) = self.find_scope(scope.clone()).await? {
            return Ok(row);
        }
        self.threads
            .write(Durability::Power, move |rows| ops::open_scope(rows, &scope, fresh))
            .await
    }

    async fn find_scope(&self, scope: Scope) -> Result<Option<ServerScope>> {
        let moment = match self.newest.look(&scope) {
            Lookup::Fresh(row) => return Ok(Some(ServerScope::clone(&row))),
            Lookup::Unread(moment) => moment,
        };
        let name = scope.clone();
        let found = self.threads.read(move |rows| rows.scope(&name)).await?;
        if let Some(row) = &found {
            self.newest.remember(moment, scope, row);
        }
        Ok(found)
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
        let moment = match self.newest.look(&scope) {
            Lookup::Fresh(row) => match ops::nothing_new(&row, &scope, &cursor, &visible) {
                Some(nothing) => return Ok(ChangesReply::Chunk(nothing)),
                None => None,
            },
            Lookup::Unread(moment) => moment,
        };
        let name = scope.clone();
        let read = move |rows: &R| {
            let row = ops::read_scope(rows, &name)?;
            let reply = ops::changes_of(rows, &row, &name, &cursor, limits, &visible)?;
            Ok((reply, row))
        };
        let (reply, row) = self.threads.read(read).await?;
        self.newest.remember(moment, scope, &row);
        Ok(reply)
    }

    async fn acknowledge(
        &self,
        scope: Scope,
        replica: ReplicaId,
        ack: Acknowledgement,
    ) -> Result<Option<Fork>> {
        self.threads
            .write(Durability::Process, move |rows| ops::acknowledge(rows, &scope, replica, &ack))
            .await
    }

    async fn replica(
        &self,
        scope: Scope,
        replica: ReplicaId,
    ) -> Result<(Option<Acknowledged>, Option<sync_core::model::PushId>)> {
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

    async fn purge_erased(&self) -> Result<bool> {
        self.threads.purge_erased().await
    }

    async fn close(&self) -> Result<()> {
        // First, so that nothing is answered from the cache once the threads refuse.
        self.newest.close();
        self.threads.close().await;
        Ok(())
    }
}
