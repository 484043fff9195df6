//! What readers share, and what they take up.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::environment::System;
use crate::error::Retry;
use crate::kv::{KvOptions, MemoryKv, open_server};
use crate::model::{Body, Collection, Epoch, PushBatch, ReplicaId, Scope};
use crate::server::follow::tests::{batch_of, push};
use crate::server::peer::tests::chunk;
use crate::server::{Hooks, Server, ServerOptions};

const LARGE: usize = 2 * budget::FREE;
const WRITER: ReplicaId = ReplicaId([2; 16]);

fn server(change_memory: usize) -> Server {
    let mut kv = KvOptions::default();
    kv.threads.inline = true;
    let storage = open_server(Arc::new(MemoryKv::default()), kv).unwrap();
    let options = ServerOptions { change_memory, ..ServerOptions::default() };
    Server::new(Arc::new(storage), Hooks::default(), options, Arc::new(System))
}

/// Pushes one document of that size.
async fn push_large(server: &Server, n: u64) {
    let mut batch: PushBatch = batch_of(WRITER, n);
    batch.changes[0].state.body = Body::parse(format!("{:?}", "x".repeat(LARGE))).ok();
    server.admit(None, WRITER).await.unwrap().push(batch).await.unwrap();
}

async fn reader(server: &Server, n: u8) -> Peer {
    server.admit(None, ReplicaId([n; 16])).await.unwrap()
}

fn pull() -> Pull {
    Pull { scope: Scope::default(), cursor: Cursor::default(), limits: Limits::CHUNK }
}

#[tokio::test(start_paused = true)]
async fn readers_of_one_place_share_a_chunk_until_the_log_moves() {
    let server = server(1 << 30);
    push_large(&server, 1).await;
    let listener = server.hub(&Scope::default());
    let first = chunk(&reader(&server, 3).await, &pull()).await;
    let held = server.0.budget.held();
    let second = chunk(&reader(&server, 4).await, &pull()).await;
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(server.0.budget.held(), held);
    // Its bytes alone keep it, too.
    let bytes = first.payload(None);
    drop((first, second));
    let third = chunk(&reader(&server, 5).await, &pull()).await;
    assert_eq!(third.payload(None).bytes().as_ptr(), bytes.bytes().as_ptr());
    // Readers at another position, and those that may not share, have their own.
    let few = Pull { limits: Limits { documents: 1, ..Limits::CHUNK }, ..pull() };
    assert!(!Arc::ptr_eq(&third, &chunk(&reader(&server, 6).await, &few).await));
    push(&server, 2).await;
    let moved = chunk(&reader(&server, 6).await, &pull()).await;
    assert_eq!((moved.chunk().head, moved.chunk().entries.len()), (Seq(2), 2));
    drop((third, bytes, moved, listener));
    assert_eq!(server.0.budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_log_shares_nothing() {
    let server = server(1 << 30);
    push_large(&server, 1).await;
    let _listener = server.hub(&Scope::default());
    let peer = reader(&server, 3).await;
    let first = chunk(&peer, &pull()).await;
    let epoch = Some(Epoch([9; 16]));
    let other = Pull { cursor: Cursor { epoch, ..Cursor::default() }, ..pull() };
    assert!(matches!(peer.read(&other).await, Ok(Served::Reset(_))));
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_room_and_is_asked_to_come_back_if_there_is_none() {
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
    // A reader that is nearly up to date needs none.
    let at_the_end = Pull { cursor: Cursor::default().following(second.chunk()), ..pull() };
    push(&server, 2).await;
    let small = chunk(&one, &at_the_end).await;
    assert_eq!(small.chunk().entries.len(), 1);
    drop((second, small));
    assert_eq!(server.0.budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_made_for_one_reader_takes_room_as_well() {
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
    assert_eq!(server.0.budget.held(), SharedChunk::room_for(chosen.chunk()));
    drop(chosen);
    assert_eq!(server.0.budget.held(), 0);
}

#[test]
fn a_form_is_encoded_once_and_its_bytes_keep_the_chunk() {
    let shared = SharedChunk::new(
        Chunk {
            scope: Scope::default(),
            epoch: Epoch([1; 16]),
            after: Seq(0),
            next: Seq(0),
            head: Seq(0),
            horizon: Seq(0),
            mark: None,
            covers: None,
            entries: Vec::new(),
            left_out: Default::default(),
            bookmarks: None,
        },
        None,
        None,
    );
    let times = std::cell::Cell::new(0);
    let encode = |_: &Chunk| {
        times.set(times.get() + 1);
        Ok(bytes::Bytes::from_static(b"{}"))
    };
    let first = shared.encoded("a", encode).unwrap();
    assert_eq!(shared.encoded("a", encode).unwrap(), first);
    shared.encoded("b", encode).unwrap();
    assert_eq!(times.get(), 2);
    let weak = Arc::downgrade(&shared);
    drop(shared);
    assert!(weak.upgrade().is_some());
    drop(first);
    assert!(weak.upgrade().is_none());
}
