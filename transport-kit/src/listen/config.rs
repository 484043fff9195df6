//! The settings of a listening socket, and their defaults.

use std::time::Duration;

/// Bounds on the connections to a socket. They apply to all routes that are served on it.
///
/// ```
/// use std::time::Duration;
/// let mut config = transport_kit::ListenConfig::default();
/// config.connections = 1_000;
/// config.header_timeout = Duration::from_secs(30);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenConfig {
    /// Connections at a time, links that were made of them included. Further connections wait in
    /// the queue of the operating system until one closes. Default 25,000: room for all that the
    /// routes of WebSocket and HTTP take at a time by default. Each needs a file descriptor, of
    /// which the operating system may give fewer. At least 1.
    pub connections: usize,
    /// How long a client may take over the headers of a request, counted from the end of the answer
    /// before: so this is also how long an idle connection is kept. Default 75 s: more than the 50
    /// s for which this project's HTTP client and the 60 s for which most gateways keep one, so
    /// that none of them sends a request on a connection that is just being closed.
    pub header_timeout: Duration,
    /// How long a client may read nothing at all of what is sent to it. Then its connection is cut,
    /// and everything that its answer held is released. Default 60 s. A client that reads slowly is
    /// not cut.
    pub write_timeout: Duration,
    /// How long a client may take over a TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            connections: 25_000,
            header_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}
