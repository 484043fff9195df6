//! Asking at the head, where mostly there is nothing new.

use sync_core::model::{Cursor, Epoch, Reset, ResetReason, Scope, Seq};
use sync_core::server::record::{Fork, ServerScope};

use super::super::run::Outcome;
use super::super::tools::{ALL, must};
use super::ServerStorageHarness;
use super::desk::{Desk, FRESH};

/// There is nothing new, however often that is asked, and the scope is what it is.
async fn nothing_new(desk: &Desk, at: &Cursor) -> ServerScope {
    let scope = desk.scope().await;
    for _ in 0..3 {
        let chunk = desk.chunk(at.clone(), ALL).await;
        let told = (chunk.after, chunk.next, chunk.head, chunk.entries.len());
        assert_eq!(told, (at.after, at.after, scope.head, 0), "at the head");
        assert_eq!((chunk.epoch, chunk.horizon), (scope.epoch, scope.horizon));
        assert_eq!(chunk.terms, scope.terms, "the starts of the server");
        let found = must(desk.storage.find_scope(Scope::default()).await, "the scope is read");
        assert_eq!(found.as_ref(), Some(&scope));
    }
    scope
}

/// Whatever is committed, who asked at the head just before hears of it: of pushes, purges and the end of the log's life.
pub async fn who_asks_at_the_head_hears_of_every_commit<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let desk = Desk::open(&harness).await;
    desk.push(&[("a", Some("1")), ("b", Some("1"))]).await;
    for n in 0..20 {
        let head = desk.scope().await.head;
        let at = desk.at(head.0).await;
        nothing_new(&desk, &at).await;
        desk.push(&[("a", (n % 3 > 0).then_some("2")), ("c", Some("3"))]).await;
        let chunk = desk.chunk(at, ALL).await;
        assert_eq!((chunk.entries.len(), chunk.next), (2, Seq(head.0 + 2)), "push {n}");
    }
    desk.push(&[("b", None)]).await;
    let head = desk.scope().await.head;
    let at = desk.at(head.0).await;
    let before = nothing_new(&desk, &at).await;
    must(desk.storage.purge(Scope::default(), head).await, "purge");
    let after = nothing_new(&desk, &at).await;
    assert!(before.horizon < after.horizon, "the purge is not told");
    let fresh = Epoch([0xe1; 16]);
    must(desk.storage.begin_epoch(Scope::default(), FRESH, head, fresh).await, "an epoch");
    let reset = Reset { epoch: fresh, reason: ResetReason::EpochChanged { cut: head } };
    assert_eq!(desk.fork(at).await, Fork::Reset(reset), "the new epoch is not told");
    nothing_new(&desk, &desk.at(head.0).await).await;
    Ok(())
}

/// The same for what another process commits.
pub async fn who_asks_at_the_head_hears_of_other_processes<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    harness.capabilities().need_several_handles()?;
    let (one, two) = (Desk::open(&harness).await, Desk::open(&harness).await);
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
