//! Following a scope over real sockets: the chunks of a stream, and the way that is used when
//! streams do not work.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/script.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of several tests")]
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::response::Response;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use script::*;
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{Chunk, Limits, Reset, ResetReason, Scope, Seq};
use sync_core::protocol::{Pull, Welcome, WireError};
use sync_core::transport::{Connection, Delivery, Transport};
use tokio::sync::watch;
use transport_http::format::{Changes, EventWriter, Format, StreamEvent, read_cursor};
use transport_http::{HttpConfig, HttpTransport, LiveBy};

const SHORT: Duration = Duration::from_millis(20);

/// Returns settings with short times.
fn quick(server: &Script) -> HttpConfig {
    let mut config = server.config();
    config.poll_interval = SHORT;
    config.wait = Duration::from_secs(1);
    config.fallback.first_bytes = Duration::from_millis(200);
    config.fallback.stream_life = Duration::from_millis(400);
    config
}

fn is_stream(seen: &Seen) -> bool {
    seen.accepts().contains("event-stream")
}

fn position(seen: &Seen) -> u64 {
    read_cursor(seen.query.get("cursor").map_or("", String::as_str)).unwrap().position.0
}

/// Returns a stream that begins with a comment and these chunks, and stays open.
fn open(format: Format, chunks: Vec<Chunk>) -> Response {
    let mut writer = EventWriter::new(format);
    let events: Vec<_> = chunks.into_iter().map(|c| chunk_event(&mut writer, c)).collect();
    let all = [COMMENT.to_owned()].into_iter().chain(events);
    script::stream(stream::iter(all).chain(stream::pending()))
}

/// Returns the same stream, which then ends.
fn ending(format: Format, chunks: Vec<Chunk>) -> Response {
    let mut writer = EventWriter::new(format);
    let events: Vec<_> = chunks.into_iter().map(|c| chunk_event(&mut writer, c)).collect();
    script::stream(stream::iter([COMMENT.to_owned()].into_iter().chain(events)))
}

type Live = BoxStream<'static, Result<Delivery>>;

async fn chunk_of(live: &mut Live) -> Chunk {
    match within(live.next()).await.expect("the stream ended") {
        Ok(Delivery::Chunk(chunk)) => chunk,
        other => panic!("{other:?}"),
    }
}

async fn error_of(live: &mut Live) -> Error {
    let error = within(live.next()).await.unwrap().unwrap_err();
    assert!(live.next().await.is_none(), "an error is the last");
    error
}

struct Followed {
    by: watch::Receiver<Option<LiveBy>>,
    connection: Arc<dyn Connection>,
    _transport: HttpTransport,
}

impl Followed {
    async fn of(config: HttpConfig) -> Self {
        let transport = HttpTransport::new(config).unwrap();
        let (connection, _) = within(transport.connect(hello(None))).await.unwrap();
        Self { by: transport.live_by(), connection, _transport: transport }
    }

