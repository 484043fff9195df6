//! The builder of the transport.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use xxhash_rust::xxh3::xxh3_128;

use super::backend::{AsyncFn, Backend, BackendOptions, PushFn};
use super::connection::ClosureConnection;
use super::types::{FetchRequest, Fetched, Outgoing, PushOutcome};
use sync_core::environment::{Environment, System};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Epoch, Limits, Scope, Seq};
use sync_core::protocol::{Hello, ScopeWelcome, Welcome};
use sync_core::transport::{Connection, Transport};

/// Builds a [`FnTransport`]: see [`FnTransport::builder`].
#[must_use = "nothing is made before `build`"]
pub struct FnTransportBuilder {
    name: String,
    fetch: Option<AsyncFn<FetchRequest, Fetched>>,
    send: Option<PushFn>,
    options: BackendOptions,
    environment: Arc<dyn Environment>,
}

impl fmt::Debug for FnTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTransportBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FnTransportBuilder {
    /// Sets the closure that fetches changes.
    pub fn fetch<F, Fut, R>(mut self, fetch: F) -> Self
    where
        F: Fn(FetchRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
        R: Into<Fetched>,
    {
        self.fetch = Some(Arc::new(move |request| {
            fetch(request).map(|fetched| fetched.map(Into::into)).boxed()
        }));
        self
    }

    /// Sets the closure that sends changes, as many as [a batch](Self::batch) holds; its result has
    /// an outcome for each, in their order.
    pub fn send<F, Fut>(mut self, send: F) -> Self
    where
        F: Fn(Vec<Outgoing>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<PushOutcome>>> + Send + 'static,
    {
        self.send = Some(PushFn::All(Arc::new(move |changes| send(changes).boxed())));
        self
    }

    /// Sets the closure that sends one change, if the service accepts one at a time. If a change of
    /// a batch fails, those before it are not sent again, unless the process ended since.
    pub fn send_each<F, Fut>(mut self, send: F) -> Self
    where
        F: Fn(Outgoing) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<PushOutcome>> + Send + 'static,
    {
        self.send = Some(PushFn::Each(Arc::new(move |change| send(change).boxed())));
        self
    }

    /// Sets a closure whose future completes when the app knows that a scope may have changed, for
    /// example from a push notification; then the scope is fetched at once. The closure is called
    /// for each wait. A change between two waits is found by polling, unless the future stores it.
    /// After an error the live stream ends, and is opened again after a while.
    pub fn changed<F, Fut>(mut self, changed: F) -> Self
    where
        F: Fn(Scope) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.options.changed = Some(Arc::new(move |scope| changed(scope).boxed()));
        self
    }

    /// Sets the pause between two fetches of a scope that is followed live: `interval` plus a
    /// random time up to `jitter`, so that not all clients fetch at once. 30 s and 5 s by default;
    /// at least 100 ms.
    pub fn poll_every(mut self, interval: Duration, jitter: Duration) -> Self {
        self.options.interval = interval;
        self.options.jitter = jitter;
        self
    }

    /// Fetches everything again at that interval while a scope is followed live, and deletes
    /// documents that do not exist any more: for a service that does not report deletions. Never by
    /// default.
    pub fn refetch_every(mut self, interval: Duration) -> Self {
        self.options.refetch = Some(interval);
        self
    }

    /// Sets how long one call of a closure may take. 30 s by default. The replica's own timeout of
    /// a request limits it, too.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Sets the most changes that are sent together; a local transaction may exceed it. 100 by
    /// default.
    pub fn batch(mut self, changes: usize) -> Self {
        self.options.batch = changes.max(1);
        self
    }

    /// Sets the source of time and randomness. The operating system by default.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Builds the transport.
    ///
    /// # Errors
    /// `InvalidInput` if the name is empty, or without the closures `fetch` and `send` (or
    /// `send_each`).
    pub fn build(self) -> Result<FnTransport> {
        let lacks = |what: &str| {
            let what = format!("a transport of closures needs {what}");
            Error::new(ErrorKind::InvalidInput, what).with("backend", &self.name)
        };
        if self.name.is_empty() {
            return Err(lacks("a name"));
        }
        let fetch = self.fetch.ok_or_else(|| lacks("the closure `fetch`"))?;
        let send = self.send.ok_or_else(|| lacks("the closure `send` or `send_each`"))?;
        let epoch = Epoch(xxh3_128(self.name.as_bytes()).to_be_bytes());
        let Self { name, options, environment, .. } = self;
        let lines = Mutex::default();
        let inner = Backend { name, epoch, fetch, send, options, environment, lines };
        Ok(FnTransport(Arc::new(inner)))
    }
}

/// A transport made from closures. Cheap to clone; several replicas may share one.
#[derive(Clone)]
pub struct FnTransport(pub(super) Arc<Backend>);

impl fmt::Debug for FnTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTransport").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl FnTransport {
    /// Returns a builder. The name identifies the service's data: another name is another backend,
    /// to which a replica sends everything that it holds.
    pub fn builder(name: impl Into<String>) -> FnTransportBuilder {
        FnTransportBuilder {
            name: name.into(),
            fetch: None,
            send: None,
            options: BackendOptions {
                changed: None,
                interval: Duration::from_secs(30),
                jitter: Duration::from_secs(5),
                refetch: None,
                timeout: Duration::from_secs(30),
                batch: 100,
            },
            environment: Arc::new(System),
        }
    }
}

#[async_trait]
impl Transport for FnTransport {
    /// Succeeds at once: the first request finds out whether the service can be reached.
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        let inner = Arc::clone(&self.0);
        let greet = |greeting: &sync_core::protocol::Greeting| {
            let cursor = &greeting.cursor;
            let reset = inner.stranger(cursor);
            ScopeWelcome {
                reset,
                ..ScopeWelcome::new(
                    greeting.scope.clone(),
                    inner.epoch,
                    if reset.is_some() { Seq(0) } else { cursor.position },
                )
            }
        };
        let welcome = Welcome {
            push_limits: Limits { documents: inner.options.batch, ..Limits::PUSH },
            scopes: hello.scopes.iter().map(greet).collect(),
            ..Welcome::new(inner.environment.now().0)
        };
        for greeting in &hello.scopes {
            let line = inner.line(hello.replica, &greeting.scope);
            line.raise(&greeting.cursor);
        }
        Ok((Arc::new(ClosureConnection::new(inner, hello.replica)), welcome))
    }
}
