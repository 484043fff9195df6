//! Data that survives closing, crashes and full disks.

use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{Limits, LocalSeq, PushBatch, ReplicaId};
use sync_core::replica::{Decision, ReplicaState, Stored, Unsettled, UnsettledEntry};

use super::super::run::Outcome;
use super::super::tools::{ALL, must};
use super::StorageHarness;
use super::fixture::{Fixture, delete, put};
use super::log::Log;

/// All data of a replica.
#[derive(Debug, PartialEq)]
struct Everything {
    state: ReplicaState,
    documents: Vec<Stored>,
    unsettled: Vec<Vec<UnsettledEntry>>,
    feed: Vec<(LocalSeq, String)>,
}

async fn everything(fixture: &Fixture) -> Everything {
    let mut state = fixture.state().await;
    // Each fixture claims another lease.
    state.lease = Default::default();
    let mut unsettled = Vec::new();
    let kinds =
        [Unsettled::Pending, Unsettled::InFlight, Unsettled::Quarantine, Unsettled::Deferred];
    for which in kinds {
        unsettled.push(fixture.unsettled(which, ALL).await);
    }
    // The process caches operations; the storage keeps the newest of each document.
    let feed = fixture.feed(LocalSeq(0), ALL).await;
    let newest: std::collections::BTreeMap<_, _> =
        feed.into_iter().map(|c| (c.key.to_string(), c.at)).collect();
    let mut feed: Vec<_> = newest.into_iter().map(|(key, at)| (at, key)).collect();
    feed.sort();
    Everything { state, documents: fixture.documents().await, unsettled, feed }
}

/// Makes a replica with entries of every kind, and returns its batch in flight.
async fn busy(fixture: &Fixture, log: &mut Log) -> PushBatch {
    log.fill("r", 40);
    fixture.apply(log.chunk(0, 25)).await;
    fixture.fill("refused", 3).await;
    let batch = fixture.push().await;
    fixture.settle(&batch, log.reject(&batch)).await;
    fixture.write([put("r-00001", "\"mine\""), delete("r-00002"), put("a", "1")]).await;
    let batch = fixture.push().await;
    fixture.write([put("a", "2"), put("b", "1.50")]).await;
    fixture.put("r-00030", "\"before it was heard of\"").await;
    batch
}

/// Closed data is complete when it is opened again: identity, documents, outbox, batch, quarantine,
/// position and feed.
pub async fn what_was_closed_is_there_again<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_durable()?;
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let batch = busy(&fixture, &mut log).await;
    let before = everything(&fixture).await;
    must(fixture.storage.close().await, "the storage is closed");
    let again = Fixture::open(&harness).await;
    assert!(again.lease > fixture.lease, "leases grow");
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

/// An acknowledged write survives a crash, whole, with its place in the outbox.
pub async fn an_acknowledged_write_survives_a_crash<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let mut fixture = Fixture::open(&harness).await;
    for n in 0..5 {
        let names = ["a", "b", "c"].map(|name| put(&format!("{name}-{n}"), &n.to_string()));
        fixture.write(names.into_iter().chain([put("shared", &n.to_string())])).await;
        let before = everything(&fixture).await;
        must(harness.crash().await, "a crash");
        fixture = Fixture::open(&harness).await;
        assert_eq!(everything(&fixture).await, before, "after write {n}");
        fixture.check().await;
    }
    assert_eq!(fixture.text("shared").await.as_deref(), Some("4"));
    assert_eq!(fixture.push().await.changes.len(), 16);
    Ok(())
}

/// A formed batch is the same after a crash: it may have been sent already.
pub async fn a_batch_survives_a_crash<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let fixture = Fixture::open(&harness).await;
    fixture.write([put("a", "1"), put("b", "1")]).await;
    let batch = fixture.push().await;
    must(harness.crash().await, "a crash");
    let fixture = Fixture::open(&harness).await;
    assert_eq!(fixture.state().await.last_push, batch.id, "the name of the batch is forgotten");
    fixture.put("c", "1").await;
    assert_eq!(fixture.push().await, batch, "another batch under a name that may have travelled");
    Ok(())
}

