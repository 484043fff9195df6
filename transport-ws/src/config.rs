//! The settings of both sides, and their defaults.

use sync_core::protocol::HEADER_BYTES;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
#[cfg(feature = "server")]
use transport_kit::BrowserPolicy;
#[cfg(feature = "server")]
use transport_kit::framed::MAX_PAYLOAD;

/// The read buffer of a replica's connection. It is allocated at once: 16 KiB.
#[cfg(feature = "client")]
const READ_BUFFER: usize = 16 << 10;
/// The read buffer of a server's connection, of which many may be idle: 1 KiB. Larger messages are
/// read in steps of that size.
#[cfg(feature = "server")]
const SERVER_READ_BUFFER: usize = 1 << 10;
/// Messages are collected up to this many bytes before they are written: 16 KiB.
const WRITE_BUFFER: usize = 16 << 10;

/// The settings of a client.
///
/// ```
/// use std::time::Duration;
/// let mut config = transport_ws::WsConfig::new("ws://localhost:7878");
/// config.connect_timeout = Duration::from_secs(5);
/// config.framed.window = 4;
/// ```
#[cfg(feature = "client")]
#[derive(Clone)]
#[non_exhaustive]
pub struct WsConfig {
    /// `ws://` or `wss://`, host and port. The path is [`PATH`](crate::PATH) unless another is
    /// given.
    pub url: String,
    /// How long connecting may take: name, TCP, TLS and HTTP together. Default 15 s.
    pub connect_timeout: std::time::Duration,
    /// Headers of the HTTP request, for gateways on the way. The replica's token is sent in the
    /// greeting.
    pub headers: Vec<(String, String)>,
    /// Bounds and times of the connection, and the offered compressions, by default none.
    pub framed: transport_kit::framed::FramedOptions,
    /// The certificates that are trusted for `wss://`.
    #[cfg(feature = "tls")]
    pub trust: crate::tls::Trust,
    /// The read buffer, in bytes. Default 16 KiB.
    pub read_buffer: usize,
}

#[cfg(feature = "client")]
impl WsConfig {
    /// Returns the default settings for a server at that address.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connect_timeout: std::time::Duration::from_secs(15),
            headers: Vec::new(),
            framed: transport_kit::framed::FramedOptions::default(),
            #[cfg(feature = "tls")]
            trust: crate::tls::Trust::default(),
            read_buffer: READ_BUFFER,
        }
    }

    pub(crate) fn socket(&self) -> WebSocketConfig {
        socket(self.framed.max_payload, self.read_buffer)
    }
}

#[cfg(feature = "client")]
impl std::fmt::Debug for WsConfig {
    /// Shows only the names of headers: their values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WsConfig")
            .field("url", &self.url)
            .field("connect_timeout", &self.connect_timeout)
            .field("headers", &headers)
            .field("framed", &self.framed)
            .finish_non_exhaustive()
    }
}

/// The settings of a server.
#[cfg(feature = "server")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WsServerConfig {
    /// The largest payload that is sent or accepted. Default
    /// [`MAX_PAYLOAD`](transport_kit::framed::MAX_PAYLOAD).
    pub max_payload: usize,
    /// The read buffer of a connection, in bytes. Default 1 KiB.
    pub read_buffer: usize,
    /// Connections at a time; a further client is refused with the advice to retry later. Default
    /// 10,000.
    pub connections: usize,
    /// Connections at a time whose client is not authenticated yet. Default 256.
    pub greetings: usize,
    /// The same for one address; behind a gateway that is the gateway's. Default 64.
    pub greetings_per_address: usize,
    /// How many bytes such a client may send: more than a greeting with a thousand scopes has.
    /// Bytes are only counted on the sockets of [`listen`](transport_kit::listen). Default 256 KiB.
    pub greeting_bytes: u64,
    /// The most memory for messages of more than 64 KiB while they arrive, over all connections;
    /// one address may use three quarters of it. A connection whose message finds no room is
    /// closed, and its client then sends less at a time. Bytes are only counted on the same
    /// sockets. Default 128 MiB.
    pub message_memory: usize,
    /// The least time after which refused clients may retry. Default 10 s.
    pub retry_after: std::time::Duration,
    /// The pages and host names that are answered. Default: pages of the server's own address, and
    /// any host name.
    pub browsers: BrowserPolicy,
}

#[cfg(feature = "server")]
impl Default for WsServerConfig {
    fn default() -> Self {
        Self {
            max_payload: MAX_PAYLOAD,
            read_buffer: SERVER_READ_BUFFER,
            connections: 10_000,
            greetings: 256,
            greetings_per_address: 64,
            greeting_bytes: 256 << 10,
            message_memory: 128 << 20,
            retry_after: std::time::Duration::from_secs(10),
            browsers: BrowserPolicy::default(),
        }
    }
}

#[cfg(feature = "server")]
impl WsServerConfig {
    pub(crate) fn socket(&self) -> WebSocketConfig {
        socket(self.max_payload, self.read_buffer)
    }
}

fn socket(max_payload: usize, read_buffer: usize) -> WebSocketConfig {
    let largest = max_payload.saturating_add(HEADER_BYTES);
    WebSocketConfig::default()
        .read_buffer_size(read_buffer.max(1 << 10))
        .write_buffer_size(WRITE_BUFFER)
        // One message besides the buffer, and answers to pings: then the sender waits.
        .max_write_buffer_size(largest.saturating_add(2 * WRITE_BUFFER))
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest))
}
