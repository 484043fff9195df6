//! Replicas that sync some collections only.

use std::sync::Arc;

use sync_core::model::{Limits, Reset, ResetReason, Seq};
use sync_core::replica::Decision;
use sync_server::Visible;

use super::batch;
use crate::cores::Cores;
use crate::world::{Reply, World};

/// Three documents each in three collections, of which replica 1 has pulled `notes` alone.
fn world<C: Cores>(cores: C) -> World<C> {
    let mut world = World::new(cores, 2);
    for name in ["notes/a", "tasks/a", "tags/a", "notes/b", "tasks/b", "tags/b"] {
        world.put(0, name, "text");
        world.push_all(0);
    }
    world.pull_all(0);
    world.set_collections(1, Some(&["notes"]));
    world.pull_all(1);
    world
}

/// Returns how many documents of a collection the app of replica 1 reads.
fn seen<C: Cores>(world: &mut World<C>, collection: &str) -> usize {
    let records = world.records(1);
    let live = records.iter().filter(|(_, record)| record.live().is_some());
    live.filter(|(key, _)| key.collection.as_str() == collection).count()
}

/// Collections that are not chosen are neither pulled nor pushed, and block nothing: the replica
/// reaches the head, and its digest is not compared.
pub fn a_replica_syncs_what_it_chose<C: Cores>(cores: C) {
    let mut world = world(cores);
    assert_eq!((seen(&mut world, "notes"), world.records(1).len()), (2, 2));
    assert_eq!(world.cursor(1).after, Seq(6));
    world.put(1, "tasks/mine", "waits");
    assert!(world.form(1).is_none());
    world.put(1, "notes/mine", "travels");
    world.put(1, "tags/mine", "waits");
    let pushed = batch(&mut world, 1);
    assert_eq!(pushed.changes.len(), 1);
    world.push_all(1);
    let row = world.scope_row(1);
    assert_eq!((row.pending, row.not_chosen), (0, 2));
    world.pull_all(0);
    assert_eq!(world.text(0, "notes/mine").as_deref(), Some("travels"));
    assert_eq!(world.text(0, "tasks/mine"), None);
    world.assert_consistent();
}

/// An added collection is pulled from the beginning by itself; the others are not sent again, and
/// waiting edits are pushed. Deletions that are purged in between are not missed.
pub fn a_collection_that_is_added_is_filled_in<C: Cores>(cores: C) {
    let mut world = world(cores);
    world.put(1, "tasks/mine", "waits");
    world.set_collections(1, Some(&["notes", "tasks"]));
    assert_eq!(world.cursor(1).after, Seq(0), "the position of another choice is kept");
    let two = Limits { documents: 2, ..Limits::CHUNK };
    let cursor = world.cursor(1);
    let Reply::Chunk(first) = world.changes(&cursor, two) else { panic!("no chunk") };
    assert_eq!(first.entries.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["a"]);
    world.apply(1, &first);
    world.delete(0, "tasks/a");
    world.push_all(0);
    world.purge(Seq(7));
    world.push_all(1);
    world.pull_all_by(1, two);
    assert_eq!((world.text(1, "tasks/a"), seen(&mut world, "tasks")), (None, 2));
    assert!(world.cursor(1).backfills.is_empty());
    world.pull_all(0);
    assert_eq!(world.text(0, "tasks/mine").as_deref(), Some("waits"));
    world.assert_consistent();
}

/// A removed collection leaves the device, and its unsynced edits go to the quarantine. When it is
/// chosen again it is pulled, and the edits can be retried.
pub fn a_collection_that_is_left_out_leaves_and_comes_back<C: Cores>(cores: C) {
    let mut world = world(cores);
    world.set_collections(1, None);
    world.sync_all();
    world.put(1, "tasks/a", "mine");
    world.put(1, "notes/a", "mine");
    let in_flight = batch(&mut world, 1);
    let verdicts = world.deliver(&in_flight);
    let committed = world.set_collections(1, Some(&["notes", "tags"]));
    assert_eq!(committed.refused.len(), 1);
    assert_eq!((seen(&mut world, "tasks"), world.quarantine(1).len()), (0, 1));
    world.settle(1, in_flight.id, &verdicts);
    world.push_all(1);
    world.pull_all(1);
    assert_eq!(world.text(1, "tasks/a"), None);
    world.set_collections(1, Some(&["notes", "tags", "tasks"]));
    world.pull_all(1);
    assert_eq!(seen(&mut world, "tasks"), 2);
    let retried = world.decide(1, "tasks/a", &Decision::Retry);
    assert!(retried.is_ok(), "{retried:?}");
    world.set_collections(1, None);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(0, "tasks/a").as_deref(), world.calls().count()), (Some("mine"), 0));
}

/// From some collections to all, everything is pulled afresh, which finds what was deleted and
/// purged in between.
pub fn from_some_collections_to_all<C: Cores>(cores: C) {
    let mut world = world(cores);
    world.put(1, "tags/mine", "waits");
    world.delete(0, "notes/a");
    world.push_all(0);
    world.purge(Seq(7));
    world.set_collections(1, None);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(1, "notes/a"), seen(&mut world, "tags")), (None, 3));
}

