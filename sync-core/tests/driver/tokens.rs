//! Tokens that connections are made with, and those that are refused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::peer::Attempt;
use super::support::{Fixture, network, options, until};
use sync_core::driver::{Driver, DriverOptions, TokenProvider, tokens_from};
use sync_core::engine::{Goal, Phase};
use sync_core::error::{Error, ErrorKind, Result, Retry};

pub(super) fn some(token: &str) -> Option<String> {
    Some(token.to_owned())
}

pub(super) fn unauthenticated(message: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

pub(super) fn with_token(token: &str) -> DriverOptions {
    let mut options = options();
    options.token = some(token);
    options
}

/// Returns these tokens one after the other, and then always the last one; records the refusals
/// that it is called with.
#[derive(Debug, Default)]
pub(super) struct Provider {
    tokens: Mutex<Vec<&'static str>>,
    asked: Mutex<Vec<Option<String>>>,
}

impl Provider {
    /// Options with such a provider, and the provider.
    pub(super) fn of(tokens: &[&'static str]) -> (DriverOptions, Arc<Self>) {
        let provider = Arc::new(Self { tokens: Mutex::new(tokens.to_vec()), ..Self::default() });
        let mut options = options();
        options.token_provider = Some(Arc::clone(&provider) as _);
        (options, provider)
    }

    pub(super) fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl TokenProvider for Provider {
    async fn token(&self, refused: Option<&str>) -> Result<Option<String>> {
        self.asked.lock().unwrap().push(refused.map(str::to_owned));
        let mut tokens = self.tokens.lock().unwrap();
        let token = if tokens.len() > 1 { tokens.remove(0) } else { tokens[0] };
        match token {
            "down" => Err(network("the token service is down")),
            token => Ok(some(token)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_returns_tokens_receives_the_refused_one() {
    let provider = tokens_from(|refused: Option<String>| async move {
        Ok(refused.map(|refused| format!("better than {refused}")))
    });
    assert_eq!(provider.token(Some("a")).await.unwrap(), some("better than a"));
    assert_eq!(provider.token(None).await.unwrap(), None);
    assert_eq!(format!("{provider:?}"), "FnTokens(..)");
}

#[tokio::test(start_paused = true)]
async fn without_a_provider_a_refused_token_costs_one_connection_until_another_one_is_given() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(with_token("a"), Goal::ONCE).await;
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("a"));
    attempt.fail(unauthenticated("it is unknown"));
    let status = until(&driver, |s| s.progress.refused == Some(ErrorKind::Unauthenticated)).await;
    assert_eq!(status.progress.phase, Phase::Stopped);
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
    driver.set_token(some("b"));
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("b"));
    attempt.welcome(1);
    fixture.catch_up(&driver, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_token_changes_nothing_after_another_refusal() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(with_token("a"), Goal::ONCE).await;
    let old = Error::new(ErrorKind::Incompatible, "this version is too old");
    fixture.peer.connect().await.fail(old);
    until(&driver, |s| s.progress.refused == Some(ErrorKind::Incompatible)).await;
    driver.set_token(some("b"));
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
    driver.run(Goal::ONCE).await.unwrap();
    assert_eq!(fixture.peer.connect().await.what.token, some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_new_token_may_see_a_scope_that_the_old_one_may_not() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(with_token("a"), Goal::ONCE).await;
    fixture.peer.connect().await.welcome_without_scopes();
    until(&driver, |s| s.progress.refused == Some(ErrorKind::PermissionDenied)).await;
    driver.set_token(some("b"));
    assert_eq!(fixture.peer.connect().await.what.token, some("b"));
}

/// An attempt with the token `a`, after whose beginning `b` was given.
async fn overtaken(fixture: &mut Fixture, options: DriverOptions) -> (Driver, Attempt) {
    let driver = fixture.run(options, Goal::ONCE).await;
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("a"));
    driver.set_token(some("b"));
    fixture.peer.is_quiet_for(Duration::from_secs(1)).await;
    (driver, attempt)
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_given_during_an_attempt_is_tried_when_that_one_is_refused() {
    for kind in [ErrorKind::Unauthenticated, ErrorKind::PermissionDenied] {
        let mut fixture = Fixture::new();
        let (driver, attempt) = overtaken(&mut fixture, with_token("a")).await;
        attempt.fail(Error::new(kind, "not this one"));
        let attempt = fixture.peer.connect().await;
        assert_eq!(attempt.what.token, some("b"));
        attempt.fail(Error::new(kind, "nor this one"));
        until(&driver, |s| s.progress.refused == Some(kind)).await;
        fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_given_during_an_attempt_comes_before_the_provider() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "c"]);
    let (_driver, attempt) = overtaken(&mut fixture, options).await;
    attempt.fail(Error::new(ErrorKind::PermissionDenied, "not this one"));
    assert_eq!(fixture.peer.connect().await.what.token, some("b"));
    assert_eq!(provider.asked(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_given_during_an_attempt_may_see_a_scope_that_the_old_one_may_not() {
    let mut fixture = Fixture::new();
    let (driver, attempt) = overtaken(&mut fixture, with_token("a")).await;
    attempt.welcome_without_scopes();
    let greeted = Instant::now();
    let attempt = fixture.peer.connect().await;
    assert_eq!((attempt.what.token.clone(), greeted.elapsed()), (some("b"), Duration::ZERO));
    attempt.welcome(0);
    until(&driver, |s| s.progress.refused.is_none() && s.progress.phase == Phase::Syncing).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_before_every_connection() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("a"));
    attempt.fail(network("the link is down"));
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("b"));
    attempt.welcome(1);
    fixture.catch_up(&driver, 1).await;
    assert_eq!(provider.asked(), [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_called_once_more_at_once_after_a_refusal() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["stale", "fresh"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.connect().await.fail(unauthenticated("it has expired"));
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("fresh"));
    attempt.welcome(1);
    fixture.catch_up(&driver, 1).await;
    assert_eq!(provider.asked(), [None, some("stale")]);
    assert_eq!(driver.status().borrow().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_ends_the_attempts() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b", "c"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.connect().await.fail(unauthenticated("not this one"));
    fixture.peer.connect().await.fail(unauthenticated("nor this one"));
    let status = until(&driver, |s| s.progress.refused == Some(ErrorKind::Unauthenticated)).await;
    assert_eq!(status.last_error.unwrap().message(), "nor this one");
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
    assert_eq!(provider.asked(), [None, some("a")]);
}

#[tokio::test(start_paused = true)]
async fn the_refused_token_given_again_ends_the_attempts_until_the_driver_is_run_again() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.connect().await.fail(unauthenticated("not this one"));
    let status = until(&driver, |s| s.progress.refused == Some(ErrorKind::Unauthenticated)).await;
    let error = status.last_error.unwrap().to_string();
    assert!(error.contains("the token provider returns it again"), "{error}");
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
    // The server may accept the token now.
    driver.run(Goal::ONCE).await.unwrap();
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("a"));
    attempt.welcome(1);
    fixture.catch_up(&driver, 1).await;
    assert_eq!(provider.asked(), [None, some("a"), None]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_given_comes_before_the_provider_once() {
    let mut fixture = Fixture::new();
    let (mut options, provider) = Provider::of(&["asked"]);
    options.token = some("given");
    let _driver = fixture.run(options, Goal::ONCE).await;
    let attempt = fixture.peer.connect().await;
    assert_eq!((attempt.what.token.clone(), provider.asked()), (some("given"), vec![]));
    attempt.fail(network("the link is down"));
    assert_eq!(fixture.peer.connect().await.what.token, some("asked"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_is_shown_and_called_again() {
    let mut fixture = Fixture::new();
    let (options, _) = Provider::of(&["down", "a"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    let status = until(&driver, |s| s.failures == 1).await;
    let error = status.last_error.unwrap().to_string();
    assert_eq!(error, "ask for a token: the token service is down");
    assert_eq!(fixture.peer.connect().await.what.token, some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_is_called_again_later() {
    let mut fixture = Fixture::new();
    let times = Arc::new(Mutex::new(0));
    let mut options = options();
    options.token_provider = Some(Arc::new(tokens_from(move |_| {
        let mut times = times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *times += 1;
        let is_first = *times == 1;
        async move {
            assert!(!is_first, "the first call of the provider panics");
            Ok(some("a"))
        }
    })));
    let driver = fixture.run(options, Goal::ONCE).await;
    let error = until(&driver, |s| s.failures == 1).await.last_error.unwrap();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Internal, Retry::Later(None)));
    assert_eq!(fixture.peer.connect().await.what.token, some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_on_a_connection_is_replaced() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.greet(1).await;
    fixture.peer.pull().await.fail(unauthenticated("it has expired"));
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("b"));
    attempt.welcome(1);
    fixture.catch_up(&driver, 1).await;
    assert_eq!(provider.asked(), [None, some("a")]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_for_an_acknowledgement_is_replaced() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let _driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.greet(1).await;
    fixture.bring(1).await;
    fixture.peer.acknowledge().await.fail(unauthenticated("it has expired"));
    assert_eq!(fixture.peer.connect().await.what.token, some("b"));
    assert_eq!(provider.asked(), [None, some("a")]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_without_a_provider_is_a_refusal() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(with_token("a"), Goal::ONCE).await;
    fixture.peer.greet(1).await;
    fixture.peer.pull().await.fail(unauthenticated("it has expired"));
    let status = until(&driver, |s| s.progress.refused == Some(ErrorKind::Unauthenticated)).await;
    assert_eq!(status.last_error.unwrap().message(), "it has expired");
    assert_eq!(fixture.peer.close().await.reason, "the replica begins anew");
    fixture.peer.is_quiet_for(Duration::from_secs(60 * 60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_for_another_reason_keeps_the_token_and_the_connection() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    fixture.peer.greet(1).await;
    fixture.peer.pull().await.fail(Error::new(ErrorKind::Overloaded, "too many at once"));
    let status = until(&driver, |s| s.failures == 1).await;
    assert_eq!(status.progress.phase, Phase::Syncing);
    fixture.catch_up(&driver, 1).await;
    assert_eq!(provider.asked(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_refuses_a_token_does_not_end_the_attempts() {
    let gateway = || unauthenticated("a page to sign in").retrying(Retry::Reconnect);
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a"]);
    let driver = fixture.run(options, Goal::default()).await;
    // The provider has no other token, and the present one was valid all the time.
    for _ in 0..20 {
        fixture.peer.connect().await.fail(gateway());
    }
    let connecting = tokio::time::Instant::now();
    let attempt = fixture.peer.connect().await;
    assert!(connecting.elapsed() > Duration::ZERO, "it waits in between");
    assert_eq!(attempt.what.token, some("a"));
    attempt.welcome(1);
    fixture.catch_up(&driver, 1).await;
    let mut asked = vec![None];
    asked.extend(vec![some("a"); 20]);
    assert_eq!(provider.asked(), asked);
    assert_eq!(driver.status().borrow().progress.refused, None);
}

#[tokio::test(start_paused = true)]
async fn after_a_gateway_refuses_a_request_the_provider_receives_its_token() {
    let mut fixture = Fixture::new();
    let (options, provider) = Provider::of(&["a", "b"]);
    let driver = fixture.run(options, Goal::ONCE).await;
    let link = fixture.peer.greet(1).await;
    let gateway = unauthenticated("the token has expired").retrying(Retry::Reconnect);
    fixture.peer.pull().await.fail(gateway);
    let attempt = fixture.peer.connect().await;
    assert_eq!(attempt.what.token, some("b"));
    assert_eq!(provider.asked(), [None, some("a")]);
    assert_eq!(driver.status().borrow().progress.refused, None);
    drop(link);
}
