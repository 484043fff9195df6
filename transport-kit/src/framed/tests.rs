//! A scripted server at the other end of a link in memory, with a clock that only the tests move.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Compression, Dial, FramedOptions, FramedTransport, Wire, memory_link};
use sync_core::codec::malformed;
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{
    Chunk, Cursor, Epoch, Limits, PushBatch, PushId, ReplicaId, Reset, ResetReason, Scope, Seq,
    Verdicts,
};
use sync_core::protocol::{Ack, Goodbye, Hello, Message, Pull, Welcome, WireError};
use sync_core::transport::{Connection, Delivery, FrameLink, LinkActivity, Transport};

/// Writes repeated bytes once: "abab" becomes "ab".
#[derive(Debug)]
pub(crate) struct Doubled;

impl Compression for Doubled {
    fn name(&self) -> &'static str {
        "doubled"
    }

    fn compress(&self, bytes: &[u8]) -> Option<Bytes> {
        // The tag and the length of a message come first, and are kept separately.
        let (head, tail) = bytes.split_at(3);
        let (left, right) = tail.split_at(tail.len() / 2);
        (left == right).then(|| [head, left].concat().into())
    }

    fn decompress(&self, bytes: &[u8], max: usize) -> Result<Bytes> {
        if bytes.len() < 3 || bytes.len() * 2 - 3 > max {
            return Err(malformed("not doubled, or too much"));
        }
        let (head, half) = bytes.split_at(3);
        Ok([head, half, half].concat().into())
    }
}

/// Returns the client's ends of links, and sends the server's ends to the test.
#[derive(Debug)]
struct Dialer {
    servers: mpsc::UnboundedSender<FrameLink>,
    capacity: usize,
}

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self) -> Result<FrameLink> {
        let (mut here, mut there) = memory_link(self.capacity);
        // The test counts what the client reads.
        here.activity = Some(LinkActivity::default());
        there.activity.clone_from(&here.activity);
        self.servers.send(there).map_err(|_| Error::new(ErrorKind::Network, "no server"))?;
        Ok(here)
    }
}

struct Server {
    link: FrameLink,
    wire: Wire,
}

impl Server {
    async fn hear(&mut self) -> (u32, Message) {
        let frame = self.link.incoming.next().await.expect("the client has gone").unwrap();
        self.wire.decode(frame).unwrap()
    }

    /// Returns the next message of the client that is no heartbeat.
    async fn hear_more(&mut self) -> (u32, Message) {
        loop {
            match self.hear().await {
                (0, Message::Ping(n)) => self.say(0, &Message::Pong(n)).await,
                (0, Message::Pong(_)) => {}
                other => return other,
            }
        }
    }

    async fn say(&mut self, stream: u32, message: &Message) {
        let frame = self.wire.encode(stream, message);
        self.link.outgoing.send(frame).await.unwrap();
    }
}

fn hello() -> Hello {
    Hello { agent: "test".to_owned(), ..Hello::new(ReplicaId([1; 16])) }
}

const HEARTBEAT: Duration = Duration::from_secs(30);

fn welcome() -> Welcome {
    Welcome::new(7)
}

fn pull() -> Pull {
    Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK }
}

fn batch() -> PushBatch {
    let replica = ReplicaId([1; 16]);
    PushBatch::new(Scope::default(), replica, PushId(1), Vec::new())
}

fn ack() -> Ack {
    Ack::new(Scope::default(), Epoch([2; 16]), Seq(1))
}

fn chunk(after: u64) -> Chunk {
    Chunk {
        next: Seq(after + 1),
        head: Seq(9),
        ..Chunk::empty(Scope::default(), Epoch([2; 16]), Seq(after))
    }
}

fn verdicts() -> Verdicts {
    Verdicts::Decided { epoch: Epoch([2; 16]), mark: None, verdicts: Vec::new() }
}

/// A transport, and the servers of its connections.
struct Bench {
    transport: Arc<FramedTransport<Dialer>>,
    servers: mpsc::UnboundedReceiver<FrameLink>,
}

fn window_of(window: u32) -> FramedOptions {
    FramedOptions { window, ..FramedOptions::default() }
}

fn bench_with(capacity: usize, options: FramedOptions) -> Bench {
    let (tell, servers) = mpsc::unbounded_channel();
    let dialer = Dialer { servers: tell, capacity };
    Bench { transport: Arc::new(FramedTransport::new(dialer, options)), servers }
}

