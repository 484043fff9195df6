//! The last error in the status: the message of the side that failed, or else one of the driver.

use std::time::Duration;

use super::support::{EPOCH, Fixture, chunk, entry, network, options, until};
use sync_core::driver::{Driver, DriverStatus};
use sync_core::engine::{Goal, Phase};
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{Reset, ResetReason, Scope, Verdicts};
use sync_core::transport::Delivery;

/// Waits for an error in the status, and returns its kind, its message and the status.
async fn shown(driver: &Driver) -> (ErrorKind, String, DriverStatus) {
    let status = until(driver, |s| s.last_error.is_some()).await;
    let error = status.last_error.clone().unwrap();
    (error.kind(), error.message().to_owned(), status)
}

/// Asserts that the driver shows that error.
fn is_shown(driver: &Driver, kind: ErrorKind, message: &str) {
    let error = driver.status().borrow().last_error.clone().unwrap();
    assert_eq!((error.kind(), error.message()), (kind, message));
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_the_greeting_leaves_out_is_named() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.connect().await.welcome_without_scopes();
    let (kind, message, status) = shown(&driver).await;
    assert_eq!(kind, ErrorKind::PermissionDenied);
    assert_eq!(message, "the server does not serve this scope");
    let error = status.last_error.unwrap();
    assert!(error.to_string().contains("scope default"), "{error}");
    assert_eq!((error.retry(), status.progress.refused), (Retry::Never, Some(kind)));
}

#[tokio::test(start_paused = true)]
async fn the_servers_message_for_a_refused_scope_is_kept() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let denied = Error::new(ErrorKind::PermissionDenied, "ask for an invitation");
    for _ in 0..2 {
        // The first refusal is confirmed by another greeting.
        fixture.peer.greet(0).await;
        fixture.peer.pull().await.fail(denied.clone());
    }
    until(&driver, |s| s.progress.refused == Some(ErrorKind::PermissionDenied)).await;
    is_shown(&driver, ErrorKind::PermissionDenied, "ask for an invitation");
}

#[tokio::test(start_paused = true)]
async fn a_refused_scope_is_shown_after_another_failure() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.connect().await.fail(network("the link is down"));
    fixture.peer.connect().await.welcome_without_scopes();
    until(&driver, |s| s.progress.refused.is_some()).await;
    is_shown(&driver, ErrorKind::PermissionDenied, "the server does not serve this scope");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_a_timeout() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.connect().await.fail(network("the link is down"));
    fixture.peer.greet(0).await;
    let _unanswered = fixture.peer.pull().await;
    let status = until(&driver, |s| s.failures == 2).await;
    assert_eq!(status.progress.phase, Phase::Offline);
    is_shown(&driver, ErrorKind::Timeout, "there was no answer in time");
}

#[tokio::test(start_paused = true)]
async fn the_transports_message_for_a_timeout_is_kept() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let slow = Error::new(ErrorKind::Timeout, "the proxy gave up").retrying(Retry::Later(None));
    fixture.peer.connect().await.fail(slow);
    until(&driver, |s| s.progress.phase == Phase::Offline).await;
    is_shown(&driver, ErrorKind::Timeout, "the proxy gave up");
}

#[tokio::test(start_paused = true)]
async fn the_servers_message_for_a_failed_pull_and_the_connection_are_kept() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(0).await;
    fixture.peer.pull().await.fail(Error::new(ErrorKind::Overloaded, "too many at once"));
    let (kind, message, status) = shown(&driver).await;
    assert_eq!((kind, message.as_str()), (ErrorKind::Overloaded, "too many at once"));
    assert_eq!((status.progress.phase, status.failures), (Phase::Syncing, 1));
    fixture.peer.pull().await.nothing_new();
}

