//! What is not synced, as the app reads it: the conflict inbox, the quarantine, and the state of
//! one document.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use support::{builder, positive_server, soon};
use twotide::SyncState;
use twotide::prelude::*;
use twotide::server::Server;

/// Every conflict waits for the app.
async fn asking(server: &Server, id: u8) -> Replica {
    let defers = resolve_with("ask", |_| Ok(Resolution::Defer));
    builder(server, id).resolver(defers).open().await.unwrap()
}

fn number(n: i64) -> Body {
    Body::from_value(&n).unwrap()
}

async fn put(replica: &Replica, id: &str, n: i64) {
    replica.raw("counts").unwrap().put(id, &number(n)).await.unwrap();
}

async fn get(replica: &Replica, id: &str) -> Option<Body> {
    let found = replica.raw("counts").unwrap().get(id).await.unwrap();
    found.map(|d| d.value().clone())
}

async fn state(replica: &Replica, id: &str) -> SyncState {
    replica.sync_state("counts", id).await.unwrap()
}

/// Two replicas that edited one document, of which the second one has received the conflict.
async fn in_conflict(server: &Server) -> (Replica, Replica) {
    let (ann, ben) = (asking(server, 1).await, asking(server, 2).await);
    put(&ann, "x", 1).await;
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    put(&ann, "x", 2).await;
    put(&ben, "x", 3).await;
    put(&ben, "y", 7).await;
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    (ann, ben)
}

#[tokio::test]
async fn a_deferred_conflict_shows_all_three_states_and_blocks_nothing() {
    let server = positive_server();
    let (ann, ben) = in_conflict(&server).await;
    let waiting = ben.conflicts().list(None, 10).await.unwrap();
    assert_eq!((waiting.entries.len(), waiting.next.is_none()), (1, true));
    let conflict = ben.conflicts().get("counts", "x").await.unwrap().unwrap();
    let bodies = [&conflict.base, &conflict.local, &conflict.remote].map(|b| b.clone().unwrap());
    assert_eq!(bodies, [number(1), number(3), number(2)]);
    assert_eq!(state(&ben, "x").await.as_str(), "conflict");
    assert_eq!(get(&ben, "x").await, Some(number(3)), "the app sees its own edit");
    soon(ann.sync_now()).await.unwrap();
    assert_eq!(get(&ann, "y").await, Some(number(7)), "the rest syncs on");
    assert!(ann.conflicts().list(None, 10).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_conflict_ends_as_the_app_decides_on_every_replica() {
    for (resolution, ends) in [
        (Resolution::Local, Some(3)),
        (Resolution::Remote, Some(2)),
        (Resolution::Merge(number(5)), Some(5)),
        (Resolution::Delete, None),
    ] {
        let server = positive_server();
        let (ann, ben) = in_conflict(&server).await;
        ben.conflicts().resolve("counts", "x", resolution.clone()).await.unwrap();
        assert!(ben.conflicts().get("counts", "x").await.unwrap().is_none());
        soon(ben.sync_now()).await.unwrap();
        soon(ann.sync_now()).await.unwrap();
        for replica in [&ann, &ben] {
            assert_eq!(get(replica, "x").await, ends.map(number), "{resolution:?}");
            assert_eq!(state(replica, "x").await.as_str(), "synced");
        }
        let again = ben.conflicts().resolve("counts", "x", resolution).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_refused_edit_can_be_read_retried_and_discarded() {
    let server = positive_server();
    let ann = asking(&server, 1).await;
    for (id, n) in [("a", -1), ("b", -2), ("c", 3)] {
        put(&ann, id, n).await;
    }
    assert_eq!(state(&ann, "a").await.as_str(), "pending");
    soon(ann.sync_now()).await.unwrap();
    // One entry to a page.
    let first = ann.quarantine().list(None, 1).await.unwrap();
    let second = ann.quarantine().list(first.next.as_ref(), 1).await.unwrap();
    let ids: Vec<_> = [&first, &second].map(|p| p.entries[0].key.id.as_str().to_owned()).into();
    assert_eq!(ids, ["a", "b"]);
    let SyncState::Quarantined(refused) = state(&ann, "a").await else { panic!("refused") };
    assert_eq!(refused[0].rejection.reason, "it is below zero");
    assert_eq!(refused[0].body, Some(number(-1)));
    assert_eq!(get(&ann, "a").await, None, "it shows the settled state");

    ann.quarantine().retry("counts", "a").await.unwrap();
    assert_eq!(state(&ann, "a").await.as_str(), "pending");
    assert_eq!(get(&ann, "a").await, Some(number(-1)));
    put(&ann, "a", 1).await;
    ann.quarantine().discard("counts", "b").await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    assert_eq!(state(&ann, "a").await.as_str(), "synced");
    assert_eq!(state(&ann, "b").await.as_str(), "synced");
    assert!(ann.quarantine().list(None, 10).await.unwrap().entries.is_empty());
    for gone in
        [ann.quarantine().retry("counts", "b").await, ann.quarantine().discard("counts", "c").await]
    {
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn an_invalid_name_is_refused() {
    let ann = asking(&positive_server(), 1).await;
    assert_eq!(ann.sync_state("", "x").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(state(&ann, "never heard of").await.as_str(), "synced");
}