fn bench() -> Bench {
    bench_with(16, FramedOptions::default())
}

type Connected = Result<(Arc<dyn Connection>, Welcome)>;

impl Bench {
    /// Connects; the server has received the greeting and has not answered yet.
    async fn greet(&mut self) -> (Server, tokio::task::JoinHandle<Connected>) {
        let transport = Arc::clone(&self.transport);
        let connecting = tokio::spawn(async move { transport.connect(hello()).await });
        let link = self.servers.recv().await.unwrap();
        let mut server = Server { link, wire: Wire::new(1 << 20) };
        assert!(matches!(server.hear().await, (0, Message::Hello(_))));
        (server, connecting)
    }

    async fn refused_with(&mut self, answer: Message) -> Error {
        let (mut server, connecting) = self.greet().await;
        server.say(0, &answer).await;
        connecting.await.unwrap().unwrap_err()
    }

    async fn connected(&mut self) -> (Server, Arc<dyn Connection>) {
        let (mut server, connecting) = self.greet().await;
        server.say(0, &Message::Welcome(welcome())).await;
        (server, connecting.await.unwrap().unwrap().0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_is_answered_and_a_compression_is_agreed_on() {
    let options =
        FramedOptions { compressions: vec![Arc::new(Doubled)], ..FramedOptions::default() };
    let mut bench = bench_with(16, options);
    let connecting = {
        let transport = Arc::clone(&bench.transport);
        tokio::spawn(async move { transport.connect(hello()).await })
    };
    let link = bench.servers.recv().await.unwrap();
    let mut server = Server { link, wire: Wire::new(1 << 20) };
    let (0, Message::Hello(heard)) = server.hear().await else { panic!("no greeting") };
    assert_eq!(heard.compressions, ["doubled"]);
    let welcome = Welcome { compression: Some("doubled".to_owned()), ..welcome() };
    server.say(0, &Message::Welcome(welcome.clone())).await;
    server.wire.set_compression(Some(Arc::new(Doubled)));
    let (connection, heard) = connecting.await.unwrap().unwrap();
    assert_eq!(heard, welcome);

    let token = "ab".repeat(2_000);
    let renewing = tokio::spawn({
        let (connection, token) = (Arc::clone(&connection), token.clone());
        async move { connection.renew(token).await }
    });
    let frame = server.link.incoming.next().await.unwrap().unwrap();
    assert!(frame.len() < 2_200);
    let (stream, message) = server.wire.decode(frame).unwrap();
    assert_eq!(message, Message::Auth(token));
    server.say(stream, &Message::Done).await;
    renewing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_keeps_its_advice() {
    let mut bench = bench();
    let error = bench
        .refused_with(Message::Failed(WireError {
            kind: ErrorKind::Unauthenticated,
            message: "who are you?".to_owned(),
            retry: Retry::Never,
        }))
        .await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::Never));
    let goodbye = Goodbye { reason: "full".to_owned(), retry_after: Some(9_000) };
    let error = bench.refused_with(Message::Goodbye(goodbye)).await;
    let later = Retry::Later(Some(Duration::from_secs(9)));
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, later));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_to_the_greeting_breaks_the_protocol() {
    let mut bench = bench();
    for answer in [
        Message::Done,
        Message::Ping(1),
        Message::Welcome(Welcome { version: 2, ..welcome() }),
        Message::Welcome(Welcome { heartbeat: 0, ..welcome() }),
        Message::Welcome(Welcome { heartbeat: u64::MAX, ..welcome() }),
        Message::Welcome(Welcome { compression: Some("zip".to_owned()), ..welcome() }),
    ] {
        let error = bench.refused_with(answer.clone()).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_the_greeting_times_out() {
    let mut bench = bench();
    let (server, connecting) = bench.greet().await;
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Reconnect));
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn answers_may_come_in_any_order() {
    let (mut server, connection) = bench().connected().await;
    let script = async {
        let (pulling, message) = server.hear().await;
        assert_eq!(message, Message::Pull(pull()));
        let (pushing, message) = server.hear().await;
        assert!(matches!(message, Message::Push(_)));
        let (acking, _) = server.hear().await;
        assert!(0 < pulling && pulling < pushing && pushing < acking);
        let reset = Reset { epoch: Epoch([3; 16]), reason: ResetReason::DigestDiffers };
        server.say(acking, &Message::Reset(reset)).await;
        server.say(pushing, &Message::Verdicts(verdicts())).await;
        server.say(pulling, &Message::Chunk(chunk(4))).await;
        reset
    };
    let (pulled, pushed, acked, reset) = tokio::join!(
        connection.pull(pull()),
        connection.push(batch()),
        connection.acknowledge(ack()),
        script
    );
    assert_eq!(pulled.unwrap(), Delivery::Chunk(chunk(4)));
    assert_eq!(pushed.unwrap(), verdicts());
    assert_eq!(acked.unwrap(), Some(reset));
}

#[tokio::test(start_paused = true)]
async fn a_failure_fails_its_request_alone() {
    let (mut server, connection) = bench().connected().await;
    let script = async {
        let (stream, _) = server.hear().await;
        let error = WireError {
            kind: ErrorKind::PermissionDenied,
            message: "not yours".to_owned(),
            retry: Retry::Never,
        };
        server.say(stream, &Message::Failed(error)).await;
        let (stream, _) = server.hear().await;
        server.say(stream, &Message::Done).await;
    };
    let asking = async {
        let error = connection.pull(pull()).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::PermissionDenied, Retry::Never));
        connection.acknowledge(ack()).await.unwrap();
    };
    tokio::join!(script, asking);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_to_a_dropped_request_is_ignored() {
    let (mut server, connection) = bench().connected().await;
    let pulling = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move { connection.pull(pull()).await }
    });
    let (stream, _) = server.hear().await;
    pulling.abort();
    assert!(pulling.await.unwrap_err().is_cancelled());
    server.say(stream, &Message::Chunk(chunk(1))).await;
    server.say(stream, &Message::Chunk(chunk(1))).await;
    let script = async {
        let (stream, _) = server.hear().await;
        server.say(stream, &Message::Done).await;
    };
    let (result, ()) = tokio::join!(connection.acknowledge(ack()), script);
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropped_requests_do_not_use_up_the_streams() {
    let options = FramedOptions { open: 2, queue: 1, ..FramedOptions::default() };
    let (mut server, connection) = bench_with(16, options).connected().await;
    for _ in 0..10 {
        assert!(connection.pull(pull()).now_or_never().is_none());
        assert!(tokio::time::timeout(HEARTBEAT / 30, connection.pull(pull())).await.is_err());
    }
    let script = async {
        loop {
            if let (stream, Message::Ack(_)) = server.hear_more().await {
                return server.say(stream, &Message::Done).await;
            }
        }
    };
    let (result, ()) = tokio::join!(connection.acknowledge(ack()), script);
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_gives_credit_for_half_of_its_window_at_a_time() {
    let (mut server, connection) = bench_with(16, window_of(4)).connected().await;
    let mut live = connection.live(pull());
    assert!(live.next().now_or_never().is_none());
    let (stream, message) = server.hear().await;
    assert_eq!(message, Message::Live(pull()));
    assert_eq!(server.hear().await, (stream, Message::Credit(4)));
    for after in 0..3 {
        server.say(stream, &Message::Chunk(chunk(after))).await;
    }
    assert_eq!(live.next().await.unwrap().unwrap(), Delivery::Chunk(chunk(0)));
    let early = tokio::time::timeout(HEARTBEAT / 2, server.hear()).await;
    assert!(early.is_err(), "half of the window is not taken yet: {early:?}");
    assert_eq!(live.next().await.unwrap().unwrap(), Delivery::Chunk(chunk(1)));
    assert_eq!(server.hear().await, (stream, Message::Credit(2)));
    assert_eq!(live.next().await.unwrap().unwrap(), Delivery::Chunk(chunk(2)));
    drop(live);
    assert_eq!(server.hear().await, (stream, Message::EndLive));
    // A chunk that was in flight meanwhile does no harm.
    server.say(stream, &Message::Chunk(chunk(3))).await;
    assert!(tokio::time::timeout(HEARTBEAT / 4, connection.lost()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_ends_before_the_next_begins_also_on_a_stuck_link() {
    let (mut server, connection) = bench_with(1, FramedOptions::default()).connected().await;
    let mut first = connection.live(pull());
    let mut pulls: Vec<_> = (0..3).map(|_| connection.pull(pull())).collect();
    // The time only advances when nothing else can run: the link is full, and more waits for it.
    let pause = || tokio::time::sleep(Duration::from_millis(1));
    assert!(first.next().now_or_never().is_none());
    assert!(pulls.iter_mut().all(|p| p.now_or_never().is_none()));
    pause().await;
    drop(first);
    let mut second = connection.live(pull());
    assert!(second.next().now_or_never().is_none());
    pause().await;
    let mut heard = Vec::new();
    while heard.iter().filter(|m| matches!(m, Message::Live(_))).count() < 2 {
        heard.push(server.hear().await.1);
    }
    assert!(heard.contains(&Message::EndLive), "the first stream was still open: {heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_that_is_not_read_gives_no_credit() {
    let (mut server, connection) = bench_with(16, window_of(2)).connected().await;
    let mut live = connection.live(pull());
    assert!(live.next().now_or_never().is_none());
    let (stream, _) = server.hear().await;
    server.hear().await;
    server.say(stream, &Message::Chunk(chunk(0))).await;
    server.say(stream, &Message::Chunk(chunk(1))).await;
    assert_eq!(server.hear().await, (0, Message::Ping(1)), "nothing until the heartbeat");
    // One more than the credit.
    server.say(stream, &Message::Chunk(chunk(2))).await;
    assert_eq!(connection.lost().await.kind(), ErrorKind::Protocol);
    assert!(live.next().await.unwrap().is_ok());
    assert!(live.next().await.unwrap().is_ok());
    assert_eq!(live.next().await.unwrap().unwrap_err().kind(), ErrorKind::Protocol);
    assert!(live.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_ends_with_a_reset_or_with_its_scope() {
    let (mut server, connection) = bench().connected().await;
    let reset = Reset { epoch: Epoch([3; 16]), reason: ResetReason::BelowHorizon };
    for last in [Message::Reset(reset), Message::ScopeGone("moved out".to_owned())] {
        let mut live = connection.live(pull());
        let script = async {
            let (stream, _) = server.hear_more().await;
            server.hear().await;
            server.say(stream, &last).await;
        };
        let (event, ()) = tokio::join!(live.next(), script);
        match event.unwrap() {
            Ok(delivery) => assert_eq!(delivery, Delivery::Reset(reset)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                assert!(error.to_string().contains("moved out"));
            }
        }
        assert!(live.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn another_scope_than_the_requested_one_is_refused() {
    let (mut server, connection) = bench().connected().await;
    let strange = Chunk { scope: Scope::new("strange").unwrap(), ..chunk(0) };
    let script = async {
        let (stream, _) = server.hear().await;
        server.say(stream, &Message::Chunk(strange)).await;
    };
    let (result, ()) = tokio::join!(connection.pull(pull()), script);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_pinged_and_then_disconnected() {
    let (mut server, connection) = bench().connected().await;
    let began = Instant::now();
    let (pulled, lost, _) = tokio::join!(connection.pull(pull()), connection.lost(), async {
        server.hear().await;
        assert_eq!(server.hear().await, (0, Message::Ping(1)));
        assert_eq!(began.elapsed(), HEARTBEAT);
    });
    assert_eq!(began.elapsed(), HEARTBEAT * 3);
    for error in [pulled.unwrap_err(), lost] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Reconnect));
    }
    assert_eq!(
        connection.acknowledge(ack()).await.unwrap_err().kind(),
        ErrorKind::Timeout,
        "what comes later fails with the same"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_bytes_is_kept_however_long_a_frame_takes() {
    let (server, connection) = bench().connected().await;
    let reads = server.link.activity.clone().unwrap();
    for _ in 0..20 {
        tokio::time::sleep(HEARTBEAT).await;
        reads.read(1_000);
    }
    assert_eq!(connection.moved().unwrap().down, 20_000);
    let (began, error) = (Instant::now(), connection.lost().await);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(began.elapsed() > HEARTBEAT && began.elapsed() < HEARTBEAT * 5);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_pings_is_kept_and_its_pings_are_answered() {
    let (mut server, connection) = bench().connected().await;
    for n in 1..20 {
        assert_eq!(server.hear().await, (0, Message::Ping(n)));
        server.say(0, &Message::Pong(n)).await;
        server.say(0, &Message::Ping(100 + n)).await;
        assert_eq!(server.hear().await, (0, Message::Pong(100 + n)));
    }
    assert!(connection.lost().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_link_that_accepts_nothing_still_times_out() {
    let options = FramedOptions { queue: 1, ..FramedOptions::default() };
    let (server, connection) = bench_with(1, options).connected().await;
    let asking = futures_util::future::join_all((0..100).map(|_| connection.pull(pull())));
    let results = asking.await;
    assert!(results.into_iter().all(|r| r.unwrap_err().kind() == ErrorKind::Timeout));
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_loses_the_link_and_everything_on_it_at_once() {
    let (mut server, connection) = bench().connected().await;
    let mut live = connection.live(pull());
    let script = async {
        server.hear().await;
        server.hear().await;
        let mut frame = server.wire.encode(1, &Message::Chunk(chunk(0))).to_vec();
        frame[40] ^= 4;
        server.link.outgoing.send(frame.into()).await.unwrap();
        // The server receives the reason.
        loop {
            if let (0, Message::Goodbye(goodbye)) = server.hear().await {
                return goodbye.reason;
            }
        }
    };
    let (pulled, event, lost, reason) =
        tokio::join!(connection.pull(pull()), live.next(), connection.lost(), script);
    for error in [pulled.unwrap_err(), event.unwrap().unwrap_err(), lost] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Reconnect));
    }
    assert!(reason.contains("changed on the way"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_has_the_time_to_retry() {
    let (mut server, connection) = bench().connected().await;
    let script = async {
        server.hear().await;
        let goodbye = Goodbye { reason: "update".to_owned(), retry_after: Some(5_000) };
        server.say(0, &Message::Goodbye(goodbye)).await;
    };
    let (pulled, lost, ()) = tokio::join!(connection.pull(pull()), connection.lost(), script);
    for error in [pulled.unwrap_err(), lost] {
        assert_eq!(error.retry(), Retry::Later(Some(Duration::from_secs(5))));
        assert!(error.to_string().contains("update"));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_without_a_request_break_the_protocol() {
    for (stream, message) in [
        (1, Message::Done),
        (1, Message::Verdicts(verdicts())),
        (2, Message::Done),
        (0, Message::Done),
        (0, Message::Hello(hello())),
    ] {
        let (mut server, connection) = bench().connected().await;
        let script = async {
            server.hear().await;
            server.say(stream, &message).await;
        };
        let (pulled, ()) = tokio::join!(connection.pull(pull()), script);
        assert_eq!(pulled.unwrap_err().kind(), ErrorKind::Protocol, "{stream} {message:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_fails_what_is_pending() {
    let (mut server, connection) = bench().connected().await;
    let script = async move {
        server.hear().await;
    };
    let (pulled, lost, ()) = tokio::join!(connection.pull(pull()), connection.lost(), script);
    for error in [pulled.unwrap_err(), lost] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    }
}

#[tokio::test(start_paused = true)]
async fn closing_says_goodbye_and_fails_what_is_pending() {
    let (mut server, connection) = bench().connected().await;
    let closing = async {
        server.hear().await;
        let why = Goodbye { reason: "done".to_owned(), retry_after: None };
        connection.close(why.clone()).await;
        assert_eq!(server.hear().await, (0, Message::Goodbye(why)));
        assert!(server.link.incoming.next().await.is_none());
    };
    let (pulled, ()) = tokio::join!(connection.pull(pull()), closing);
    assert_eq!(pulled.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_drops_the_link_even_if_it_is_stuck() {
    let (mut server, connection) = bench_with(1, FramedOptions::default()).connected().await;
    let _ = futures_util::future::join_all((0..20).map(|_| connection.pull(pull()))).now_or_never();
    tokio::task::yield_now().await;
    drop(connection);
    tokio::time::sleep(HEARTBEAT / 2).await;
    while let Some(frame) = server.link.incoming.next().await {
        frame.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_fails_alone() {
    let options = FramedOptions { max_payload: 1_000, ..FramedOptions::default() };
    let (mut server, connection) = bench_with(16, options).connected().await;
    let error = connection.renew("x".repeat(1_000)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::TooLarge, Retry::Later(None)));
    let script = async {
        let (stream, _) = server.hear().await;
        server.say(stream, &Message::Done).await;
    };
    let (renewed, ()) = tokio::join!(connection.renew("x".to_owned()), script);
    renewed.unwrap();
}