#[tokio::test(start_paused = true)]
async fn answers_that_move_nothing_are_shown() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.connect().await.fail(network("the link is down"));
    fixture.peer.greet(2).await;
    for _ in 0..2 {
        // It does not begin at the replica's position.
        let chunk = chunk(1, vec![entry(2)]);
        fixture.peer.pull().await.answer(Delivery::Chunk(chunk));
    }
    let status = until(&driver, |s| s.failures == 2).await;
    assert_eq!(status.progress.phase, Phase::Syncing);
    is_shown(&driver, ErrorKind::Protocol, "the answers of the server make no progress");
    let error = status.last_error.unwrap();
    assert!(error.to_string().contains("scope default"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_discarded_twice_in_a_row_is_shown() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(2).await;
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    for _ in 0..2 {
        fixture.peer.pull().await.answer(Delivery::Reset(reset));
    }
    let (kind, message, _) = shown(&driver).await;
    assert_eq!(kind, ErrorKind::Superseded);
    assert_eq!(message, "the server resets the position repeatedly");
}

/// The server always answers that another replica has the name of this one.
async fn claims_another_replica(fixture: &mut Fixture) {
    fixture.write("note").await;
    for _ in 0..2 {
        fixture.peer.greet(0).await;
        fixture.peer.push().await.answer(Verdicts::Cloned);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_new_identity_in_a_row_is_shown_as_such() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    claims_another_replica(&mut fixture).await;
    let (kind, message, status) = shown(&driver).await;
    assert_eq!((kind, status.progress.phase), (ErrorKind::Superseded, Phase::Offline));
    assert_eq!(message, "the server answers for another replica, or another epoch of its log");
    assert_eq!(fixture.storage.calls("reidentify"), 2);
    assert_eq!(fixture.peer.close().await.reason, "the replica begins anew");
}

#[tokio::test(start_paused = true)]
async fn the_servers_message_for_another_epoch_of_its_log_is_kept() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(0).await;
    let restored = Error::new(ErrorKind::Superseded, "a backup was restored");
    fixture.peer.pull().await.fail(restored.retrying(Retry::Reconnect));
    let (kind, message, status) = shown(&driver).await;
    assert_eq!((kind, status.progress.phase), (ErrorKind::Superseded, Phase::Offline));
    assert_eq!(message, "a backup was restored");
}

#[tokio::test(start_paused = true)]
async fn documents_that_differ_after_a_full_pull_are_shown() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(2).await;
    for _ in 0..2 {
        fixture.bring(2).await;
        let reset = Reset { epoch: EPOCH, reason: ResetReason::DigestDiffers };
        fixture.peer.acknowledge().await.answer(Some(reset));
    }
    let (kind, message, status) = shown(&driver).await;
    assert_eq!((kind, status.progress.refused), (ErrorKind::Internal, Some(ErrorKind::Internal)));
    assert!(message.starts_with("the documents differ from the server's"), "{message}");
    let error = status.last_error.unwrap();
    assert!(error.to_string().contains(Scope::default().as_str()), "{error}");
}

#[tokio::test(start_paused = true)]
async fn once_everything_is_in_sync_the_error_is_gone_for_good() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.connect().await.fail(network("the link is down"));
    until(&driver, |s| s.last_error.is_some()).await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    let now = fixture.parts.environment.now();
    let status = until(&driver, |s| s.progress.phase == Phase::InSync).await;
    assert!(status.last_error.is_none());
    assert_eq!(status.last_sync, Some(now));
    driver.run(Goal::ONCE).await.unwrap();
    let status = until(&driver, |s| s.progress.phase == Phase::Syncing).await;
    assert!(status.last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_retries_the_first_failure_is_a_refusal() {
    let mut fixture = Fixture::new();
    let mut options = options();
    options.engine.retry.enabled = false;
    let driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.connect().await.fail(network("the link is down"));
    let status = until(&driver, |s| s.progress.refused.is_some()).await;
    assert_eq!(
        (status.progress.phase, status.progress.refused),
        (Phase::Stopped, Some(ErrorKind::Network))
    );
    is_shown(&driver, ErrorKind::Network, "the link is down");
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
}
