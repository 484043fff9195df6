//! The resources of a request until its answer is written: its place among the requests, and a
//! session that a draining server waits for.
//!
//! A handler ends long before a slow client has read its answer, and the answer uses memory. So
//! both are tied to the bytes of the answer: they are released when the bytes are passed to the
//! operating system, or when the connection is closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sync_server::OpenSession;

/// One or more places among the requests that a server runs at a time.
pub(super) type Place = Box<dyn std::any::Any + Send>;

/// The resources released when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Held(Arc<Inner>);

struct Inner {
    place: Mutex<Option<Place>>,
    /// A draining server waits for this.
    _open: OpenSession,
}

impl Held {
    pub(super) fn new(open: OpenSession) -> Self {
        Self(Arc::new(Inner { place: Mutex::new(None), _open: open }))
    }

    /// Takes another place and releases the previous one.
    pub(super) fn change(&self, place: Place) {
        *self.0.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Adds it to the extensions of an answer; [`tie`] then ties it to the body, after compression.
    pub(super) fn until_written(self, mut answer: Response) -> Response {
        answer.extensions_mut().insert(self);
        answer
    }
}

/// Ties the resources of an answer to the bytes of its body.
pub(super) fn tie(mut answer: Response) -> Response {
    match answer.extensions_mut().remove::<Held>() {
        Some(held) => answer.map(|body| Body::new(Tied { body, held })),
        None => answer,
    }
}

/// A body whose bytes keep a `Held` alive.
struct Tied {
    body: Body,
    held: Held,
}

/// Bytes that keep a `Held` alive as long as any part of them exists.
struct TiedBytes {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for TiedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Tied {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let tied = |bytes| Bytes::from_owner(TiedBytes { bytes, _held: self.held.clone() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(tied))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
