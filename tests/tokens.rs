//! Tokens that expire, are refused, and are renewed: when the provider is called, and how often.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use support::{Door, builder, server_with, soon};
use tokio::sync::oneshot;
use twotide::EventStream;
use twotide::backend::model::Scope;
use twotide::prelude::*;
use twotide::server::{Access, Authenticate, Authorise, Hooks, Principal, Server};
use twotide::{ReplicaBuilder, RetryPolicy, TokenProvider, tokens_from};

fn server() -> (Server, Arc<Door>) {
    let door = Arc::new(Door::default());
    door.set_good("good");
    let hooks = Hooks { authenticate: Arc::clone(&door) as _, ..Hooks::default() };
    let server = server_with(hooks);
    (server, door)
}

/// The answers of a provider, one after the other, the last one for ever; and the refused tokens
/// that it received.
#[derive(Clone, Debug, Default)]
struct Script {
    answers: Arc<Mutex<Vec<twotide::Result<Option<String>>>>>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = twotide::Result<&'static str>>) -> Self {
        let answers = answers.into_iter().map(|a| a.map(|token| Some(token.to_owned()))).collect();
        Self { answers: Arc::new(Mutex::new(answers)), asked: Arc::default() }
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().clone()
    }

    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl TokenProvider for Script {
    async fn token(&self, refused: Option<&str>) -> twotide::Result<Option<String>> {
        self.asked.lock().unwrap().push(refused.map(str::to_owned));
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    }
}

fn some(token: &str) -> Option<String> {
    Some(token.to_owned())
}

/// Delays without jitter.
fn exact(builder: ReplicaBuilder) -> ReplicaBuilder {
    let mut retry = RetryPolicy::default();
    retry.jitter = false;
    builder.retry(retry)
}

/// Time that moves only when the test advances it. Threads of the storage do not move it.
struct Stopped(Option<oneshot::Sender<()>>);

impl Stopped {
    fn new() -> Self {
        tokio::time::pause();
        let (end, ended) = oneshot::channel();
        // The clock does not advance by itself while a blocking task runs.
        drop(tokio::task::spawn_blocking(move || drop(ended.blocking_recv())));
        Self(Some(end))
    }

