//! How a replica reaches its server, and what its requests may hold and take.

use std::sync::Arc;
use std::time::Duration;

use sync_core::driver::TokenProvider;
use sync_core::engine::RetryPolicy;
use sync_core::model::Limits;
use sync_core::transport::Transport;

use super::ReplicaBuilder;
#[cfg(doc)]
use crate::Replica;

impl ReplicaBuilder {
    /// Sets the transport.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the server's address: `ws://host:port` or `wss://host:port`, `http://host:port` or
    /// `https://host:port`, among those that were compiled in.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.transport = None;
        self.config.server = Some(url.into());
        self
    }

    /// Sets the token to authenticate with. None by default. With a
    /// [provider](Self::token_provider) it is used for the first connection only.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(token.into());
        self
    }

    /// Sets the provider that is called for a token before every connection, and once more when the
    /// server refuses the token. See [`TokenProvider`] for what happens when that one is refused
    /// too, and [`tokens_from`](sync_core::driver::tokens_from) for closures.
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.token_provider = Some(Arc::new(provider));
        self
    }

    /// Sets how failures are retried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.config.retry = retry;
        self
    }

    /// Sets the number of failures in a row after which [`Replica::sync_now`],
    /// [`push`](Replica::push) and [`pull`](Replica::pull) return an error, and a
    /// [started](Replica::start) replica reports [`Activity::Error`](crate::Activity::Error). 5 by
    /// default. A started replica continues to retry all the same, unless
    /// [retries](RetryPolicy::enabled) are turned off.
    pub fn max_failures(mut self, failures: u32) -> Self {
        self.config.max_failures = failures.max(1);
        self
    }

    /// Sets the most that a chunk may hold. 1,000 documents and 4 MiB by default.
    pub fn chunk_limits(mut self, limits: Limits) -> Self {
        (self.config.chunk_documents, self.config.chunk_bytes) = (limits.documents, limits.bytes);
        self
    }

    /// Sets the most that a push batch may hold; the server's limits are kept as well. 1,000
    /// documents and 4 MiB by default.
    pub fn push_limits(mut self, limits: Limits) -> Self {
        (self.config.batch_documents, self.config.batch_bytes) = (limits.documents, limits.bytes);
        self
    }

    /// Sets how many chunks may wait while one is applied, and how many bytes they may have
    /// together. Two and 16 MiB by default.
    pub fn pipeline(mut self, depth: usize, bytes: usize) -> Self {
        self.config.pipeline_depth = depth;
        self.config.pipeline_bytes = bytes;
        self
    }

    /// Sets how long connecting may take. 15 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Sets how long one pull or push may take, from the last bytes that moved. 60 s by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// Sets whether compression is offered to a server that is set by its address: a fourth of the
    /// bytes for typical documents, at some cost of time, which pays on slow links. Not by default.
    pub fn compression(mut self, yes: bool) -> Self {
        self.config.compression = yes;
        self
    }

    /// Sets which certificates are trusted for a server at a `wss://` or `https://` address. The
    /// authorities of the web by default.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub fn trust(mut self, trust: transport_kit::tls::Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets how changes are followed over HTTP. By default by server-sent events, with a fallback
    /// where the network does not pass them.
    #[cfg(feature = "http")]
    pub fn live_by(mut self, live_by: transport_http::LiveBy) -> Self {
        self.config.live_by = live_by;
        self
    }

    /// Sets how often a server is polled over HTTP where nothing better works. 5 s by default.
    #[cfg(feature = "http")]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll_interval = interval;
        self
    }

    /// Sets the proxy of HTTP. The system's by default, and none to a server on this machine.
    #[cfg(feature = "http")]
    pub fn proxy(mut self, proxy: transport_http::ProxyBy) -> Self {
        self.config.proxy = proxy;
        self
    }
}
