//! What can be set, and what it is if nobody sets it.

use std::time::Duration;

/// How to take requests.
///
/// ```
/// let mut config = transport_http::HttpServerConfig::default();
/// config.streams = 500;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpServerConfig {
    /// Requests at a time, until their answers are written; who comes later is asked to come back. Default 256. Each may hold
    /// a body in memory and then its answer, so this times [`body_bytes`](Self::body_bytes) is what requests take up at most.
    /// A client that does not take its answer keeps its place until what listens cuts it (`ListenConfig::write_timeout`).
    pub requests: usize,
    /// Streams, and requests that wait for something to follow, at a time; who comes later is asked to come back. Default
    /// 10,000. Each holds a chunk at most.
    pub streams: usize,
    /// How long a request may take without the time that it was told to wait, and how long its body may stand still: a body
    /// that gets on, with at least 4 KiB in this time, may take longer. Default 60 s.
    pub request_time: Duration,
    /// How long a request may wait for something to follow. Default and most: 60 s.
    pub wait: Duration,
    /// How long a stream goes on before it ends and the reader asks anew, with a token that is looked at again. Default one
    /// hour.
    pub stream_time: Duration,
    /// The largest body of a request in bytes, also when it is unpacked. Default: a frame of the size that the server takes
    /// (16 MiB).
    pub body_bytes: Option<usize>,
    /// When those who find no room are asked to come back, at the earliest. Default 5 s.
    pub retry_after: Duration,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        Self {
            requests: 256,
            streams: 10_000,
            request_time: Duration::from_secs(60),
            wait: Duration::from_secs(60),
            stream_time: Duration::from_secs(60 * 60),
            body_bytes: None,
            retry_after: Duration::from_secs(5),
        }
    }
}
