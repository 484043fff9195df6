//! A server's side of a link, on time that only the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;

use crate::environment::System;
use crate::error::{Error, ErrorKind, Result};
use crate::framed::{Wire, memory_link};
use crate::kv::{Batch, KvOptions, MemoryKv, OrderedKv, Visit, open_server};
use crate::model::{Cursor, Limits, ReplicaId, Scope};
use crate::protocol::{Hello, Message, Pull, VERSIONS};
use crate::server::{Hooks, Server, ServerOptions};
use crate::storage::Durability;

/// Counts what is read, and breaks when that is far too much, so that a loop without rest ends.
#[derive(Debug, Default)]
struct Counting {
    kv: MemoryKv,
    reads: AtomicUsize,
}

const FAR_TOO_MUCH: usize = 10_000;

impl Counting {
    fn read(&self) -> Result<()> {
        if self.reads.fetch_add(1, Ordering::Relaxed) < FAR_TOO_MUCH {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Storage, "this is read without end"))
    }
}

impl OrderedKv for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.read()?;
        self.kv.get(key)
    }
    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.read()?;
        self.kv.range(start, end, visit)
    }
    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.kv.commit(batch, durability)
    }
}

fn hello() -> Message {
    Message::Hello(Hello {
        versions: VERSIONS.to_vec(),
        replica: ReplicaId([1; 16]),
        token: None,
        compressions: Vec::new(),
        schema: 0,
        agent: "test".to_owned(),
        scopes: Vec::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_at_the_head_is_looked_at_once_a_heartbeat_and_no_more() {
    let kv = Arc::new(Counting::default());
    let mut options = KvOptions::default();
    options.threads.inline = true;
    let storage = open_server(Arc::clone(&kv), options).unwrap();
    let options = ServerOptions::default();
    let heartbeat = options.heartbeat;
    let server = Server::new(Arc::new(storage), Hooks::default(), options, Arc::new(System));
    let (mut here, there) = memory_link(8);
    let serving = tokio::spawn(async move { server.serve_link(there).await });

    let mut wire = Wire::new(1 << 20);
    let pull = Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK };
    for (stream, message) in [(0, hello()), (1, Message::Live(pull)), (1, Message::Credit(4))] {
        here.outgoing.send(wire.encode(stream, &message)).await.unwrap();
        if stream == 0 {
            let frame = here.incoming.next().await.unwrap().unwrap();
            assert!(matches!(wire.decode(frame).unwrap(), (0, Message::Welcome(_))));
        }
    }
    // What the server says meanwhile is read, or it would take us for gone.
    let mut incoming = here.incoming;
    let reading = tokio::spawn(async move { while incoming.next().await.is_some() {} });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (before, began) = (kv.reads.load(Ordering::Relaxed), Instant::now());
    for n in 0..20 {
        tokio::time::sleep(heartbeat).await;
        here.outgoing.send(wire.encode(0, &Message::Ping(n))).await.unwrap();
    }
    // One look is two reads of the store: the scope and its log.
    let looks = (kv.reads.load(Ordering::Relaxed) - before) / 2;
    let heartbeats = (began.elapsed().as_secs() / heartbeat.as_secs()) as usize;
    assert!((heartbeats - 1..=heartbeats + 1).contains(&looks), "{looks} in {heartbeats}");
    drop(here.outgoing);
    serving.await.unwrap().unwrap();
    reading.await.unwrap();
}
