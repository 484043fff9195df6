//! One request: its admission, its parameters and its body.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{ReplicaId, Scope};
use sync_core::protocol::HEADER_BYTES;
use sync_server::Server;
use tokio::time::{Instant, timeout, timeout_at};
use transport_kit::{Place, Places, RemoteAddress};

use super::answer::Failure;
use super::config::HttpServerConfig;
use super::negotiate::best;
use super::permits::Held;
use crate::api;
use crate::format::{Content, Format};

/// A body that delivers this many bytes within the request timeout is making progress.
const GETS_ON: usize = 4 << 10;

/// Bodies up to this size are not counted against the shared memory limit: each request has at most
/// one. Larger bodies reserve memory in units of this size.
const PART: usize = 64 << 10;

/// The share of the body memory limit that a body reserves.
type BodyPlaces = Vec<Place<Option<IpAddr>>>;

/// State shared by all requests.
pub(super) struct App {
    pub(super) server: Server,
    pub(super) config: HttpServerConfig,
    greetings: Places<Option<IpAddr>>,
    /// Clients whose token is being authenticated, which may take time.
    authenticating: Places<Option<IpAddr>>,
    requests: Places<Option<IpAddr>>,
    /// Requests in progress per principal.
    principals: Places<String>,
    streams: Places<Option<String>>,
    /// Memory reserved for bodies, in parts.
    bodies: Places<Option<IpAddr>>,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One whole body.
    Whole(Format),
    /// A stream of events.
    Events,
}

