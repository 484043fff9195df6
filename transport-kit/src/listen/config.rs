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
    /// The most connections at a time, including links made from them. Further connections wait in
    /// the queue of the operating system until one closes. Default 25,000: room for all that the
    /// routes of WebSocket and HTTP accept at a time by default. Each needs a file descriptor,
    /// which the operating system may limit further. At least 1.
    pub connections: usize,
    /// How long a client may take to send the headers of a request, counted from the end of the
    /// answer before; so this is also how long an idle connection is kept. Default 75 s: more than
    /// the 50 s of this project's HTTP client and the 60 s of most gateways, so that none of them
    /// sends a request on a connection that is just being closed.
    pub header_timeout: Duration,
    /// How long a client may read nothing at all of what is sent to it. Then its connection is
    /// closed, and the memory of its answer is released. Default 60 s. A client that reads slowly
    /// is not disconnected.
    pub write_timeout: Duration,
    /// How long a client may take for a TLS handshake. Default 10 s.
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
