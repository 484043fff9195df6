//! The common part of the facade's tests.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod faulty;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use twotide::backend::kv::{KvOptions, MemoryKv, open_replica, open_server};
use twotide::backend::model::{Change, DocumentState, Rejection, RejectionCode, ReplicaId, Scope};
use twotide::server::{
    Access, Authenticate, Authorise, Hooks, Principal, Server, ServerOptions, Validate,
};
use twotide::{Error, ErrorKind, Replica, ReplicaBuilder};

/// A server in memory, with those hooks and options.
pub(crate) fn server_with_options(hooks: Hooks, options: ServerOptions) -> Server {
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    Server::builder(Arc::new(storage)).hooks(hooks).options(options).build()
}

/// A server in memory, with those hooks.
pub(crate) fn server_with(hooks: Hooks) -> Server {
    server_with_options(hooks, ServerOptions::default())
}

/// A server in memory that permits everything.
pub(crate) fn server() -> Server {
    server_with(Hooks::default())
}

/// Refuses numbers below zero.
#[derive(Debug)]
struct Positive;

impl Validate for Positive {
    fn change(
        &self,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        let negative = change.state.body.as_ref().is_some_and(|b| b.as_str().starts_with('-'));
        let reason = "it is below zero".to_owned();
        if negative { Err(Rejection { code: RejectionCode::Invalid, reason }) } else { Ok(()) }
    }
}

/// A server in memory that refuses numbers below zero.
pub(crate) fn positive_server() -> Server {
    server_with(Hooks { validate: Arc::new(Positive), ..Hooks::default() })
}

/// Permits everything until the access is revoked.
#[derive(Debug, Default)]
pub(crate) struct Revocable(pub(crate) AtomicBool);

#[async_trait]
impl Authorise for Revocable {
    async fn scope(&self, _: &Principal, _: &Scope) -> twotide::Result<Access> {
        Ok(if self.0.load(Ordering::SeqCst) { Access::NONE } else { Access::FULL })
    }
}

/// A replica in memory that syncs with a server in this process.
pub(crate) fn builder(server: &Server, id: u8) -> ReplicaBuilder {
    let kv = Arc::new(MemoryKv::default());
    let storage = open_replica(kv, ReplicaId([id; 16]), KvOptions::default()).unwrap();
    Replica::builder().storage(Arc::new(storage)).transport(Arc::new(server.in_process()))
}

/// Fails a test that hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("this takes too long")
}

/// Accepts the good token, and counts the attempts.
#[derive(Debug, Default)]
pub(crate) struct Door {
    good: Mutex<String>,
    knocks: AtomicUsize,
}

impl Door {
    pub(crate) fn set_good(&self, token: &str) {
        *self.good.lock().unwrap() = token.to_owned();
    }

    pub(crate) fn knocks(&self) -> usize {
        self.knocks.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Authenticate for Door {
    async fn authenticate(&self, token: Option<&str>) -> twotide::Result<Principal> {
        self.knocks.fetch_add(1, Ordering::SeqCst);
        if token == Some(&**self.good.lock().unwrap()) {
            return Ok(Principal { name: "ann".to_owned() });
        }
        Err(Error::new(ErrorKind::Unauthenticated, "this token is not the good one"))
    }
}
