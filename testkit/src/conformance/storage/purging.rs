//! What leaves a replica because it is gone on the server.

use sync_core::model::{BaseRef, Chunk, DocumentKey, LocalSeq, Seq};
use sync_core::replica::Origin;

use super::super::run::Outcome;
use super::super::tools::{ALL, key, must};
use super::StorageHarness;
use super::desk::{Desk, put};
use super::log::Log;

/// Deleted documents of the log: more than a chunk removes tombstones of.
const DELETED: usize = 700;

fn name(n: usize) -> String {
    format!("r-{n:05}")
}

/// An empty chunk at the head, of a server that has forgotten the tombstones up to a position.
fn nothing(log: &Log, horizon: u64) -> Chunk {
    Chunk { horizon: Seq(horizon), ..log.rest(log.head()) }
}

/// The bases on which documents are pushed that are written now.
async fn bases(desk: &Desk, log: &mut Log, names: &[String]) -> Vec<Option<BaseRef>> {
    desk.write(names.iter().map(|name| put(name, "2"))).await;
    let batch = desk.push().await;
    let verdicts = log.accept(&batch);
    desk.settle(&batch, verdicts).await;
    let of = |key: DocumentKey| batch.changes.iter().find(|c| c.id == key.id).map(|c| c.base);
    names.iter().map(|name| must(of(key(name)).ok_or("not pushed"), "an edit is pushed")).collect()
}

/// Settled tombstones at or below the horizon leave, some with each chunk at the head: what is
/// written anew there is a new document. Those above it stay, and so does what follows the feed.
pub async fn tombstones_leave_with_the_horizon<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", DELETED + 2);
    desk.apply(log.rest(0)).await;
    let last = log.head();
    (0..=DELETED).for_each(|n| log.delete(&name(n)));
    desk.apply(log.rest(last)).await;
    let horizon = log.head() - 1;
    let above = name(DELETED);
    // One for each page, and what is left over.
    let gone = [name(0), name(DELETED / 2), name(DELETED - 1)];
    for _ in 0..DELETED / 200 + 2 {
        desk.apply(nothing(&log, horizon)).await;
    }
    desk.check().await;
    assert_eq!(desk.documents().await.len(), 1);
    let found = bases(&desk, &mut log, &gone).await;
    assert_eq!(found, [None, None, None], "a tombstone stays below the horizon");
    let found = bases(&desk, &mut log, &[above]).await;
    assert!(found[0].is_some_and(|base| base.tombstone), "a tombstone above the horizon is gone");
    let head = desk.position().await;
    desk.apply(log.rest(head)).await;
    assert_eq!(desk.documents().await.len(), 5);
    let told = desk.feed(LocalSeq(0), ALL).await;
    assert!(told.iter().any(|c| c.origin == Origin::Remote && c.key == key(&name(DELETED + 1))));
    desk.check().await;
    Ok(())
}

/// Nothing leaves before the head, or while everything is pulled: what a full pull did not deliver
/// is found by its record.
pub async fn tombstones_stay_until_the_head<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 3);
    desk.apply(log.rest(0)).await;
    log.delete(&name(0));
    log.put("more", "1");
    let horizon = Seq(log.head());
    desk.apply(Chunk { horizon, ..log.chunk(3, 4) }).await;
    let found = bases(&desk, &mut log, &[name(0)]).await;
    assert!(found[0].is_some_and(|base| base.tombstone), "a tombstone left before the head");
    desk.check().await;
    Ok(())
}
