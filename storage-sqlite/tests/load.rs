//! Loading: the first pull of an empty replica without the index by which a document is found. It
//! must end like any other pull, whatever happens meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{NOW, REPLICA, collection, id, key, place, puts, state};
use rusqlite::Connection;
use storage_sqlite::{SqliteConfig, SqliteStorage, open_replica};
use sync_core::model::{
    Chunk, DocumentKey, Epoch, Limits, LocalSeq, LogEntry, Reset, ResetReason, Scope, Seq,
};
use sync_core::replica::{Context, Scan, ScopeSummary, Stored};
use sync_core::resolver::Resolvers;
use sync_core::storage::Storage;
use testkit::killed::{Child, place_of_child, report};

const EPOCH: Epoch = Epoch([4; 16]);

fn open_from(path: &Path, load_from: u64) -> SqliteStorage {
    let mut config = SqliteConfig::new(path);
    config.load_from = load_from;
    open_replica(&config, REPLICA).unwrap()
}

/// Opens a storage for which every first pull is loaded.
fn open(path: &Path) -> SqliteStorage {
    open_from(path, 1)
}

/// Returns the chunk of a log that has a document at every position, with ids in no order.
fn chunk(after: u64, next: u64, head: u64) -> Chunk {
    let entry = |n: u64| {
        LogEntry::new(
            Seq(n),
            collection(if n.is_multiple_of(3) { "notes" } else { "tasks" }),
            id(&name(n)),
            state(n, Some("{\"text\":\"as it was pulled\"}")),
        )
    };
    Chunk {
        next: Seq(next),
        head: Seq(head),
        entries: (after + 1..=next).map(entry).collect(),
        ..Chunk::empty(Scope::default(), EPOCH, Seq(after))
    }
}

fn name(n: u64) -> String {
    format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

async fn context(storage: &SqliteStorage) -> Context {
    let lease = storage.claim("a test".to_owned()).await.unwrap();
    Context { now: NOW, resolvers: Resolvers::default(), lease }
}

/// Applies the chunks after the replica's position, up to a position.
async fn pull(storage: &SqliteStorage, cx: &Context, each: u64, to: u64, head: u64) {
    loop {
        let at = storage.state().await.unwrap().checkpoint(&Scope::default()).position.0;
        if at >= to {
            return;
        }
        let chunk = chunk(at, (at + each).min(to), head);
        assert!(storage.apply(cx.clone(), chunk).await.unwrap().moved);
    }
}

async fn everything(storage: &SqliteStorage) -> Vec<Stored> {
    let limits = Limits { documents: 100_000, bytes: 1 << 30 };
    let scan = Scan { scope: Scope::default(), collection: None, after: None, limits };
    storage.scan(scan).await.unwrap().items
}

type Shown = (Vec<Stored>, Vec<ScopeSummary>, LocalSeq, Vec<(LocalSeq, DocumentKey)>);

/// Returns the documents and the sums of a replica.
async fn shown(storage: &SqliteStorage) -> Shown {
    let state = storage.state().await.unwrap();
    let feed = storage.feed(LocalSeq(0), Limits { documents: 100_000, bytes: 1 << 30 }).await;
    let feed: Vec<_> = feed.unwrap().changes.into_iter().map(|c| (c.at, c.key)).collect();
    (everything(storage).await, state.scopes, state.last_local, feed)
}

/// Returns the same for a replica whose first pull was not loaded.
async fn expected(head: u64) -> Shown {
    let (_folder, path) = place();
    let storage = open_from(&path, u64::MAX);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, head, head).await;
    shown(&storage).await
}

/// Returns whether the index exists, as another program reads it.
fn is_indexed(path: &Path) -> bool {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'document_key'";
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 1
}

#[tokio::test]
async fn a_pull_that_is_loaded_ends_like_any_other() {
    let (_folder, path) = place();
    let storage = open(&path);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 950, 1_000).await;
    assert!(!is_indexed(&path));
    pull(&storage, &cx, 50, 1_000, 1_000).await;
    assert!(is_indexed(&path));
    assert_eq!(shown(&storage).await, expected(1_000).await);
}

#[tokio::test]
async fn few_documents_and_a_replica_that_holds_some_are_not_loaded() {
    let (_folder, path) = place();
    let storage = open_from(&path, 1_001);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 50, 1_000).await;
    assert!(is_indexed(&path));
    let (_folder, path) = place();
    let storage = open(&path);
    storage.write(NOW, puts(&[("own", "1")])).await.unwrap();
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 50, 1_000).await;
    assert!(is_indexed(&path));
}

