//! Closing.

use std::sync::Arc;

use sync_core::error::ErrorKind;
use sync_core::model::{
    Limits, LocalSeq, PushId, ReplicaId, Reset, ResetReason, Scope, Verdicts, WriteLimits,
};
use sync_core::replica::{Decision, Forget, Scan, Unsettled};
use sync_core::storage::Storage;

use super::super::run::Outcome;
use super::super::tools::{
    ALL, closed, closes_twice, documents, key, must, now, server_time, soon,
};
use super::StorageHarness;
use super::fixture::{Fixture, put, transaction};
use super::log::Log;

/// Closing twice succeeds, also at the same time.
pub async fn closing_twice_is_fine<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.put("a", "1").await;
    closes_twice(|| fixture.storage.close()).await;
    Ok(())
}

/// After closing every method fails with `Closed`, and nothing hangs.
pub async fn after_closing_everything_fails_as_closed<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    // Data that is cached in memory is not returned any more either.
    assert_eq!(fixture.feed(LocalSeq(0), ALL).await, []);
    fixture.put("a", "1").await;
    let mut commits = fixture.storage.commits();
    commits.mark_unchanged();
    must(fixture.storage.close().await, "the storage is closed");
    let storage: &Arc<dyn Storage> = &fixture.storage;
    let s = Scope::default;
    soon("a closed storage answers", async {
        closed(storage.state().await, "state");
        closed(storage.check().await, "check");
        closed(storage.get(vec![key("a")]).await, "get");
        closed(storage.unsettled_of(key("a")).await, "unsettled_of");
        closed(storage.declare_local_only(Default::default()).await, "declare_local_only");
        closed(storage.set_collections(fixture.cx(), s(), None).await, "set_collections");
        closed(storage.note_attempt(fixture.cx(), s(), None).await, "note_attempt");
        closed(storage.purge_erased().await, "purge_erased");
        let scan = Scan { scope: s(), collection: None, after: None, limits: ALL };
        closed(storage.scan(scan).await, "scan");
        closed(storage.feed(LocalSeq(0), ALL).await, "feed");
        let pending = Unsettled::Pending;
        closed(
            storage.unsettled(s(), pending, Default::default(), documents(1)).await,
            "unsettled",
        );
        closed(storage.write(now(), transaction([put("b", "1")])).await, "write");
        closed(storage.decide(now(), key("a"), Decision::Retry).await, "decide");
        closed(storage.forget(now(), None, Forget::Scope(s())).await, "forget");
        closed(storage.claim("anybody".to_owned()).await, "claim");
        closed(
            storage.note_server(fixture.cx(), server_time(now()), WriteLimits::default()).await,
            "note_server",
        );
        closed(storage.next_push(fixture.cx(), s(), Limits::PUSH).await, "next_push");
        closed(storage.settle(fixture.cx(), s(), PushId(1), Verdicts::Stale).await, "settle");
        closed(storage.apply(fixture.cx(), Log::new().rest(0)).await, "apply");
        let reset = Reset { epoch: Log::new().epoch, reason: ResetReason::Requested };
        closed(storage.reset(fixture.cx(), s(), reset).await, "reset");
        closed(storage.reidentify(fixture.cx(), ReplicaId([1; 16])).await, "reidentify");
        closed(storage.release(fixture.lease).await, "release");
    })
    .await;
    // A task that waits for a commit is woken.
    must(soon("whoever waits is woken", commits.changed()).await.or(Ok::<_, String>(())), "woken");
    Ok(())
}

/// Closing finishes earlier calls: acknowledged writes are there afterwards, and the others were
/// rejected as a whole.
pub async fn closing_finishes_earlier_calls<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_durable()?;
    let fixture = Fixture::open(&harness).await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let storage = Arc::clone(&fixture.storage);
            let writes =
                transaction([put(&format!("a-{n:02}"), "1"), put(&format!("b-{n:02}"), "1")]);
            tokio::spawn(async move { (n, storage.write(now(), writes).await) })
        })
        .collect();
    must(soon("closing", fixture.storage.close()).await, "the storage is closed");
    let mut acknowledged = Vec::new();
    for task in tasks {
        match soon("a write beside closing", super::super::tools::finished(task)).await {
            (n, Ok(_)) => acknowledged.push(n),
            (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
        }
    }
    let again = Fixture::open(&harness).await;
    for n in 0..40 {
        let a = again.get(&format!("a-{n:02}")).await.is_some();
        let b = again.get(&format!("b-{n:02}")).await.is_some();
        assert_eq!(a, b, "half of transaction {n} is there");
        assert!(a || !acknowledged.contains(&n), "transaction {n} was acknowledged and is gone");
    }
    again.check().await;
    Ok(())
}
