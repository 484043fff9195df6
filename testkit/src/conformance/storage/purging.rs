//! Records that leave a replica because the server has purged them.

use sync_core::model::{BaseRef, Chunk, DocumentKey, LocalSeq, Seq};
use sync_core::replica::Origin;

use super::super::run::Outcome;
use super::super::tools::{ALL, key, must};
use super::StorageHarness;
use super::fixture::{Fixture, put};
use super::log::Log;

/// The number of deleted documents in the log: more than the tombstones that one chunk removes.
const DELETED: usize = 700;

fn name(n: usize) -> String {
    format!("r-{n:05}")
}

/// Returns an empty chunk at the head, of a server that has purged the tombstones up to a position.
fn nothing(log: &Log, horizon: u64) -> Chunk {
    Chunk { horizon: Seq(horizon), ..log.rest(log.head()) }
}

/// Writes documents and returns the bases on which they are pushed.
async fn bases(fixture: &Fixture, log: &mut Log, names: &[String]) -> Vec<Option<BaseRef>> {
    fixture.write(names.iter().map(|name| put(name, "2"))).await;
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    let of = |key: DocumentKey| batch.changes.iter().find(|c| c.id == key.id).map(|c| c.base);
    names.iter().map(|name| must(of(key(name)).ok_or("not pushed"), "an edit is pushed")).collect()
}

/// Settled tombstones at or below the horizon leave, some with each chunk at the head: a later
/// write under that key is a new document. Tombstones above it stay, and the feed continues.
pub async fn tombstones_leave_with_the_horizon<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", DELETED + 2);
    fixture.apply(log.rest(0)).await;
    let last = log.head();
    (0..=DELETED).for_each(|n| log.delete(&name(n)));
    fixture.apply(log.rest(last)).await;
    let horizon = log.head() - 1;
    let above = name(DELETED);
    // One chunk for each page, and one for the rest.
    let gone = [name(0), name(DELETED / 2), name(DELETED - 1)];
    for _ in 0..DELETED / 200 + 2 {
        fixture.apply(nothing(&log, horizon)).await;
    }
    fixture.check().await;
    assert_eq!(fixture.documents().await.len(), 1);
    let found = bases(&fixture, &mut log, &gone).await;
    assert_eq!(found, [None, None, None], "a tombstone stays below the horizon");
    let found = bases(&fixture, &mut log, &[above]).await;
    assert!(found[0].is_some_and(|base| base.tombstone), "a tombstone above the horizon is gone");
    let head = fixture.position().await;
    fixture.apply(log.rest(head)).await;
    assert_eq!(fixture.documents().await.len(), 5);
    let told = fixture.feed(LocalSeq(0), ALL).await;
    assert!(told.iter().any(|c| c.origin == Origin::Remote && c.key == key(&name(DELETED + 1))));
    fixture.check().await;
    Ok(())
}

/// No tombstone leaves before the head, or during a full pull, which finds absent documents by
/// their records.
pub async fn tombstones_stay_until_the_head<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 3);
    fixture.apply(log.rest(0)).await;
    log.delete(&name(0));
    log.put("more", "1");
    let horizon = Seq(log.head());
    fixture.apply(Chunk { horizon, ..log.chunk(3, 4) }).await;
    let found = bases(&fixture, &mut log, &[name(0)]).await;
    assert!(found[0].is_some_and(|base| base.tombstone), "a tombstone left before the head");
    fixture.check().await;
    Ok(())
}
