//! The guarantees of the layer over an ordered key-value store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test ends")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use storage_kit::Durability;
use storage_kit::kv::{
    Batch, KvOptions, KvStorage, MemoryKv, OrderedKv, Visit, open_replica, open_server,
};
use sync_core::clock::Now;
use sync_core::error::{ErrorKind, Result};
use sync_core::model::{
    Body, Collection, DocumentId, DocumentKey, Limits, LocalSeq, ReplicaId, Scope,
};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;

const NOW: Now = Now(1_800_000_000_000);
const DOCUMENTS: [&str; 4] = ["a", "b", "c", "d"];

fn keys() -> Vec<DocumentKey> {
    let collection = Collection::new("notes").unwrap();
    let key = |id: &&str| (Scope::default(), collection.clone(), DocumentId::new(*id).unwrap());
    DOCUMENTS.iter().map(key).map(|(s, c, i)| DocumentKey::new(s, c, i)).collect()
}

/// Returns one transaction that puts the same body into every document.
fn all(body: u32) -> LocalTransaction {
    let body = Body::parse(body.to_string()).unwrap();
    let put = |key: DocumentKey| {
        LocalWrite::new(key.collection, key.id, WriteOperation::Put(body.clone()))
    };
    LocalTransaction { scope: Scope::default(), writes: keys().into_iter().map(put).collect() }
}

fn open<K: OrderedKv>(kv: Arc<K>) -> Result<KvStorage<K>> {
    open_replica(kv, ReplicaId([7; 16]), KvOptions::default())
}

fn count(kv: &MemoryKv) -> usize {
    let mut entries = 0;
    kv.range(&[], &[u8::MAX; 8], &mut |_, _| {
        entries += 1;
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    entries
}

/// A store whose commit is not atomic for readers, and may panic.
#[derive(Debug, Default)]
struct Torn {
    kv: MemoryKv,
    committing: AtomicBool,
    panics: AtomicBool,
}

impl OrderedKv for Torn {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        assert!(!self.committing.load(Ordering::SeqCst), "a read came into a commit");
        self.kv.get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        assert!(!self.committing.load(Ordering::SeqCst), "a read came into a commit");
        self.kv.range(start, end, visit)
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        assert!(!self.panics.load(Ordering::SeqCst), "a bug of the store");
        self.committing.store(true, Ordering::SeqCst);
        for entry in batch {
            self.kv.commit(vec![entry], durability)?;
            std::thread::yield_now();
        }
        self.committing.store(false, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_commits_of_a_store_that_has_no_snapshots() {
    let storage = Arc::new(open(Arc::new(Torn::default())).unwrap());
    let writer = Arc::clone(&storage);
    let writing = tokio::spawn(async move {
        for n in 1..=300 {
            writer.write(NOW, all(n)).await.unwrap();
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let found = storage.get(keys()).await.unwrap();
        let bodies: Vec<_> =
            found.iter().map(|d| d.as_ref().map(|d| d.state.body.clone())).collect();
        assert!(bodies.iter().all(|b| *b == bodies[0]), "half of a commit: {bodies:?}");
        seen += 1;
    }
    writing.await.unwrap();
    assert!(seen > 10, "the reader read while the writer wrote");
}

#[tokio::test]
async fn a_panic_in_a_commit_ends_writing_and_fails_waiting_callers() {
    let kv = Arc::new(Torn::default());
    let storage = open(Arc::clone(&kv)).unwrap();
    storage.write(NOW, all(1)).await.unwrap();
    kv.panics.store(true, Ordering::SeqCst);
    let bounded = async {
        for _ in 0..2 {
            assert_eq!(storage.write(NOW, all(2)).await.unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(storage.get(keys()).await.unwrap().iter().flatten().count(), 4);
        }
        storage.close().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(10), bounded).await.unwrap();
}

#[test]
fn a_store_of_another_program_is_refused_and_unchanged() {
    for key in [&b"theirs"[..], b"", b"~", &[254]] {
        let kv = Arc::new(MemoryKv::default());
        kv.commit(vec![(key.into(), Some(Bytes::new()))], Durability::Power).unwrap();
        let replica = open(Arc::clone(&kv)).map(drop).unwrap_err();
        let server = open_server(Arc::clone(&kv), KvOptions::default()).map(drop).unwrap_err();
        for error in [replica, server] {
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        }
        assert_eq!(count(&kv), 1);
    }
}

/// A store with slow commits, so that other calls happen meanwhile.
#[derive(Debug, Default)]
struct Leisurely(MemoryKv);

impl OrderedKv for Leisurely {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.0.get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.0.range(start, end, visit)
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        (0..200).for_each(|_| std::thread::yield_now());
        self.0.commit(batch, durability)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_has_every_operation_also_during_commits() {
    const ROUNDS: u32 = 300;
    let storage = Arc::new(open(Arc::new(Leisurely::default())).unwrap());
    // From the first read on, every operation is kept.
    let limits = Limits { documents: 10, bytes: 1 << 20 };
    assert!(storage.feed(LocalSeq(0), limits).await.unwrap().changes.is_empty());
    let writer = Arc::clone(&storage);
    let writing = tokio::spawn(async move {
        for round in 0..ROUNDS {
            writer.write(NOW, all(round)).await.unwrap();
        }
    });
    let (mut after, mut commits) = (LocalSeq(0), storage.commits());
    while after.0 < u64::from(ROUNDS) * 4 {
        commits.borrow_and_update();
        let page = storage.feed(after, limits).await.unwrap();
        for change in &page.changes {
            assert_eq!(change.at, after.next(), "an operation is left out");
            after = change.at;
            let is_first = after.0 <= 4;
            assert_eq!(change.previous.is_some(), !is_first, "the state before {after}");
        }
        if page.changes.is_empty() {
            commits.changed().await.unwrap();
        }
    }
    writing.await.unwrap();
}
