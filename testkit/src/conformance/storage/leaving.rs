//! Forgetting, resets, and new identities.

use std::collections::BTreeSet;

use sync_core::model::{Epoch, Limits, ReplicaId, Reset, ResetReason, Scope};
use sync_core::replica::{Committed, Forget, LocalTransaction, Operation, Unsettled};

use super::super::run::Outcome;
use super::super::tools::{ALL, collection, json, must, now, scope};
use super::StorageHarness;
use super::fixture::{Fixture, put};
use super::log::Log;

async fn forget(fixture: &Fixture, what: Forget) -> Committed {
    must(fixture.storage.forget(now(), None, what).await, "something is forgotten")
}

async fn reset(fixture: &Fixture, epoch: Epoch, reason: ResetReason) -> Committed {
    let reset = Reset { epoch, reason };
    must(fixture.storage.reset(fixture.cx(), Scope::default(), reset).await, "a reset")
}

/// A forgotten scope leaves the device: documents, position and batch. Own unsynced edits go to the
/// quarantine, without the server's states.
pub async fn a_forgotten_scope_leaves_nothing_but_own_edits<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    for n in 0..400 {
        log.put(&format!("c{}/r-{n:03}", n % 3), "1");
    }
    fixture.apply(log.rest(0)).await;
    fixture.put("c0/own", "\"own\"").await;
    let batch = fixture.push().await;
    fixture.put("c1/r-001", "\"edited\"").await;
    let other = LocalTransaction { scope: scope("other"), writes: vec![put("c0/x", "1")] };
    must(fixture.storage.write(now(), other).await, "a write to another scope");
    let committed = forget(&fixture, Forget::Scope(Scope::default())).await;
    assert_eq!(committed.refused.len(), 2, "own edits are told of: {:?}", committed.refused);
    assert_eq!(fixture.documents().await, [], "something of the scope is left");
    assert_eq!(fixture.text("c0/r-000").await, None);
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "something of the scope is pushed");
    assert_eq!(fixture.position().await, 0, "the position is left");
    let kept = fixture.unsettled(Unsettled::Quarantine, ALL).await;
    let said: BTreeSet<_> = kept.iter().map(|e| (e.key.id.as_str(), json(&e.local))).collect();
    assert_eq!(said, BTreeSet::from([("own", "\"own\""), ("r-001", "\"edited\"")]));
    assert!(kept.iter().all(|e| e.base.is_none() && e.remote.is_none()), "{kept:?}");
    let state = fixture.state().await;
    assert_eq!(state.scope(&scope("other")).map(|s| s.documents), Some(1), "others are left alone");
    fixture.check().await;
    // The scope may come back, and its batches continue their numbers.
    fixture.apply(log.rest(0)).await;
    assert_eq!(fixture.documents().await.len(), 400);
    fixture.put("c0/own", "2").await;
    assert!(fixture.push().await.id > batch.id, "a batch has the name of an older one");
    Ok(())
}

/// A forgotten collection leaves without the others, and their batch in flight is still pushed.
pub async fn a_forgotten_collection_leaves_the_others<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    for n in 0..20 {
        log.put(&format!("stays/{n}"), "1");
        log.put(&format!("leaves/{n}"), "1");
        log.put(&format!("leaves too/{n}"), "1");
    }
    fixture.apply(log.rest(0)).await;
    fixture.put("stays/own", "1").await;
    let batch = fixture.push().await;
    fixture.put("leaves/own", "1").await;
    forget(&fixture, Forget::Collection(Scope::default(), collection("leaves"))).await;
    let left = fixture.documents().await;
    assert_eq!(left.len(), 41, "one collection leaves");
    assert!(left.iter().all(|s| s.key.collection.as_str() != "leaves"));
    assert_eq!(fixture.position().await, 60, "the others stand where they stood");
    assert_eq!(
        fixture.next_push(Limits::PUSH).await,
        Some(batch),
        "a batch without it is the same"
    );
    assert_eq!(fixture.unsettled(Unsettled::Quarantine, ALL).await.len(), 1);
    fixture.check().await;
    Ok(())
}

