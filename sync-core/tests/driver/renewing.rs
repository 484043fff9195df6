//! Connections that continue with another token.

use std::time::Duration;

use tokio::time::Instant;

use super::support::{Fixture, network, until};
use super::tokens::{Provider, some, unauthenticated, with_token};
use sync_core::driver::{Driver, DriverOptions};
use sync_core::engine::{Goal, Phase};
use sync_core::error::{Error, ErrorKind, Retry};

/// A driver that is in sync on a connection.
async fn connected(fixture: &mut Fixture, options: DriverOptions) -> Driver {
    let driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    driver
}

#[tokio::test(start_paused = true)]
async fn a_connection_continues_with_a_token_that_is_given() {
    let mut fixture = Fixture::new();
    let driver = connected(&mut fixture, with_token("a")).await;
    driver.set_token(some("b"));
    let renewal = fixture.peer.renew().await;
    assert_eq!(renewal.what, "b");
    renewal.answer(());
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
    assert_eq!(driver.status().borrow().progress.phase, Phase::InSync);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_the_connection_and_none_are_not_sent() {
    let mut fixture = Fixture::new();
    let driver = connected(&mut fixture, with_token("a")).await;
    for token in [some("a"), None] {
        driver.set_token(token);
        fixture.peer.is_quiet_for(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_one_at_a_time_and_the_newest_one_last() {
    let mut fixture = Fixture::new();
    let driver = connected(&mut fixture, with_token("a")).await;
    driver.set_token(some("b"));
    let renewal = fixture.peer.renew().await;
    for token in ["c", "d"] {
        driver.set_token(some(token));
        fixture.peer.is_quiet_for(Duration::from_secs(10)).await;
    }
    renewal.answer(());
    let renewal = fixture.peer.renew().await;
    assert_eq!(renewal.what, "d");
    renewal.answer(());
    fixture.peer.is_quiet_for(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_given_while_connecting_is_sent_on_the_new_connection() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(with_token("a"), Goal::ONCE).await;
    let attempt = fixture.peer.connect().await;
    driver.set_token(some("b"));
    fixture.peer.is_quiet_for(Duration::from_secs(1)).await;
    attempt.welcome(0);
    assert_eq!(fixture.peer.renew().await.what, "b");
}

#[tokio::test(start_paused = true)]
async fn with_a_provider_a_given_token_is_used_only_by_the_open_connection() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["asked", "asked again"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    let link = fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    driver.set_token(some("given"));
    let renewal = fixture.peer.renew().await;
    assert_eq!(renewal.what, "given");
    renewal.answer(());
    fixture.peer.is_quiet_for(Duration::from_secs(60)).await;
    link.lose(network("the cable is cut"));
    assert_eq!(fixture.peer.connect().await.what.token, some("asked again"));
    assert_eq!(provider.asked(), [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_without_a_provider_is_a_refusal() {
    let mut fixture = Fixture::new();
    let driver = connected(&mut fixture, with_token("a")).await;
    driver.set_token(some("b"));
    fixture.peer.renew().await.fail(unauthenticated("not this one"));
    let status = until(&driver, |s| s.progress.refused == Some(ErrorKind::Unauthenticated)).await;
    assert_eq!(status.progress.phase, Phase::Stopped);
    assert_eq!(status.last_error.unwrap().to_string(), "renew the token: not this one");
    fixture.peer.close().await;
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_refused_renewal_the_provider_is_called_for_another_token() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let driver = connected(&mut fixture, options).await;
    driver.set_token(some("given"));
    fixture.peer.renew().await.fail(unauthenticated("not this one"));
    assert_eq!(fixture.peer.connect().await.what.token, some("b"));
    assert_eq!(provider.asked(), [None, some("given")]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_is_followed_by_the_token_that_was_given_meanwhile() {
    let mut fixture = Fixture::new();
    let driver = connected(&mut fixture, with_token("a")).await;
    driver.set_token(some("b"));
    let renewal = fixture.peer.renew().await;
    driver.set_token(some("c"));
    fixture.peer.is_quiet_for(Duration::from_secs(1)).await;
    renewal.fail(unauthenticated("not this one"));
    assert_eq!(fixture.peer.connect().await.what.token, some("c"));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_for_something_else_keeps_the_servers_advice() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let driver = connected(&mut fixture, options).await;
    driver.set_token(some("given"));
    let wait = Duration::from_secs(90);
    let busy = Error::new(ErrorKind::Overloaded, "too many at once");
    fixture.peer.renew().await.fail(busy.retrying(Retry::Later(Some(wait))));
    let failed = Instant::now();
    until(&driver, |s| s.progress.phase == Phase::Offline).await;
    assert_eq!(fixture.peer.connect().await.what.token, some("b"));
    assert!(failed.elapsed() >= wait);
    assert_eq!(provider.asked(), [None, None], "nothing was refused");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_without_an_answer_is_a_timeout() {
    let mut fixture = Fixture::new();
    let driver = connected(&mut fixture, with_token("a")).await;
    driver.set_token(some("b"));
    let began = Instant::now();
    let renewal = fixture.peer.renew().await;
    renewal.dropped().await;
    assert_eq!(began.elapsed(), Duration::from_secs(60));
    let status = until(&driver, |s| s.progress.phase == Phase::Offline).await;
    let error = status.last_error.unwrap().to_string();
    assert_eq!(error, "renew the token: there was no answer in time");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_on_a_lost_connection_does_not_affect_the_next_one() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let driver = connected(&mut fixture, options).await;
    driver.set_token(some("given"));
    let renewal = fixture.peer.renew().await;
    driver.run(Goal::ONCE).await.unwrap();
    let pull = fixture.peer.pull().await;
    // Both answers have arrived before the driver reads the first one.
    pull.fail(Error::new(ErrorKind::Closed, "the server restarts").retrying(Retry::Reconnect));
    renewal.fail(unauthenticated("not this one"));
    let attempt = fixture.peer.connect().await;
    let status = driver.status().borrow().clone();
    assert_eq!(status.last_error.unwrap().message(), "the server restarts");
    assert_eq!(provider.asked(), [None, None]);
    attempt.welcome(1);
    until(&driver, |s| s.runs == 2 && s.progress.phase == Phase::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_from_before_the_renewal_leads_to_another_connection() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(with_token("a"), Goal::ONCE).await;
    fixture.peer.greet(1).await;
    let pull = fixture.peer.pull().await;
    driver.set_token(some("b"));
    fixture.peer.renew().await.answer(());
    fixture.peer.is_quiet_for(Duration::from_secs(1)).await;
    pull.fail(unauthenticated("it has expired"));
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("b"));
    attempt.welcome(1);
    // On this connection it is clear which token was refused.
    fixture.peer.pull().await.fail(unauthenticated("it has expired"));
    until(&driver, |s| s.progress.refused == Some(ErrorKind::Unauthenticated)).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_being_renewed_is_not_the_refused_one() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(with_token("a"), Goal::ONCE).await;
    fixture.peer.greet(1).await;
    let pull = fixture.peer.pull().await;
    driver.set_token(some("b"));
    let _unanswered = fixture.peer.renew().await;
    pull.fail(unauthenticated("it has expired"));
    assert_eq!(fixture.peer.connect().await.what.token, some("b"));
}
