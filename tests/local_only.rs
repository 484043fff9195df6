//! Collections that never leave the device.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;

use support::{builder, server, soon};
use twotide::backend::kv::{KvOptions, MemoryKv, open_replica};
use twotide::backend::model::ReplicaId;
use twotide::prelude::*;
use twotide::{ReplicaBuilder, ReplicaConfig};

fn body(text: &str) -> Body {
    Body::from_value(&text).unwrap()
}

/// Opens a replica over a store that may have been opened before.
fn over(kv: &Arc<MemoryKv>) -> ReplicaBuilder {
    let storage = open_replica(Arc::clone(kv), ReplicaId([7; 16]), KvOptions::default()).unwrap();
    Replica::builder().storage(Arc::new(storage))
}

#[tokio::test]
async fn drafts_stay_on_the_device_while_notes_travel() {
    let server = server();
    let ann = builder(&server, 1).local_only(["drafts"]).open().await.unwrap();
    let bob = builder(&server, 2).open().await.unwrap();
    let mut changes = ann.changes().await.unwrap();
    let (drafts, notes) = (ann.raw("drafts").unwrap(), ann.raw("notes").unwrap());
    let mut watch = drafts.watch("d").unwrap();
    assert!(watch.next().await.unwrap().unwrap().is_none());
    drafts.put("d", &body("secret")).await.unwrap();
    notes.put("n", &body("text")).await.unwrap();
    let seen = soon(watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((seen.value(), seen.is_synced()), (&body("secret"), false));
    assert_eq!(soon(changes.next()).await.unwrap().unwrap().key().collection.as_str(), "drafts");
    // Another device syncs a collection of the same name.
    bob.raw("drafts").unwrap().put("theirs", &body("theirs")).await.unwrap();
    for replica in [&bob, &ann, &bob, &ann] {
        soon(replica.sync_now()).await.unwrap();
    }
    assert!(bob.raw("notes").unwrap().get("n").await.unwrap().is_some());
    assert!(bob.raw("drafts").unwrap().get("d").await.unwrap().is_none());
    let page = drafts.scan(None, 10).await.unwrap();
    assert_eq!(page.documents.iter().map(Document::id).collect::<Vec<_>>(), ["d"]);
    assert_eq!(ann.sync_state("drafts", "d").await.unwrap().as_str(), "local_only");
    assert_eq!(ann.status().borrow().outbox.pending, 0);
    drafts.delete("d").await.unwrap();
    assert!(soon(watch.next()).await.unwrap().unwrap().is_none());
    let gone = soon(async {
        loop {
            let change = changes.next().await.unwrap().unwrap();
            if change.operation() == Operation::Delete {
                return change;
            }
        }
    });
    assert_eq!(gone.await.key().collection.as_str(), "drafts");
    ann.close().await.unwrap();
    bob.close().await.unwrap();
}

#[tokio::test]
async fn a_transaction_holds_local_only_documents_or_synced_ones() {
    let ann = Replica::builder().memory().local_only(["drafts"]).open().await.unwrap();
    let (drafts, notes) = (ann.raw("drafts").unwrap(), ann.raw("notes").unwrap());
    for (first, second) in [(&drafts, &notes), (&notes, &drafts)] {
        let mut transaction = ann.transaction();
        transaction.put(first, "a", &body("1")).unwrap();
        let error = transaction.put(second, "a", &body("2")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("two transactions"), "{error}");
    }
    let mut transaction = ann.transaction();
    transaction.put(&drafts, "a", &body("1")).unwrap();
    transaction.insert(&drafts, &body("2")).unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(drafts.scan(None, 10).await.unwrap().documents.len(), 2);
    ann.close().await.unwrap();
}

#[tokio::test]
async fn a_declaration_is_kept_and_another_one_never_loses_documents() {
    let kv = Arc::new(MemoryKv::default());
    let open = |names: &'static [&str]| over(&kv).local_only(names).open();
    let replica = open(&["drafts"]).await.unwrap();
    replica.raw("drafts").unwrap().put("d", &body("mine")).await.unwrap();
    replica.raw("notes").unwrap().put("n", &body("text")).await.unwrap();
    replica.close().await.unwrap();
    // Without a declaration the earlier one holds.
    let replica = over(&kv).open().await.unwrap();
    assert!(replica.raw("drafts").unwrap().get("d").await.unwrap().is_some());
    assert!(replica.raw("drafts").unwrap().scope().is_local());
    replica.close().await.unwrap();
    for (names, wrong) in [(&[][..], "drafts"), (&["drafts", "notes"], "notes")] {
        let error = open(names).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(wrong), "{error}");
    }
    let replica = open(&["drafts"]).await.unwrap();
    replica.raw("drafts").unwrap().delete("d").await.unwrap();
    replica.close().await.unwrap();
    let replica = open(&[]).await.unwrap();
    assert!(!replica.raw("drafts").unwrap().scope().is_local());
    replica.close().await.unwrap();
}

#[tokio::test]
async fn invalid_names_and_the_scope_of_local_documents_are_refused() {
    let error = Replica::builder().memory().local_only(["a\nb"]).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = Replica::builder().memory().scope("$local").open().await.unwrap_err();
    assert!(error.to_string().contains("local-only"), "{error}");
    let text = r#"{ "storage": "memory:", "local_only": ["drafts"] }"#;
    let config: ReplicaConfig = serde_json::from_str(text).unwrap();
    let replica = Replica::builder().config(config).open().await.unwrap();
    assert!(replica.raw("drafts").unwrap().scope().is_local());
    replica.close().await.unwrap();
}
