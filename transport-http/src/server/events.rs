//! A log as a stream of server-sent events.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::protocol::WireError;
use sync_core::server::{Follower, Served};
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::continued;
use crate::api;
use crate::format::{Changes, Event, EventWriter, Format, write_cursor};

/// How much is sent at once, so that whatever gathers answers on the way has no reason to hold this one back.
const PADDING: usize = 2 << 10;

type Next = BoxFuture<'static, (Follower, Result<Option<Served>>)>;

/// A stream that is polled when there is room for more, and reads on only then: what is not taken waits in the log.
struct Events {
    writer: EventWriter,
    format: Format,
    /// What is being waited for; none after the last event.
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

/// The answer that follows a log until it ends, the server drains, or that much time is over.
pub(super) fn answer(
    follower: Follower,
    format: Format,
    heartbeat: Duration,
    time: Duration,
) -> Response {
    let events = Events {
        writer: EventWriter::new(format),
        format,
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
                let cursor = follower.cursor().clone();
                let id = write_cursor(&cursor);
                let data = match self.format {
                    Format::Frame => Ok(self.writer.payload(&chunk.payload(None))),
                    Format::Json => self.writer.data(Event::Changes(continued(&chunk, cursor))),
                };
                match data {
                    Ok(data) => {
                        self.next = (!is_over).then(|| step(follower));
                        Some(written("chunk", Some(&id), &data))
                    }
                    Err(error) => self.last(Event::Failed(WireError::from(&error))),
                }
            }
            Ok(Some(Served::Reset(reset))) => self.last(Event::Changes(Changes::Reset(reset))),
            Ok(None) => None,
            Err(error) => {
                let wire = WireError::from(&error);
                self.last(match error.kind() {
                    ErrorKind::PermissionDenied => Event::Gone(wire),
                    _ => {
                        tracing::debug!(%error, "a stream failed");
                        Event::Failed(wire)
                    }
                })
            }
        }
    }

    fn last(&mut self, event: Event) -> Option<Bytes> {
        let name = event.name();
        let data = self.writer.data(event).ok()?;
        Some(written(name, None, &data))
    }
}

/// One event. Data is cut at line breaks, of which there are three kinds; only white space between the parts of JSON holds
/// any.
fn written(name: &str, id: Option<&str>, data: &str) -> Bytes {
    let mut event = String::with_capacity(data.len() + 128);
    // Writing to a string does not fail.
    let _ = writeln!(event, "event: {name}");
    if let Some(id) = id {
        let _ = writeln!(event, "id: {id}");
    }
    for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
        let _ = writeln!(event, "data: {line}");
    }
    event.push('\n');
    Bytes::from(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_cut_the_data_and_nothing_else() {
        let event = written("chunk", Some("AA"), "[1,\r\n2,\n3,\r4]");
        let text = "event: chunk\nid: AA\ndata: [1,\ndata: 2,\ndata: 3,\ndata: 4]\n\n";
        assert_eq!(event, text);
        assert_eq!(written("failed", None, "{}"), "event: failed\ndata: {}\n\n");
    }
}
