//! Reads at the head of the log, which usually find nothing new.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_core::model::{Cursor, Epoch, PushBatch, Reset, ResetReason, Scope, Seq};
use sync_server::ops::Acknowledgement;
use sync_server::record::{Fork, ServerScope};

use super::super::run::Outcome;
use super::super::tools::{ALL, must, scope, together};
use super::ServerStorageHarness;
use super::fixture::{FRESH, Fixture, Reader, WRITER, insert};

/// Reads at the head find nothing new, however often they are repeated, and the scope does not
/// change.
async fn nothing_new(fixture: &Fixture, at: &Cursor) -> ServerScope {
    let scope = fixture.scope().await;
    for _ in 0..3 {
        let chunk = fixture.chunk(at.clone(), ALL).await;
        let told = (chunk.after, chunk.next, chunk.head, chunk.entries.len());
        assert_eq!(told, (at.after, at.after, scope.head, 0), "at the head");
        assert_eq!((chunk.epoch, chunk.horizon), (scope.epoch, scope.horizon));
        assert_eq!(
            chunk.mark.as_ref().map(|mark| mark.at),
            Some(scope.head),
            "the mark of the log"
        );
        let found = must(fixture.storage.find_scope(Scope::default()).await, "the scope is read");
        assert_eq!(found.as_ref(), Some(&scope));
    }
    scope
}

/// A reader at the head receives every commit that follows its last read: pushes, purges and new
/// epochs.
pub async fn a_read_at_the_head_sees_every_commit<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1")), ("b", Some("1"))]).await;
    for n in 0..20 {
        let head = fixture.scope().await.head;
        let at = fixture.at(head.0).await;
        nothing_new(&fixture, &at).await;
        let pushed = fixture.push(&[("a", (n % 3 > 0).then_some("2")), ("c", Some("3"))]).await;
        assert_eq!(fixture.scope().await.head, pushed.head, "after push {n}");
        let chunk = fixture.chunk(at, ALL).await;
        assert_eq!((chunk.entries.len(), chunk.next), (2, pushed.head), "push {n}");
    }
    fixture.push(&[("b", None)]).await;
    let head = fixture.scope().await.head;
    let at = fixture.at(head.0).await;
    let before = nothing_new(&fixture, &at).await;
    // Calls that do not change this log.
    let elsewhere = fixture.batch(vec![insert("e", "1")]);
    fixture.append(&PushBatch { scope: scope("elsewhere"), ..elsewhere }).await;
    let ack = Acknowledgement::new(FRESH, head);
    must(fixture.storage.acknowledge(Scope::default(), WRITER, ack).await, "an acknowledgement");
    must(fixture.storage.purge_erased().await, "purge_erased");
    assert_eq!(nothing_new(&fixture, &at).await, before);
    must(fixture.storage.purge(Scope::default(), head).await, "purge");
    let after = nothing_new(&fixture, &at).await;
    assert!(before.horizon < after.horizon, "the purge is not told");
    let fresh = Epoch([0xe1; 16]);
    must(fixture.storage.begin_epoch(Scope::default(), FRESH, head, fresh).await, "an epoch");
    let reset = Reset { epoch: fresh, reason: ResetReason::EpochChanged { cut: head } };
    assert_eq!(fixture.fork(at).await, Fork::Reset(reset), "the new epoch is not told");
    nothing_new(&fixture, &fixture.at(head.0).await).await;
    Ok(())
}

/// A reader at the head receives the commits of another process.
pub async fn a_read_at_the_head_sees_commits_of_other_processes<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    harness.capabilities().need_several_handles()?;
    let (one, two) = (Fixture::open(&harness).await, Fixture::open(&harness).await);
    one.push(&[("a", Some("1"))]).await;
    for n in 0..20 {
        let at = two.at(two.scope().await.head.0).await;
        nothing_new(&two, &at).await;
        one.push(&[("a", Some("2")), (&format!("n{n}"), Some("3"))]).await;
        assert_eq!(two.chunk(at, ALL).await.entries.len(), 2, "push {n}");
        assert_eq!(two.scope().await, one.scope().await, "after push {n}");
    }
    Ok(())
}

/// A reader that polls while a client pushes receives every push that was answered before its read,
/// and never a lower head than before.
pub async fn a_read_meanwhile_sees_answered_appends<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    const PUSHES: u64 = 60;
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("0"))]).await;
    let answered = Arc::new(AtomicU64::new(1));
    let askers = (0..4).map(|_| {
        let (storage, answered) = (Arc::clone(&fixture.storage), Arc::clone(&answered));
        async move {
            let (mut reader, mut head) = (Reader::default(), Seq(0));
            while reader.checkpoint.after() <= Seq(PUSHES) {
                let due = Seq(answered.load(Ordering::SeqCst)).max(head);
                let chunk = reader.step(&*storage, ALL).await;
                assert!(chunk.next >= due, "{due} was answered, and {chunk:?} is told");
                head = chunk.head;
                tokio::task::yield_now().await;
            }
            head
        }
    });
    let pushing = async {
        for n in 1..=PUSHES {
            let pushed = fixture.push(&[("a", Some(&n.to_string()))]).await;
            answered.store(pushed.head.0, Ordering::SeqCst);
            // Different pauses, in which the reader finds that there is nothing new.
            for _ in 0..n % 5 * 20 {
                tokio::task::yield_now().await;
            }
        }
    };
    let (heads, ()) = tokio::join!(together(askers), pushing);
    assert_eq!(heads, [Seq(PUSHES + 1); 4]);
    Ok(())
}
