//! The number of failures in a row that is an error, what continues despite it, and what stops
//! without retries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::faulty::Faulty;
use support::{builder, server, soon};
use twotide::backend::error::Retry;
use twotide::prelude::*;
use twotide::{EventStream, ReplicaBuilder, RetryPolicy};

fn unreachable() -> Error {
    Error::new(ErrorKind::Network, "nobody answers")
}

fn busy() -> Error {
    Error::new(ErrorKind::Overloaded, "too many pushes").retrying(Retry::Later(None))
}

/// A replica on a transport with faults, with short delays between its attempts.
fn faulty() -> (ReplicaBuilder, Faulty) {
    let server = server();
    let transport = Faulty::new(Arc::new(server.in_process()));
    let mut retry = RetryPolicy::default();
    (retry.first, retry.ceiling) = (Duration::from_millis(1), Duration::from_millis(5));
    (builder(&server, 1).transport(Arc::new(transport.clone())).retry(retry), transport)
}

async fn put(replica: &Replica) {
    replica.raw("notes").unwrap().put("n", &Body::parse("1").unwrap()).await.unwrap();
}

fn failing(replica: &Replica) -> EventStream {
    replica.event_stream(EventFilter::all().kinds([EventKind::Failing]))
}

async fn shows(replica: &Replica, activity: Activity) -> Status {
    let mut status = replica.status();
    soon(status.wait_for(|s| s.activity == activity)).await.unwrap().clone()
}

#[tokio::test]
async fn max_failures_are_an_error_and_the_replica_recovers_without_a_restart() {
    let (builder, transport) = faulty();
    transport.faults.connect(Some(unreachable()));
    let replica = builder.max_failures(3).open().await.unwrap();
    let mut events = failing(&replica);
    put(&replica).await;
    let mut status = replica.status();
    replica.start().await.unwrap();
    let early = soon(status.wait_for(|s| s.failures > 0)).await.unwrap().clone();
    assert!(early.failures >= 3 || early.activity != Activity::Error, "{early:?}");
    let shown = shows(&replica, Activity::Error).await;
    assert!(shown.failures >= 3 && shown.retries && !shown.in_sync, "{shown:?}");
    assert_eq!(shown.error.unwrap().message(), "nobody answers");
    // The error state lasts from one attempt to the next, and is reported once.
    let tries = transport.faults.connects.load(Ordering::SeqCst);
    soon(status.wait_for(|s| {
        assert!(s.failures < 3 || s.activity == Activity::Error, "{s:?}");
        s.failures >= 12
    }))
    .await
    .unwrap();
    assert!(transport.faults.connects.load(Ordering::SeqCst) > tries);
    assert_eq!(events.next_ready(), Some(SyncEvent::Failing(3)));
    assert_eq!(events.next_ready(), None);

    // The fault ends: no restart and no local write is needed.
    transport.faults.connect(None);
    let shown = soon(status.wait_for(|s| s.in_sync)).await.unwrap().clone();
    assert_eq!((shown.activity, shown.failures), (Activity::Idle, 0));
    assert_eq!(replica.status_now().outbox.pending, 0);
}

#[tokio::test]
async fn pushes_that_fail_on_a_good_connection_count_as_well() {
    let (builder, transport) = faulty();
    let replica = builder.open().await.unwrap();
    let mut events = failing(&replica);
    replica.start().await.unwrap();
    soon(replica.wait_until_in_sync()).await.unwrap();
    transport.faults.push(Some(busy()));
    put(&replica).await;
    let shown = shows(&replica, Activity::Error).await;
    assert_eq!(shown.error.unwrap().kind(), ErrorKind::Overloaded);
    assert_eq!(soon(events.next()).await.unwrap().unwrap(), SyncEvent::Failing(5), "the default");
    transport.faults.push(None);
    assert_eq!(shows(&replica, Activity::Idle).await.failures, 0);
    assert_eq!(transport.faults.connects.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_sync_on_a_started_replica_fails_and_the_replica_keeps_retrying() {
    let (builder, transport) = faulty();
    transport.faults.connect(Some(unreachable()));
    let replica = builder.max_failures(2).open().await.unwrap();
    replica.start().await.unwrap();
    for _ in 0..2 {
        let error = soon(replica.sync_now()).await.unwrap_err();
        assert_eq!(error.message(), "nobody answers");
    }
    transport.faults.connect(None);
    soon(replica.wait_until_in_sync()).await.unwrap();
}

#[tokio::test]
async fn without_retries_a_replica_stops_after_one_failure_until_it_is_started() {
    for is_push in [false, true] {
        let (builder, transport) = faulty();
        let mut retry = RetryPolicy::default();
        retry.enabled = false;
        let replica = builder.retry(retry).open().await.unwrap();
        if is_push {
            transport.faults.push(Some(busy()));
        } else {
            transport.faults.connect(Some(unreachable()));
        }
        put(&replica).await;
        replica.start().await.unwrap();
        let shown = shows(&replica, Activity::Error).await;
        assert!(!shown.retries, "{shown:?}");
        let asked = || {
            let faults = &transport.faults;
            (faults.connects.load(Ordering::SeqCst), faults.pushes.load(Ordering::SeqCst))
        };
        assert_eq!(asked(), (1, usize::from(is_push)));
        transport.faults.push(None);
        transport.faults.connect(None);
        replica.start().await.unwrap();
        soon(replica.wait_until_in_sync()).await.unwrap();
        assert_eq!(replica.sync_state("notes", "n").await.unwrap().as_str(), "synced");
    }
}
