//! Replicas and a server in one process, over the real driver, codec and sessions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

mod support;

use serde::{Deserialize, Serialize};
use support::{builder, server, soon};
use twotide::prelude::*;
use twotide::server::Server;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

fn note(text: &str) -> Note {
    Note { text: text.to_owned() }
}

async fn replica(server: &Server, id: u8) -> Replica {
    builder(server, id).open().await.unwrap()
}

#[tokio::test]
async fn a_note_travels_to_another_replica() {
    let server = server();
    let (a, b) = (replica(&server, 1).await, replica(&server, 2).await);
    let notes = a.collection::<Note>("notes").unwrap();
    let written = notes.insert(&note("hello")).await.unwrap();
    soon(a.sync_now()).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    let read = b.collection::<Note>("notes").unwrap().get(written.id()).await.unwrap().unwrap();
    assert_eq!(read.value(), &note("hello"));
    assert_eq!(read.revision(), written.revision());
    assert!(read.is_synced());
    let digest = |s: twotide::backend::replica::ReplicaState| s.scopes[0].digest;
    assert_eq!(digest(a.state().await.unwrap()), digest(b.state().await.unwrap()));
}

#[tokio::test]
async fn a_started_replica_follows_live() {
    let server = server();
    let (a, b) = (replica(&server, 1).await, replica(&server, 2).await);
    a.start().await.unwrap();
    b.start().await.unwrap();
    soon(b.wait_until_in_sync()).await.unwrap();
    let mut changes = b.changes().await.unwrap();
    let notes = a.collection::<Note>("notes").unwrap();
    for text in ["one", "two", "three"] {
        notes.put("n", &note(text)).await.unwrap();
        let change = soon(changes.next()).await.unwrap().unwrap();
        assert_eq!(change.origin(), Origin::Remote);
        assert_eq!(change.document::<Note>().unwrap().unwrap().value(), &note(text));
    }
    notes.delete("n").await.unwrap();
    let change = soon(changes.next()).await.unwrap().unwrap();
    assert_eq!(change.operation(), Operation::Delete);
    assert_eq!(change.previous::<Note>().unwrap().unwrap().value(), &note("three"));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_conflict_ends_with_the_last_write_everywhere() {
    let server = server();
    let (a, b) = (replica(&server, 1).await, replica(&server, 2).await);
    let (na, nb) = (a.collection("notes").unwrap(), b.collection("notes").unwrap());
    na.insert_with_id("n", &note("base")).await.unwrap();
    soon(a.sync_now()).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    na.update("n", &note("from a")).await.unwrap();
    nb.update("n", &note("from b")).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    soon(a.sync_now()).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    let (ra, rb) = (na.get("n").await.unwrap().unwrap(), nb.get("n").await.unwrap().unwrap());
    assert_eq!(ra.value(), rb.value());
    assert_eq!(ra.revision(), rb.revision());
    assert_eq!(a.statistics().borrow().conflicts + b.statistics().borrow().conflicts, 1);
}

#[tokio::test]
async fn many_documents_catch_up_in_chunks() {
    let server = server();
    let (a, b) = (replica(&server, 1).await, replica(&server, 2).await);
    let notes = a.collection::<Note>("notes").unwrap();
    for batch in 0..7 {
        let mut transaction = a.transaction();
        for n in 0..700 {
            transaction.insert(&notes, &note(&format!("{batch}-{n}"))).unwrap();
        }
        transaction.commit().await.unwrap();
    }
    soon(a.sync_now()).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    let state = b.state().await.unwrap();
    assert_eq!(state.scopes[0].documents, 4_900);
    assert_eq!(state.scopes[0].digest, a.state().await.unwrap().scopes[0].digest);
    assert_eq!(b.statistics().borrow().pulled, 4_900);
    assert_eq!(a.statistics().borrow().pushed, 4_900);
}

#[tokio::test]
async fn a_single_sync_pulls_everything_while_another_replica_follows() {
    let server = server();
    let (a, b) = (replica(&server, 1).await, replica(&server, 2).await);
    let listener = replica(&server, 3).await;
    let notes = a.collection::<Note>("notes").unwrap();
    notes.insert_with_id("1", &note("one")).await.unwrap();
    soon(a.sync_now()).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    // While a replica follows, the server keeps the newest appends, each a separate chunk.
    listener.start().await.unwrap();
    soon(listener.wait_until_in_sync()).await.unwrap();
    for id in ["2", "3", "4"] {
        notes.insert_with_id(id, &note(id)).await.unwrap();
        soon(a.sync_now()).await.unwrap();
    }
    soon(b.sync_now()).await.unwrap();
    assert!(b.collection::<Note>("notes").unwrap().get("4").await.unwrap().is_some());
    assert_eq!(b.statistics().borrow().pulled, 4);
    listener.stop().await;
}

#[tokio::test]
async fn a_reset_pulls_afresh_and_keeps_unsynced_edits() {
    let server = server();
    let a = replica(&server, 1).await;
    let notes = a.collection::<Note>("notes").unwrap();
    notes.insert_with_id("old", &note("old")).await.unwrap();
    soon(a.sync_now()).await.unwrap();
    notes.insert_with_id("new", &note("new")).await.unwrap();
    a.reset().await.unwrap();
    soon(a.sync_now()).await.unwrap();
    assert!(notes.get("old").await.unwrap().unwrap().is_synced());
    assert!(notes.get("new").await.unwrap().unwrap().is_synced());
}

#[tokio::test]
async fn the_status_follows_the_activity_of_the_replica() {
    let server = server();
    let a = replica(&server, 1).await;
    let mut status = a.status();
    assert_eq!(status.borrow().activity, Activity::Idle);
    a.collection::<Note>("notes").unwrap().insert(&note("x")).await.unwrap();
    soon(status.wait_for(|s| s.outbox.pending == 1)).await.unwrap();
    a.start().await.unwrap();
    soon(status.wait_for(|s| s.in_sync && s.outbox.pending == 0)).await.unwrap();
    a.stop().await;
    soon(status.wait_for(|s| !s.in_sync && s.activity == Activity::Idle)).await.unwrap();
    a.close().await.unwrap();
    let error = a.state().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn conflicts_too_large_for_one_answer_are_sent_one_after_the_other() {
    let server = server();
    let (a, b) = (replica(&server, 1).await, replica(&server, 2).await);
    let (da, db) = (a.raw("documents").unwrap(), b.raw("documents").unwrap());
    let big = |c: &str| Body::parse(format!("\"{}\"", c.repeat(1_000_000))).unwrap();
    for n in 0..20 {
        da.put(&n.to_string(), &big("a")).await.unwrap();
    }
    soon(a.sync_now()).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    for n in 0..20 {
        da.put(&n.to_string(), &big("b")).await.unwrap();
    }
    soon(a.sync_now()).await.unwrap();
    for n in 0..20 {
        db.put(&n.to_string(), &Body::parse("1").unwrap()).await.unwrap();
    }
    soon(b.push()).await.unwrap();
    soon(a.sync_now()).await.unwrap();
    soon(b.sync_now()).await.unwrap();
    for n in 0..20 {
        let mine = db.get(&n.to_string()).await.unwrap().unwrap();
        assert_eq!(mine.value().as_str(), "1");
        assert!(mine.is_synced());
        assert_eq!(da.get(&n.to_string()).await.unwrap().unwrap().revision(), mine.revision());
    }
    assert_eq!(b.statistics().borrow().conflicts, 20, "each was met once");
}

#[tokio::test]
async fn a_full_pull_loses_nothing_while_others_listen() {
    let server = server();
    let (a, b, c) =
        (replica(&server, 1).await, replica(&server, 2).await, replica(&server, 3).await);
    let notes = a.collection::<Note>("notes").unwrap();
    notes.insert(&note("first")).await.unwrap();
    soon(a.sync_now()).await.unwrap();
    c.start().await.unwrap();
    soon(c.wait_until_in_sync()).await.unwrap();
    let mut changes = c.changes().await.unwrap();
    for n in 0..40 {
        notes.insert(&note(&n.to_string())).await.unwrap();
        soon(a.sync_now()).await.unwrap();
        soon(changes.next()).await.unwrap().unwrap();
    }
    soon(b.sync_now()).await.unwrap();
    b.reset().await.unwrap();
    soon(b.sync_now()).await.unwrap();
    assert_eq!(b.state().await.unwrap().scopes[0].documents, 41);
}

#[tokio::test]
async fn sync_now_on_a_started_replica_sends_a_pull() {
    let server = server();
    let (a, b) = (replica(&server, 1).await, replica(&server, 2).await);
    b.start().await.unwrap();
    soon(b.wait_until_in_sync()).await.unwrap();
    let (na, nb) = (a.collection("notes").unwrap(), b.collection::<Note>("notes").unwrap());
    for n in 0..20 {
        na.insert_with_id(&n.to_string(), &note("new")).await.unwrap();
        soon(a.sync_now()).await.unwrap();
        soon(b.sync_now()).await.unwrap();
        assert!(nb.get(&n.to_string()).await.unwrap().is_some(), "note {n}");
    }
}

#[tokio::test]
async fn one_shot_syncs_at_the_same_time_take_turns() {
    let server = server();
    let a = replica(&server, 1).await;
    a.collection::<Note>("notes").unwrap().insert(&note("x")).await.unwrap();
    let (one, two, three) = tokio::join!(a.sync_now(), a.pull(), a.sync_now());
    one.and(two).and(three).unwrap();
}

#[tokio::test]
async fn two_replicas_over_one_storage_do_not_take_the_lease_from_each_other() {
    let server = server();
    let first = builder(&server, 1).holder("the first").open().await.unwrap();
    let storage = std::sync::Arc::clone(first.storage());
    let second = builder(&server, 2).storage(storage).holder("the second").open().await.unwrap();
    first.start().await.unwrap();
    soon(first.wait_until_in_sync()).await.unwrap();
    for refused in [second.start().await, second.sync_now().await, second.reset().await] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(error.to_string().contains("the first"), "{error}");
    }
    first.raw("notes").unwrap().put("a", &Body::parse("1".to_owned()).unwrap()).await.unwrap();
    soon(first.wait_until_in_sync()).await.unwrap();
    first.stop().await;
    soon(second.sync_now()).await.unwrap();
    soon(first.sync_now()).await.unwrap();
}
