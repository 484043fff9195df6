//! A replica that syncs some collections only.

use sync_core::error::ErrorKind;
use sync_core::model::{Chunk, Collection, Epoch, Limits, Reset, ResetReason, Scope};
use sync_core::replica::{Committed, Unsettled};

use super::super::run::Outcome;
use super::super::tools::{ALL, collection, must, refused};
use super::StorageHarness;
use super::desk::{Desk, put};
use super::log::Log;

async fn choose(desk: &Desk, names: &[&str]) -> Committed {
    let chosen = names.iter().map(|name| collection(name)).collect();
    must(desk.storage.choose(desk.cx(), Scope::default(), Some(chosen)).await, "a choice")
}

async fn choose_all(desk: &Desk) -> Committed {
    must(desk.storage.choose(desk.cx(), Scope::default(), None).await, "everything is chosen")
}

/// Two documents each of three collections.
fn three() -> Log {
    let mut log = Log::new();
    for n in 0..2 {
        for name in ["a", "b", "c"] {
            log.put(&format!("{name}/{n}"), "1");
        }
    }
    log
}

async fn counted(desk: &Desk, name: &str) -> usize {
    desk.documents().await.iter().filter(|s| s.key.collection.as_str() == name).count()
}

/// Returns the chunk as a server makes it for that choice.
fn asked_for(chunk: Chunk, names: &[&str]) -> Chunk {
    let is_chosen = |c: &Collection| names.contains(&c.as_str());
    let entries = chunk.entries.into_iter().filter(|e| is_chosen(&e.collection)).collect();
    Chunk { entries, ..chunk }
}

/// A collection that is not chosen is not applied, even if a chunk holds it, and is not pushed: its
/// edits wait, and are counted apart. The digest is not compared. The choice is stored.
pub async fn only_what_was_chosen_is_synced<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = three();
    choose(&desk, &["a"]).await;
    assert!(desk.summary().await.is_partial);
    let chosen = desk.state().await.checkpoint(&Scope::default()).cursor().collections;
    assert_eq!(chosen, Some([collection("a")].into()), "the cursor names the choice");
    desk.apply(log.rest(0)).await;
    assert_eq!((counted(&desk, "a").await, desk.documents().await.len()), (2, 2));
    assert_eq!(desk.position().await, 6);
    desk.write([put("a/mine", "1"), put("b/mine", "1")]).await;
    desk.put("c/mine", "1").await;
    let counts = desk.outbox().await;
    assert_eq!((counts.pending, counts.not_chosen), (1, 2));
    let batch = desk.push().await;
    assert_eq!(batch.changes.iter().map(|c| c.collection.as_str()).collect::<Vec<_>>(), ["a"]);
    let verdicts = log.accept(&batch);
    desk.settle(&batch, verdicts).await;
    assert_eq!(desk.next_push(Limits::PUSH).await, None, "what is not chosen is pushed");
    for reason in [ResetReason::Requested, ResetReason::BelowHorizon] {
        let reset = Reset { epoch: log.epoch, reason };
        must(desk.storage.reset(desk.cx(), Scope::default(), reset).await, "a reset");
        desk.apply(asked_for(log.rest(0), &["a"])).await;
        assert_eq!(desk.text("c/mine").await.as_deref(), Some("1"), "a reset takes what waits");
        assert_eq!(counted(&desk, "a").await, 3);
    }
    assert_eq!(desk.outbox().await.not_chosen, 2);
    let same = choose(&desk, &["a"]).await;
    assert_eq!((same, desk.position().await), (Committed::default(), 7));
    must(desk.storage.declare_local_only([collection("l")].into()).await, "one is local-only");
    let both = [collection("a"), collection("l")].into();
    let both = desk.storage.choose(desk.cx(), Scope::default(), Some(both)).await;
    refused(both, ErrorKind::InvalidInput, "what is local-only is chosen");
    Ok(())
}

/// An added collection begins at position 0, while the others keep their positions, and waiting
/// edits are pushed. A change from some to all pulls everything afresh, which finds deletions.
pub async fn a_collection_that_is_chosen_later_is_pulled_from_the_beginning<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = three();
    choose(&desk, &["a"]).await;
    desk.apply(asked_for(log.rest(0), &["a"])).await;
    desk.put("b/mine", "1").await;
    choose(&desk, &["a", "b"]).await;
    assert_eq!(desk.position().await, 0, "the position of another choice is kept");
    let cursor = desk.state().await.checkpoint(&Scope::default()).cursor();
    assert_eq!(cursor.position_of(&collection("a")).0, 6, "what is there is pulled again");
    desk.apply(asked_for(log.chunk(0, 3), &["b"])).await;
    desk.apply(asked_for(log.rest(3), &["b"])).await;
    assert_eq!((counted(&desk, "a").await, counted(&desk, "b").await), (2, 3));
    let batch = desk.push().await;
    let verdicts = log.accept(&batch);
    desk.settle(&batch, verdicts).await;
    assert_eq!(desk.outbox().await.not_chosen, 0);
    log.delete("a/0");
    choose_all(&desk).await;
    assert_eq!(desk.position().await, 0);
    let rest = Chunk { entries: log.rest(0).entries, ..log.rest(0) };
    desk.apply(rest).await;
    let names = ["a", "b", "c"];
    let mut found = Vec::new();
    for name in names {
        found.push(counted(&desk, name).await);
    }
    assert_eq!(found, [1, 3, 2]);
    assert!(!desk.summary().await.is_partial);
    desk.check().await;
    Ok(())
}

/// A removed collection leaves the device, with its part of the batch; its unsynced edits go to the
/// quarantine. Edits in collections that were not synced before either continue to wait.
pub async fn a_collection_that_is_left_out_leaves<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let log = three();
    desk.apply(log.rest(0)).await;
    desk.write([put("a/0", "2"), put("b/0", "2")]).await;
    let batch = desk.push().await;
    let committed = choose(&desk, &["a"]).await;
    let kept: Vec<_> = committed.refused.iter().map(|(key, _)| key.collection.as_str()).collect();
    assert_eq!(kept, ["b"], "{:?}", committed.refused);
    assert_eq!(desk.documents().await.len(), 2);
    assert_eq!(desk.unsettled(Unsettled::Quarantine, ALL).await.len(), 1);
    let next = desk.push().await;
    assert!(next.id > batch.id && next.changes.len() == 1, "{next:?}");
    desk.put("c/mine", "1").await;
    choose(&desk, &["b"]).await;
    assert_eq!(counted(&desk, "a").await, 0);
    assert_eq!(desk.text("c/mine").await.as_deref(), Some("1"));
    assert_eq!(desk.outbox().await.not_chosen, 1);
    assert_eq!(desk.state().await.checkpoint(&Scope::default()).epoch, Some(log.epoch));
    assert_ne!(log.epoch, Epoch([0; 16]));
    Ok(())
}
