//! Greetings, and what is told to the sessions of a server.

use tokio::time::timeout;

use super::*;
use crate::environment::System;
use crate::kv::{KvOptions, MemoryKv, open_server};
use crate::model::{Cursor, Seq};
use crate::protocol::{Greeting, Pull};
use crate::server::follow::tests::{batch_of, push};
use crate::server::{Served, StaticTokens};

fn server(hooks: Hooks, options: ServerOptions) -> Server {
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    Server::new(Arc::new(storage), hooks, options, Arc::new(System))
}

fn hello(scopes: usize) -> Hello {
    let greeting = |n| {
        let scope = Scope::new(format!("s{n}")).unwrap();
        Greeting { scope, cursor: Cursor::default(), digest: None }
    };
    Hello {
        versions: VERSIONS.to_vec(),
        replica: ReplicaId([1; 16]),
        token: None,
        compressions: Vec::new(),
        schema: 0,
        agent: "test".to_owned(),
        scopes: (0..scopes).map(greeting).collect(),
    }
}

#[test]
fn a_chunk_may_hold_at_least_a_push() {
    let small = Limits { documents: 1, bytes: 1 };
    let options = ServerOptions { chunk_limits: small, scopes: 7, ..ServerOptions::default() };
    let server = server(Hooks::default(), options);
    assert_eq!((server.options().chunk_limits, server.options().scopes), (Limits::PUSH, 7));
}

#[tokio::test]
async fn a_greeting_names_as_many_scopes_as_the_server_allows() {
    let server = server(Hooks::default(), ServerOptions { scopes: 2, ..ServerOptions::default() });
    for scopes in 0..=2 {
        let (_, welcome) = server.greet(&hello(scopes)).await.unwrap();
        assert_eq!(welcome.scopes.len(), scopes);
    }
    for scopes in 3..=4 {
        let refused = server.greet(&hello(scopes)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn a_greeting_without_a_shared_version_or_a_right_token_is_refused() {
    let tokens = StaticTokens::new([("ada".to_owned(), "one".to_owned())]);
    let hooks = Hooks { authenticate: Arc::new(tokens), ..Hooks::default() };
    let server = server(hooks, ServerOptions::default());
    let kind = async |hello| server.greet(&hello).await.map(drop).map_err(|e| e.kind());
    let right = || Hello { token: Some("one".to_owned()), ..hello(1) };
    assert_eq!(kind(hello(1)).await, Err(ErrorKind::Unauthenticated));
    let foreign = Hello { versions: vec![u16::MAX.into()], ..right() };
    assert_eq!(kind(foreign).await, Err(ErrorKind::Incompatible));
    assert_eq!(kind(right()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_push_that_writes_nothing_leaves_no_gap_for_those_who_listen() {
    let server = server(Hooks::default(), ServerOptions::default());
    let peer = server.admit(None, ReplicaId([1; 16])).await.unwrap();
    let cursor = Cursor::default();
    let mut follower = peer.follow(Pull { scope: Scope::default(), cursor, limits: Limits::CHUNK });
    push(&server, 1).await;
    let mut ends = Vec::new();
    for n in 2..=4 {
        let Some(Served::Chunk(chunk)) = follower.next().await.unwrap() else { panic!("no chunk") };
        ends.push(chunk.chunk().next);
        // The state that is held already is pushed again by another replica, and then something new.
        let held = PushBatch {
            replica: peer.replica,
            id: crate::model::PushId(n),
            ..batch_of(ReplicaId([2; 16]), n - 1)
        };
        peer.push(held).await.unwrap();
        push(&server, n).await;
    }
    let last = timeout(Duration::from_secs(3_600), follower.next()).await.unwrap();
    assert!(matches!(last, Ok(Some(Served::Chunk(chunk))) if chunk.chunk().next == Seq(4)));
    assert_eq!(ends, [Seq(1), Seq(2), Seq(3)]);
}