impl Wanted {
    /// Whole bodies in either format.
    pub(super) const WHOLE: &[(Self, &'static str)] =
        &[(Self::Whole(Format::Json), api::JSON), (Self::Whole(Format::Frame), api::FRAME)];
    /// Whole bodies, or a stream.
    pub(super) const ALL: &[(Self, &'static str)] = &[
        (Self::Whole(Format::Json), api::JSON),
        (Self::Whole(Format::Frame), api::FRAME),
        (Self::Events, api::EVENTS),
    ];
    /// JSON only.
    pub(super) const JSON: &[(Self, &'static str)] = &[(Self::Whole(Format::Json), api::JSON)];

    /// Returns the format of answers that are not streamed, such as errors.
    pub(super) fn format(self) -> Format {
        match self {
            Self::Whole(format) => format,
            Self::Events => Format::Json,
        }
    }
}

impl App {
    pub(super) fn new(server: Server, config: HttpServerConfig) -> Self {
        // A server that admits every client has one principal.
        let parts = (config.body_memory / PART).max(1);
        let of_one = |own: usize| if server.admits_all() { usize::MAX } else { own };
        Self {
            greetings: Places::new(config.greetings, config.greetings_per_address),
            authenticating: Places::new(config.requests, config.requests_per_address),
            requests: Places::new(config.requests, config.requests_per_address),
            principals: Places::new(usize::MAX, of_one(config.requests_per_principal)),
            streams: Places::new(config.streams, of_one(config.streams_per_principal)),
            bodies: Places::new(parts, parts.div_ceil(4) * 3),
            server,
            config,
        }
    }

    fn full(&self, what: &str) -> Failure {
        let retry = Retry::Later(Some(self.config.retry_after));
        Failure::from(Error::new(ErrorKind::Overloaded, what.to_owned()).retrying(retry))
    }

    fn body_bytes(&self) -> usize {
        let frame = self.server.options().frame_bytes.saturating_add(HEADER_BYTES);
        self.config.body_bytes.unwrap_or(frame)
    }

    /// Runs a request within its bounds, and reports an error in the format that was
    /// requested.
    pub(super) async fn serve<F: Future<Output = Result<Response, Failure>>>(
        self: Arc<Self>,
        request: Request,
        offered: &[(Wanted, &'static str)],
        handle: impl FnOnce(Exchange, Body) -> F,
    ) -> Response {
        let accept = list(request.headers(), &header::ACCEPT);
        let wanted = best(accept.as_deref(), offered);
        let format = wanted.map_or(Format::Json, Wanted::format);
        let served = async {
            if *self.server.draining().borrow() {
                let error = Error::new(ErrorKind::Closed, "the server is shutting down");
                let retry = Retry::Later(Some(self.config.retry_after));
                return Err(Failure::from(error.retrying(retry)));
            }
            let Some(wanted) = wanted else {
                let names: Vec<_> = offered.iter().map(|(_, name)| *name).collect();
                let message = format!("this address answers with {}", names.join(" or "));
                return Err(Failure::new(StatusCode::NOT_ACCEPTABLE, message));
            };
            let (parts, body) = request.into_parts();
            let held = Held::new(self.server.open_session());
            let app = Arc::clone(&self);
            let exchange = Exchange {
                app,
                wanted,
                parts,
                principal: None,
                held: held.clone(),
                body: Mutex::default(),
            };
            let answer = handle(exchange, body).await;
            Ok(held.until_written(answer.unwrap_or_else(|failure| failure.answer(format))))
        };
        served.await.unwrap_or_else(|failure: Failure| failure.answer(format))
    }
}

/// Returns a header as text, if it exists and is text.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|h| h.to_str().ok())
}

/// Returns a header that is a list, which may be split into several lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|h| h.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// One admitted request.
pub(super) struct Exchange {
    pub(super) app: Arc<App>,
    pub(super) wanted: Wanted,
    pub(super) parts: Parts,
    /// The principal's name, once it is known.
    principal: Option<String>,
    /// The resources of the request until its answer is written.
    held: Held,
    /// The memory that its body reserves until the request is answered.
    body: Mutex<BodyPlaces>,
}

impl Exchange {
    pub(super) fn server(&self) -> &Server {
        &self.app.server
    }

    pub(super) fn format(&self) -> Format {
        self.wanted.format()
    }

    /// The address that the connection came from, if the listener reports it.
    fn address(&self) -> Option<IpAddr> {
        RemoteAddress::of(&self.parts.extensions).map(|a| a.ip())
    }

    /// Takes a place among the greetings of clients that are not authenticated yet.
    pub(super) fn begin_greeting(&self) -> Result<(), Failure> {
        let place = self.app.greetings.try_take(self.address());
        let full = || self.app.full("the server has as many greetings as it takes");
        self.held.change(Box::new(place.ok_or_else(full)?));
        Ok(())
    }

    /// Takes a place among the clients whose token is being authenticated. The limit is that of
    /// requests.
    pub(super) fn begin_authentication(&self) -> Result<(), Failure> {
        let place = self.app.authenticating.try_take(self.address());
        let full = || self.app.full("the server authenticates as many clients as it may");
        self.held.change(Box::new(place.ok_or_else(full)?));
        Ok(())
    }

    /// Takes a place among the running requests, and one of the principal's if the client is
    /// authenticated. The body is read only after this.
    pub(super) fn begin(&mut self, principal: Option<&str>) -> Result<(), Failure> {
        self.principal = principal.map(str::to_owned);
        let full = || self.app.full("the principal has as many requests as it may have");
        let of_one = |name| self.app.principals.try_take(name).ok_or_else(full);
        let of_principal = self.principal.clone().map(of_one).transpose()?;
        let place = self.app.requests.try_take(self.address());
        let place = place.ok_or_else(|| self.app.full("the server is busy"))?;
        self.held.change(Box::new((place, of_principal)));
        Ok(())
    }

    /// Moves to a place among the long-lived requests, so that waiting requests and streams do not
    /// delay others.
    pub(super) fn linger(&self) -> Result<(), Failure> {
        let place = self.app.streams.try_take(self.principal.clone());
        let full = || self.app.full("the server has as many streams as it takes");
        self.held.change(Box::new(place.ok_or_else(full)?));
        Ok(())
    }

    /// Limits the time of a future.
    pub(super) async fn in_time<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        in_time(self.app.config.request_time, work).await
    }

    /// Returns a header as text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        text(&self.parts.headers, name)
    }

    /// Returns a header that is a list.
    pub(super) fn list(&self, name: &HeaderName) -> Option<String> {
        list(&self.parts.headers, name)
    }

    /// Returns the token that the request carries.
    pub(super) fn token(&self) -> Result<Option<&str>, Failure> {
        let Some(value) = self.parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let bearer = value.to_str().ok().and_then(|v| v.split_once(' '));
        match bearer {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Ok(Some(token.trim()))
            }
            _ => {
                let message = "Authorization is not `Bearer` and a token";
                Err(Error::new(ErrorKind::Unauthenticated, message).into())
            }
        }
    }

    /// Returns the replica that sent the request, if the header names one.
    pub(super) fn replica(&self) -> Result<Option<ReplicaId>> {
        let Some(value) = self.parts.headers.get(api::REPLICA) else { return Ok(None) };
        let id = value.to_str().ok().and_then(|v| v.trim().parse().ok());
        id.map(Some).ok_or_else(|| {
            let message = format!("the header {} is not 32 hexadecimal digits", api::REPLICA);
            Error::new(ErrorKind::InvalidInput, message)
        })
    }

    /// Returns the scope in the address.
    pub(super) async fn scope(&mut self) -> Result<Scope, Failure> {
        use axum::extract::FromRequestParts as _;
        let wrong = |e: String| Error::new(ErrorKind::InvalidInput, e);
        let parameters = RawPathParams::from_request_parts(&mut self.parts, &()).await;
        let parameters = parameters.map_err(|e| wrong(e.body_text()))?;
        let scope = parameters.iter().find(|(name, _)| *name == "scope");
        let (_, scope) = scope.ok_or_else(|| wrong("the address names no scope".to_owned()))?;
        Ok(Scope::new(scope)?)
    }

    /// Returns the parameters in the address.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let query = Query::<T>::try_from_uri(&self.parts.uri);
        Ok(query.map(|Query(q)| q).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, format!("the address is wrong: {}", e.body_text()))
        })?)
    }

    /// Reads the body in the format that the request declares.
    pub(super) async fn content<T: Content>(
        &self,
        body: Body,
        scope: Option<&Scope>,
    ) -> Result<T, Failure> {
        let (most, time) = (self.app.body_bytes(), self.app.config.request_time);
        self.bounded_content(body, scope, most, time).await
    }

    /// The same, with given bounds.
    pub(super) async fn bounded_content<T: Content>(
        &self,
        body: Body,
        scope: Option<&Scope>,
        most: usize,
        time: Duration,
    ) -> Result<T, Failure> {
        let format = self.header(&header::CONTENT_TYPE).and_then(Format::of_content_type);
        let Some(format) = format else {
            let message = format!("Content-Type is to be {} or {}", api::JSON, api::FRAME);
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        };
        let announced = self.header(&header::CONTENT_LENGTH).and_then(|l| l.parse().ok());
        if announced.is_some_and(|length: usize| length > most) {
            return Err(too_large(most));
        }
        let full = || self.app.full("the server holds as many bodies as it may");
        let mut held = BodyPlaces::new();
        let bytes = collect(body.into_data_stream(), most, time, |size| {
            while held.len() < size.saturating_sub(1) / PART {
                held.push(self.app.bodies.try_take(self.address()).ok_or_else(full)?);
            }
            Ok(())
        });
        let bytes = bytes.await?;
        self.body.lock().unwrap_or_else(PoisonError::into_inner).append(&mut held);
        Ok(match scope {
            Some(scope) => format.decode_for(bytes, scope)?,
            None => format.decode(bytes)?,
        })
    }
}

