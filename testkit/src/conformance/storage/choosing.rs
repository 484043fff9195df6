//! A replica that syncs some collections only.

use sync_core::error::ErrorKind;
use sync_core::model::{Chunk, Collection, Epoch, Limits, Reset, ResetReason, Scope};
use sync_core::replica::{Committed, Unsettled};

use super::super::run::Outcome;
use super::super::tools::{ALL, collection, must, refused};
use super::StorageHarness;
use super::fixture::{Fixture, put};
use super::log::Log;

async fn set_collections(fixture: &Fixture, names: &[&str]) -> Committed {
    let chosen = names.iter().map(|name| collection(name)).collect();
    must(
        fixture.storage.set_collections(fixture.cx(), Scope::default(), Some(chosen)).await,
        "a choice",
    )
}

async fn choose_all(fixture: &Fixture) -> Committed {
    must(
        fixture.storage.set_collections(fixture.cx(), Scope::default(), None).await,
        "everything is chosen",
    )
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

async fn counted(fixture: &Fixture, name: &str) -> usize {
    fixture.documents().await.iter().filter(|s| s.key.collection.as_str() == name).count()
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
    let fixture = Fixture::open(&harness).await;
    let mut log = three();
    set_collections(&fixture, &["a"]).await;
    assert!(fixture.summary().await.is_partial);
    let chosen = fixture.state().await.checkpoint(&Scope::default()).cursor().collections;
    assert_eq!(chosen, Some([collection("a")].into()), "the cursor names the choice");
    fixture.apply(log.rest(0)).await;
    assert_eq!((counted(&fixture, "a").await, fixture.documents().await.len()), (2, 2));
    assert_eq!(fixture.position().await, 6);
    fixture.write([put("a/mine", "1"), put("b/mine", "1")]).await;
    fixture.put("c/mine", "1").await;
    let counts = fixture.outbox().await;
    assert_eq!((counts.pending, counts.not_chosen), (1, 2));
    let batch = fixture.push().await;
    assert_eq!(batch.changes.iter().map(|c| c.collection.as_str()).collect::<Vec<_>>(), ["a"]);
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "what is not chosen is pushed");
    for reason in [ResetReason::Requested, ResetReason::BelowHorizon] {
        let reset = Reset { epoch: log.epoch, reason };
        must(fixture.storage.reset(fixture.cx(), Scope::default(), reset).await, "a reset");
        fixture.apply(asked_for(log.rest(0), &["a"])).await;
        assert_eq!(fixture.text("c/mine").await.as_deref(), Some("1"), "a reset takes what waits");
        assert_eq!(counted(&fixture, "a").await, 3);
    }
    assert_eq!(fixture.outbox().await.not_chosen, 2);
    let same = set_collections(&fixture, &["a"]).await;
    assert_eq!((same, fixture.position().await), (Committed::default(), 7));
    must(fixture.storage.declare_local_only([collection("l")].into()).await, "one is local-only");
    let both = [collection("a"), collection("l")].into();
    let both = fixture.storage.set_collections(fixture.cx(), Scope::default(), Some(both)).await;
    refused(both, ErrorKind::InvalidInput, "what is local-only is chosen");
    Ok(())
}

/// An added collection begins at position 0, while the others keep their positions, and waiting
/// edits are pushed. A change from some to all pulls everything afresh, which finds deletions.
pub async fn a_collection_that_is_chosen_later_is_pulled_from_the_beginning<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = three();
    set_collections(&fixture, &["a"]).await;
    fixture.apply(asked_for(log.rest(0), &["a"])).await;
    fixture.put("b/mine", "1").await;
    set_collections(&fixture, &["a", "b"]).await;
    assert_eq!(fixture.position().await, 0, "the position of another choice is kept");
    let cursor = fixture.state().await.checkpoint(&Scope::default()).cursor();
    assert_eq!(cursor.position_of(&collection("a")).0, 6, "what is there is pulled again");
    fixture.apply(asked_for(log.chunk(0, 3), &["b"])).await;
    fixture.apply(asked_for(log.rest(3), &["b"])).await;
    assert_eq!((counted(&fixture, "a").await, counted(&fixture, "b").await), (2, 3));
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    assert_eq!(fixture.outbox().await.not_chosen, 0);
    log.delete("a/0");
    choose_all(&fixture).await;
    assert_eq!(fixture.position().await, 0);
    let rest = Chunk { entries: log.rest(0).entries, ..log.rest(0) };
    fixture.apply(rest).await;
    let names = ["a", "b", "c"];
    let mut found = Vec::new();
    for name in names {
        found.push(counted(&fixture, name).await);
    }
    assert_eq!(found, [1, 3, 2]);
    assert!(!fixture.summary().await.is_partial);
    fixture.check().await;
    Ok(())
}

/// A removed collection leaves the device, with its part of the batch; its unsynced edits go to the
/// quarantine. Edits in collections that were not synced before either continue to wait.
pub async fn a_collection_that_is_left_out_leaves<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let log = three();
    fixture.apply(log.rest(0)).await;
    fixture.write([put("a/0", "2"), put("b/0", "2")]).await;
    let batch = fixture.push().await;
    let committed = set_collections(&fixture, &["a"]).await;
    let kept: Vec<_> = committed.refused.iter().map(|(key, _)| key.collection.as_str()).collect();
    assert_eq!(kept, ["b"], "{:?}", committed.refused);
    assert_eq!(fixture.documents().await.len(), 2);
    assert_eq!(fixture.unsettled(Unsettled::Quarantine, ALL).await.len(), 1);
    let next = fixture.push().await;
    assert!(next.id > batch.id && next.changes.len() == 1, "{next:?}");
    fixture.put("c/mine", "1").await;
    set_collections(&fixture, &["b"]).await;
    assert_eq!(counted(&fixture, "a").await, 0);
    assert_eq!(fixture.text("c/mine").await.as_deref(), Some("1"));
    assert_eq!(fixture.outbox().await.not_chosen, 1);
    assert_eq!(fixture.state().await.checkpoint(&Scope::default()).epoch, Some(log.epoch));
    assert_ne!(log.epoch, Epoch([0; 16]));
    Ok(())
}
