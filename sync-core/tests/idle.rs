//! What a session does that has nothing to do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use sync_core::environment::System;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::kv::{KvOptions, MemoryKv, open_server};
use sync_core::model::{Change, Cursor, DocumentState, Limits, Rejection, ReplicaId, Scope};
use sync_core::protocol::{Greeting, Hello, Pull, VERSIONS};
use sync_core::server::{Access, Authorise, Hooks, Principal, Server, ServerOptions};
use sync_core::transport::Transport;

/// Counts how often anybody looks at the scope, and refuses whoever does so for ever.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Authorise for Counting {
    async fn scope(&self, _: &Principal, _: &Scope) -> Result<Access> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0..1_000 => Ok(Access::FULL),
            _ => Err(Error::new(ErrorKind::Internal, "somebody looks without a pause")),
        }
    }

    fn change(
        &self,
        _: &Principal,
        _: &Scope,
        _: &Change,
        _: Option<&DocumentState>,
    ) -> std::result::Result<(), Rejection> {
        Ok(())
    }
}

#[tokio::test]
async fn who_sleeps_looks_once_a_heartbeat() {
    let counting = Arc::new(Counting::default());
    let hooks = Hooks { authorise: counting.clone(), ..Hooks::default() };
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let mut options = ServerOptions::default();
    options.heartbeat = Duration::from_millis(200);
    let server = Server::new(Arc::new(storage), hooks, options, Arc::new(System));
    let greeting = Greeting { scope: Scope::default(), cursor: Cursor::default(), digest: None };
    let hello = Hello {
        versions: VERSIONS.to_vec(),
        replica: ReplicaId([1; 16]),
        token: None,
        compressions: Vec::new(),
        schema: 0,
        agent: String::new(),
        scopes: vec![greeting],
    };
    let (connection, _) = server.in_process().connect(hello).await.unwrap();
    let pull = Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
    let mut live = connection.live(pull);
    // Nothing comes in ten heartbeats.
    let waited = tokio::time::timeout(Duration::from_secs(2), live.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    let looked = counting.0.load(Ordering::Relaxed);
    assert!((3..40).contains(&looked), "{looked} times");
}
