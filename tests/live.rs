//! A listener receives every change, also one whose connection ends before it is answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{builder, soon};
use testkit::WatchedServerStorage;
use twotide::backend::kv::{KvOptions, MemoryKv, open_server};
use twotide::prelude::*;
use twotide::server::{Server, ServerOptions};

async fn replica(server: &Server, id: u8) -> Replica {
    builder(server, id).open().await.unwrap()
}

#[tokio::test]
async fn listeners_receive_a_change_whose_connection_ended_before_the_answer() {
    let inner = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let storage = Arc::new(WatchedServerStorage::new(Arc::new(inner)));
    storage.hold_answers(true);
    // No heartbeat sends what the commit did not.
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
    soon(storage.appends().wait_for(|n| *n > 0)).await.unwrap();
    writer.stop().await;
    storage.hold_answers(false);
    assert_eq!(soon(changes.next()).await.unwrap().unwrap().key().id.as_str(), "n");
    listener.stop().await;
}
