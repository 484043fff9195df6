//! A replica that syncs only some collections.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;

use support::{builder, server, soon};
use twotide::ReplicaConfig;
use twotide::backend::kv::{KvOptions, MemoryKv, open_replica};
use twotide::backend::model::ReplicaId;
use twotide::prelude::*;
use twotide::server::Server;

fn body(text: &str) -> Body {
    Body::from_value(&text).unwrap()
}

/// Opens a replica over a store that may have been opened before. No names mean all collections.
async fn over(kv: &Arc<MemoryKv>, server: &Server, names: &[&str]) -> Replica {
    let storage = open_replica(Arc::clone(kv), ReplicaId([7; 16]), KvOptions::default()).unwrap();
    let builder =
        Replica::builder().storage(Arc::new(storage)).transport(Arc::new(server.in_process()));
    let builder = if names.is_empty() { builder } else { builder.collections(names) };
    builder.open().await.unwrap()
}

async fn count(replica: &Replica, collection: &str) -> usize {
    replica.raw(collection).unwrap().scan(None, 1_000).await.unwrap().documents.len()
}

async fn put(replica: &Replica, collection: &str, id: &str) {
    replica.raw(collection).unwrap().put(id, &body(id)).await.unwrap();
}

/// A server to which another device has pushed documents of three collections.
async fn filled() -> (Server, Replica) {
    let server = server();
    let other = builder(&server, 2).open().await.unwrap();
    for n in 0..5 {
        for collection in ["notes", "tasks", "tags"] {
            put(&other, collection, &format!("n{n}")).await;
        }
    }
    soon(other.sync_now()).await.unwrap();
    (server, other)
}

#[tokio::test]
async fn a_replica_syncs_the_collections_it_was_opened_with_until_it_is_opened_with_others() {
    let (server, other) = filled().await;
    let kv = Arc::new(MemoryKv::default());
    let replica = over(&kv, &server, &["notes"]).await;
    put(&replica, "tasks", "mine").await;
    put(&replica, "notes", "mine").await;
    soon(replica.sync_now()).await.unwrap();
    assert_eq!((count(&replica, "notes").await, count(&replica, "tasks").await), (6, 1));
    assert_eq!(replica.sync_state("notes", "mine").await.unwrap().as_str(), "synced");
    assert_eq!(replica.sync_state("tasks", "mine").await.unwrap().as_str(), "not_chosen");
    let outbox = replica.status().borrow().outbox;
    assert_eq!((outbox.pending, outbox.not_chosen), (0, 1));
    soon(other.sync_now()).await.unwrap();
    assert_eq!((count(&other, "notes").await, count(&other, "tasks").await), (6, 5));
    replica.close().await.unwrap();
    // A collection is added: it is filled in, and its waiting edit is pushed.
    let replica = over(&kv, &server, &["notes", "tasks"]).await;
    soon(replica.sync_now()).await.unwrap();
    assert_eq!((count(&replica, "notes").await, count(&replica, "tasks").await), (6, 6));
    assert_eq!(count(&replica, "tags").await, 0);
    put(&replica, "notes", "unsynced").await;
    replica.close().await.unwrap();
    // A collection is left out: it leaves this device, and is not deleted elsewhere.
    let replica = over(&kv, &server, &["tasks"]).await;
    soon(replica.sync_now()).await.unwrap();
    assert_eq!((count(&replica, "notes").await, count(&replica, "tasks").await), (0, 6));
    assert_eq!(replica.quarantine().list(None, 10).await.unwrap().entries.len(), 1);
    soon(other.sync_now()).await.unwrap();
    assert_eq!(count(&other, "notes").await, 6);
    replica.close().await.unwrap();
    let replica = over(&kv, &server, &[]).await;
    soon(replica.sync_now()).await.unwrap();
    for collection in ["notes", "tasks", "tags"] {
        assert_eq!(count(&replica, collection).await, count(&other, collection).await);
    }
    replica.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_live_replica_receives_only_the_collections_it_chose() {
    let (server, other) = filled().await;
    let replica = over(&Arc::default(), &server, &["notes"]).await;
    replica.start().await.unwrap();
    other.start().await.unwrap();
    soon(replica.wait_until_in_sync()).await.unwrap();
    let mut changes = replica.changes().await.unwrap();
    for n in 0..10 {
        put(&other, "tasks", &format!("live {n}")).await;
        put(&other, "notes", &format!("live {n}")).await;
        let change = soon(changes.next()).await.unwrap().unwrap();
        assert_eq!(change.key().collection.as_str(), "notes");
        assert_eq!(change.key().id.as_str(), format!("live {n}"));
    }
    assert_eq!(count(&replica, "tasks").await, 0);
    replica.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn invalid_choices_of_collections_are_refused() {
    let error = Replica::builder().memory().collections(["a\nb"]).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let none: [&str; 0] = [];
    let error = Replica::builder().memory().collections(none).open().await.unwrap_err();
    assert!(error.to_string().contains("at least one"), "{error}");
    let both = Replica::builder().memory().collections(["a", "b"]).local_only(["b"]);
    let error = both.open().await.unwrap_err();
    assert!(error.to_string().contains("local-only"), "{error}");
    let text = r#"{ "storage": "memory:", "collections": ["notes"] }"#;
    let config: ReplicaConfig = serde_json::from_str(text).unwrap();
    let replica = Replica::builder().config(config).open().await.unwrap();
    let (notes, tasks) = (replica.raw("notes").unwrap(), replica.raw("tasks").unwrap());
    let mut transaction = replica.transaction();
    transaction.put(&notes, "a", &body("1")).unwrap();
    let error = transaction.put(&tasks, "a", &body("1")).unwrap_err();
    assert!(error.to_string().contains("two transactions"), "{error}");
    replica.close().await.unwrap();
}
