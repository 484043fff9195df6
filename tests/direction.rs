//! A replica that only pushes, or only pulls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;

use support::{builder, server, soon};
use twotide::Direction;
use twotide::prelude::*;
use twotide::server::Server;

async fn replica(server: &Server, id: u8, direction: Direction) -> Replica {
    builder(server, id).direction(direction).open().await.unwrap()
}

fn body(text: &str) -> Body {
    Body::from_value(&text).unwrap()
}

async fn put(replica: &Replica, id: &str, text: &str) {
    replica.raw("notes").unwrap().put(id, &body(text)).await.unwrap();
}

async fn get(replica: &Replica, id: &str) -> Option<Body> {
    let found = replica.raw("notes").unwrap().get(id).await.unwrap();
    found.map(|document| document.value().clone())
}

#[tokio::test]
async fn a_push_only_replica_pushes_and_pulls_nothing() {
    let server = server();
    let pusher = replica(&server, 1, Direction::Push).await;
    let other = replica(&server, 2, Direction::Both).await;
    put(&other, "theirs", "theirs").await;
    soon(other.sync_now()).await.unwrap();
    put(&pusher, "mine", "mine").await;
    soon(pusher.sync_now()).await.unwrap();
    soon(other.sync_now()).await.unwrap();
    assert_eq!(get(&other, "mine").await, Some(body("mine")));
    assert_eq!(get(&pusher, "theirs").await, None);
    assert!(pusher.raw("notes").unwrap().get("mine").await.unwrap().unwrap().is_synced());
    assert_eq!(pusher.statistics().borrow().pulled, 0);
}

#[tokio::test]
async fn a_started_push_only_replica_pushes_edits_as_they_are_made() {
    let server = server();
    let pusher = replica(&server, 1, Direction::Push).await;
    let other = replica(&server, 2, Direction::Both).await;
    other.start().await.unwrap();
    pusher.start().await.unwrap();
    soon(pusher.wait_until_in_sync()).await.unwrap();
    let mut changes = other.changes().await.unwrap();
    for text in ["one", "two", "three"] {
        put(&pusher, "n", text).await;
        let change = soon(changes.next()).await.unwrap().unwrap();
        assert_eq!(change.document::<Body>().unwrap().unwrap().value(), &body(text));
    }
    put(&other, "theirs", "theirs").await;
    soon(other.wait_until_in_sync()).await.unwrap();
    soon(pusher.sync_now()).await.unwrap();
    assert_eq!(get(&pusher, "theirs").await, None);
}

#[tokio::test]
async fn a_push_only_replica_resolves_the_conflicts_of_its_edits() {
    let server = server();
    let pusher =
        builder(&server, 1).direction(Direction::Push).resolver(ClientWins).open().await.unwrap();
    let other = replica(&server, 2, Direction::Both).await;
    put(&other, "n", "theirs").await;
    soon(other.sync_now()).await.unwrap();
    put(&pusher, "n", "mine").await;
    soon(pusher.sync_now()).await.unwrap();
    soon(other.sync_now()).await.unwrap();
    assert_eq!(get(&other, "n").await, Some(body("mine")));
    assert_eq!(pusher.statistics().borrow().conflicts, 1);
}

#[tokio::test]
async fn a_pull_only_replica_keeps_its_edits_in_the_outbox_and_is_in_sync() {
    let server = server();
    let puller = replica(&server, 1, Direction::Pull).await;
    let other = replica(&server, 2, Direction::Both).await;
    put(&other, "theirs", "theirs").await;
    soon(other.sync_now()).await.unwrap();
    put(&puller, "mine", "mine").await;
    soon(puller.sync_now()).await.unwrap();
    soon(puller.pull()).await.unwrap();
    puller.start().await.unwrap();
    soon(puller.wait_until_in_sync()).await.unwrap();
    let mut status = puller.status();
    let is_so = |s: &Status| {
        s.in_sync
            && s.outbox.pending == 1
            && (s.activity, s.direction) == (Activity::Idle, Direction::Pull)
    };
    soon(status.wait_for(is_so)).await.unwrap();
    // What follows live comes, what is written here stays.
    put(&puller, "mine too", "mine").await;
    put(&other, "theirs", "theirs anew").await;
    soon(other.sync_now()).await.unwrap();
    let mut changes = puller.changes_after(0);
    while get(&puller, "theirs").await != Some(body("theirs anew")) {
        soon(changes.next()).await.unwrap().unwrap();
    }
    soon(puller.sync_now()).await.unwrap();
    soon(other.sync_now()).await.unwrap();
    assert_eq!((get(&other, "mine").await, get(&other, "mine too").await), (None, None));
    assert_eq!(puller.state().await.unwrap().outbox(puller.scope()).pending, 2);
    puller.stop().await;

    let both = builder(&server, 1).storage(Arc::clone(puller.storage())).open().await.unwrap();
    soon(both.sync_now()).await.unwrap();
    soon(other.sync_now()).await.unwrap();
    assert_eq!(get(&other, "mine").await, Some(body("mine")));
    assert_eq!(get(&other, "mine too").await, Some(body("mine")));
}

#[tokio::test]
async fn a_pull_only_replica_has_conflicts_with_its_waiting_edits() {
    let server = server();
    let puller =
        builder(&server, 1).direction(Direction::Pull).resolver(ServerWins).open().await.unwrap();
    let other = replica(&server, 2, Direction::Both).await;
    put(&puller, "n", "mine").await;
    put(&other, "n", "theirs").await;
    soon(other.sync_now()).await.unwrap();
    soon(puller.sync_now()).await.unwrap();
    assert_eq!(get(&puller, "n").await, Some(body("theirs")));
    assert_eq!(puller.state().await.unwrap().outbox(puller.scope()).pending, 0);
}

#[tokio::test]
async fn calls_that_the_direction_does_not_allow_fail_at_once() {
    let server = server();
    let puller = replica(&server, 1, Direction::Pull).await;
    let pusher = replica(&server, 2, Direction::Push).await;
    for error in [puller.push().await.unwrap_err(), pusher.pull().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("the direction `both`"), "{error}");
    }
    soon(puller.pull()).await.unwrap();
    soon(pusher.push()).await.unwrap();
}