/// After a crash, documents and checkpoint are consistent, whenever it happened: missing documents
/// are pulled again, and none is skipped.
pub async fn a_crash_leaves_one_state<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 40);
    for step in 0..6 {
        let at = fixture.position().await;
        fixture.apply(log.chunk(at, (at + 7).min(log.head()))).await;
        fixture.put(&format!("own-{step}"), "1").await;
        let batch = fixture.push().await;
        let verdicts = log.accept(&batch);
        if step % 2 == 0 {
            fixture.settle(&batch, verdicts).await;
        }
        let standing = fixture.position().await;
        must(harness.crash().await, "a crash");
        fixture = Fixture::open(&harness).await;
        fixture.check().await;
        let position = fixture.position().await;
        assert!(position <= standing, "the position is ahead of what was taken in");
        let pulled = fixture.documents().await;
        for entry in log.chunk(0, position).entries {
            let there = pulled.iter().any(|s| s.key.id == entry.id && s.state == entry.state);
            assert!(there, "{} is missing below the position {position}", entry.id);
        }
        if let Some(batch) = fixture.next_push(Limits::PUSH).await {
            // The server knows the batch already, and returns the same verdicts.
            let first = log.current(batch.changes[0].id.as_str()).seq;
            let kind = sync_core::model::VerdictKind::Accepted;
            let verdict = sync_core::model::Verdict { seq: first, kind, current: None };
            fixture.settle(&batch, log.decided(vec![verdict])).await;
        }
    }
    fixture.apply(log.rest(fixture.position().await)).await;
    assert_eq!(fixture.documents().await.len() as u64, log.head());
    assert_eq!(fixture.outbox().await, Default::default());
    Ok(())
}

/// The app's decisions, and the identity, survive a crash too.
pub async fn decisions_survive_a_crash<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let fixture = Fixture::open(&harness).await;
    let log = Log::new();
    let id = ReplicaId([0x78; 16]);
    must(fixture.storage.reidentify(fixture.cx(), id).await, "a new identity");
    fixture.write([put("retried", "1"), put("discarded", "1")]).await;
    let batch = fixture.push().await;
    fixture.settle(&batch, log.reject(&batch)).await;
    must(fixture.decide("retried", Decision::Retry).await, "a retry");
    must(fixture.decide("discarded", Decision::Discard).await, "an edit is discarded");
    let before = everything(&fixture).await;
    must(harness.crash().await, "a crash");
    let fixture = Fixture::open(&harness).await;
    assert_eq!(everything(&fixture).await, before);
    assert_eq!(fixture.push().await.changes.len(), 1);
    Ok(())
}

/// On a full disk a transaction fails as a whole, with an error whose advice is to retry later;
/// existing data stays readable, and the transaction succeeds once there is room.
pub async fn a_full_disk_fails_whole_and_recovers<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_full_disk()?;
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.put("a", "1").await;
    log.fill("r", 5);
    fixture.apply(log.rest(0)).await;
    must(fixture.storage.close().await, "the storage is closed");
    must(harness.fill_disk().await, "the disk is filled");
    let fixture = Fixture::open(&harness).await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    // A part of the data may still fit.
    for n in 0.. {
        assert!(n < 100, "the disk does not get full");
        let writes = (0..5).map(|d| put(&format!("own-{n}-{d}"), &large));
        let before = everything(&fixture).await;
        let Err(error) = fixture.try_write(writes).await else {
            let there = fixture.get(&format!("own-{n}-4")).await.is_some();
            assert!(there, "a write that was acknowledged is not there");
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert_ne!(error.retry(), Retry::Never, "a full disk is no reason to give up: {error}");
        assert_eq!(everything(&fixture).await, before, "a write that failed left something");
        break;
    }
    for n in 0..5 {
        log.put(&format!("large-{n}"), &large);
    }
    let before = everything(&fixture).await;
    if let Err(error) = fixture.try_apply(log.rest(5)).await {
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert_eq!(everything(&fixture).await, before, "a chunk that failed left something");
    }
    fixture.check().await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("1"));
    must(fixture.storage.close().await, "the storage is closed");
    must(harness.free_disk().await, "the disk is freed");
    let fixture = Fixture::open(&harness).await;
    fixture.write((0..5).map(|n| put(&format!("own-{n}"), &large))).await;
    if fixture.position().await == 5 {
        fixture.apply(log.rest(5)).await;
    }
    assert_eq!(fixture.text("large-4").await.as_deref(), Some(large.as_str()));
    fixture.check().await;
    Ok(())
}
