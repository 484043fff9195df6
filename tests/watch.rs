//! Watches: the current value first, then every change, and never a missed final state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use support::{builder, soon};
use twotide::CollectionWatch;
use twotide::backend::clock::Now;
use twotide::backend::kv::{KvOptions, MemoryKv, open_server};
use twotide::backend::model::{Collection as Name, DocumentId, Scope};
use twotide::backend::replica::{Forget, LocalTransaction, LocalWrite, WriteOperation};
use twotide::prelude::*;
use twotide::server::{Server, ServerOptions};

async fn memory() -> Replica {
    Replica::builder().memory().open().await.unwrap()
}

/// The state of a watch's reader.
#[derive(Debug, Default)]
struct Picture {
    documents: BTreeMap<String, u64>,
    events: usize,
    completed: usize,
    resyncs: usize,
    /// Removals of documents that the picture did not hold.
    needless: usize,
}

impl Picture {
    fn take(&mut self, event: WatchEvent<u64>) {
        self.events += 1;
        match event {
            WatchEvent::Current(d) | WatchEvent::Changed(d) => {
                self.documents.insert(d.id().to_owned(), d.into_value());
            }
            WatchEvent::Removed(id) => {
                self.needless += usize::from(self.documents.remove(&id).is_none());
            }
            WatchEvent::Complete => self.completed += 1,
            WatchEvent::Resync => {
                self.resyncs += 1;
                self.documents.clear();
            }
            other => panic!("nobody said what this means: {other:?}"),
        }
    }

    /// Processes all events that are ready.
    async fn catch_up(&mut self, watch: &mut CollectionWatch<u64>) {
        while let Some(event) = soon(watch.next_ready()).await.unwrap() {
            self.take(event);
        }
    }
}

