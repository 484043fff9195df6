//! A server's side of a link, on time that only the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;

use crate::follow::{Looks, batch_of, push};
use storage_kit::Durability;
use storage_kit::kv::{Batch, KvOptions, MemoryKv, OrderedKv, Visit, open_server};
use sync_core::error::Result;
use sync_core::model::{Cursor, Limits, ReplicaId, Scope, Seq};
use sync_core::protocol::{Hello, Message, Pull, Push};
use sync_core::transport::{FrameLink, LinkActivity};
use sync_server::{Hooks, Served, Server};
use transport_kit::framed::{Wire, memory_link};

/// Counts the reads.
#[derive(Debug, Default)]
struct Counting {
    kv: MemoryKv,
    reads: AtomicUsize,
}

impl Counting {
    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl OrderedKv for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.kv.get(key)
    }
    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.kv.range(start, end, visit)
    }
    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.kv.commit(batch, durability)
    }
}

fn hello() -> Message {
    Message::Hello(Hello { agent: "test".to_owned(), ..Hello::new(ReplicaId([1; 16])) })
}

/// A server whose reads of the store are counted.
fn server(kv: &Arc<Counting>, hooks: Hooks) -> Server {
    let mut options = KvOptions::default();
    options.threads.inline = true;
    let storage = open_server(Arc::clone(kv), options).unwrap();
    Server::builder(Arc::new(storage)).hooks(hooks).build()
}

