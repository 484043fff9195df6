//! Connections: made, cancelled, lost, made again.

use std::time::Duration;

use tokio::time::Instant;

use super::storage::REPLICA;
use super::support::{BEGINNING, Fixture, network, options, until, welcome};
use sync_core::clock::Now;
use sync_core::engine::{Goal, Phase};
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::Scope;
use sync_core::protocol::VERSIONS;

const FIRST_DELAY: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn a_greeting_has_the_values_of_the_options_and_the_storage() {
    let mut fixture = Fixture::new();
    let mut options = options();
    options.scopes = vec![Scope::new("a").unwrap(), Scope::new("b").unwrap()];
    (options.schema, options.agent) = (7, "notes/1".to_owned());
    let scopes = options.scopes.clone();
    let _driver = fixture.run(options, Goal::ONCE).await;
    let hello = fixture.peer.connect().await.what;
    assert_eq!((hello.versions.as_slice(), hello.replica), (VERSIONS, REPLICA));
    assert_eq!((hello.schema, hello.agent.as_str(), hello.token), (7, "notes/1", None));
    let greeted: Vec<_> = hello.scopes.into_iter().map(|greeting| greeting.scope).collect();
    assert_eq!(greeted, scopes);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_dropped_and_followed_by_another_one() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let began = Instant::now();
    fixture.peer.connect().await.dropped().await;
    assert_eq!(began.elapsed(), Duration::from_secs(15));
    let status = until(&driver, |s| s.progress.phase == Phase::Offline).await;
    assert_eq!(status.failures, 1);
    let attempt = fixture.peer.connect().await;
    assert_eq!(began.elapsed(), Duration::from_secs(15) + FIRST_DELAY);
    attempt.welcome(0);
    until(&driver, |s| s.progress.phase == Phase::Syncing).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_is_shown_and_made_again_after_a_delay() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let began = Instant::now();
    for (n, delay) in [(1, 250), (2, 500)] {
        fixture.peer.connect().await.fail(network("the link is down"));
        let status = until(&driver, |s| s.failures == n).await;
        assert_eq!(status.progress.phase, Phase::Offline);
        assert_eq!(status.last_error.unwrap().message(), "the link is down");
        fixture.peer.is_quiet_for(Duration::from_millis(delay - 1)).await;
    }
    fixture.peer.greet(0).await;
    assert_eq!(began.elapsed(), Duration::from_millis(250 + 500));
}

#[tokio::test(start_paused = true)]
async fn running_it_again_ends_the_wait_for_the_next_attempt_however_long_that_is() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    for wait in [Duration::from_secs(60 * 60), Duration::MAX] {
        let later = Error::new(ErrorKind::Overloaded, "come back later");
        fixture.peer.connect().await.fail(later.retrying(Retry::Later(Some(wait))));
        until(&driver, |s| s.progress.phase == Phase::Offline).await;
        fixture.peer.is_quiet_for(Duration::from_secs(30 * 60)).await;
        driver.run(Goal::ONCE).await.unwrap();
    }
    fixture.peer.greet(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_at_rest_is_made_again() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let link = fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    link.lose(network("the cable is cut"));
    let status = until(&driver, |s| s.progress.phase == Phase::Offline).await;
    assert_eq!(status.last_error.unwrap().message(), "the cable is cut");
    assert_eq!(fixture.peer.close().await.reason, "the replica begins anew");
    fixture.peer.greet(1).await;
    until(&driver, |s| s.progress.phase != Phase::Offline).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_welcome_cannot_be_noted_has_failed() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.storage.fail("note_server", Error::new(ErrorKind::Storage, "the disk is full"));
    fixture.peer.greet(0).await;
    let status = until(&driver, |s| s.failures == 1).await;
    assert_eq!(status.last_error.unwrap().message(), "the disk is full");
    fixture.peer.greet(0).await;
    until(&driver, |s| s.progress.phase == Phase::Syncing).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_greeting_does_not_count_as_a_clock_that_is_behind() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let attempt = fixture.peer.connect().await;
    fixture.peer.is_quiet_for(Duration::from_secs(10)).await;
    let mut welcome = welcome(&attempt.what, 0);
    welcome.server_time = BEGINNING + 10_000;
    attempt.welcome_with(welcome);
    until(&driver, |s| s.progress.phase == Phase::Syncing).await;
    let now = fixture.parts.environment.now();
    assert_eq!(Now(fixture.write("note").await.changes[0].stamp().millis()), now);
}