async fn in_time<T, E: Into<Failure>>(
    time: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    timeout(time, work).await.map_err(|_| too_late())?.map_err(Into::into)
}

fn too_late() -> Failure {
    let error = Error::new(ErrorKind::Timeout, "the request took too long");
    error.retrying(Retry::Later(None)).into()
}

fn too_large(most: usize) -> Failure {
    let message = format!("the body is over the limit of {most} bytes");
    Error::new(ErrorKind::TooLarge, message).into()
}

/// Reads a body of limited size; the limit applies after decompression. The timeout limits how long
/// the body may stall, not how long it takes: every [`GETS_ON`] bytes restart it. `make_room` is
/// called before the buffer grows.
async fn collect(
    mut body: BodyDataStream,
    most: usize,
    time: Duration,
    mut make_room: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Bytes, Failure> {
    let mut all: Option<BytesMut> = None;
    let mut first = Bytes::new();
    let (mut due, mut moved) = (Instant::now() + time, 0);
    while let Some(part) = timeout_at(due, body.next()).await.map_err(|_| too_late())? {
        let part = part.map_err(|e| {
            Failure::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {e}"))
        })?;
        moved += part.len();
        if moved >= GETS_ON {
            (due, moved) = (Instant::now() + time, 0);
        }
        let before = all.as_ref().map_or(first.len(), BytesMut::len);
        if part.len() > most.saturating_sub(before) {
            return Err(too_large(most));
        }
        make_room(before + part.len())?;
        match &mut all {
            Some(all) => all.extend_from_slice(&part),
            None if first.is_empty() => first = part,
            None => {
                let mut both = BytesMut::from(&first[..]);
                both.extend_from_slice(&part);
                all = Some(both);
            }
        }
    }
    Ok(all.map_or(first, BytesMut::freeze))
}