/// Greets the server and listens to a scope, as stream 1.
async fn listen(here: &mut FrameLink, wire: &mut Wire) {
    let pull = Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
    for (stream, message) in [(0, hello()), (1, Message::Live(pull)), (1, Message::Credit(4))] {
        here.outgoing.send(wire.encode(stream, &message)).await.unwrap();
        if stream == 0 {
            let frame = here.incoming.next().await.unwrap().unwrap();
            assert!(matches!(wire.decode(frame).unwrap(), (0, Message::Welcome(_))));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_at_the_head_reads_once_per_heartbeat() {
    let looks = Arc::new(Looks::default());
    let hooks = Hooks { authorise: looks.clone(), ..Hooks::default() };
    let server = server(&Arc::default(), hooks);
    let heartbeat = server.options().heartbeat;
    let (mut here, there) = memory_link(8);
    let serving = tokio::spawn(async move { server.serve_link(there).await });

    let mut wire = Wire::new(1 << 20);
    listen(&mut here, &mut wire).await;
    // The test reads what the server sends meanwhile, or the server would count it as lost.
    let mut incoming = here.incoming;
    let reading = tokio::spawn(async move { while incoming.next().await.is_some() {} });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (before, began) = (*looks.0.borrow(), Instant::now());
    for n in 0..20 {
        tokio::time::sleep(heartbeat).await;
        here.outgoing.send(wire.encode(0, &Message::Ping(n))).await.unwrap();
    }
    let looks = *looks.0.borrow() - before;
    let heartbeats = (began.elapsed().as_secs() / heartbeat.as_secs()) as usize;
    assert!((heartbeats - 1..=heartbeats + 1).contains(&looks), "{looks} in {heartbeats}");
    drop(here.outgoing);
    serving.await.unwrap().unwrap();
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_verdicts_of_a_push_are_sent_before_its_entries() {
    let server = server(&Arc::default(), Hooks::default());
    push(&server, 1).await;
    let (mut here, there) = memory_link(8);
    let serving = tokio::spawn(async move { server.serve_link(there).await });
    let mut wire = Wire::new(1 << 20);
    listen(&mut here, &mut wire).await;
    let frame = here.incoming.next().await.unwrap().unwrap();
    assert!(matches!(wire.decode(frame).unwrap(), (1, Message::Chunk(_))));
    // Until it sleeps.
    tokio::time::sleep(Duration::from_millis(1)).await;
    for n in 2..=4u32 {
        let batch = batch_of(ReplicaId([1; 16]), u64::from(n));
        let pushed = wire.encode(n, &Message::Push(Push { batch }));
        here.outgoing.send(pushed).await.unwrap();
        let frame = here.incoming.next().await.unwrap().unwrap();
        let (stream, message) = wire.decode(frame).unwrap();
        assert!(stream == n && matches!(message, Message::Verdicts(_)), "{message:?}");
        let frame = here.incoming.next().await.unwrap().unwrap();
        assert!(matches!(wire.decode(frame).unwrap(), (1, Message::Chunk(_))));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(here);
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_may_take_as_long_as_its_bytes_move_in_either_direction() {
    let server = server(&Arc::default(), Hooks::default());
    let heartbeat = server.options().heartbeat;
    let activity = LinkActivity::default();
    let (mut here, mut there) = memory_link(8);
    there.activity = Some(activity.clone());
    let serving = tokio::spawn(async move { server.serve_link(there).await });
    let mut wire = Wire::new(1 << 20);
    listen(&mut here, &mut wire).await;
    // The test reads what the server sends meanwhile.
    let mut incoming = here.incoming;
    let reading = tokio::spawn(async move { while incoming.next().await.is_some() {} });
    for _ in 0..20 {
        tokio::time::sleep(heartbeat).await;
        activity.read(1_000);
    }
    assert!(!serving.is_finished(), "a large frame is on its way");
    tokio::time::sleep(heartbeat * 5).await;
    assert!(serving.is_finished(), "nothing moves any more");
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_sent_the_newest_change_does_not_read_the_storage() {
    let kv = Arc::new(Counting::default());
    let server = server(&kv, Hooks::default());
    let reads = || kv.reads();
    push(&server, 1).await;
    let before = reads();
    push(&server, 2).await;
    let of_a_push = reads() - before;

    let (mut here, there) = memory_link(8);
    let serving = server.clone();
    let serving = tokio::spawn(async move { serving.serve_link(there).await });
    let mut wire = Wire::new(1 << 20);
    listen(&mut here, &mut wire).await;
    for n in 3..=6 {
        // First what it missed, and then each change as it is made.
        let frame = here.incoming.next().await.unwrap().unwrap();
        let (1, Message::Chunk(chunk)) = wire.decode(frame).unwrap() else { panic!("no chunk") };
        assert_eq!(chunk.next, Seq(n - 1));
        // Until it sleeps.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let before = reads();
        push(&server, n).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(reads() - before, of_a_push, "change {n}");
    }
    drop(here);
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_pull_gets_the_current_head_and_not_a_cached_one() {
    let server = server(&Arc::new(Counting::default()), Hooks::default());
    let peer = server.admit(None, ReplicaId([1; 16])).await.unwrap();
    let mut pull =
        Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
    let _listener = peer.follow(pull.clone());
    push(&server, 1).await;
    let Served::Chunk(first) = peer.read(&pull).await.unwrap() else { panic!("no chunk") };
    push(&server, 2).await;
    push(&server, 3).await;
    pull.cursor = pull.cursor.following(first.chunk());
    // The cached chunk is that of the second push, when nothing followed it yet.
    let Served::Chunk(kept) = peer.read(&pull).await.unwrap() else { panic!("no chunk") };
    assert_eq!((kept.chunk().next, kept.chunk().head), (Seq(2), Seq(2)));
    // A full pull would take its end for the end of the log, and later documents for absent.
    pull.cursor.floor = Some(Seq(1));
    let Served::Chunk(read) = peer.read(&pull).await.unwrap() else { panic!("no chunk") };
    assert_eq!((read.chunk().next, read.chunk().head), (Seq(3), Seq(3)));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_pull_at_the_head_reads_nothing_until_the_next_commit() {
    let kv = Arc::new(Counting::default());
    let server = server(&kv, Hooks::default());
    push(&server, 1).await;
    let peer = server.admit(None, ReplicaId([1; 16])).await.unwrap();
    let mut pull =
        Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
    for n in 2..=4 {
        let Served::Chunk(chunk) = peer.read(&pull).await.unwrap() else { panic!("no chunk") };
        assert_eq!(chunk.chunk().next, Seq(n - 1));
        pull.cursor = pull.cursor.following(chunk.chunk());
        // A read up to the head is enough to know it.
        let before = kv.reads();
        for _ in 0..3 {
            let Served::Chunk(chunk) = peer.read(&pull).await.unwrap() else { panic!("no chunk") };
            assert_eq!((chunk.chunk().next, chunk.chunk().entries.len()), (Seq(n - 1), 0));
        }
        assert_eq!(kv.reads(), before, "at {n}");
        push(&server, n).await;
    }
}