async fn all(counts: &Collection<u64>) -> BTreeMap<String, u64> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let page = counts.scan(after.as_deref(), 1_000).await.unwrap();
        found.extend(page.documents.into_iter().map(|d| (d.id().to_owned(), d.into_value())));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn a_watch_returns_the_current_document_and_then_its_changes() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    counts.put("x", &1).await.unwrap();
    let mut watch = counts.watch("x").unwrap();
    assert_eq!(soon(watch.next()).await.unwrap().unwrap().unwrap().into_value(), 1);
    counts.put("y", &5).await.unwrap();
    counts.put("x", &2).await.unwrap();
    assert_eq!(soon(watch.next()).await.unwrap().unwrap().unwrap().into_value(), 2);
    counts.delete("x").await.unwrap();
    assert!(soon(watch.next()).await.unwrap().unwrap().is_none());
    let later = tokio::spawn(async move { watch.next().await });
    counts.put("y", &6).await.unwrap();
    counts.put("x", &3).await.unwrap();
    assert_eq!(soon(later).await.unwrap().unwrap().unwrap().unwrap().into_value(), 3);
    assert_eq!(counts.watch("").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_watch_reports_that_an_edit_was_settled() {
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let options = ServerOptions::default();
    let server = Server::builder(Arc::new(storage)).options(options).build();
    let replica = builder(&server, 1).open().await.unwrap();
    let counts = replica.collection::<u64>("counts").unwrap();
    counts.put("x", &1).await.unwrap();
    let mut watch = counts.watch("x").unwrap();
    assert!(!soon(watch.next()).await.unwrap().unwrap().unwrap().is_synced());
    soon(replica.sync_now()).await.unwrap();
    assert!(soon(watch.next()).await.unwrap().unwrap().unwrap().is_synced());
}

#[tokio::test]
async fn bodies_of_another_type_are_errors_and_the_watches_continue() {
    let replica = memory().await;
    let (raw, counts) = (replica.raw("counts").unwrap(), replica.collection("counts").unwrap());
    let text = Body::parse("\"no number\"").unwrap();
    raw.put("b", &text).await.unwrap();
    counts.put("c", &3).await.unwrap();
    let (mut one, mut every) = (counts.watch("b").unwrap(), counts.watch_all());
    assert_eq!(soon(one.next()).await.unwrap().unwrap_err().kind(), ErrorKind::InvalidInput);
    let error = soon(every.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains('b'), "{error}");
    let mut picture = Picture::default();
    picture.catch_up(&mut every).await;
    assert_eq!((picture.documents.len(), picture.completed), (1, 1));
    raw.put("c", &text).await.unwrap();
    assert_eq!(soon(every.next()).await.unwrap().unwrap_err().kind(), ErrorKind::InvalidInput);
    counts.put("b", &2).await.unwrap();
    counts.put("c", &4).await.unwrap();
    assert_eq!(soon(one.next()).await.unwrap().unwrap().unwrap().into_value(), 2);
    picture.catch_up(&mut every).await;
    assert_eq!(picture.documents, all(&counts).await);
}

#[tokio::test]
async fn old_versions_are_upgraded_for_a_watch_as_for_a_read() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Count {
        n: u64,
    }
    let upgrade = |_: u32, body: &Body| {
        let old: BTreeMap<String, u64> = body.to()?;
        Body::from_value(&Count { n: old["count"] })
    };
    let replica = Replica::builder().memory().versioned("counts", 1, upgrade).open().await.unwrap();
    let raw = replica.raw("counts").unwrap();
    raw.put("x", &Body::parse(r#"{"count":7}"#).unwrap()).await.unwrap();
    let counts = replica.collection::<Count>("counts").unwrap();
    let mut one = counts.watch("x").unwrap();
    assert_eq!(soon(one.next()).await.unwrap().unwrap().unwrap().value().n, 7);
    let mut every = counts.watch_where(|d| d.value().n == 7);
    assert!(
        matches!(soon(every.next()).await.unwrap().unwrap(), WatchEvent::Current(d) if d.id() == "x")
    );
    assert!(matches!(soon(every.next()).await.unwrap().unwrap(), WatchEvent::Complete));
    raw.put("x", &Body::parse(r#"{"_version":2,"n":7}"#).unwrap()).await.unwrap();
    assert_eq!(soon(one.next()).await.unwrap().unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(soon(every.next()).await.unwrap().unwrap_err().kind(), ErrorKind::Incompatible);
}

#[tokio::test]
async fn a_filter_lets_documents_in_and_out() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    for n in 0..600 {
        counts.put(&format!("{n:03}"), &n).await.unwrap();
    }
    replica.collection("others").unwrap().put("300", &1_000_u64).await.unwrap();
    let mut watch = counts.watch_where(|d| d.value() % 3 == 0);
    let mut picture = Picture::default();
    picture.catch_up(&mut watch).await;
    assert_eq!((picture.documents.len(), picture.completed, picture.events), (200, 1, 201));
    counts.put("000", &1).await.unwrap(); // leaves
    counts.put("001", &3).await.unwrap(); // comes
    counts.put("002", &4).await.unwrap(); // was never in
    counts.delete("003").await.unwrap(); // leaves
    counts.delete("004").await.unwrap(); // was never in
    counts.put("new", &9).await.unwrap(); // comes and leaves between two reads
    counts.delete("new").await.unwrap();
    replica.collection("others").unwrap().put("300", &1_001_u64).await.unwrap();
    picture.catch_up(&mut watch).await;
    let fits = all(&counts).await.into_iter().filter(|(_, n)| n % 3 == 0).collect();
    assert_eq!(picture.documents, fits);
    assert_eq!((picture.events, picture.needless, picture.resyncs), (204, 0, 0));
}

/// Transactions of 200 changes each, on 6,000 ids; every seventh write deletes.
async fn churn(replica: &Replica, transactions: u64, mut after_each: impl AsyncFnMut()) {
    let (collection, mut live, mut seed) = (Name::new("counts").unwrap(), vec![false; 6_000], 1);
    for round in 0..transactions {
        let mut writes = Vec::with_capacity(200);
        for n in 0..200 {
            seed = (seed * 6_364_136_223_846_793_005_u128 + 1_442_695_040_888_963_407) % (1 << 64);
            let which = (seed >> 33) as usize % live.len();
            let delete = live[which] && n % 7 == 0;
            live[which] = !delete;
            let body = Body::from_value(&(round * 200 + n)).unwrap();
            let operation = if delete { WriteOperation::Delete } else { WriteOperation::Put(body) };
            let id = DocumentId::new(which.to_string()).unwrap();
            writes.push(LocalWrite { collection: collection.clone(), id, operation });
        }
        let transaction = LocalTransaction { scope: Scope::default(), writes };
        replica.storage().write(Now(round), transaction).await.unwrap();
        after_each().await;
    }
}

#[tokio::test]
async fn a_slow_reader_misses_no_final_state_under_a_hundred_thousand_changes() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    let mut watch = counts.watch_all();
    let mut filtered = counts.watch_where(|d| d.value() % 2 == 0);
    let mut one = counts.watch("17").unwrap();
    let (mut every, mut even) = (Picture::default(), Picture::default());
    every.take(soon(watch.next()).await.unwrap().unwrap());
    even.take(soon(filtered.next()).await.unwrap().unwrap());
    assert!(soon(one.next()).await.unwrap().unwrap().is_none());
    churn(&replica, 500, async || {
        // Three events of each watch for two hundred changes.
        for _ in 0..3 {
            every.take(soon(watch.next()).await.unwrap().unwrap());
            even.take(soon(filtered.next()).await.unwrap().unwrap());
        }
    })
    .await;
    every.catch_up(&mut watch).await;
    even.catch_up(&mut filtered).await;
    let ends = all(&counts).await;
    assert!(ends.len() > 4_096, "more documents than a watch remembers: {}", ends.len());
    assert_eq!(every.documents, ends);
    let ends: BTreeMap<_, _> = ends.into_iter().filter(|(_, n)| n % 2 == 0).collect();
    assert_eq!(even.documents, ends);
    for picture in [every, even] {
        // The events read meanwhile, the changes kept one by one, and each document once.
        assert!(picture.events < 1_500 + 8_192 + 6_000 + 1_000, "{}", picture.events);
    }
    let end = counts.get("17").await.unwrap().map(Document::into_value);
    assert_eq!(soon(one.next()).await.unwrap().unwrap().map(Document::into_value), end);
    assert!(futures_util::poll!(std::pin::pin!(one.next())).is_pending(), "one state was new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_the_writer_ends_with_the_same_documents() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    let (mut watch, mut one) = (counts.watch_all(), counts.watch("end").unwrap());
    let reading = tokio::spawn(async move {
        let mut picture = Picture::default();
        while !picture.documents.contains_key("end") {
            picture.take(watch.next().await.unwrap().unwrap());
        }
        picture.catch_up(&mut watch).await;
        picture
    });
    churn(&replica, 200, async || ()).await;
    counts.put("end", &1).await.unwrap();
    let wanted = all(&counts).await;
    assert_eq!(soon(reading).await.unwrap().documents, wanted);
    assert_eq!(soon(one.next()).await.unwrap().unwrap().unwrap().into_value(), 1);
}

#[tokio::test]
async fn documents_that_left_without_a_tombstone_are_reported_by_a_resync() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    let others = replica.collection::<u64>("others").unwrap();
    let mut watch = others.watch_all();
    let mut picture = Picture::default();
    for (round, more) in [(1, false), (2, true)] {
        for n in 0..10 {
            others.put(&n.to_string(), &n).await.unwrap();
        }
        picture.catch_up(&mut watch).await;
        assert_eq!(picture.documents, all(&others).await);
        let forget = Forget::Collection(Scope::default(), Name::new("others").unwrap());
        replica.storage().forget(Now(round), None, forget).await.unwrap();
        if more {
            // So many changes that the ones before them are not kept.
            churn(&replica, 60, async || ()).await;
        }
        others.put("new", &round).await.unwrap();
        picture.catch_up(&mut watch).await;
        assert_eq!(picture.documents, BTreeMap::from([("new".to_owned(), round)]));
    }
    assert_eq!((picture.resyncs, picture.completed), (1, 2));
    assert_eq!(
        all(&counts).await.len() as u64,
        replica.state().await.unwrap().scopes[0].documents - 1
    );
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn writes_of_another_process_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.db");
    // Two handles on one file share nothing else, like two processes.
    let ours = Replica::builder().sqlite(&path).open().await.unwrap();
    let theirs = Replica::builder().sqlite(&path).open().await.unwrap();
    let (counts, others) =
        (ours.collection::<u64>("counts").unwrap(), theirs.collection::<u64>("counts").unwrap());
    others.put("a", &1).await.unwrap();
    let (mut one, mut watch) = (counts.watch("a").unwrap(), counts.watch_all());
    assert_eq!(soon(one.next()).await.unwrap().unwrap().unwrap().into_value(), 1);
    let mut picture = Picture::default();
    picture.catch_up(&mut watch).await;
    others.put("a", &2).await.unwrap();
    others.put("b", &3).await.unwrap();
    assert_eq!(soon(one.next()).await.unwrap().unwrap().unwrap().into_value(), 2);
    let wanted = all(&others).await;
    while picture.documents != wanted {
        picture.take(soon(watch.next()).await.unwrap().unwrap());
    }
    others.delete("a").await.unwrap();
    counts.put("c", &4).await.unwrap();
    let wanted = all(&others).await;
    while picture.documents != wanted {
        picture.take(soon(watch.next()).await.unwrap().unwrap());
    }
    assert!(soon(one.next()).await.unwrap().unwrap().is_none());
    ours.close().await.unwrap();
    theirs.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_watch_leaves_nothing_behind() {
    let replica = memory().await;
    let storage = Arc::downgrade(replica.storage());
    let counts = replica.collection::<u64>("counts").unwrap();
    counts.put("x", &1).await.unwrap();
    for _ in 0..100 {
        let (mut one, mut every) = (counts.watch("x").unwrap(), counts.watch_all());
        soon(one.next()).await.unwrap().unwrap();
        soon(every.next()).await.unwrap().unwrap();
        // Waiting futures and streams are dropped, too.
        assert!(futures_util::poll!(std::pin::pin!(one.next())).is_pending());
        soon(every.next()).await.unwrap().unwrap();
        assert!(futures_util::poll!(std::pin::pin!(every.next())).is_pending());
    }
    let mut last = counts.watch("x").unwrap();
    drop((replica, counts));
    assert!(soon(last.next()).await.unwrap().unwrap().is_some(), "a watch keeps the storage open");
    drop(last);
    // A read of the status may still be running.
    soon(async {
        while storage.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_closed_replica_ends_every_watch() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    let (mut one, mut every) = (counts.watch("x").unwrap(), counts.watch_all());
    soon(one.next()).await.unwrap().unwrap();
    soon(every.next()).await.unwrap().unwrap();
    let one = tokio::spawn(one.map(|r| r.map(drop)).collect::<Vec<_>>());
    let every = tokio::spawn(every.map(|r| r.map(drop)).collect::<Vec<_>>());
    tokio::task::yield_now().await;
    let mut late = counts.watch_all();
    replica.close().await.unwrap();
    assert_eq!(soon(one).await.unwrap().len(), 0, "a stream ends without an error");
    assert_eq!(soon(every).await.unwrap().len(), 0);
    assert!(soon(late.next()).await.is_none());
    assert!(late.next_ready().await.unwrap().is_none());
    assert!(soon(counts.watch("x").unwrap().next()).await.is_none());
}
