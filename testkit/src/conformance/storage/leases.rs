//! The engine lease, and several handles on one replica.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use sync_core::error::{ErrorKind, Result};
use sync_core::model::{
    DocumentKey, DocumentState, FencingToken, Limits, LocalSeq, ReplicaId, Reset, ResetReason,
    Scope, WriteLimits,
};
use sync_core::replica::Forget;
use sync_core::storage::Storage;

use super::super::run::Outcome;
use super::super::tools::{ALL, documents, key, must, now, refused, server_time, soon};
use super::StorageHarness;
use super::fixture::{Fixture, put, transaction};
use super::log::Log;

fn superseded<T: Debug>(result: Result<T>, what: &str) {
    refused(result, ErrorKind::Superseded, what);
}

/// Every call with a former lease fails with `Superseded` and changes nothing.
pub async fn a_former_holder_changes_nothing<H: StorageHarness>(harness: H) -> Outcome {
    let old = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 3);
    old.put("a", "1").await;
    let batch = old.push().await;
    let verdicts = log.accept(&batch);
    let new = Fixture::over(Arc::clone(&old.storage)).await;
    assert!(new.lease > old.lease, "leases grow");
    let before = (new.state().await, new.documents().await);
    assert_eq!(before.0.lease, (new.lease, "the suite".to_owned()));
    let (scope, storage) = (Scope::default(), &old.storage);
    superseded(old.try_apply(log.rest(0)).await, "a chunk");
    superseded(old.try_settle(&batch, verdicts.clone()).await, "verdicts");
    superseded(storage.next_push(old.cx(), scope.clone(), Limits::PUSH).await, "a batch");
    superseded(
        storage.note_server(old.cx(), server_time(now()), WriteLimits::default()).await,
        "the server's time",
    );
    let reset = Reset { epoch: log.epoch, reason: ResetReason::Requested };
    superseded(storage.reset(old.cx(), scope.clone(), reset).await, "a reset");
    superseded(storage.reidentify(old.cx(), ReplicaId([9; 16])).await, "a new identity");
    let forget = Forget::Scope(scope.clone());
    superseded(storage.forget(now(), Some(old.lease), forget).await, "a scope that is gone");
    assert_eq!((new.state().await, new.documents().await), before);
    assert_eq!(new.next_push(Limits::PUSH).await.as_ref(), Some(&batch));
    new.settle(&batch, verdicts).await;
    new.apply(log.rest(0)).await;
    new.check().await;
    Ok(())
}

/// A lease can be released and claimed again; releasing a lease that is not held any more does
/// nothing.
pub async fn a_lease_is_given_back_and_taken_again<H: StorageHarness>(harness: H) -> Outcome {
    let first = Fixture::open(&harness).await;
    must(first.storage.release(first.lease).await, "the lease is given back");
    must(first.storage.release(first.lease).await, "giving it back twice is fine");
    let second = Fixture::over(Arc::clone(&first.storage)).await;
    assert!(second.lease > first.lease, "leases grow");
    must(first.storage.release(first.lease).await, "an old lease is given back");
    must(first.storage.release(FencingToken(0)).await, "a lease that never was is given back");
    assert_eq!(second.next_push(Limits::PUSH).await, None, "the holder is the holder");
    Ok(())
}

/// The app needs no lease: it reads, writes and forgets a scope, whether or not an engine holds the
/// lease.
pub async fn the_app_needs_no_lease<H: StorageHarness>(harness: H) -> Outcome {
    let storage = must(harness.open().await, "the storage opens");
    must(storage.write(now(), transaction([put("a", "1")])).await, "a write without a lease");
    let fixture = Fixture::over(storage).await;
    fixture.put("a", "2").await;
    must(fixture.storage.release(fixture.lease).await, "the lease is given back");
    fixture.put("a", "3").await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("3"));
    assert_eq!(fixture.state().await.outbox(&Scope::default()).pending, 1);
    let forgotten = fixture.storage.forget(now(), None, Forget::Scope(Scope::default())).await;
    must(forgotten, "a scope is forgotten without a lease");
    assert_eq!(fixture.text("a").await, None);
    Ok(())
}

/// Two processes on one replica read each other's writes and are woken by them, and only one runs
/// the engine.
pub async fn two_processes_share_a_replica<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_several_handles()?;
    let one = Fixture::open(&harness).await;
    let two = must(harness.open().await, "the storage opens once more");
    let mut woken = two.commits();
    woken.mark_unchanged();
    one.put("a", "1").await;
    must(soon("the other process is woken", woken.changed()).await, "the counter lives");
    let seen = must(two.get(vec![key("a")]).await, "the other process reads");
    assert!(seen[0].is_some(), "the other process does not see the write");
    let writes = (0..40).map(|n| {
        let storage: Arc<dyn Storage> =
            if n % 2 == 0 { Arc::clone(&one.storage) } else { Arc::clone(&two) };
        async move { storage.write(now(), transaction([put(&format!("w-{n:02}"), "1")])).await }
    });
    for written in super::super::tools::together(writes).await {
        must(written, "both processes write");
    }
    assert_eq!(one.documents().await.len(), 41);
    match two.claim("the other".to_owned()).await {
        Ok(lease) => {
            assert!(lease > one.lease, "leases grow");
            superseded(one.try_apply(Log::new().rest(0)).await, "a former holder");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert_eq!(one.push().await.changes.len(), 41, "the holder is the holder");
            must(one.storage.release(one.lease).await, "the lease is given back");
            let lease = two.claim("the other".to_owned()).await;
            assert!(must(lease, "a lease that was given back is free") > one.lease);
        }
    }
    one.check().await;
    Ok(())
}

/// A reader of the feed in one process gets every document that another process wrote in between,
/// in its last state.
pub async fn two_processes_follow_one_feed<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_several_handles()?;
    let one = Fixture::open(&harness).await;
    let two = must(harness.open().await, "the storage opens once more");
    // From here on the process caches its own changes.
    assert_eq!(one.feed(LocalSeq(0), ALL).await, []);
    let mut seen = BTreeMap::new();
    let mut after = LocalSeq(0);
    for n in 0..60 {
        let storage = if n * 7 % 5 < 2 { &two } else { &one.storage };
        let writes = [put(&format!("d-{}", n * 11 % 17), &n.to_string()), put("last", "1")];
        must(storage.write(now(), transaction(writes)).await, "a write");
        if n % 7 == 0 {
            follow(&one, &mut after, &mut seen).await;
        }
    }
    follow(&one, &mut after, &mut seen).await;
    let shown = one.documents().await;
    let shown: BTreeMap<_, _> = shown.into_iter().map(|s| (s.key, s.state)).collect();
    assert_eq!(seen, shown);
    Ok(())
}

async fn follow(
    fixture: &Fixture,
    after: &mut LocalSeq,
    seen: &mut BTreeMap<DocumentKey, DocumentState>,
) {
    for change in fixture.feed(*after, documents(3)).await {
        *after = change.at;
        if let Some(state) = change.document {
            seen.insert(change.key, state);
        }
    }
}