/// No reset, whatever its reason, removes an unsynced edit from the app or from the outbox.
pub async fn a_reset_keeps_unsynced_edits<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 5);
    fixture.apply(log.rest(0)).await;
    fixture.write([put("r-00001", "\"mine\""), put("new", "\"mine\"")]).await;
    let batch = fixture.push().await;
    fixture.put("later", "\"mine\"").await;
    for reason in [
        ResetReason::BelowHorizon,
        ResetReason::DigestDiffers,
        ResetReason::Requested,
        ResetReason::EpochChanged { cut: sync_core::model::Seq(2) },
    ] {
        if matches!(reason, ResetReason::EpochChanged { .. }) {
            fixture.apply(log.rest(0)).await;
            log.epoch = Epoch([0xe5; 16]);
        }
        reset(&fixture, log.epoch, reason).await;
        for name in ["r-00001", "new", "later"] {
            assert_eq!(
                fixture.text(name).await.as_deref(),
                Some("\"mine\""),
                "{name} by {reason:?}"
            );
        }
        assert_eq!(fixture.documents().await.len(), 7, "{reason:?} takes documents from the app");
        assert_eq!(fixture.next_push(Limits::PUSH).await.as_ref(), Some(&batch), "{reason:?}");
        assert!(fixture.outbox().await.pending >= 1, "{reason:?}");
        fixture.check().await;
    }
    assert_eq!(fixture.position().await, 2, "up to the cut both lives are one");
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    let next = fixture.push().await;
    let ids: BTreeSet<_> = next.changes.iter().map(|c| c.id.as_str()).collect();
    assert!(ids.contains("later"), "{ids:?}");
    for lost in ["r-00002", "r-00003", "r-00004"] {
        assert!(ids.contains(lost), "what lies above the cut is offered again: {ids:?}");
    }
    Ok(())
}

/// After a reset everything is pulled again, and states that are known already change nothing for
/// the app.
pub async fn after_a_reset_everything_is_pulled_afresh<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 30);
    fixture.apply(log.rest(0)).await;
    let before = fixture.documents().await;
    let place = fixture.state().await.last_local;
    reset(&fixture, log.epoch, ResetReason::Requested).await;
    assert_eq!(fixture.position().await, 0);
    fixture.apply(log.chunk(0, 11)).await;
    fixture.apply(log.rest(11)).await;
    let after = fixture.documents().await;
    assert_eq!(
        after.iter().map(|s| (&s.key, &s.state, s.dirty)).collect::<Vec<_>>(),
        before.iter().map(|s| (&s.key, &s.state, s.dirty)).collect::<Vec<_>>(),
    );
    assert_eq!(fixture.feed(place, ALL).await, [], "the app is told of what did not change");
    assert_eq!(fixture.position().await, 30);
    assert_eq!(fixture.next_push(Limits::PUSH).await, None);
    fixture.check().await;
    Ok(())
}

/// A replica that takes a new identity dissolves its batch and gives all its unsettled edits new
/// stamps.
pub async fn a_new_identity_stamps_edits_anew<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 3);
    fixture.apply(log.rest(0)).await;
    fixture.put("a", "1").await;
    let batch = fixture.push().await;
    fixture.write([put("a", "2"), put("r-00001", "2")]).await;
    let id = ReplicaId([0x77; 16]);
    must(fixture.storage.reidentify(fixture.cx(), id).await, "a new identity");
    let state = fixture.state().await;
    assert_eq!(state.replica, id);
    assert_eq!(state.scope(&Scope::default()).and_then(|s| s.in_flight), None);
    let next = fixture.push().await;
    assert!(next.id > batch.id && next.replica == id, "{next:?}");
    assert_eq!(next.changes.len(), 2, "{next:?}");
    for change in &next.changes {
        assert_eq!(change.state.revision.replica, id, "{change:?}");
    }
    assert_eq!(fixture.text("a").await.as_deref(), Some("2"));
    let untouched = fixture.get("r-00002").await.map(|s| s.state);
    assert_eq!(untouched, log.current("r-00002").state, "settled states stay as they are");
    fixture.check().await;
    Ok(())
}

/// The feed reports what was forgotten: as deletions, or as a gap after which the reader has to
/// read everything again.
pub async fn the_feed_reports_a_gap<H: StorageHarness>(harness: H) -> Outcome {
    for listens in [false, true] {
        let fixture = Fixture::open(&harness).await;
        if listens {
            fixture.feed(fixture.state().await.last_local, ALL).await;
        }
        let mut log = Log::new();
        log.fill("r", 5);
        fixture.apply(log.rest(0)).await;
        let place = fixture.state().await.last_local;
        forget(&fixture, Forget::Scope(Scope::default())).await;
        let page = must(fixture.storage.feed(place, ALL).await, "a page of the feed");
        let gone = page.changes.iter().filter(|c| c.operation == Operation::Delete).count();
        assert!(page.gap || gone == 5, "nobody is told: {page:?}");
        if !harness.capabilities().durable {
            return Ok(());
        }
        must(fixture.storage.close().await, "the storage is closed");
        let again = Fixture::open(&harness).await;
        let page = must(again.storage.feed(place, ALL).await, "a page of the feed");
        let gone = page.changes.iter().filter(|c| c.operation == Operation::Delete).count();
        assert!(page.gap || gone == 5, "nobody is told after reopening: {page:?}");
        let end = again.state().await.last_local;
        let page = must(again.storage.feed(end, ALL).await, "a page of the feed");
        assert!(!page.gap && page.changes.is_empty(), "nothing is missing at the end: {page:?}");
        must(again.storage.close().await, "the storage is closed");
    }
    Ok(())
}
