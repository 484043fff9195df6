//! Failed attempts are recorded in the storage, and cleared once everything is in sync.

use std::time::Duration;

use super::support::{BEGINNING, Fixture, chunk, entry, key, network, options, until};
use sync_core::clock::Now;
use sync_core::driver::DriverOptions;
use sync_core::engine::{Goal, Phase};
use sync_core::error::{Error, ErrorKind};
use sync_core::model::Scope;
use sync_core::replica::{Context, Failed, Failures, LocalTransaction, LocalWrite, WriteOperation};
use sync_core::resolver::Resolvers;
use sync_core::storage::Storage;
use sync_core::transport::Delivery;

fn scopes() -> [Scope; 2] {
    [Scope::new("one").unwrap(), Scope::new("two").unwrap()]
}

fn two_scopes() -> DriverOptions {
    let mut options = options();
    options.scopes = scopes().to_vec();
    options
}

async fn failures(fixture: &Fixture, scope: &Scope) -> Failures {
    let state = fixture.storage.state().await.unwrap();
    state.scope(scope).map(|s| s.failures.clone()).unwrap_or_default()
}

/// Makes a scope known: the storage keeps failures of scopes that exist.
async fn make_known(fixture: &Fixture, scope: Scope) {
    let id = key("note");
    let operation = WriteOperation::Put(sync_core::model::Body::from_value(&1).unwrap());
    let write = LocalWrite { collection: id.collection, id: id.id, operation };
    let transaction = LocalTransaction { scope, writes: vec![write] };
    fixture.storage.write(Now(BEGINNING), transaction).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_fails_is_noted_for_each_scope() {
    let mut fixture = Fixture::new();
    for scope in scopes() {
        make_known(&fixture, scope).await;
    }
    let driver = fixture.run(two_scopes(), Goal::ONCE).await;
    fixture.peer.connect().await.fail(network("the link is down"));
    until(&driver, |s| s.progress.phase == Phase::Offline).await;
    fixture.storage.called("note_attempt", 2).await;
    let (at, wait) = (Now(BEGINNING), Duration::from_millis(250));
    let message = network("the link is down").to_string();
    let retry_at = Some(at.plus(wait));
    let noted = Failed { kind: ErrorKind::Network, message, at, retry_at };
    for scope in scopes() {
        let found = failures(&fixture, &scope).await;
        assert_eq!((found.count, found.last.as_slice()), (1, std::slice::from_ref(&noted)));
    }
    fixture.peer.connect().await.fail(network("the link is down"));
    fixture.storage.called("note_attempt", 4).await;
    assert_eq!(until(&driver, |s| s.failures == 2).await.progress.phase, Phase::Offline);
    assert_eq!(failures(&fixture, &scopes()[0]).await.count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_pull_is_noted_for_its_scope_alone() {
    let mut fixture = Fixture::new();
    for scope in scopes() {
        make_known(&fixture, scope).await;
    }
    let pull = Goal { push: false, ..Goal::ONCE };
    let driver = fixture.run(two_scopes(), pull).await;
    fixture.peer.greet(0).await;
    let (one, two) = (fixture.peer.pull().await, fixture.peer.pull().await);
    assert_eq!([one.what.scope.clone(), two.what.scope.clone()], scopes());
    one.fail(Error::new(ErrorKind::Overloaded, "too many at once"));
    assert_eq!(until(&driver, |s| s.failures == 1).await.progress.phase, Phase::Syncing);
    fixture.storage.called("note_attempt", 1).await;
    let found = failures(&fixture, &scopes()[0]).await;
    assert_eq!((found.count, found.last[0].kind), (1, ErrorKind::Overloaded));
    assert_eq!(failures(&fixture, &scopes()[1]).await, Failures::default());
}

#[tokio::test(start_paused = true)]
async fn a_refused_scope_is_noted_without_a_time_of_the_next_attempt() {
    let mut fixture = Fixture::new();
    fixture.write("note").await;
    let driver = fixture.once().await;
    fixture.peer.connect().await.welcome_without_scopes();
    let status = until(&driver, |s| s.progress.refused.is_some()).await;
    assert_eq!(status.failures, 0, "no attempt failed");
    fixture.storage.called("note_attempt", 1).await;
    let found = failures(&fixture, &Scope::default()).await;
    assert_eq!(found.count, 1);
    assert_eq!((found.last[0].kind, found.last[0].retry_at), (ErrorKind::PermissionDenied, None));
}

#[tokio::test(start_paused = true)]
async fn noted_failures_are_cleared_when_everything_is_in_sync() {
    let mut fixture = Fixture::new();
    fixture.write("note").await;
    let driver = fixture.run(options(), Goal { push: false, ..Goal::ONCE }).await;
    fixture.peer.connect().await.fail(network("the link is down"));
    fixture.storage.called("note_attempt", 1).await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    fixture.storage.called("note_attempt", 2).await;
    assert_eq!(failures(&fixture, &Scope::default()).await, Failures::default());
    // There is nothing to clear the next time.
    driver.run(Goal { push: false, ..Goal::ONCE }).await.unwrap();
    until(&driver, |s| s.runs == 2 && s.progress.phase == Phase::Syncing).await;
    fixture.peer.pull().await.nothing_new();
    until(&driver, |s| s.runs == 2 && s.progress.phase == Phase::InSync).await;
    assert_eq!(fixture.storage.calls("note_attempt"), 2);
}

/// Brings a replica without failures of its own into sync.
async fn sync_once(fixture: &mut Fixture) {
    let driver = fixture.run(options(), Goal { push: false, ..Goal::ONCE }).await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_that_an_earlier_driver_noted_are_cleared_too() {
    let mut fixture = Fixture::new();
    fixture.write("note").await;
    let lease = fixture.storage.claim("an earlier driver".to_owned()).await.unwrap();
    let cx = Context { now: Now(BEGINNING), resolvers: Resolvers::default(), lease };
    let message = "the link was down".to_owned();
    let failed = Failed { kind: ErrorKind::Network, message, at: Now(BEGINNING), retry_at: None };
    fixture.storage.note_attempt(cx, Scope::default(), Some(failed)).await.unwrap();
    assert_eq!(failures(&fixture, &Scope::default()).await.count, 1);
    sync_once(&mut fixture).await;
    assert_eq!(failures(&fixture, &Scope::default()).await, Failures::default());
}

#[tokio::test(start_paused = true)]
async fn without_failures_nothing_is_noted() {
    let mut fixture = Fixture::new();
    fixture.write("note").await;
    sync_once(&mut fixture).await;
    assert_eq!(fixture.storage.calls("note_attempt"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_be_noted_delays_nothing() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.storage.fail("note_attempt", Error::new(ErrorKind::Storage, "the disk is full"));
    fixture.peer.connect().await.fail(network("the link is down"));
    fixture.peer.greet(1).await;
    let error = until(&driver, |s| s.progress.phase == Phase::Syncing).await.last_error.unwrap();
    assert_eq!(error.message(), "the link is down");
    let pull = fixture.peer.pull().await;
    pull.answer(Delivery::Chunk(chunk(0, vec![entry(1)])));
    fixture.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
}
