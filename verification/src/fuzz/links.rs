//! Sequences of frames on a link: the behaviour of both ends of a connection, as real tasks, on
//! time that has to be [paused](https://docs.rs/tokio/latest/tokio/time/fn.pause.html).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_core::clock::Now;
use sync_core::environment::Environment;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Cursor, Epoch, Limits, PushBatch, PushId, ReplicaId, Scope, Seq};
use sync_core::protocol::{Ack, FrameWriter, Greeting, Hello, Message, Payload, Pull, Welcome};
use sync_core::transport::{Connection, FrameLink, Transport};
use sync_server::{Server, ServerOptions};
use tokio::time::{sleep, timeout};
use transport_kit::framed::{Dial, FramedOptions, FramedTransport, Wire, memory_link};

use super::samples::pieces;
use testkit::cores::must;

/// Longer than either end of a link may take to detect that the other one is gone.
const LONG: Duration = Duration::from_secs(60 * 60);
const HEARTBEAT: Duration = Duration::from_secs(20);
/// The largest payload that either end accepts.
const MOST: usize = 1 << 16;
/// The largest number of frames of one input.
const FRAMES: usize = 64;

/// A clock that does not move, and a constant instead of randomness.
#[derive(Debug)]
struct Still;

impl Environment for Still {
    fn now(&self) -> Now {
        Now(1_900_000_000_000)
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

/// Sends a piece of the input. Flags in its first byte select whether it is a frame as it is
/// (0x80), a payload that claims to be compressed (0x40), and whether a heartbeat passes before it
/// (0x20); the rest is its stream.
async fn send(link: &mut FrameLink, writer: &mut FrameWriter, piece: &[u8]) -> Result<()> {
    let Some((how, rest)) = piece.split_first() else { return Ok(()) };
    if how & 0x20 != 0 {
        sleep(HEARTBEAT).await;
    }
    let rest = Bytes::copy_from_slice(rest);
    let frame = match how & 0x80 {
        0 => writer.frame(u32::from(how & 0x1f), &Payload::of(rest, how & 0x40 != 0)),
        _ => rest,
    };
    link.outgoing.send(frame).await
}

fn hello() -> Hello {
    let scope = Scope::default();
    Hello {
        agent: "check".to_owned(),
        scopes: vec![Greeting { scope, cursor: Cursor::default(), digest: None }],
        ..Hello::new(ReplicaId([1; 16]))
    }
}

/// Sends frames to a server's end of a link, in the order of the bytes (as
/// [`conversation`](super::conversation) separates them). A greeting comes before them unless the
/// first byte is odd.
///
/// # Panics
/// If the server panics, does not end with the link, sends bytes that are no frame, or continues
/// after its goodbye.
pub async fn server_link(bytes: &[u8]) {
    let mut options = KvOptions::default();
    options.threads.inline = true;
    let storage = must(open_server(Arc::new(MemoryKv::default()), options), "a store in memory");
    let mut options = ServerOptions::default();
    (options.frame_bytes, options.heartbeat) = (MOST, HEARTBEAT);
    let server =
        Server::builder(Arc::new(storage)).options(options).environment(Arc::new(Still)).build();
    let (here, there) = memory_link(4);
    let serving = tokio::spawn(async move { server.serve_link(there).await });
    let FrameLink { outgoing, mut incoming, .. } = here;
    let reading = tokio::spawn(async move {
        let (mut wire, mut parting) = (Wire::new(1 << 24), false);
        while let Some(Ok(frame)) = incoming.next().await {
            assert!(!parting, "something was said after a goodbye");
            let heard = must(wire.decode(frame), "what a server says is a frame");
            parting = matches!(heard, (0, Message::Goodbye(_)));
        }
    });
    let mut link = FrameLink {
        outgoing,
        incoming: futures_util::stream::pending().boxed(),
        activity: None,
        admission: None,
    };
    let mut writer = FrameWriter::default();
    let (first, rest) = bytes.split_first().unwrap_or((&1, &[]));
    let mut sent = Ok(());
    if first % 2 == 0 {
        let greeting = writer.frame(0, &Payload::plain(&Message::Hello(hello())));
        sent = link.outgoing.send(greeting).await;
    }
    for piece in pieces(rest).take(FRAMES) {
        if sent.is_err() {
            break;
        }
        sent = send(&mut link, &mut writer, piece).await;
    }
    drop(link);
    if let Err(error) = ends(serving, "the server's end").await {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    }
    ends(reading, "what it said").await;
}

/// Waits for a task, which must end.
async fn ends<T>(task: tokio::task::JoinHandle<T>, what: &str) -> T {
    let ended = must(timeout(LONG, task).await, what);
    must(ended, what)
}

/// A dialler that returns one link.
#[derive(Debug)]
struct One(Mutex<Option<FrameLink>>);

#[async_trait]
impl Dial for One {
    async fn dial(&self) -> Result<FrameLink> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        link.ok_or_else(|| Error::new(ErrorKind::Network, "there is one link"))
    }
}

fn welcome() -> Welcome {
    Welcome {
        heartbeat: u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX),
        ..Welcome::new(7)
    }
}

