//! Data that survives closing, crashes and full disks.

use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{Limits, LocalSeq, PushBatch, ReplicaId};
use sync_core::replica::{Decision, ReplicaState, Stored, Unsettled, UnsettledEntry};

use super::super::run::Outcome;
use super::super::tools::{ALL, must};
use super::StorageHarness;
use super::desk::{Desk, delete, put};
use super::log::Log;

/// All data of a replica.
#[derive(Debug, PartialEq)]
struct Everything {
    state: ReplicaState,
    documents: Vec<Stored>,
    unsettled: Vec<Vec<UnsettledEntry>>,
    feed: Vec<(LocalSeq, String)>,
}

async fn everything(desk: &Desk) -> Everything {
    let mut state = desk.state().await;
    // Each desk claims a lease of its own, so leases differ.
    state.lease = Default::default();
    let mut unsettled = Vec::new();
    let kinds =
        [Unsettled::Pending, Unsettled::InFlight, Unsettled::Quarantine, Unsettled::Deferred];
    for which in kinds {
        unsettled.push(desk.unsettled(which, ALL).await);
    }
    // The process caches operations; the storage keeps the newest of each document.
    let feed = desk.feed(LocalSeq(0), ALL).await;
    let newest: std::collections::BTreeMap<_, _> =
        feed.into_iter().map(|c| (c.key.to_string(), c.at)).collect();
    let mut feed: Vec<_> = newest.into_iter().map(|(key, at)| (at, key)).collect();
    feed.sort();
    Everything { state, documents: desk.documents().await, unsettled, feed }
}

/// Makes a replica with entries of every kind, and returns its batch in flight.
async fn busy(desk: &Desk, log: &mut Log) -> PushBatch {
    log.fill("r", 40);
    desk.apply(log.chunk(0, 25)).await;
    desk.fill("refused", 3).await;
    let batch = desk.push().await;
    desk.settle(&batch, log.reject(&batch)).await;
    desk.write([put("r-00001", "\"mine\""), delete("r-00002"), put("a", "1")]).await;
    let batch = desk.push().await;
    desk.write([put("a", "2"), put("b", "1.50")]).await;
    desk.put("r-00030", "\"before it was heard of\"").await;
    batch
}

/// Closed data is there again: identity, documents, outbox, batch, quarantine, position and feed.
pub async fn what_was_closed_is_there_again<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_durable()?;
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    let batch = busy(&desk, &mut log).await;
    let before = everything(&desk).await;
    must(desk.storage.close().await, "the storage is closed");
    let again = Desk::open(&harness).await;
    assert!(again.lease > desk.lease, "leases grow");
    assert_eq!(everything(&again).await, before);
    again.check().await;
    assert_eq!(again.next_push(Limits::PUSH).await.as_ref(), Some(&batch), "the same batch");
    let verdicts = log.accept(&batch);
    again.settle(&batch, verdicts).await;
    again.apply(log.rest(25)).await;
    again.check().await;
    assert_eq!(again.text("a").await.as_deref(), Some("2"));
    Ok(())
}

/// An acknowledged write is there after a crash, whole, with its place in the outbox.
pub async fn an_acknowledged_write_survives_a_crash<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let mut desk = Desk::open(&harness).await;
    for n in 0..5 {
        let names = ["a", "b", "c"].map(|name| put(&format!("{name}-{n}"), &n.to_string()));
        desk.write(names.into_iter().chain([put("shared", &n.to_string())])).await;
        let before = everything(&desk).await;
        must(harness.crash(&desk.storage).await, "a crash");
        desk = Desk::open(&harness).await;
        assert_eq!(everything(&desk).await, before, "after write {n}");
        desk.check().await;
    }
    assert_eq!(desk.text("shared").await.as_deref(), Some("4"));
    assert_eq!(desk.push().await.changes.len(), 16);
    Ok(())
}

/// A formed batch is the same after a crash: it may have been sent already.
pub async fn a_batch_survives_a_crash<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let desk = Desk::open(&harness).await;
    desk.write([put("a", "1"), put("b", "1")]).await;
    let batch = desk.push().await;
    must(harness.crash(&desk.storage).await, "a crash");
    let desk = Desk::open(&harness).await;
    assert_eq!(desk.state().await.last_push, batch.id, "the name of the batch is forgotten");
    desk.put("c", "1").await;
    assert_eq!(desk.push().await, batch, "another batch under a name that may have travelled");
    Ok(())
}

