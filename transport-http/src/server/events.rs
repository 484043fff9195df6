//! A log as a stream of server-sent events.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::protocol::WireError;
use sync_server::{Follower, Served};
use tokio::time::{Instant, sleep, sleep_until};

use crate::api;
use crate::format::{Changes, EventWriter, Format, Parts, StreamEvent, chunk_event};

/// The padding that is sent at once, so that a buffering intermediary does not hold it back.
const PADDING: usize = 2 << 10;

type Next = BoxFuture<'static, (Follower, Result<Option<Served>>)>;

/// A stream that is polled when there is room for more, and reads the log only then.
struct Events {
    writer: EventWriter,
    /// The rest of the event that is being sent. It is encoded as it is sent.
    parts: Parts,
    /// The pending operation; none after the last event.
    next: Option<Next>,
    heartbeat: Duration,
    end: Instant,
}

fn step(mut follower: Follower) -> Next {
    async move {
        let found = follower.next().await;
        (follower, found)
    }
    .boxed()
}

/// Returns an answer that follows a log until it ends, the server drains, or the time limit is
/// reached.
pub(super) fn answer(
    follower: Follower,
    format: Format,
    heartbeat: Duration,
    time: Duration,
) -> Response {
    let events = Events {
        writer: EventWriter::new(format),
        parts: Box::new(std::iter::empty()),
        next: Some(step(follower)),
        heartbeat,
        end: Instant::now() + time,
    };
    let padding = Bytes::from(format!(":{:1$}\n\n", "", PADDING));
    let first = stream::once(async move { Ok::<_, Error>(padding) });
    let rest = stream::unfold(events, |mut events| async move {
        let bytes = events.next().await?;
        Some((Ok(bytes), events))
    });
    let body = Body::from_stream(stream::StreamExt::chain(first, rest));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(api::EVENTS)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept, authorization, last-event-id")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(part) = self.parts.next() {
            return Some(part);
        }
        let mut next = self.next.take()?;
        let (follower, found) = tokio::select! {
            biased;
            done = &mut next => done,
            () = sleep(self.heartbeat) => {
                self.next = Some(next);
                return Some(Bytes::from_static(b":\n\n"));
            }
            () = sleep_until(self.end) => return None,
        };
        let is_over = Instant::now() >= self.end;
        match found {
            Ok(Some(Served::Chunk(chunk))) => {
                match chunk_event(&chunk, follower.cursor(), &mut self.writer) {
                    Ok(parts) => {
                        self.parts = parts;
                        self.next = (!is_over).then(|| step(follower));
                        self.parts.next()
                    }
                    Err(error) => self.last(StreamEvent::Failed(WireError::from(&error))),
                }
            }
            Ok(Some(Served::Reset(reset))) => {
                self.last(StreamEvent::Changes(Changes::Reset(reset)))
            }
            Ok(None) => None,
            Err(error) => {
                let wire = WireError::from(&error);
                self.last(match error.kind() {
                    ErrorKind::PermissionDenied => StreamEvent::Gone(wire),
                    _ => {
                        tracing::debug!(error = %error.report(), "a stream failed");
                        StreamEvent::Failed(wire)
                    }
                })
            }
        }
    }

    fn last(&mut self, event: StreamEvent) -> Option<Bytes> {
        let name = event.name();
        let data = self.writer.data(event).ok()?;
        Some(written(name, &data))
    }
}

/// Returns an event whose data has no line breaks, which is so for all but the data of chunks.
fn written(name: &str, data: &str) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
