//! The traces that broke the first version of the rules, by number.

use std::sync::Arc;

use sync_core::model::{Limits, Seq, VerdictKind, Verdicts};
use sync_core::resolver::ClientWins;

use super::{batch, chunk, decided, world_with};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::{Options, World};

/// Accepted, the acknowledgement is late, and another replica writes on it: no conflict, and the
/// late acknowledgement does not make the older state clean.
pub fn trace_1_a_newer_state_comes_before_the_ack<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    world.put(0, "notes/a", "r1");
    let pushed = batch(&mut world, 0);
    let late = world.deliver(&pushed);
    world.pull_all(1);
    world.put(1, "notes/a", "r2");
    world.push_all(1);
    world.pull_all(0);
    assert_eq!(world.calls().count(), 0);
    world.settle(0, pushed.id, &late);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("r2"));
    assert_eq!(world.calls().count(), 0);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().head, Seq(2), "nothing was pushed again");
}

/// The acknowledgement arrives before the echo, with an edit between them: the echo is no conflict.
pub fn trace_2_an_own_echo_after_a_later_edit<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.push_all(0);
    world.put(0, "notes/a", "two");
    world.pull_all(0);
    assert_eq!(world.calls().count(), 0);
    assert_eq!(
        world.record(0, "notes/a").edit().and_then(|e| e.base.as_ref()).map(|b| b.seq),
        Some(Seq(1))
    );
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("two"), 0));
}

/// An `accepted @1` that comes after a conflict at @2 was decided does not move the base back.
pub fn trace_2_a_late_accepted_after_a_conflict<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    world.put(0, "notes/a", "mine");
    let pushed = batch(&mut world, 0);
    let accepted = world.deliver(&pushed);
    world.pull_all(1);
    world.put(1, "notes/a", "theirs");
    world.push_all(1);
    world.put(0, "notes/a", "edited since");
    world.pull_all(0); // It waits, because the batch is in flight.
    world.settle(0, pushed.id, &accepted);
    assert_eq!(world.calls().count(), 1, "edited since against theirs");
    let base = |world: &mut World<C>| {
        world.record(0, "notes/a").edit().and_then(|e| e.base.as_ref()).map(|b| b.seq)
    };
    assert_eq!(base(&mut world), Some(Seq(2)));
    world.settle(0, pushed.id, &accepted);
    let next = batch(&mut world, 0);
    world.settle(0, pushed.id, &accepted);
    assert_eq!(
        (base(&mut world), next.changes[0].base.map(|b| b.seq)),
        (Some(Seq(2)), Some(Seq(2)))
    );
    world.sync_all();
    world.assert_converged();
    assert_eq!(
        (world.server_text("notes/a").as_deref(), world.calls().count()),
        (Some("edited since"), 1)
    );
}

/// A chunk (1..2] that arrives before (0..1] is not applied.
pub fn trace_3_a_pipelined_chunk_comes_early<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    for name in ["notes/a", "notes/b"] {
        world.put(0, name, "text");
        world.push_all(0);
    }
    let one = Limits { documents: 1, ..Limits::CHUNK };
    let cursor = world.cursor(1);
    let crate::world::Reply::Chunk(first) = world.changes(&cursor, one) else { panic!("no chunk") };
    let mut ahead = cursor.advanced(first.epoch, first.next, first.head, first.mark.as_ref());
    ahead.epoch = Some(first.epoch);
    let crate::world::Reply::Chunk(second) = world.changes(&ahead, one) else { panic!("no chunk") };
    assert_eq!((first.next, second.after, second.next), (Seq(1), Seq(1), Seq(2)));
    assert!(!world.apply(1, &second).moved);
    assert_eq!((world.text(1, "notes/b"), world.cursor(1).after), (None, Seq(0)));
    assert!(world.apply(1, &first).moved);
    assert!(!world.apply(1, &first).moved, "a doubled chunk changes nothing");
    assert!(world.apply(1, &second).moved);
    world.assert_converged();
}

/// A chunk (0..2] that was read after a purge is not applied at position 1: it would keep a deleted
/// document.
pub fn trace_3_a_chunk_that_overlaps<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "text");
    world.push_all(0);
    world.pull_all(1);
    world.delete(0, "notes/a");
    world.push_all(0);
    let start = world.cursor(0);
    assert_eq!(start.after, Seq(0));
    world.purge(Seq(2));
    let crate::world::Reply::Chunk(purged) = world.changes(&start, Limits::CHUNK) else {
        panic!("no chunk")
    };
    assert_eq!((purged.after, purged.next, purged.entries.len()), (Seq(0), Seq(2), 0));
    assert!(!world.apply(1, &purged).moved);
    assert_eq!(world.cursor(1).after, Seq(1));
    world.sync_all();
    assert_eq!(world.text(1, "notes/a"), None);
    world.assert_converged();
}