    /// Advances an hour in steps of a second. The replica can act after each step.
    async fn an_hour(replica: &Replica) {
        for _ in 0..3_600 {
            tokio::time::advance(Duration::from_secs(1)).await;
            replica.state().await.unwrap();
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

async fn is_refused(replica: &Replica) -> Status {
    let mut status = replica.status();
    let status = status.wait_for(|s| s.activity == Activity::Error).await.unwrap();
    assert_eq!(status.error.as_ref().unwrap().kind(), ErrorKind::Unauthenticated);
    status.clone()
}

#[tokio::test]
async fn a_provider_is_asked_before_every_connection() {
    let (server, door) = server();
    let script = Script::of([Ok("good")]);
    let replica = builder(&server, 1).token_provider(script.clone()).open().await.unwrap();
    for n in 1..=3 {
        soon(replica.sync_now()).await.unwrap();
        assert_eq!((script.times(), door.knocks()), (n, n));
    }
    assert_eq!(script.asked(), [None, None, None]);
}

#[tokio::test]
async fn a_refused_token_is_renewed_at_once() {
    let (server, door) = server();
    let script = Script::of([Ok("expired"), Ok("good")]);
    let replica = builder(&server, 1).token_provider(script.clone()).open().await.unwrap();
    soon(replica.sync_now()).await.unwrap();
    assert_eq!(script.asked(), [None, some("expired")]);
    assert_eq!(door.knocks(), 2);
}

#[tokio::test]
async fn a_token_that_was_set_is_used_once_before_the_provider() {
    let (server, door) = server();
    let script = Script::of([Ok("good")]);
    let replica =
        builder(&server, 1).token("good").token_provider(script.clone()).open().await.unwrap();
    soon(replica.sync_now()).await.unwrap();
    assert_eq!((script.times(), door.knocks()), (0, 1));
    soon(replica.sync_now()).await.unwrap();
    assert_eq!((script.times(), door.knocks()), (1, 2));
    replica.set_token(some("stale")).await;
    soon(replica.sync_now()).await.unwrap();
    assert_eq!(script.asked(), [None, some("stale")]);
}

#[tokio::test]
async fn bad_tokens_cost_two_connections_and_no_more_until_one_is_set() {
    let _stopped = Stopped::new();
    let (server, door) = server();
    let script = Script::of([Ok("bad"), Ok("worse"), Ok("worst")]);
    let replica = exact(builder(&server, 1)).token_provider(script.clone()).open().await.unwrap();
    let mut events = replica.event_stream(EventFilter::all());
    replica.start().await.unwrap();
    is_refused(&replica).await;
    Stopped::an_hour(&replica).await;
    assert_eq!(script.asked(), [None, some("bad")]);
    assert_eq!(door.knocks(), 2);
    let mut refusals = 0;
    while let Some(event) = events.next_ready() {
        refusals += u32::from(event == SyncEvent::TokenNeeded);
    }
    assert_eq!(refusals, 1, "the app is told once that a token is needed");

    replica.set_token(some("good")).await;
    replica.status().wait_for(|s| s.in_sync).await.unwrap();
    assert_eq!((script.times(), door.knocks()), (2, 3));
}

#[tokio::test]
async fn a_refused_token_is_not_retried_until_the_replica_is_started_again() {
    let _stopped = Stopped::new();
    let (server, door) = server();
    let script = Script::of([Ok("bad")]);
    let replica = exact(builder(&server, 1)).token_provider(script.clone()).open().await.unwrap();
    replica.start().await.unwrap();
    let status = is_refused(&replica).await;
    let told = status.error.unwrap().to_string();
    assert!(told.contains("returns it again"), "{told}");
    Stopped::an_hour(&replica).await;
    assert_eq!((script.times(), door.knocks()), (2, 1));

    door.set_good("bad");
    replica.start().await.unwrap();
    replica.status().wait_for(|s| s.in_sync).await.unwrap();
    assert_eq!((script.times(), door.knocks()), (3, 2));
}

#[tokio::test]
async fn without_a_provider_a_bad_token_costs_one_connection() {
    let _stopped = Stopped::new();
    let (server, door) = server();
    let replica = exact(builder(&server, 1)).token("bad").open().await.unwrap();
    replica.start().await.unwrap();
    is_refused(&replica).await;
    Stopped::an_hour(&replica).await;
    assert_eq!(door.knocks(), 1);
    replica.set_token(some("good")).await;
    replica.status().wait_for(|s| s.in_sync).await.unwrap();
    assert_eq!(door.knocks(), 2);
}

#[tokio::test]
async fn a_failing_provider_is_reported_and_retried_with_growing_delays() {
    let _stopped = Stopped::new();
    let (server, door) = server();
    let down = Error::new(ErrorKind::Network, "nobody answers at the token desk");
    let script = Script::of([Err(down)]);
    let replica = exact(builder(&server, 1)).token_provider(script.clone()).open().await.unwrap();
    replica.start().await.unwrap();
    let mut status = replica.status();
    let shown = status.wait_for(|s| s.activity == Activity::Offline).await.unwrap().clone();
    let told = shown.error.unwrap().to_string();
    assert!(told.contains("ask for a token: nobody answers at the token desk"), "{told}");
    Stopped::an_hour(&replica).await;
    // At the ceiling of 30 s that is 120 times in an hour, and seven more before it is reached.
    let times = script.times();
    assert!((8..=128).contains(&times), "{times}");
    assert_eq!(door.knocks(), 0);

    *script.answers.lock().unwrap() = vec![Ok(some("good"))];
    while script.times() == times {
        tokio::time::advance(Duration::from_secs(1)).await;
        replica.state().await.unwrap();
    }
    status.wait_for(|s| s.in_sync).await.unwrap();
    assert_eq!(door.knocks(), 1);
}

#[tokio::test]
async fn a_provider_that_returns_unauthenticated_is_not_called_again() {
    let _stopped = Stopped::new();
    let (server, door) = server();
    let script = Script::of([Err(Error::new(ErrorKind::Unauthenticated, "the user logged out"))]);
    let replica = exact(builder(&server, 1)).token_provider(script.clone()).open().await.unwrap();
    replica.start().await.unwrap();
    let status = is_refused(&replica).await;
    assert!(status.error.unwrap().to_string().contains("the user logged out"));
    Stopped::an_hour(&replica).await;
    assert_eq!((script.times(), door.knocks()), (1, 0));
}

#[tokio::test]
async fn a_provider_that_panics_or_never_answers_blocks_no_call_for_ever() {
    let (server, _) = server();
    let panics = tokens_from(|_| async { panic!("the token desk is on fire") });
    let hangs = tokens_from(|_| std::future::pending());
    let bounds = Duration::from_millis(50);
    let (first, second) =
        (builder(&server, 1), builder(&server, 2).connect_timeout(bounds).request_timeout(bounds));
    for (builder, told) in
        [(first.token_provider(panics), "panicked"), (second.token_provider(hangs), "in time")]
    {
        let replica = builder.max_failures(2).open().await.unwrap();
        let error = soon(replica.sync_now()).await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        let notes = replica.raw("notes").unwrap();
        notes.put("n", &Body::parse("1").unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_is_set_before_the_start_is_used() {
    let (server, _) = server();
    let replica = builder(&server, 1).open().await.unwrap();
    replica.set_token(some("good")).await;
    soon(replica.sync_now()).await.unwrap();
    soon(replica.sync_now()).await.unwrap();
}

/// Waits until there were so many attempts.
async fn have_knocked(door: &Door, times: usize) {
    soon(async {
        while door.knocks() < times {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Returns the events that are ready.
fn told(events: &mut EventStream) -> Vec<SyncEvent> {
    std::iter::from_fn(|| events.next_ready()).collect()
}

async fn is_pushed(replica: &Replica, id: &str) {
    let notes = replica.raw("notes").unwrap();
    notes.put(id, &Body::parse("1").unwrap()).await.unwrap();
    let mut watch = notes.watch(id).unwrap();
    while !soon(watch.next()).await.unwrap().unwrap().unwrap().is_synced() {}
}

#[tokio::test]
async fn a_connection_continues_with_the_token_that_is_set() {
    let (server, door) = server();
    let replica = builder(&server, 1).token("good").open().await.unwrap();
    replica.start().await.unwrap();
    soon(replica.wait_until_in_sync()).await.unwrap();
    let mut events = replica.event_stream(EventFilter::all());
    door.set_good("better");
    replica.set_token(some("better")).await;
    have_knocked(&door, 2).await;
    is_pushed(&replica, "n").await;
    // The same token is ignored, and the newest of several counts.
    replica.set_token(some("better")).await;
    door.set_good("best");
    for token in ["good", "fine", "best"] {
        replica.set_token(some(token)).await;
    }
    have_knocked(&door, 3).await;
    is_pushed(&replica, "m").await;
    let told = told(&mut events);
    assert!(
        !told.iter().any(|e| matches!(e, SyncEvent::Disconnected { .. } | SyncEvent::Connected)),
        "{told:?}"
    );
    assert!(replica.status_now().error.is_none());
    // Later connections are opened with it.
    replica.stop().await;
    soon(replica.sync_now()).await.unwrap();
    assert_eq!(door.knocks(), 4);
}

#[tokio::test]
async fn a_refused_renewal_is_a_refusal_and_costs_one_request() {
    let _stopped = Stopped::new();
    let (server, door) = server();
    let replica = exact(builder(&server, 1)).token("good").open().await.unwrap();
    replica.start().await.unwrap();
    replica.status().wait_for(|s| s.in_sync).await.unwrap();
    let mut events = replica.event_stream(EventFilter::all().kinds([EventKind::TokenNeeded]));
    replica.set_token(some("bad")).await;
    is_refused(&replica).await;
    Stopped::an_hour(&replica).await;
    assert_eq!(door.knocks(), 2);
    assert_eq!(events.next_ready(), Some(SyncEvent::TokenNeeded));
    assert_eq!(events.next_ready(), None, "the app is told once");
    replica.set_token(some("good")).await;
    replica.status().wait_for(|s| s.in_sync).await.unwrap();
    assert_eq!(door.knocks(), 3);
}

#[tokio::test]
async fn after_a_refused_renewal_the_provider_is_called() {
    let (server, door) = server();
    let script = Script::of([Ok("good")]);
    let replica = builder(&server, 1).token_provider(script.clone()).open().await.unwrap();
    replica.start().await.unwrap();
    soon(replica.wait_until_in_sync()).await.unwrap();
    let mut events = replica.event_stream(EventFilter::all());
    replica.set_token(some("stale")).await;
    while soon(events.next()).await.unwrap().unwrap() != SyncEvent::Connected {}
    soon(replica.wait_until_in_sync()).await.unwrap();
    assert_eq!(script.asked(), [None, some("stale")]);
    assert_eq!(door.knocks(), 3);
    // A good token is sent on the current connection, and on no other.
    replica.set_token(some("good")).await;
    replica.stop().await;
    soon(replica.sync_now()).await.unwrap();
    assert_eq!(script.times(), 3);
}

/// Takes the token as the principal's name.
#[derive(Debug)]
struct ByName;

#[async_trait]
impl Authenticate for ByName {
    async fn authenticate(&self, token: Option<&str>) -> twotide::Result<Principal> {
        Ok(Principal { name: token.unwrap_or("nobody").to_owned() })
    }
}

/// Only ann may read anything.
#[derive(Debug)]
struct OnlyAnn;

#[async_trait]
impl Authorise for OnlyAnn {
    async fn scope(&self, who: &Principal, _: &Scope) -> twotide::Result<Access> {
        Ok(if who.name == "ann" { Access::FULL } else { Access::NONE })
    }
}

#[tokio::test]
async fn a_token_with_more_access_is_used_for_a_new_greeting() {
    let hooks =
        Hooks { authenticate: Arc::new(ByName), authorise: Arc::new(OnlyAnn), ..Hooks::default() };
    let server = server_with(hooks);
    let replica = builder(&server, 1).token("ben").open().await.unwrap();
    replica.start().await.unwrap();
    let mut status = replica.status();
    let shown = soon(status.wait_for(|s| s.activity == Activity::Error)).await.unwrap().clone();
    assert_eq!(shown.error.unwrap().kind(), ErrorKind::PermissionDenied);
    replica.set_token(some("ann")).await;
    soon(status.wait_for(|s| s.in_sync)).await.unwrap();
    is_pushed(&replica, "n").await;
}
