//! The settings of the server, and their defaults.

use std::time::Duration;

use transport_kit::BrowserPolicy;

/// The settings of the HTTP server.
///
/// ```
/// let mut config = transport_http::HttpServerConfig::default();
/// config.streams = 500;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpServerConfig {
    /// Requests at a time, until their answers are written; a further one is refused with the
    /// advice to retry later. Default 256. Each may hold a body in memory, within
    /// [`body_memory`](Self::body_memory) for all of them. A client that does not read its answer
    /// keeps its place until the listener closes its connection (`ListenConfig::write_timeout`).
    pub requests: usize,
    /// The same for one address; behind a gateway that is the gateway's. Default 192.
    pub requests_per_address: usize,
    /// The same for one principal, on a server that does not admit every client. Default 128.
    pub requests_per_principal: usize,
    /// Concurrent greetings with the token in the body instead of the header, whose clients are not
    /// authenticated yet. Default 64.
    pub greetings: usize,
    /// The same for one address. Default 32.
    pub greetings_per_address: usize,
    /// The largest body of such a greeting, in bytes. Default 64 KiB.
    pub greeting_bytes: usize,
    /// How long such a body may stall. Default 10 s.
    pub greeting_time: Duration,
    /// Streams and waiting requests at a time; further ones are refused with the advice to retry
    /// later. Default 10,000. Each holds at most one chunk.
    pub streams: usize,
    /// The same for one principal, on a server that does not admit every client. Default 2,000.
    pub streams_per_principal: usize,
    /// How long a request may take, not counting the wait that it requested, and how long its body
    /// may stall: a body that delivers at least 4 KiB in this time may take longer. Default 60 s.
    pub request_time: Duration,
    /// How long a request may wait for a change. Default and maximum: 60 s.
    pub wait: Duration,
    /// How long a stream may last before the server ends it; the reader then reconnects and its
    /// token is authenticated again. Default one hour.
    pub stream_time: Duration,
    /// The largest body of a request in bytes, also after decompression. Default: the largest frame
    /// that the server accepts (16 MiB).
    pub body_bytes: Option<usize>,
    /// The most memory for bodies of more than 64 KiB, from their arrival until their requests are
    /// answered; one address may use three quarters of it. A request whose body finds no room is
    /// refused with the advice to retry later. Default 128 MiB.
    pub body_memory: usize,
    /// The shortest time after which rejected clients may retry. Default 5 s.
    pub retry_after: Duration,
    /// The origins and host names that are served. Default: pages of the server's own origin, and
    /// any host name. A page of another origin that is allowed may read the answers (CORS).
    pub browsers: BrowserPolicy,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        Self {
            requests: 256,
            requests_per_address: 192,
            requests_per_principal: 128,
            greetings: 64,
            greetings_per_address: 32,
            greeting_bytes: 64 << 10,
            greeting_time: Duration::from_secs(10),
            streams: 10_000,
            streams_per_principal: 2_000,
            request_time: Duration::from_secs(60),
            wait: Duration::from_secs(60),
            stream_time: Duration::from_secs(60 * 60),
            body_bytes: None,
            body_memory: 128 << 20,
            retry_after: Duration::from_secs(5),
            browsers: BrowserPolicy::default(),
        }
    }
}
