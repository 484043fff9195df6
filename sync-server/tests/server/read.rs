//! The chunks that readers share, and their memory.

use std::sync::Arc;
use std::time::Duration;

use crate::follow::{batch_of, push};
use crate::peer::chunk;
use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_core::error::ErrorKind;
use sync_core::error::Retry;
use sync_core::model::{Body, Collection, Epoch, PushBatch, ReplicaId, Scope};
use sync_core::model::{Cursor, Limits, Seq};
use sync_core::protocol::Pull;
use sync_server::{AuthenticatedClient, Served};
use sync_server::{Server, ServerOptions};

/// Larger than a chunk that is not counted.
const LARGE: usize = 128 << 10;
const WRITER: ReplicaId = ReplicaId([2; 16]);

fn server(change_memory: usize) -> Server {
    let mut kv = KvOptions::default();
    kv.threads.inline = true;
    let storage = open_server(Arc::new(MemoryKv::default()), kv).unwrap();
    let mut options = ServerOptions::default();
    options.change_memory = change_memory;
    Server::builder(Arc::new(storage)).options(options).build()
}

/// Pushes one document of that size.
async fn push_large(server: &Server, n: u64) {
    let mut batch: PushBatch = batch_of(WRITER, n);
    batch.changes[0].state.body = Body::parse(format!("{:?}", "x".repeat(LARGE))).ok();
    server.admit(None, WRITER).await.unwrap().push(batch).await.unwrap();
}

async fn reader(server: &Server, n: u8) -> AuthenticatedClient {
    server.admit(None, ReplicaId([n; 16])).await.unwrap()
}

fn pull() -> Pull {
    Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK }
}

#[tokio::test(start_paused = true)]
async fn readers_of_one_place_share_a_chunk_until_the_log_moves() {
    let server = server(1 << 30);
    push_large(&server, 1).await;
    let listener = reader(&server, 9).await.follow(pull());
    let first = chunk(&reader(&server, 3).await, &pull()).await;
    let held = server.memory().changes;
    let second = chunk(&reader(&server, 4).await, &pull()).await;
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(server.memory().changes, held);
    // Its bytes alone keep it as well.
    let bytes = first.payload(None);
    drop((first, second));
    let third = chunk(&reader(&server, 5).await, &pull()).await;
    assert_eq!(third.payload(None).bytes().as_ptr(), bytes.bytes().as_ptr());
    // Readers at another position, and those that may not share, have other chunks.
    let few = Pull { limits: Limits { documents: 1, ..Limits::CHUNK }, ..pull() };
    assert!(!Arc::ptr_eq(&third, &chunk(&reader(&server, 6).await, &few).await));
    push(&server, 2).await;
    let moved = chunk(&reader(&server, 6).await, &pull()).await;
    assert_eq!((moved.chunk().head, moved.chunk().entries.len()), (Seq(2), 2));
    drop((third, bytes, moved, listener));
    assert_eq!(server.memory().changes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_log_shares_nothing() {
    let server = server(1 << 30);
    push_large(&server, 1).await;
    let _listener = reader(&server, 9).await.follow(pull());
    let peer = reader(&server, 3).await;
    let first = chunk(&peer, &pull()).await;
    let epoch = Some(Epoch([9; 16]));
    let other = Pull { cursor: Cursor { epoch, ..Cursor::default() }, ..pull() };
    assert!(matches!(peer.read(&other).await, Ok(Served::Reset(_))));
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_room_and_is_advised_to_retry_if_there_is_none() {
    let server = server(4 * LARGE);
    push_large(&server, 1).await;
    let (one, two) = (reader(&server, 3).await, reader(&server, 4).await);
    let first = chunk(&one, &pull()).await;
    let busy = pull();
    let waiting = two.read(&busy);
    let error = waiting.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(matches!(error.retry(), Retry::Later(Some(_))), "{error}");
    let (second, ()) = tokio::join!(chunk(&two, &busy), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
    });
    assert_eq!(second.chunk().entries.len(), 1);
    // A reader that is nearly up to date needs no room.
    let at_the_end = Pull { cursor: Cursor::default().following(second.chunk()), ..pull() };
    push(&server, 2).await;
    let small = chunk(&one, &at_the_end).await;
    assert_eq!(small.chunk().entries.len(), 1);
    drop((second, small));
    assert_eq!(server.memory().changes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_made_for_one_reader_takes_room_as_well() {
    let server = server(1 << 30);
    push_large(&server, 1).await;
    push_large(&server, 2).await;
    let mut names = batch_of(WRITER, 3);
    names.changes[0].collection = Collection::new("other").unwrap();
    reader(&server, 2).await.push(names).await.unwrap();
    let peer = reader(&server, 3).await;
    let notes = Collection::new("notes").unwrap();
    let cursor = Cursor { collections: Some([notes].into()), ..Cursor::default() };
    let chosen = chunk(&peer, &Pull { cursor, ..pull() }).await;
    assert_eq!(chosen.chunk().entries.len(), 2);
    assert!(server.memory().changes > chosen.chunk().weight(), "bodies, and what is around them");
    drop(chosen);
    assert_eq!(server.memory().changes, 0);
}