#[tokio::test]
async fn documents_that_change_during_the_pull_are_stored_once() {
    let (_folder, path) = place();
    let storage = open(&path);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 100, 200).await;
    // The third document was written again, after the head at which the pull began.
    let mut more = chunk(100, 201, 201);
    more.entries.last_mut().unwrap().id = id(&name(3));
    more.entries.last_mut().unwrap().collection = collection("notes");
    assert!(storage.apply(cx, more).await.unwrap().moved);
    assert!(is_indexed(&path));
    let state = storage.state().await.unwrap();
    assert_eq!((state.scopes[0].documents, everything(&storage).await.len()), (200, 200));
    let again = storage.get(vec![key("default", "notes", &name(3))]).await.unwrap();
    assert_eq!(again[0].as_ref().unwrap().known, Seq(201));
}

#[tokio::test]
async fn a_local_write_ends_the_load_and_finds_pulled_documents() {
    let (_folder, path) = place();
    let storage = open(&path);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 500, 1_000).await;
    storage.write(NOW, puts(&[(&name(3), "2")])).await.unwrap();
    assert!(is_indexed(&path));
    pull(&storage, &cx, 50, 1_000, 1_000).await;
    let all = everything(&storage).await;
    assert_eq!((all.len(), all.iter().filter(|d| d.dirty).count()), (1_000, 1));
}

#[tokio::test]
async fn a_read_during_the_load_finds_everything_and_ends_it_with_the_next_chunk() {
    let (_folder, path) = place();
    let storage = open(&path);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 500, 1_000).await;
    let found = storage.get(vec![key("default", "notes", &name(3))]).await.unwrap();
    assert!(found[0].is_some() && !is_indexed(&path));
    pull(&storage, &cx, 50, 550, 1_000).await;
    assert!(is_indexed(&path));
    pull(&storage, &cx, 50, 1_000, 1_000).await;
    assert_eq!(shown(&storage).await, expected(1_000).await);
}

#[tokio::test]
async fn a_reset_ends_the_load_and_the_next_pull_finds_existing_documents() {
    let (_folder, path) = place();
    let storage = open(&path);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 500, 1_000).await;
    let reset = Reset { epoch: EPOCH, reason: ResetReason::Requested };
    storage.reset(cx.clone(), Scope::default(), reset).await.unwrap();
    assert!(is_indexed(&path));
    pull(&storage, &cx, 50, 1_000, 1_000).await;
    let state = storage.state().await.unwrap();
    assert_eq!((state.scopes[0].documents, everything(&storage).await.len()), (1_000, 1_000));
}

#[tokio::test]
async fn a_document_that_is_sent_twice_discards_the_load_and_nothing_else() {
    let (_folder, path) = place();
    let storage = open(&path);
    let cx = context(&storage).await;
    pull(&storage, &cx, 50, 500, 1_000).await;
    let mut twice = chunk(500, 550, 1_000);
    twice.entries[7] = LogEntry { seq: Seq(508), ..chunk(0, 3, 1_000).entries[2].clone() };
    assert!(storage.apply(cx.clone(), twice).await.unwrap().moved);
    // The next write that is no load finds it, and discards the loaded documents.
    storage.write(NOW, puts(&[("own", "1")])).await.unwrap();
    assert!(is_indexed(&path));
    let state = storage.state().await.unwrap();
    assert_eq!(
        (state.scopes[0].documents, state.checkpoint(&Scope::default()).position),
        (1, Seq(0))
    );
    // The pull begins again, and is not loaded.
    pull(&storage, &cx, 50, 1_000, 1_000).await;
    assert!(is_indexed(&path));
    assert_eq!(everything(&storage).await.len(), 1_001);
}

const HEAD: u64 = 6_000;

/// Runs in a child process, started by the test below: pulls until it is complete or killed.
#[tokio::test]
async fn child() {
    let Some(path) = place_of_child() else { return };
    let storage = open(&path);
    let cx = context(&storage).await;
    for to in (200..=HEAD).step_by(200) {
        // Reported before it is done, so that a kill happens during it.
        report(to);
        pull(&storage, &cx, 200, to, HEAD).await;
    }
}

#[tokio::test]
async fn a_load_continues_after_a_killed_process_and_ends_like_any_pull() {
    let expected = expected(HEAD).await;
    for pulls in [1, 2, 7, 15, 28, 29, 30, 30, 30] {
        let (_folder, path) = place();
        Child::start("child", &path, pulls).kill();
        let storage = open(&path);
        let position = storage.state().await.unwrap().checkpoint(&Scope::default()).position;
        // Without the index the pull never counts as complete.
        assert_eq!(is_indexed(&path), position == Seq(0) || position == Seq(HEAD), "{position}");
        let cx = context(&storage).await;
        pull(&storage, &cx, 50, HEAD, HEAD).await;
        assert!(is_indexed(&path));
        assert_eq!(shown(&storage).await, expected);
    }
}
