//! Closing.

use std::sync::Arc;

use sync_core::error::ErrorKind;
use sync_core::model::{Cursor, Epoch, ReplicaId, Scope, Seq};
use sync_server::Visible;
use sync_server::ops::Acknowledgement;

use super::super::run::Outcome;
use super::super::tools::{ALL, closed, closes_twice, must, soon};
use super::ServerStorageHarness;
use super::fixture::{FRESH, Fixture, NEW, Told, WRITER, batch, context, insert};

/// Closing twice succeeds, also at the same time.
pub async fn closing_twice_is_fine<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1"))]).await;
    closes_twice(|| fixture.storage.close()).await;
    Ok(())
}

/// After closing every method fails with `Closed`, and nothing hangs.
pub async fn after_closing_everything_fails_as_closed<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1"))]).await;
    // A head that the storage has cached is not returned any more either.
    let at = fixture.at(1).await;
    assert_eq!(fixture.chunk(at.clone(), ALL).await.next, Seq(1));
    must(fixture.storage.close().await, "the storage is closed");
    let (storage, s) = (&fixture.storage, Scope::default);
    soon("a closed storage answers", async {
        closed(storage.scope(s(), NEW).await, "scope");
        closed(storage.find_scope(s()).await, "find_scope");
        closed(storage.scopes(None, 10).await, "scopes");
        closed(
            fixture.try_append(fixture.batch(vec![insert("b", "1")]), Told::open()).await,
            "append",
        );
        closed(storage.changes(s(), Cursor::default(), ALL, Visible::All).await, "changes");
        closed(storage.changes(s(), at, ALL, Visible::All).await, "changes at the head");
        let ack = Acknowledgement::new(FRESH, Seq(1));
        closed(storage.acknowledge(s(), WRITER, ack).await, "acknowledge");
        closed(storage.replica(s(), WRITER).await, "replica");
        closed(storage.begin_epoch(s(), FRESH, Seq(0), Epoch([1; 16])).await, "begin_epoch");
        closed(storage.purge(s(), Seq(1)).await, "purge");
        closed(storage.purge_erased().await, "purge_erased");
    })
    .await;
    Ok(())
}

/// Closing finishes earlier calls: acknowledged changes are there afterwards, and the others were
/// rejected as a whole.
pub async fn closing_finishes_earlier_calls<H: ServerStorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_durable()?;
    let fixture = Fixture::open(&harness).await;
    fixture.scope().await;
    let tasks: Vec<_> = (0..40u8)
        .map(|n| {
            let storage = Arc::clone(&fixture.storage);
            let changes = vec![insert(&format!("a{n}"), "1"), insert(&format!("b{n}"), "1")];
            let pushed = batch(ReplicaId([n; 16]), 1, changes);
            tokio::spawn(async move { (n, storage.append(context(), pushed, Told::open()).await) })
        })
        .collect();
    must(soon("closing", fixture.storage.close()).await, "the storage is closed");
    let mut acknowledged = Vec::new();
    for task in tasks {
        match soon("a push beside closing", super::super::tools::finished(task)).await {
            (n, Ok(_)) => acknowledged.push(n),
            (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
        }
    }
    let fixture = fixture.reopen(&harness).await;
    let all = fixture.all().await;
    let there = |name: String| all.iter().any(|e| e.id.as_str() == name);
    for n in 0..40 {
        let (a, b) = (there(format!("a{n}")), there(format!("b{n}")));
        assert_eq!(a, b, "half of push {n} is there");
        assert!(a || !acknowledged.contains(&n), "push {n} was acknowledged and is gone");
    }
    fixture.check().await;
    Ok(())
}
