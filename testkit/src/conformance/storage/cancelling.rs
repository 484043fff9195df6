//! Futures that are dropped: their call takes effect whole or not at all, and the next call
//! succeeds.

use std::collections::BTreeSet;

use sync_core::model::{Limits, LocalSeq, ReplicaId, Reset, ResetReason, Scope, WriteLimits};
use sync_core::replica::{Decision, Forget, LocalTransaction, Scan, Unsettled};

use super::super::run::Outcome;
use super::super::tools::{ALL, drop_after, key, must, now, server_time};
use super::StorageHarness;
use super::fixture::{Fixture, put, transaction};
use super::log::Log;

/// How often a future is polled before it is dropped, from never to more often than any needs.
const POLLS: std::ops::Range<usize> = 0..8;

/// A write whose future is dropped takes effect whole or not at all, and the next write succeeds.
pub async fn a_dropped_write_is_whole<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    for polls in POLLS {
        let name = |n: usize| format!("p{polls}-{n}");
        let writes = transaction((0..10).map(|n| put(&name(n), "1")));
        drop_after(polls, fixture.storage.write(now(), writes)).await;
        // A later call sees the effect of an earlier one.
        fixture.put(&format!("after-{polls}"), "1").await;
        let mut there = 0;
        for n in 0..10 {
            there += usize::from(fixture.get(&name(n)).await.is_some());
        }
        assert!(there == 0 || there == 10, "dropped after {polls} polls: {there} of 10 writes");
        fixture.check().await;
    }
    let mut batches = 0;
    while let Some(batch) = fixture.next_push(Limits::PUSH).await {
        let verdicts = Log::new().accept(&batch);
        fixture.settle(&batch, verdicts).await;
        batches += 1;
        assert!(batches < 20, "the outbox does not get empty");
    }
    fixture.check().await;
    Ok(())
}

/// A chunk whose future is dropped is applied whole or not at all, and the pull continues from the
/// stored position.
pub async fn a_dropped_apply_is_whole<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 100);
    for polls in POLLS {
        let at = fixture.position().await;
        let next = (at + 10).min(log.head());
        drop_after(polls, fixture.storage.apply(fixture.cx(), log.chunk(at, next))).await;
        fixture.put("after", &polls.to_string()).await;
        let position = fixture.position().await;
        assert!(position == at || position == next, "at {position}, neither {at} nor {next}");
        let pulled = fixture.documents().await.len() as u64 - 1;
        assert_eq!(pulled, position, "dropped after {polls} polls: documents without position");
        fixture.check().await;
    }
    let at = fixture.position().await;
    fixture.apply(log.rest(at)).await;
    assert_eq!(fixture.documents().await.len(), 101);
    Ok(())
}

/// A batch whose future is dropped is formed or not; verdicts are settled or not. Nothing is pushed
/// twice under two ids.
pub async fn a_dropped_push_is_whole<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let mut pushed = BTreeSet::new();
    for polls in POLLS {
        fixture.write((0..5).map(|n| put(&format!("p{polls}-{n}"), "1"))).await;
        let next = fixture.storage.next_push(fixture.cx(), Scope::default(), Limits::PUSH);
        let told = drop_after(polls, next).await;
        let batch = fixture.push().await;
        if let Some(told) = told {
            assert_eq!(must(told, "a batch is formed").as_ref(), Some(&batch));
        }
        for change in &batch.changes {
            assert!(pushed.insert(change.id.clone()), "{} is pushed twice", change.id);
        }
        let verdicts = log.accept(&batch);
        let settle =
            fixture.storage.settle(fixture.cx(), Scope::default(), batch.id, verdicts.clone());
        drop_after(polls, settle).await;
        let left = fixture.outbox().await;
        assert!(left.in_flight == 0 || left.in_flight == 5, "settled in halves: {left:?}");
        fixture.settle(&batch, verdicts).await;
        assert_eq!(fixture.outbox().await, Default::default());
        fixture.check().await;
    }
    assert_eq!(pushed.len(), POLLS.len() * 5);
    Ok(())
}

/// Whichever other future is dropped, the storage is consistent and answers the next call.
pub async fn after_a_dropped_call_the_next_one_works<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 20);
    fixture.apply(log.rest(0)).await;
    fixture.fill("own", 5).await;
    let scope = Scope::default;
    let other = || super::super::tools::scope("other");
    for polls in POLLS {
        let storage = &fixture.storage;
        drop_after(polls, storage.state()).await;
        drop_after(polls, storage.get(vec![key("own-00001")])).await;
        let scan = Scan { scope: scope(), collection: None, after: None, limits: ALL };
        drop_after(polls, storage.scan(scan)).await;
        drop_after(polls, storage.feed(LocalSeq(0), ALL)).await;
        let pending = Unsettled::Pending;
        drop_after(polls, storage.unsettled(scope(), pending, Default::default(), ALL)).await;
        drop_after(
            polls,
            storage.note_server(fixture.cx(), server_time(now()), WriteLimits::default()),
        )
        .await;
        drop_after(polls, storage.decide(now(), key("own-00001"), Decision::Discard)).await;
        let reset = Reset { epoch: log.epoch, reason: ResetReason::BelowHorizon };
        drop_after(polls, storage.reset(fixture.cx(), scope(), reset)).await;
        let id = ReplicaId([0x40 + polls as u8; 16]);
        drop_after(polls, storage.reidentify(fixture.cx(), id)).await;
        drop_after(polls, storage.claim("a process that ended".to_owned())).await;
        fixture = Fixture::over(std::sync::Arc::clone(&fixture.storage)).await;
        fixture.check().await;
        assert_eq!(fixture.documents().await.len(), 25, "dropped after {polls} polls");
        assert_eq!(fixture.outbox().await.pending, 5, "dropped after {polls} polls");
    }
    for polls in POLLS {
        drop_after(polls, fixture.storage.forget(now(), None, Forget::Scope(scope()))).await;
        // A later call sees the effect of an earlier one; a read alone need not wait for it.
        let elsewhere = LocalTransaction { scope: other(), writes: vec![put("after", "1")] };
        must(fixture.storage.write(now(), elsewhere).await, "a write to another scope");
        let left = fixture.documents().await.len();
        assert!(left == 25 || left == 0, "dropped after {polls} polls: {left} documents are left");
        fixture.check().await;
    }
    Ok(())
}