/// Two batches were accepted; a doubled first one does not overwrite the record of the second.
pub fn trace_4_a_doubled_old_push<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    let first = batch(&mut world, 0);
    let verdicts = world.deliver(&first);
    world.settle(0, first.id, &verdicts);
    world.put(0, "notes/a", "two");
    let second = batch(&mut world, 0);
    let original = world.deliver(&second);
    assert_eq!(world.deliver(&first), Verdicts::Stale);
    world.pull_all(1);
    world.put(1, "notes/a", "three");
    world.push_all(1);
    assert_eq!(decided(&world.deliver(&second)), decided(&original));
    assert_eq!(world.deliver(&first), Verdicts::Stale);
    world.settle(0, second.id, &original);
    world.sync_all();
    world.assert_converged();
    assert_eq!(
        (world.server_text("notes/a").as_deref(), world.calls().count()),
        (Some("three"), 0)
    );
}

/// Settled but not pulled, the server is restored to before it, and another replica's write takes
/// the position.
pub fn trace_5_settled_then_the_server_is_restored<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let backup = world.backup();
    world.put(0, "notes/a", "mine");
    world.push_all(0);
    assert_eq!(world.record(0, "notes/a").server_seq, Seq(1));
    world.restore(&backup);
    world.put(1, "notes/b", "theirs");
    world.push_all(1);
    assert_eq!(world.server_scope().head, Seq(1));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine"));
    assert_eq!(world.server_text("notes/b").as_deref(), Some("theirs"));
    assert_eq!(world.calls().count(), 0);
}

fn insert_accepted_deleted_and_purged<C: Cores>(mut world: World<C>) {
    world.put(0, "notes/a", "text");
    let pushed = batch(&mut world, 0);
    let late = world.deliver(&pushed);
    world.pull_all(1);
    world.delete(1, "notes/a");
    world.push_all(1);
    let head = world.server_scope().head;
    world.purge(head);
    world.pull_all(0);
    world.settle(0, pushed.id, &late);
    assert_eq!(world.text(0, "notes/a"), None);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a"), world.calls().count()), (None, 0));
}

/// An insert is accepted, its acknowledgement is lost, other replicas delete the document, and the
/// tombstone is purged: the late acknowledgement does not restore it. The replica had pulled
/// before.
pub fn trace_6_a_late_ack_after_a_purge<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(1, "notes/other", "text");
    world.sync_all();
    insert_accepted_deleted_and_purged(world);
}

/// As above, on a replica that never pulled.
pub fn trace_6_on_a_replica_that_never_pulled<C: Cores>(cores: C) {
    insert_accepted_deleted_and_purged(World::new(cores, 2));
}

/// A collection that the server resolves, and the replica edits again while its push is merged.
pub fn trace_7_edited_while_the_server_merges<C: Cores>(cores: C) {
    let options = Options::default();
    let mut world = World::with(
        cores,
        Options {
            on_server: vec![(World::<C>::collection("merged"), Arc::new(Joining))],
            ..options
        },
    );
    world.put(0, "merged/a", "base");
    world.sync_all();
    world.put(1, "merged/a", "base+theirs");
    world.push_all(1);
    world.put(0, "merged/a", "base+mine");
    let pushed = batch(&mut world, 0);
    world.put(0, "merged/a", "base+mine+more");
    let next = chunk(&mut world, 0);
    world.apply(0, &next);
    assert_eq!(world.calls().count(), 0, "the push decides, not the chunk");
    let merged = world.deliver(&pushed);
    assert_eq!(decided(&merged)[0].kind, VerdictKind::Merged);
    world.settle(0, pushed.id, &merged);
    assert_eq!(world.text(0, "merged/a").as_deref(), Some("base+mine+more"));
    let pending_remote = world.record(0, "merged/a").pending.and_then(|p| p.pending_remote);
    assert!(pending_remote.is_some(), "what the server merged waits for the next push");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("merged/a").as_deref(), Some("base+mine+more+theirs"));
    assert!(world.calls().since(0).iter().all(|c| c.on_server));
}
