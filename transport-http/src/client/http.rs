//! Sends requests, and reads answers within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, LOCATION,
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{ReplicaId, Scope};
use sync_core::protocol::WireError;
use sync_core::transport::LinkActivity;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use transport_kit::framed::COMPRESS_OVER;
use transport_kit::{normalized_address, shown_address};

use crate::api;
use crate::config::HttpConfig;
use crate::error::{self, Trouble, What};
use crate::format::{Content, Format, error_of};

use super::proxy::with_proxy;

/// The largest answer with an error. A longer one is a gateway's page, of which the beginning is
/// enough.
const ERROR_BYTES: usize = 64 << 10;
/// An answer that delivers this many bytes within the request timeout is making progress.
const GETS_ON: u64 = 4 << 10;
/// The maximum number of redirects of a request.
const REDIRECTS: usize = 3;

const GZIP: u8 = 1;
const ZSTD: u8 = 2;

/// A replica's token as a header. It is never shown.
pub(super) type Token = Option<HeaderValue>;

/// Converts a token into a header.
pub(super) fn token(token: Option<&str>) -> Result<Token> {
    let Some(token) = token else { return Ok(None) };
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        invalid("the token has characters in it that no header can carry").during("authenticate")
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) token: Token,
    pub(super) replica: ReplicaId,
    pub(super) accept: &'static str,
    pub(super) if_none_match: Option<String>,
    pub(super) body: Option<Bytes>,
}

/// The HTTP client of a transport: one for all its connections, so that sockets are reused.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    base: Url,
    pub(super) config: HttpConfig,
    /// Requests at a time.
    pub(super) requests: Semaphore,
    /// Streams and long polls at a time.
    pub(super) streams: Arc<Semaphore>,
    /// The encodings that the server accepts, from its last answer that named any.
    encodings: AtomicU8,
    /// Counts the bytes of answers, and of requests that were sent whole.
    pub(super) activity: LinkActivity,
}

