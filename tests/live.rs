//! Every follower receives every change, even if the connection that pushed it is closed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use support::{builder, soon};
use tokio::sync::Semaphore;
use twotide::backend::error::Result;
use twotide::backend::kv::{KvOptions, MemoryKv, open_server};
use twotide::backend::model::{
    Cursor, Epoch, Limits, NewLog, PushBatch, PushId, ReplicaId, Scope, Seq,
};
use twotide::prelude::*;
use twotide::server::ops::{Acknowledgement, AppendContext, Appended, ChangesReply, Judge};
use twotide::server::record::{Acknowledged, Fork, ServerScope};
use twotide::server::{Server, ServerOptions};
use twotide::server::{ServerStorage, Visible};

/// Commits an append, and delays its answer.
#[derive(Debug)]
struct Hesitant {
    inner: Arc<dyn ServerStorage>,
    committed: Semaphore,
    may_say_so: Semaphore,
}

#[async_trait]
impl ServerStorage for Hesitant {
    async fn append(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended> {
        let appended = self.inner.append(cx, batch, judge).await;
        self.committed.add_permits(1);
        self.may_say_so.acquire().await.unwrap().forget();
        appended
    }

    async fn scope(&self, scope: Scope, fresh: NewLog) -> Result<ServerScope> {
        self.inner.scope(scope, fresh).await
    }

    async fn find_scope(&self, scope: Scope) -> Result<Option<ServerScope>> {
        self.inner.find_scope(scope).await
    }

    async fn scopes(&self, after: Option<Scope>, limit: usize) -> Result<Vec<Scope>> {
        self.inner.scopes(after, limit).await
    }

    async fn changes(
        &self,
        scope: Scope,
        cursor: Cursor,
        limits: Limits,
        visible: Visible,
    ) -> Result<ChangesReply> {
        self.inner.changes(scope, cursor, limits, visible).await
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

async fn replica(server: &Server, id: u8) -> Replica {
    builder(server, id).open().await.unwrap()
}

#[tokio::test]
async fn a_change_is_delivered_although_its_sender_disconnects_before_the_answer() {
    let inner = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let storage = Arc::new(Hesitant {
        inner: Arc::new(inner),
        committed: Semaphore::new(0),
        may_say_so: Semaphore::new(0),
    });
    // No heartbeat may deliver a change that was missed.
    let mut options = ServerOptions::default();
    options.heartbeat = Duration::from_secs(3_600);
    let server = Server::builder(storage.clone()).options(options).build();
    let (writer, listener) = (replica(&server, 1).await, replica(&server, 2).await);
    listener.start().await.unwrap();
    soon(listener.wait_until_in_sync()).await.unwrap();
    let mut changes = listener.changes().await.unwrap();

    let notes = writer.raw("notes").unwrap();
    notes.put("n", &Body::parse("1").unwrap()).await.unwrap();
    writer.start().await.unwrap();
    soon(storage.committed.acquire()).await.unwrap().forget();
    writer.stop().await;
    storage.may_say_so.add_permits(1_000);
    assert_eq!(soon(changes.next()).await.unwrap().unwrap().key().id.as_str(), "n");
    listener.stop().await;
}