    /// Polls a live stream, which returns nothing, until changes are received in that way.
    async fn becomes(&mut self, live: &mut Live, by: LiveBy) {
        tokio::select! {
            found = within(self.by.wait_for(|b| *b == Some(by))) => drop(found.unwrap()),
            other = live.next() => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_delivers_chunks_in_either_format_and_is_requested_at_the_cursor() {
    for format in [Format::Frame, Format::Json] {
        let server =
            Script::greeting(move |_| async move { open(format, vec![chunk(5, 6), chunk(6, 9)]) })
                .await;
        let mut config = server.config();
        config.format = format;
        let mut followed = Followed::of(config).await;
        assert_eq!(*followed.by.borrow(), None);
        let mut live = followed.connection.live(pull(5));
        assert_eq!(server.asked().len(), 0, "nothing is asked before the stream is polled");
        assert_eq!(chunk_of(&mut live).await, chunk(5, 6));
        assert_eq!(chunk_of(&mut live).await, chunk(6, 9));
        let asked = server.asked().remove(0);
        assert_eq!((asked.accepts(), position(&asked)), ("text/event-stream", 5));
        assert_eq!(asked.query.contains_key("data"), format == Format::Frame);
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        followed.becomes(&mut live, LiveBy::Sse).await;
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn unpolled_chunks_wait_on_the_server() {
    let sent = watch::Sender::new(0u64);
    let count = sent.clone();
    let server = Script::greeting(move |_| {
        let count = count.clone();
        async move {
            let padding = format!(": {}\n\n", "x".repeat(1 << 20));
            let mut writer = EventWriter::new(Format::Frame);
            let chunks = (5..).map(move |n| {
                count.send_modify(|sent| *sent += 1);
                chunk_event(&mut writer, chunk(n, n + 1)) + &padding
            });
            script::stream(stream::iter(chunks))
        }
    })
    .await;
    let connection = server.connect().await;
    let mut live = connection.live(pull(5));
    for n in 5..40 {
        assert_eq!(chunk_of(&mut live).await, chunk(n, n + 1));
    }
    // The buffers of the sockets are filled, and no more is sent.
    let mut sent = sent.subscribe();
    let more = tokio::time::timeout(Duration::from_millis(300), sent.wait_for(|n| *n > 80)).await;
    assert!(more.is_err(), "the server was not held back");
}

#[tokio::test]
async fn a_broken_stream_continues_at_its_cursor_and_the_link_is_not_lost() {
    let server = Script::greeting(async |seen| match position(&seen) {
        // It ends, it is cut within an event, it is closed before it begins, and then it works.
        5 => ending(Format::Frame, vec![chunk(5, 6), chunk(6, 7)]),
        7 => {
            let event = chunk_event(&mut EventWriter::new(Format::Frame), chunk(7, 8));
            let half = event[..event.len() / 2].to_owned();
            script::stream(stream::iter([COMMENT.to_owned(), event, half]))
        }
        _ => open(Format::Frame, vec![chunk(8, 9)]),
    })
    .await;
    let connection = server.connect().await;
    let mut live = connection.live(pull(5));
    for n in 5..9 {
        assert_eq!(chunk_of(&mut live).await, chunk(n, n + 1));
    }
    let asked = server.asked();
    assert_eq!(asked.iter().map(position).collect::<Vec<_>>(), [5, 7, 8]);
    // Each request is independent: it names the server starts of the applied chunks.
    let cursor = read_cursor(&asked[2].query["cursor"]).unwrap();
    assert_eq!(cursor, at(8));
    let lost = tokio::time::timeout(SHORT, connection.lost()).await;
    assert!(lost.is_err(), "the link is not lost");
}

#[tokio::test]
async fn misplaced_chunks_are_discarded_and_requested_again_but_not_forever() {
    let server = Script::greeting(async |seen| match position(&seen) {
        // A chunk that was delivered before, and one that leaves a gap.
        5 => open(Format::Frame, vec![chunk(5, 6), chunk(5, 6)]),
        6 => open(Format::Frame, vec![chunk(6, 7), chunk(9, 10)]),
        7 => open(Format::Frame, vec![chunk(7, 8)]),
        _ => unreachable!(),
    })
    .await;
    let connection = server.connect().await;
    let mut live = connection.live(pull(5));
    for n in 5..8 {
        assert_eq!(chunk_of(&mut live).await, chunk(n, n + 1));
    }
    let server = Script::greeting(async |_| open(Format::Frame, vec![chunk(2, 3)])).await;
    let connection = server.connect().await;
    let mut live = connection.live(pull(5));
    let error = error_of(&mut live).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Reconnect));
    assert!(server.asked().len() < 10);
}

#[tokio::test]
async fn an_event_that_is_missing_or_damaged_or_of_another_scope_ends_the_stream() {
    let missing: fn() -> String = || {
        let mut writer = EventWriter::new(Format::Frame);
        let _ = chunk_event(&mut writer, chunk(5, 6));
        chunk_event(&mut writer, chunk(5, 6))
    };
    let damaged = || {
        let event = chunk_event(&mut EventWriter::new(Format::Frame), chunk(5, 6));
        event.replace("data: AQ", "data: AR")
    };
    let misnamed = || {
        let event = chunk_event(&mut EventWriter::new(Format::Frame), chunk(5, 6));
        event.replace("event: chunk", "event: reset")
    };
    let strange = || {
        let scope = Scope::new("other").unwrap();
        chunk_event(&mut EventWriter::new(Format::Frame), Chunk { scope, ..chunk(5, 6) })
    };
    let endless = || format!("data: {}", "A".repeat(70_000));
    for text in [missing, damaged, misnamed, strange, endless] {
        let server = Script::greeting(move |_| async move {
            let parts = [COMMENT.to_owned(), text()];
            script::stream(stream::iter(parts).chain(stream::pending()))
        })
        .await;
        let mut config = server.config();
        config.max_answer_bytes = 50_000;
        let connection = server.connect_with(config).await;
        let mut live = connection.live(pull(5));
        let error = error_of(&mut live).await;
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Protocol, Retry::Reconnect),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_last_event_of_a_stream_is_returned() {
    let wire = |kind, retry| WireError::from(&Error::new(kind, "so it is").retrying(retry));
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    let later = Retry::Later(Some(Duration::from_secs(9)));
    for format in [Format::Frame, Format::Json] {
        let last = [
            StreamEvent::Changes(Changes::Reset(reset)),
            StreamEvent::Gone(wire(ErrorKind::PermissionDenied, Retry::Never)),
            StreamEvent::Failed(wire(ErrorKind::Storage, later)),
        ];
        let server = Script::greeting(move |seen| {
            let last = last[seen.query["documents"].parse::<usize>().unwrap()].clone();
            async move {
                let mut writer = EventWriter::new(format);
                let parts = [COMMENT.to_owned(), event(&mut writer, last)];
                script::stream(stream::iter(parts).chain(stream::pending()))
            }
        })
        .await;
        let mut config = server.config();
        config.format = format;
        let connection = server.connect_with(config).await;
        let live = |n| {
            let limits = Limits { documents: n, ..Limits::CHUNK };
            connection.live(Pull { limits, ..pull(5) })
        };
        let mut resetting = live(0);
        let delivered = within(resetting.next()).await.unwrap().unwrap();
        assert_eq!(delivered, Delivery::Reset(reset));
        assert!(resetting.next().await.is_none(), "a reset is the last");
        let gone = error_of(&mut live(1)).await;
        assert_eq!((gone.kind(), gone.retry()), (ErrorKind::PermissionDenied, Retry::Never));
        let failed = error_of(&mut live(2)).await;
        assert_eq!((failed.kind(), failed.retry()), (ErrorKind::Storage, later));
    }
}

/// Starts a server with a short heartbeat.
async fn restless<F>(answer: impl Fn(Seen) -> F + Send + Sync + Clone + 'static) -> Script
where
    F: Future<Output = Response> + Send + 'static,
{
    Script::start(move |seen| {
        let answer = answer.clone();
        async move {
            if seen.path == "/v1/hello" {
                return content(seen.format(), Welcome { heartbeat: 50, ..welcome() });
            }
            answer(seen).await
        }
    })
    .await
}

#[tokio::test]
async fn a_silent_stream_is_reopened_and_one_with_comments_is_not() {
    let server = restless(async |seen| match position(&seen) {
        5 => open(Format::Frame, vec![chunk(5, 6)]),
        _ => {
            let ticks = tokio::time::interval(Duration::from_millis(20));
            let comments = stream::unfold((ticks, 0), |(mut ticks, n)| async move {
                ticks.tick().await;
                let text = match n {
                    20 => chunk_event(&mut EventWriter::new(Format::Frame), chunk(6, 7)),
                    _ => COMMENT.to_owned(),
                };
                Some((text, (ticks, n + 1)))
            });
            script::stream(comments)
        }
    })
    .await;
    let connection = server.connect().await;
    let mut live = connection.live(pull(5));
    assert_eq!(chunk_of(&mut live).await, chunk(5, 6));
    assert_eq!(chunk_of(&mut live).await, chunk(6, 7));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn dropping_a_live_stream_ends_its_request() {
    let gauge = Gauge::default();
    let counted = gauge.clone();
    let server = Script::greeting(move |_| {
        let one = counted.one();
        async move {
            let parts = stream::iter([COMMENT.to_owned(), COMMENT.to_owned()]);
            let rest = stream::pending().map(move |text: String| {
                let _ = &one;
                text
            });
            script::stream(parts.chain(rest))
        }
    })
    .await;
    let connection = server.connect().await;
    let mut live = connection.live(pull(5));
    tokio::select! {
        () = gauge.reaches(1) => {}
        other = live.next() => panic!("{other:?}"),
    }
    drop(live);
    gauge.reaches(0).await;
}

/// Answers requests for a chunk like a server whose log grows by one with each that waits, and
/// answers streams with the closure.
async fn polled<F>(streams: impl Fn(u64) -> F + Send + Sync + Clone + 'static) -> Script
where
    F: Future<Output = Response> + Send + 'static,
{
    let head = Arc::new(AtomicU64::new(5));
    let opened = Arc::new(AtomicU64::new(0));
    Script::greeting(move |seen| {
        let (head, opened, streams) = (Arc::clone(&head), Arc::clone(&opened), streams.clone());
        async move {
            if is_stream(&seen) {
                return streams(opened.fetch_add(1, Ordering::SeqCst)).await;
            }
            if seen.query.contains_key("wait") {
                head.fetch_add(1, Ordering::SeqCst);
            }
            match (position(&seen), head.load(Ordering::SeqCst)) {
                (at, head) if at >= head => answer(304, &[], ""),
                (at, head) => changes(seen.format(), chunk(at, head)),
            }
        }
    })
    .await
}

#[tokio::test]
async fn missing_or_late_streams_are_replaced_by_long_polls_at_the_same_cursor() {
    let page: fn() -> Response =
        || answer(200, &[("content-type", "text/html")], "<html>no streams here</html>");
    let collected = || script::stream(stream::pending());
    let refused = || answer(406, &[], "");
    for way in [page, collected, refused] {
        let server = polled(move |_| async move { way() }).await;
        let mut followed = Followed::of(quick(&server)).await;
        let mut live = followed.connection.live(pull(5));
        for n in 5..8 {
            assert_eq!(chunk_of(&mut live).await, chunk(n, n + 1));
        }
        assert_eq!(*followed.by.borrow(), Some(LiveBy::LongPoll));
        let asked = server.asked();
        assert!(is_stream(&asked[0]));
        // First without waiting: existing changes must not be delayed, and this shows whether the
        // server is reachable.
        let waits: Vec<_> = asked[1..4].iter().map(|s| s.query.contains_key("wait")).collect();
        assert_eq!(waits, [false, true, true]);
        assert_eq!(asked[1..4].iter().map(position).collect::<Vec<_>>(), [5, 5, 6]);
        assert!(asked[2].header("if-none-match").is_some());
        drop(live);
        // The next stream begins with that way.
        let mut live = followed.connection.live(pull(8));
        assert_eq!(chunk_of(&mut live).await.after, Seq(8));
        assert_eq!(server.asked().iter().filter(|s| is_stream(s)).count(), 1);
        followed.by.mark_changed();
    }
}

#[tokio::test]
async fn short_lived_streams_are_replaced_and_retried_from_time_to_time() {
    let server = polled(|n| async move {
        match n {
            0..3 => ending(Format::Frame, Vec::new()),
            _ => open(Format::Frame, Vec::new()),
        }
    })
    .await;
    let mut config = quick(&server);
    config.fallback.climb_after = Duration::from_millis(500);
    let mut followed = Followed::of(config).await;
    let mut live = followed.connection.live(pull(5));
    assert_eq!(chunk_of(&mut live).await, chunk(5, 6));
    assert_eq!(*followed.by.borrow(), Some(LiveBy::LongPoll));
    let mut after = 6;
    while *followed.by.borrow() != Some(LiveBy::Sse) {
        tokio::select! {
            next = chunk_of(&mut live) => {
                assert_eq!(next.after, Seq(after));
                after = next.next.0;
            }
            changed = followed.by.changed() => changed.unwrap(),
        }
    }
    assert_eq!(server.asked().iter().filter(|s| is_stream(s)).count() - 3, 0, "it is being tried");
}

#[tokio::test]
async fn a_server_that_ignores_the_wait_is_polled_with_a_pause() {
    let server = Script::greeting(async |seen| match is_stream(&seen) {
        true => answer(406, &[], ""),
        false => answer(304, &[], ""),
    })
    .await;
    let mut config = quick(&server);
    config.poll_interval = Duration::from_millis(100);
    let mut followed = Followed::of(config).await;
    let mut live = followed.connection.live(pull(5));
    followed.becomes(&mut live, LiveBy::Poll).await;
    let before = server.asked().len();
    assert!(before <= 6, "{before}");
    let polled = tokio::time::timeout(Duration::from_secs(1), live.next()).await;
    assert!(polled.is_err());
    let asked = server.asked();
    let times = asked.len() - before;
    assert!((8..=14).contains(&times), "{times} in a second");
    assert!(asked[before..].iter().all(|s| !s.query.contains_key("wait")));
    assert!(asked[before..].iter().all(|s| s.header("if-none-match").is_some()));
}

#[tokio::test]
async fn a_refusal_ends_the_stream_whatever_the_way() {
    for live in [LiveBy::Auto, LiveBy::LongPoll, LiveBy::Poll] {
        for (is_ours, retry) in [(true, Retry::Never), (false, Retry::Reconnect)] {
            let server = Script::greeting(move |seen| async move {
                match is_ours {
                    true => unauthenticated(seen.format()),
                    false => answer(401, &[], ""),
                }
            })
            .await;
            let mut config = quick(&server);
            config.live = live;
            let followed = Followed::of(config).await;
            let mut live = followed.connection.live(pull(5));
            let error = error_of(&mut live).await;
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, retry));
            assert_eq!(server.asked().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_requested_delay_is_respected_by_live_streams() {
    let server = polled(|_| async { answer(503, &[("retry-after", "1")], "") }).await;
    let followed = Followed::of(quick(&server)).await;
    let mut live = followed.connection.live(pull(5));
    let asked = tokio::time::Instant::now();
    assert_eq!(chunk_of(&mut live).await, chunk(5, 6));
    assert!(asked.elapsed() >= Duration::from_secs(3), "it came back too early");
    assert_eq!(server.asked().iter().filter(|s| is_stream(s)).count(), 3);
}

#[tokio::test]
async fn the_failure_of_the_only_configured_way_is_returned_with_retry_advice() {
    let server = polled(|_| async { answer(406, &[], "") }).await;
    let mut config = quick(&server);
    config.live = LiveBy::Sse;
    let followed = Followed::of(config).await;
    let mut live = followed.connection.live(pull(5));
    let error = error_of(&mut live).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Later(Some(SHORT))));
    // A request still works: the link is not lost.
    assert!(followed.connection.pull(pull(4)).await.is_ok());
}

#[tokio::test]
async fn streams_over_the_limit_are_polled() {
    let server = polled(|_| async { open(Format::Frame, Vec::new()) }).await;
    let mut config = quick(&server);
    config.streams = 1;
    let mut followed = Followed::of(config).await;
    let mut first = followed.connection.live(pull(5));
    followed.becomes(&mut first, LiveBy::Sse).await;
    // Until it has been opened.
    while server.asked().is_empty() {
        let _ = tokio::time::timeout(SHORT, first.next()).await;
    }
    let mut second = followed.connection.live(pull(2));
    assert_eq!(chunk_of(&mut second).await, chunk(2, 5));
    assert_eq!(server.asked().iter().filter(|s| is_stream(s)).count(), 1);
}

#[tokio::test]
async fn an_unreachable_server_loses_the_link_in_every_way() {
    for by in [LiveBy::Auto, LiveBy::LongPoll, LiveBy::Poll] {
        let server = Script::greeting(async |_| std::future::pending().await).await;
        let mut config = quick(&server);
        config.live = by;
        let followed = Followed::of(config).await;
        drop(server);
        let mut live = followed.connection.live(pull(5));
        let error = error_of(&mut live).await;
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Network, Retry::Reconnect),
            "{error}"
        );
        assert_eq!(within(followed.connection.lost()).await.kind(), ErrorKind::Network);
    }
}