/// Feeds frames, in the order of the bytes, to a replica's end of a link while it pulls, pushes,
/// acknowledges and follows. A welcome comes before them unless the first byte is odd.
///
/// # Panics
/// If the connection panics, if a request that waits for it does not fail at its end, or if it
/// answers after that.
pub async fn client_link(bytes: &[u8]) {
    let (here, mut there) = memory_link(4);
    let mut options = FramedOptions::default();
    options.max_payload = MOST;
    let transport = FramedTransport::new(One(Mutex::new(Some(here))), options);
    let asking = tokio::spawn(async move {
        if let Ok((connection, _)) = transport.connect(hello()).await {
            use_connection(connection).await;
        }
    });
    let mut writer = FrameWriter::default();
    let (first, rest) = bytes.split_first().unwrap_or((&1, &[]));
    // Reads the greeting, and the replica's later messages too, because it would wait otherwise.
    let _ = there.incoming.next().await;
    if first % 2 == 0 {
        let answer = writer.frame(0, &Payload::plain(&Message::Welcome(welcome())));
        let _ = there.outgoing.send(answer).await;
    }
    let FrameLink { outgoing, mut incoming, .. } = there;
    let mut there = FrameLink {
        outgoing,
        incoming: futures_util::stream::pending().boxed(),
        activity: None,
        admission: None,
    };
    let reading = tokio::spawn(async move { while incoming.next().await.is_some() {} });
    // The first requests have been sent by then.
    sleep(Duration::from_millis(1)).await;
    for piece in pieces(rest).take(FRAMES) {
        if send(&mut there, &mut writer, piece).await.is_err() {
            break;
        }
    }
    drop(there);
    ends(asking, "the replica's end").await;
    ends(reading, "what it said").await;
}

async fn use_connection(connection: Arc<dyn Connection>) {
    let scope = Scope::default();
    let pull = || Pull { scope: scope.clone(), cursor: Cursor::default(), limits: Limits::CHUNK };
    let replica = ReplicaId([1; 16]);
    let batch = PushBatch::new(scope.clone(), replica, PushId(1), Vec::new());
    let ack = Ack::new(scope.clone(), Epoch([2; 16]), Seq(1));
    let follow = async {
        let mut live = connection.live(pull());
        let (mut told, mut failed) = (0, 0);
        while let Some(event) = live.next().await {
            told += 1;
            failed += usize::from(event.is_err());
            assert!(failed <= 1, "a stream failed twice");
        }
        assert!(told <= FRAMES + 1, "{told} events of {FRAMES} frames");
    };
    let all = async {
        tokio::join!(
            connection.pull(pull()),
            connection.push(batch),
            connection.acknowledge(ack),
            connection.renew("token".to_owned()),
            follow,
        )
    };
    let all = timeout(LONG, async { tokio::join!(all, connection.lost()) }).await;
    let (_, lost) = must(all, "whoever waits is told of the end");
    assert_ne!(lost.kind(), ErrorKind::Internal, "{lost}");
    let again = must(timeout(LONG, connection.pull(pull())).await, "what is asked later");
    assert!(again.is_err(), "a connection that was lost answers");
}