/// No reset, restore or new identity changes the choice, or affects waiting edits.
pub fn a_choice_survives_resets_and_restores<C: Cores>(cores: C) {
    let mut world = world(cores);
    world.put(1, "tasks/a", "waits");
    let backup = world.backup();
    world.put(1, "notes/a", "lost");
    world.sync_all_of(1);
    world.restore(&backup);
    world.sync_all_of(1);
    assert_eq!(world.server_text("notes/a").as_deref(), Some("lost"), "it is offered again");
    let epoch = world.server_scope().epoch;
    for reason in [ResetReason::BelowHorizon, ResetReason::DigestDiffers, ResetReason::Requested] {
        world.reset(1, &Reset { epoch, reason });
        world.sync_all_of(1);
        assert_eq!((seen(&mut world, "notes"), seen(&mut world, "tasks")), (2, 1));
        assert_eq!(world.text(1, "tasks/a").as_deref(), Some("waits"));
        assert_eq!(seen(&mut world, "tags"), 0);
    }
    world.reidentify(1);
    world.sync_all_of(1);
    assert_eq!(world.scope_row(1).not_chosen, 1);
    world.forget(1, None);
    world.pull_all(1);
    assert_eq!((seen(&mut world, "notes"), world.records(1).len()), (2, 2), "the choice is gone");
    world.assert_consistent();
}

/// Entries of a chunk that are in collections the replica did not request are ignored.
pub fn a_chunk_holds_more_than_was_requested<C: Cores>(cores: C) {
    let mut world = world(cores);
    world.put(0, "tasks/c", "text");
    world.put(0, "notes/c", "text");
    world.push_all(0);
    let mut cursor = world.cursor(1);
    cursor.collections = None;
    let Reply::Chunk(all) = world.changes(&cursor, Limits::CHUNK) else { panic!("no chunk") };
    assert!(world.apply(1, &all).moved);
    assert_eq!((seen(&mut world, "notes"), seen(&mut world, "tasks")), (3, 0));
}

/// A collection that is added during a full pull is pulled whole, and deletions are found in all
/// collections.
pub fn a_choice_in_the_middle_of_a_full_pull<C: Cores>(cores: C) {
    let mut world = world(cores);
    world.delete(0, "notes/b");
    world.push_all(0);
    world.purge(Seq(7));
    world.request_reset(1);
    let two = Limits { documents: 2, ..Limits::CHUNK };
    let cursor = world.cursor(1);
    let Reply::Chunk(first) = world.changes(&cursor, two) else { panic!("no chunk") };
    world.apply(1, &first);
    world.set_collections(1, Some(&["notes", "tags"]));
    world.pull_all_by(1, two);
    assert_eq!((seen(&mut world, "notes"), seen(&mut world, "tags")), (1, 2));
    assert_eq!(world.text(1, "notes/b"), None);
    world.assert_consistent();
}

/// Pulls as a replica that may read these collections only.
fn pull_seeing<C: Cores>(world: &mut World<C>, limits: Limits, names: Option<&[&str]>) {
    let visible = match names {
        Some(names) => {
            Visible::Only(Arc::new(names.iter().map(|n| World::<C>::collection(n)).collect()))
        }
        None => Visible::All,
    };
    for _ in 0..20 {
        let cursor = world.cursor(1);
        let Reply::Chunk(chunk) = world.changes_seen_by(&cursor, limits, &visible) else {
            panic!("no chunk")
        };
        assert!(world.apply(1, &chunk).moved);
        if !chunk.has_more() && world.cursor(1).after == chunk.next {
            return;
        }
    }
    panic!("the pull does not end");
}

/// The position passes documents that a replica may not read. When they become visible, they are
/// pulled from the beginning: by name while the replica may read some collections, and by a full
/// pull when it may read all. No digest can be compared for a part.
pub fn a_collection_that_may_be_seen_is_filled_in<C: Cores>(cores: C) {
    let mut world = world(cores);
    world.set_collections(1, Some(&["notes", "tasks", "tags"]));
    pull_seeing(&mut world, Limits::CHUNK, Some(&["notes"]));
    assert_eq!((seen(&mut world, "notes"), seen(&mut world, "tasks")), (2, 0));
    pull_seeing(&mut world, Limits::CHUNK, Some(&["notes", "tasks"]));
    assert_eq!((seen(&mut world, "tasks"), seen(&mut world, "tags")), (2, 0));
    pull_seeing(&mut world, Limits::CHUNK, None);
    assert_eq!((seen(&mut world, "tasks"), seen(&mut world, "tags")), (2, 2));
    world.set_collections(1, None);
    pull_seeing(&mut world, Limits::CHUNK, Some(&["notes"]));
    world.put(0, "tasks/b", "later");
    world.push_all(0);
    pull_seeing(&mut world, Limits::CHUNK, Some(&["notes"]));
    pull_seeing(&mut world, Limits::CHUNK, None);
    assert_eq!(world.text(1, "tasks/b").as_deref(), Some("later"));
    world.assert_converged();
}

/// A collection becomes visible in the middle of a full pull.
pub fn a_collection_that_may_be_seen_in_the_middle_of_a_full_pull<C: Cores>(cores: C) {
    let mut world = world(cores);
    let two = Limits { documents: 2, ..Limits::CHUNK };
    world.set_collections(1, None);
    for (names, limits) in [(&["notes"][..], two), (&["notes", "tasks"], two)] {
        let visible = names.iter().map(|n| World::<C>::collection(n)).collect();
        let cursor = world.cursor(1);
        let visible = Visible::Only(Arc::new(visible));
        let Reply::Chunk(chunk) = world.changes_seen_by(&cursor, limits, &visible) else {
            panic!("no chunk")
        };
        assert!(world.apply(1, &chunk).moved);
    }
    pull_seeing(&mut world, two, Some(&["notes", "tasks"]));
    assert_eq!((seen(&mut world, "notes"), seen(&mut world, "tasks")), (2, 2));
    world.assert_consistent();
}