impl Http {
    /// Validates the configuration. It does not connect.
    pub(super) fn new(config: HttpConfig) -> Result<Self> {
        let base = address(&config.url)?;
        let mut builder = Client::builder()
            .user_agent(concat!("twotide/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(&config)?)
            // Redirects are followed by this crate, where that is safe.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .pool_max_idle_per_host(config.idle_connections)
            .pool_idle_timeout(config.idle_timeout)
            .tcp_nodelay(true)
            .gzip(config.compress)
            .zstd(config.compress);
        builder = with_proxy(builder, &config.proxy, &base)?;
        #[cfg(feature = "tls")]
        {
            // Always set, or the client would look for a default crypto provider, which is not
            // installed.
            let tls = config.trust.client_config()?;
            builder = builder.tls_backend_preconfigured((*tls).clone());
        }
        let client = builder.build().map_err(|e| error::of_client(e).error)?;
        Ok(Self {
            client,
            base,
            requests: Semaphore::new(config.requests.max(1)),
            streams: Arc::new(Semaphore::new(config.streams.min(Semaphore::MAX_PERMITS))),
            encodings: AtomicU8::new(0),
            activity: LinkActivity::default(),
            config,
        })
    }

    /// Returns the address of a route.
    pub(super) fn url(&self, route: &str, scope: Option<&Scope>) -> Result<Url> {
        let mut url = self.base.clone();
        let scope = scope.map_or("", Scope::as_str);
        if matches!(scope, "." | "..") {
            // URLs interpret these as relative segments, however they are encoded.
            return Err(invalid("a scope of this name cannot be requested over HTTP")
                .with("scope", format!("{scope:?}")));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            let parts = route.split('/').skip(1);
            path.pop_if_empty().extend(parts.map(|p| if p == "{scope}" { scope } else { p }));
        }
        Ok(url)
    }

    /// The format of messages.
    pub(super) fn format(&self) -> Format {
        self.config.format
    }

    /// Sends a request. The answer is a success or 304; its body has not been read.
    pub(super) async fn send(&self, mut ask: Ask) -> Result<Response, Trouble> {
        let mut plain = false;
        for _ in 0..=REDIRECTS {
            let request = self.request(&ask, plain);
            let is_compressed = !plain && request.1;
            let answer = request.0.send().await.map_err(error::of_client)?;
            self.activity.wrote(ask.body.as_ref().map_or(0, Bytes::len));
            let (status, headers) = (answer.status(), answer.headers());
            self.note_encodings(headers);
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            if status == StatusCode::UNSUPPORTED_MEDIA_TYPE && is_compressed {
                // The server that accepted this encoding is not the one that received the request.
                self.encodings.store(0, Ordering::Relaxed);
                plain = true;
                continue;
            }
            if !status.is_redirection() {
                return Err(self.refusal(answer).await);
            }
            match self.redirected(&ask, headers) {
                Some(url) => ask.url = url,
                None => return Err(error::elsewhere(status, headers)),
            }
        }
        let error = Error::new(ErrorKind::Network, "the request is redirected again and again");
        Err(Trouble::new(What::Foreign, error))
    }

    /// Returns the request, and whether its body is compressed.
    fn request(&self, ask: &Ask, plain: bool) -> (reqwest::RequestBuilder, bool) {
        let mut request = self
            .client
            .request(ask.method.clone(), ask.url.clone())
            .header(ACCEPT, ask.accept)
            .header(api::REPLICA, ask.replica.to_string());
        if let Some(token) = &ask.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if ask.accept == api::EVENTS {
            // Compressing a stream may buffer it first.
            request = request.header(ACCEPT_ENCODING, "identity");
        }
        if let Some(tag) = &ask.if_none_match {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let Some(body) = &ask.body else { return (request, false) };
        request = request.header(CONTENT_TYPE, self.format().content_type());
        match self.compress(body).filter(|_| !plain) {
            Some((small, encoding)) => {
                (request.header(CONTENT_ENCODING, encoding).body(small), true)
            }
            None => (request.body(body.clone()), false),
        }
    }

    fn compress(&self, body: &Bytes) -> Option<(Bytes, &'static str)> {
        let known = self.encodings.load(Ordering::Relaxed);
        if !self.config.compress || body.len() <= COMPRESS_OVER || known == 0 {
            return None;
        }
        let (small, encoding) = if known & ZSTD != 0 {
            (zstd::bulk::compress(body, 1).ok()?, "zstd")
        } else {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut out, body).ok()?;
            (out.finish().ok()?, "gzip")
        };
        (small.len() < body.len()).then(|| (small.into(), encoding))
    }

    fn note_encodings(&self, headers: &HeaderMap) {
        let mut known = 0;
        for value in headers.get_all(ACCEPT_ENCODING) {
            for one in value.to_str().unwrap_or_default().split(',') {
                known |= match one.trim() {
                    "gzip" => GZIP,
                    "zstd" => ZSTD,
                    _ => 0,
                };
            }
        }
        if known != 0 {
            self.encodings.store(known, Ordering::Relaxed);
        }
    }

    /// Returns where a redirected request may be sent: the same server, if the request only reads.
    fn redirected(&self, ask: &Ask, headers: &HeaderMap) -> Option<Url> {
        let to = ask.url.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
        (ask.method == Method::GET && to.origin() == self.base.origin()).then_some(to)
    }

    /// Reads an answer of the server.
    pub(super) async fn read<T: Content>(&self, answer: Response) -> Result<T, Trouble> {
        let Some(format) = format_of(answer.headers()) else {
            return Err(error::foreign(answer.status(), answer.headers()));
        };
        let (bytes, is_whole) = self.read_up_to(answer, self.config.max_answer_bytes).await?;
        if !is_whole {
            let error = error::broken("the answer is over the limit")
                .with("limit", self.config.max_answer_bytes);
            return Err(Trouble::new(What::Broken, error));
        }
        format.decode(bytes).map_err(|error| Trouble::new(What::Broken, error))
    }

    async fn refusal(&self, answer: Response) -> Trouble {
        let (status, format) = (answer.status().as_u16(), format_of(answer.headers()));
        let after = error::retry_after(answer.headers()).map(|s| s.to_string());
        // The status alone is informative, so a failure to read the body is ignored.
        let (body, _) = self.read_up_to(answer, ERROR_BYTES).await.unwrap_or_default();
        let error = error_of(status, format, &body, after.as_deref());
        let is_ours = format.is_some_and(|f| f.decode::<WireError>(body).is_ok());
        match is_ours {
            true => Trouble::new(What::Refused(status), error),
            false => error::denied(status, error),
        }
    }

    /// Returns the body, or its beginning if it is longer than `max`, and whether it is complete.
    async fn read_up_to(&self, mut answer: Response, max: usize) -> Result<(Bytes, bool), Trouble> {
        let mut bytes = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(error::of_client)? {
            self.activity.read(part.len());
            if part.len() > max - bytes.len() {
                bytes.extend_from_slice(&part[..max - bytes.len()]);
                return Ok((bytes.freeze(), false));
            }
            bytes.extend_from_slice(&part);
        }
        Ok((bytes.freeze(), true))
    }

    /// Waits for a future with a timeout that restarts whenever answers made progress within it.
    pub(super) async fn while_it_gets_on<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let mut request = std::pin::pin!(request);
        loop {
            let before = self.activity.moved().down;
            if let Ok(answer) = timeout(limit, request.as_mut()).await {
                return answer;
            }
            if self.activity.moved().down - before < GETS_ON {
                return Err(error::too_late());
            }
        }
    }
}

fn address(url: &str) -> Result<Url> {
    let bad_url = |what| Err(invalid(what).with("url", shown_address(url)));
    let Ok(base) = normalized_address(url)?.parse::<Url>() else {
        return bad_url("not an address");
    };
    match base.scheme() {
        "http" => {}
        "https" if cfg!(feature = "tls") => {}
        "https" => return bad_url("this build has no TLS: feature `tls`"),
        _ => return bad_url("an address begins with http:// or https://"),
    }
    if base.port() == Some(0) {
        return bad_url("no such port");
    }
    Ok(base)
}

fn headers(config: &HttpConfig) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let bad = || invalid("not an HTTP header").with("header", name);
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.append(HeaderName::try_from(name.as_str()).map_err(|_| bad())?, value);
    }
    Ok(headers)
}

pub(super) fn format_of(headers: &HeaderMap) -> Option<Format> {
    Format::of_content_type(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}
