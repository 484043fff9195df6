//! Answers: their bodies and headers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::Cursor;
use sync_core::protocol::WireError;
use sync_server::{Served, SharedChunk};

use super::permits;
use crate::format::{Changes, Content, Format, chunk_body, entity_tag, retry_after, status_of};

/// The encodings that bodies of requests may have, for `Accept-Encoding` in answers.
const ENCODINGS: HeaderValue = HeaderValue::from_static("zstd, gzip");
/// Answers are specific to one reader, and change over time.
const CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");
const VARY: HeaderValue = HeaderValue::from_static("accept, authorization");

/// An error, with its status.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    status: u16,
}

impl Failure {
    /// Creates an error of the requested operation, with a given status.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let error = Error::new(ErrorKind::InvalidInput, message);
        Self { error, status: status.as_u16() }
    }

    /// Creates an error of a greeting, which negotiates the version.
    pub(super) fn of_greeting(error: Error) -> Self {
        let status = status_of(error.kind());
        Self { error, status }
    }

    /// Returns the answer that reports it, in that format.
    pub(super) fn answer(self, format: Format) -> Response {
        let Self { error, status } = self;
        if matches!(
            error.kind(),
            ErrorKind::Storage | ErrorKind::Internal | ErrorKind::Incompatible
        ) {
            tracing::error!(error = %error.report(), "a request failed");
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = retry_after(error.retry());
        let body = format.encode(WireError::from(&error)).unwrap_or_default();
        let mut response = whole(status, format, in_one(body));
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                // The status requires both headers.
                headers.insert(header::UPGRADE, HeaderValue::from_static("twotide/1"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            }
            _ => {}
        }
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            // Except in the greeting, it means that the server's own data is incompatible.
            ErrorKind::Incompatible => 500,
            kind => status_of(kind),
        };
        Self { error, status }
    }
}

/// A complete body, in parts that may be shared with other answers.
struct InParts(VecDeque<Bytes>);

impl HttpBody for InParts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

fn in_one(body: Bytes) -> InParts {
    InParts([body].into())
}

/// Returns an answer with a whole body.
fn whole(status: StatusCode, format: Format, body: InParts) -> Response {
    let content_type = HeaderValue::from_static(format.content_type());
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, CACHE),
        (header::VARY, VARY),
    ];
    (status, headers, Body::new(body)).into_response()
}

/// Returns an answer with that content.
pub(super) fn content<T: Content>(format: Format, content: T) -> Result<Response, Failure> {
    let body = format.encode(content)?;
    Ok(whole(StatusCode::OK, format, in_one(body)))
}

/// Returns an answer with encoded JSON.
pub(super) fn json(body: impl Into<Bytes>) -> Response {
    whole(StatusCode::OK, Format::Json, in_one(body.into()))
}

/// Returns the answer to a read of the log from that cursor: the chunk with its entity tag, a
/// reset, or 304 if the reader already has that state.
pub(super) fn changes(
    format: Format,
    served: Served,
    cursor: &Cursor,
    has: impl FnOnce(&str) -> bool,
) -> Result<Response, Failure> {
    let shared = match served {
        Served::Reset(reset) => return content(format, Changes::Reset(reset)),
        Served::Chunk(shared) => shared,
    };
    let chunk = shared.chunk();
    let tag = entity_tag(chunk.epoch, chunk.next);
    let mut response = if is_nothing(&shared, cursor) && has(&tag) {
        let headers = [(header::CACHE_CONTROL, CACHE), (header::VARY, VARY)];
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        let body = chunk_body(&shared, &cursor.following(chunk), format)?;
        whole(StatusCode::OK, format, InParts(body.into()))
    };
    let tag = HeaderValue::from_str(&tag)
        .map_err(|e| Error::new(ErrorKind::Internal, "a tag is no header").because(e))?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// Returns whether a chunk is of no use to a reader at that cursor: it contains no change and does
/// not complete a pull.
pub(super) fn is_nothing(shared: &SharedChunk, cursor: &Cursor) -> bool {
    let chunk = shared.chunk();
    let ends_nothing = cursor.floor.is_none() && cursor.backfills.is_empty();
    ends_nothing
        && chunk.after == chunk.next
        && chunk.next == chunk.head
        && chunk.entries.is_empty()
}

/// Completes every answer: adds the accepted encodings, gives a body to refusals made by axum (an
/// unknown method or encoding), and ties the held resources to the body.
pub(super) async fn finish(response: Response) -> Response {
    let status = response.status();
    let is_bare = !response.headers().contains_key(header::CONTENT_TYPE);
    let mut response = match status {
        StatusCode::METHOD_NOT_ALLOWED if is_bare => {
            with_body(response, "this address does not take that method; Allow says which")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE if is_bare => {
            with_body(response, "this encoding is not known; Accept-Encoding says which are")
        }
        _ => response,
    };
    response.headers_mut().entry(header::ACCEPT_ENCODING).or_insert(ENCODINGS);
    permits::tie(response)
}

/// Replaces the body, and keeps status and headers.
fn with_body(bare: Response, message: &str) -> Response {
    let mut response = Failure::new(bare.status(), message).answer(Format::Json);
    let kept = |name: &HeaderName| *name != header::CONTENT_LENGTH;
    let headers: HeaderMap = bare
        .headers()
        .iter()
        .filter(|(n, _)| kept(n))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    response.headers_mut().extend(headers);
    response
}
