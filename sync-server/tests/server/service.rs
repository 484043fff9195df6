//! Greetings, and the notifications of a server's sessions.

use crate::follow::{batch_of, push};
use std::sync::Arc;
use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_core::error::ErrorKind;
use sync_core::model::{Cursor, PushId, Seq};
use sync_core::model::{Limits, PushBatch, ReplicaId, Scope};
use sync_core::protocol::{Greeting, Hello, Pull};
use sync_server::{Hooks, Server, ServerOptions};
use sync_server::{Served, StaticTokens};

fn server(hooks: Hooks, options: ServerOptions) -> Server {
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    Server::builder(Arc::new(storage)).hooks(hooks).options(options).build()
}

fn hello(scopes: usize) -> Hello {
    let greeting = |n| {
        let scope = Scope::new(format!("s{n}")).unwrap();
        Greeting { scope, cursor: Cursor::default(), digest: None }
    };
    Hello {
        agent: "test".to_owned(),
        scopes: (0..scopes).map(greeting).collect(),
        ..Hello::new(ReplicaId([1; 16]))
    }
}

#[test]
fn a_chunk_may_hold_at_least_a_push() {
    let small = Limits { documents: 1, bytes: 1 };
    let mut options = ServerOptions::default();
    (options.chunk_limits, options.scopes) = (small, 7);
    let server = server(Hooks::default(), options);
    assert_eq!((server.options().chunk_limits, server.options().scopes), (Limits::PUSH, 7));
}

#[tokio::test]
async fn a_greeting_names_as_many_scopes_as_the_server_allows() {
    let mut options = ServerOptions::default();
    options.scopes = 2;
    let server = server(Hooks::default(), options);
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
async fn pushes_that_write_nothing_evict_nothing_that_is_cached_for_listeners() {
    let server = server(Hooks::default(), ServerOptions::default());
    let peer = server.admit(None, ReplicaId([1; 16])).await.unwrap();
    let mut pull =
        Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
    let _listener = peer.follow(pull.clone());
    push(&server, 1).await;
    let Ok(Served::Chunk(first)) = peer.read(&pull).await else { panic!("no chunk") };
    pull.cursor = pull.cursor.following(first.chunk());
    push(&server, 2).await;
    push(&server, 3).await;
    // Another replica pushes the state that is already held again and again.
    for n in 1..=300 {
        let again = batch_of(ReplicaId([2; 16]), 3);
        peer.push(PushBatch { replica: ReplicaId([1; 16]), id: PushId(n), ..again }).await.unwrap();
    }
    let Ok(Served::Chunk(kept)) = peer.read(&pull).await else { panic!("no chunk") };
    assert_eq!((kept.chunk().next, kept.chunk().head), (Seq(2), Seq(2)), "from memory");
}