/// After a crash, documents and checkpoint are consistent, whenever it happened: missing documents
/// are pulled again, and none is skipped.
pub async fn a_crash_leaves_one_moment<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let mut desk = Desk::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 40);
    for step in 0..6 {
        let at = desk.position().await;
        desk.apply(log.chunk(at, (at + 7).min(log.head()))).await;
        desk.put(&format!("own-{step}"), "1").await;
        let batch = desk.push().await;
        let verdicts = log.accept(&batch);
        if step % 2 == 0 {
            desk.settle(&batch, verdicts).await;
        }
        let standing = desk.position().await;
        must(harness.crash(&desk.storage).await, "a crash");
        desk = Desk::open(&harness).await;
        desk.check().await;
        let position = desk.position().await;
        assert!(position <= standing, "the position is ahead of what was taken in");
        let pulled = desk.documents().await;
        for entry in log.chunk(0, position).entries {
            let there = pulled.iter().any(|s| s.key.id == entry.id && s.state == entry.state);
            assert!(there, "{} is missing below the position {position}", entry.id);
        }
        if let Some(batch) = desk.next_push(Limits::PUSH).await {
            // The server knows the batch already, and returns the same verdicts.
            let first = log.current(batch.changes[0].id.as_str()).seq;
            let kind = sync_core::model::VerdictKind::Accepted;
            let verdict = sync_core::model::Verdict { seq: first, kind, current: None };
            desk.settle(&batch, log.decided(vec![verdict])).await;
        }
    }
    desk.apply(log.rest(desk.position().await)).await;
    assert_eq!(desk.documents().await.len() as u64, log.head());
    assert_eq!(desk.outbox().await, Default::default());
    Ok(())
}

/// The app's decisions, and the identity, survive a crash too.
pub async fn decisions_survive_a_crash<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let desk = Desk::open(&harness).await;
    let log = Log::new();
    let id = ReplicaId([0x78; 16]);
    must(desk.storage.reidentify(desk.cx(), id).await, "a new identity");
    desk.write([put("retried", "1"), put("discarded", "1")]).await;
    let batch = desk.push().await;
    desk.settle(&batch, log.reject(&batch)).await;
    must(desk.decide("retried", Decision::Retry).await, "a retry");
    must(desk.decide("discarded", Decision::Discard).await, "an edit is discarded");
    let before = everything(&desk).await;
    must(harness.crash(&desk.storage).await, "a crash");
    let desk = Desk::open(&harness).await;
    assert_eq!(everything(&desk).await, before);
    assert_eq!(desk.push().await.changes.len(), 1);
    Ok(())
}

/// On a full disk a transaction fails as a whole, with an error whose advice is to retry later;
/// existing data stays readable, and the transaction succeeds once there is room.
pub async fn a_full_disk_fails_whole_and_recovers<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_full_disk()?;
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    desk.put("a", "1").await;
    log.fill("r", 5);
    desk.apply(log.rest(0)).await;
    must(desk.storage.close().await, "the storage is closed");
    must(harness.fill_disk().await, "the disk is filled");
    let desk = Desk::open(&harness).await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    // A part of the data may still fit.
    for n in 0.. {
        assert!(n < 100, "the disk does not get full");
        let writes = (0..5).map(|d| put(&format!("own-{n}-{d}"), &large));
        let before = everything(&desk).await;
        let Err(error) = desk.try_write(writes).await else {
            let there = desk.get(&format!("own-{n}-4")).await.is_some();
            assert!(there, "a write that was acknowledged is not there");
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert_ne!(error.retry(), Retry::Never, "a full disk is no reason to give up: {error}");
        assert_eq!(everything(&desk).await, before, "a write that failed left something");
        break;
    }
    for n in 0..5 {
        log.put(&format!("large-{n}"), &large);
    }
    let before = everything(&desk).await;
    if let Err(error) = desk.try_apply(log.rest(5)).await {
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert_eq!(everything(&desk).await, before, "a chunk that failed left something");
    }
    desk.check().await;
    assert_eq!(desk.text("a").await.as_deref(), Some("1"));
    must(desk.storage.close().await, "the storage is closed");
    must(harness.free_disk().await, "the disk is freed");
    let desk = Desk::open(&harness).await;
    desk.write((0..5).map(|n| put(&format!("own-{n}"), &large))).await;
    if desk.position().await == 5 {
        desk.apply(log.rest(5)).await;
    }
    assert_eq!(desk.text("large-4").await.as_deref(), Some(large.as_str()));
    desk.check().await;
    Ok(())
}
