//! The settings of the client, and their defaults.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::protocol::HEADER_BYTES;
use transport_kit::framed::MAX_PAYLOAD;

use crate::format::Format;

/// How changes are received while a replica follows a scope. Each way falls back to the one below
/// it, from streams down to polling. As text: `auto`, `sse`, `long_poll` or `poll`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LiveBy {
    /// The best way that works: streams first, a lower way where they fail. A higher way is retried
    /// from time to time.
    #[default]
    Auto,
    /// A stream of server-sent events only. If it does not work, the live stream fails and is
    /// retried.
    Sse,
    /// Long polls only: requests that the server answers when a change arrives.
    LongPoll,
    /// A request every [`poll_interval`](HttpConfig::poll_interval).
    Poll,
}

/// The proxy to use. As text: `system`, `none`, or an address.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum ProxyBy {
    /// The system's: environment variables like `HTTPS_PROXY` and `NO_PROXY`, and the settings of
    /// the operating system. A server on this machine (`localhost`, 127.0.0.0/8, `::1`) is always
    /// connected to directly.
    #[default]
    System,
    /// None.
    None,
    /// This one, for all requests: `http://host:port`, with `user:password@` before the host if it
    /// requires authentication.
    Url(String),
}

impl FromStr for ProxyBy {
    type Err = Error;

    /// Parses the text form.
    ///
    /// # Errors
    /// `InvalidInput` for a text that is neither `system`, `none`, nor an address. The text is not
    /// shown: it may contain a password.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "system" => Ok(Self::System),
            "none" => Ok(Self::None),
            url if url.contains("://") => Ok(Self::Url(url.to_owned())),
            _ => {
                let message = "a proxy is `system`, `none`, or an address like http://host:port";
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
        }
    }
}

impl TryFrom<String> for ProxyBy {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ProxyBy> for String {
    /// Includes the password of an address, like other secrets of a configuration.
    fn from(proxy: ProxyBy) -> Self {
        match proxy {
            ProxyBy::System => "system".to_owned(),
            ProxyBy::None => "none".to_owned(),
            ProxyBy::Url(url) => url,
        }
    }
}

impl fmt::Debug for ProxyBy {
    /// Omits the address: it may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::None => "None",
            Self::Url(_) => "Url(..)",
        })
    }
}

/// When live updates fall back to a lower way, and when a higher one is retried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fallback {
    /// How long the first bytes of a stream may take. A stream that takes longer is buffered by an
    /// intermediary, and the next lower way is used. Default 5 s.
    pub first_bytes: Duration,
    /// A stream that ends sooner counts as failed. Default 30 s.
    pub stream_life: Duration,
    /// The number of failed streams in a row, or of long polls cut at the shortest wait, after
    /// which a lower way is used. Default 3, at least 1.
    pub failures: u32,
    /// A long poll that is cut is repeated with half the wait, but not below this. Default 2 s.
    pub shortest_wait: Duration,
    /// When a higher way is retried. The interval doubles after each failed attempt, up to 64
    /// times. Default 10 min.
    pub climb_after: Duration,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            first_bytes: Duration::from_secs(5),
            stream_life: Duration::from_secs(30),
            failures: 3,
            shortest_wait: Duration::from_secs(2),
            climb_after: Duration::from_secs(10 * 60),
        }
    }
}

/// The settings of the HTTP client.
///
/// ```
/// use std::time::Duration;
/// use transport_http::{HttpConfig, LiveBy};
/// let mut config = HttpConfig::new("http://localhost:7878/sync");
/// config.live = LiveBy::LongPoll;
/// config.wait = Duration::from_secs(20);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpConfig {
    /// `http://` or `https://`, host, port, and the path under which the routes are mounted, if
    /// that is not the root.
    pub url: String,
    /// The format of messages. Default frames: compact, and with checksums that detect corruption.
    pub format: Format,
    /// How changes are received while a replica follows a scope. Default: the best way that works.
    pub live: LiveBy,
    /// How often the server is polled where no better way works, ± a fifth. Default 5 s.
    pub poll_interval: Duration,
    /// How long the server may hold a long poll: up to 60 s. Default 25 s, which most gateways
    /// allow.
    pub wait: Duration,
    /// When to switch between the ways of receiving changes.
    pub fallback: Fallback,
    /// How long connecting may take, with name resolution and TLS. Default 15 s.
    pub connect_timeout: Duration,
    /// How long a request may take without progress: while at least 4 KiB of the answer arrive in
    /// this time it may take longer, and a pushed batch gets one more second for each 2 KiB.
    /// Default 60 s.
    pub request_timeout: Duration,
    /// Headers of each request, for gateways on the way. The replica's token is sent in
    /// `Authorization`.
    pub headers: Vec<(String, String)>,
    /// The proxy to use. Default: the system's.
    pub proxy: ProxyBy,
    /// Whether answers, and requests to a server that supports it, are compressed. Streams never
    /// are. Default yes.
    pub compress: bool,
    /// The certificates that are trusted for `https://`.
    #[cfg(feature = "tls")]
    pub trust: transport_kit::tls::Trust,
    /// Requests at a time, without those that follow live; further ones wait. Default 8, at least
    /// 1.
    pub requests: usize,
    /// Streams and long polls at a time. Scopes beyond that are polled every `poll_interval`.
    /// Default 64.
    pub streams: usize,
    /// Connections that are kept without a request on them. Default 4.
    pub idle_connections: usize,
    /// How long idle connections are kept. Default 50 s: less than gateways keep them, so that no
    /// connection is used while it is being closed.
    pub idle_timeout: Duration,
    /// The largest answer, or event of a stream, in bytes after decompression. Default: one frame
    /// of the largest payload.
    pub max_answer_bytes: usize,
}

impl HttpConfig {
    /// Returns the default settings for a server at that address.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            format: Format::Frame,
            live: LiveBy::default(),
            poll_interval: Duration::from_secs(5),
            wait: Duration::from_secs(25),
            fallback: Fallback::default(),
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(60),
            headers: Vec::new(),
            proxy: ProxyBy::default(),
            compress: true,
            #[cfg(feature = "tls")]
            trust: transport_kit::tls::Trust::default(),
            requests: 8,
            streams: 64,
            idle_connections: 4,
            idle_timeout: Duration::from_secs(50),
            max_answer_bytes: MAX_PAYLOAD + HEADER_BYTES,
        }
    }
}

impl fmt::Debug for HttpConfig {
    /// Shows only the names of headers: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("HttpConfig")
            .field("url", &self.url)
            .field("format", &self.format)
            .field("live", &self.live)
            .field("headers", &headers)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}
