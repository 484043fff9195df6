//! Why a document is not synced: the attempts, their results, and the next attempt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::faulty::Faulty;
use support::{builder, server, soon};
use twotide::backend::error::Retry;
use twotide::prelude::*;
use twotide::{RetryPolicy, SyncState, WaitingEdit};

async fn put(replica: &Replica, id: &str) {
    replica.raw("notes").unwrap().put(id, &Body::parse("1").unwrap()).await.unwrap();
}

async fn state(replica: &Replica, id: &str) -> SyncState {
    replica.sync_state("notes", id).await.unwrap()
}

/// Returns the waiting edit once it fulfils the condition.
async fn once(replica: &Replica, id: &str, is: impl Fn(&WaitingEdit) -> bool) -> WaitingEdit {
    let mut commits = replica.storage().commits();
    soon(async {
        loop {
            commits.borrow_and_update();
            match state(replica, id).await {
                SyncState::Pending(edit) | SyncState::InFlight(edit) if is(&edit) => return edit,
                _ => commits.changed().await.unwrap(),
            }
        }
    })
    .await
}

/// Short delays without jitter.
fn retry() -> RetryPolicy {
    let mut retry = RetryPolicy::default();
    (retry.first, retry.ceiling) = (Duration::from_millis(5), Duration::from_millis(20));
    retry.jitter = false;
    retry
}

fn unreachable() -> Error {
    Error::new(ErrorKind::Network, "nobody answers").with("host", "example.org")
}

fn busy() -> Error {
    let later = Retry::Later(Some(Duration::from_millis(7)));
    Error::new(ErrorKind::Overloaded, "too many pushes").retrying(later)
}

#[tokio::test]
async fn an_edit_that_cannot_be_pushed_shows_its_failures_and_the_next_attempt() {
    let server = server();
    let transport = Faulty::new(Arc::new(server.in_process()));
    transport.faults.connect(Some(unreachable()));
    let replica = builder(&server, 1)
        .transport(Arc::new(transport.clone()))
        .retry(retry())
        .open()
        .await
        .unwrap();
    put(&replica, "x").await;
    let SyncState::Pending(edit) = state(&replica, "x").await else { panic!("it is pending") };
    assert_eq!((edit.attempts, edit.failures, edit.errors.len()), (0, 0, 0), "nobody tried");

    replica.start().await.unwrap();
    let edit = once(&replica, "x", |edit| edit.failures >= 6).await;
    assert_eq!((edit.attempts, edit.errors.len()), (0, 4), "it was in no batch: {edit:?}");
    for error in &edit.errors {
        assert_eq!(error.kind, ErrorKind::Network);
        assert_eq!(error.message, unreachable().to_string());
        let wait = error.retry_at.unwrap().duration_since(error.at).unwrap();
        assert!(wait <= Duration::from_millis(20), "{wait:?}");
    }
    assert!(edit.errors.is_sorted_by_key(|e| e.at), "the oldest first");

    transport.faults.push(Some(busy()));
    transport.faults.connect(None);
    let edit = once(&replica, "x", |edit| edit.attempts >= 3).await;
    let last = edit.errors.last().unwrap();
    assert_eq!((last.kind, &*last.message), (ErrorKind::Overloaded, "too many pushes"));
    assert!(last.retry_at.unwrap() >= last.at + Duration::from_millis(7), "the server asks for it");
    assert_eq!(state(&replica, "x").await.as_str(), "in_flight");
    put(&replica, "y").await;
    let SyncState::Pending(edit) = state(&replica, "y").await else { panic!("it is pending") };
    assert_eq!(edit.attempts, 0, "it waits behind the batch");

    transport.faults.push(None);
    soon(replica.wait_until_in_sync()).await.unwrap();
    assert_eq!(state(&replica, "x").await.as_str(), "synced");
    replica.stop().await;
    put(&replica, "x").await;
    let SyncState::Pending(edit) = state(&replica, "x").await else { panic!("it is pending") };
    assert_eq!((edit.attempts, edit.failures, edit.errors.len()), (0, 0, 0), "it works again");
}

#[tokio::test]
async fn a_refusal_is_shown_without_a_next_attempt() {
    let server = server();
    let transport = Faulty::new(Arc::new(server.in_process()));
    let refusal = Error::new(ErrorKind::Unauthenticated, "this token is not the good one");
    transport.faults.connect(Some(refusal));
    let replica = builder(&server, 1).transport(Arc::new(transport)).open().await.unwrap();
    put(&replica, "x").await;
    soon(replica.sync_now()).await.unwrap_err();
    let SyncState::Pending(edit) = state(&replica, "x").await else { panic!("it is pending") };
    assert_eq!((edit.failures, edit.errors.len()), (1, 1));
    assert_eq!(edit.errors[0].kind, ErrorKind::Unauthenticated);
    assert_eq!(edit.errors[0].retry_at, None);
}

#[tokio::test]
async fn failures_are_cleared_when_everything_is_in_sync_without_a_push() {
    let server = server();
    let transport = Faulty::new(Arc::new(server.in_process()));
    transport.faults.connect(Some(unreachable()));
    let opened = builder(&server, 1).transport(Arc::new(transport.clone())).retry(retry());
    let replica = opened.max_failures(2).open().await.unwrap();
    put(&replica, "x").await;
    replica.raw("notes").unwrap().delete("x").await.unwrap();
    soon(replica.sync_now()).await.unwrap_err();
    transport.faults.connect(None);
    // A new driver, which has had no failure.
    soon(replica.sync_now()).await.unwrap();
    put(&replica, "y").await;
    let SyncState::Pending(edit) = state(&replica, "y").await else { panic!("it is pending") };
    assert_eq!(edit.failures, 0);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn another_process_reads_the_same_state_also_after_the_sync_stopped() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.db");
    let transport = Faulty::new(Arc::new(server.in_process()));
    transport.faults.push(Some(busy()));
    let open = || Replica::builder().sqlite(&file).retry(retry());
    let ours = open().transport(Arc::new(transport)).open().await.unwrap();
    // A handle that shares only the file, like another process.
    let theirs = open().open().await.unwrap();
    put(&theirs, "x").await;
    ours.start().await.unwrap();
    once(&theirs, "x", |edit| edit.attempts >= 2 && edit.failures >= 2).await;
    ours.close().await.unwrap();
    let SyncState::InFlight(left) = state(&theirs, "x").await else { panic!("it is in flight") };
    assert!(left.attempts >= 2 && left.errors.iter().all(|e| e.message == "too many pushes"));
    theirs.close().await.unwrap();
    let again = open().open().await.unwrap();
    let SyncState::InFlight(edit) = state(&again, "x").await else { panic!("it is in flight") };
    assert_eq!((edit.attempts, edit.failures), (left.attempts, left.failures));
    again.close().await.unwrap();
}
