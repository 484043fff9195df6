//! What proves a restore, and what does not.

use std::sync::Arc;

use sync_core::model::{Cursor, Limits, LogMark, Reset, ResetReason, Seq};
use sync_server::Visible;

use crate::cores::Cores;
use crate::world::{Reply, World};

/// A replica was offline while the server restarted many times, with a write each time: this is no
/// restore.
pub fn many_starts_of_the_server_are_no_restore<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let epoch = world.server_scope().epoch;
    for n in 0..100 {
        world.restart_server();
        world.put(0, &format!("notes/{n}"), "more");
        world.push_all(0);
    }
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().epoch, epoch);
    assert_eq!(world.scope_row(1).documents, 101);
}

/// Two processes write one log in turn, each with its own start: this is no restore.
pub fn processes_that_write_one_log_are_no_restore<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let starts = [world.restart_server(), world.restart_server()];
    world.put(0, "notes/a", "one");
    world.sync_all();
    let epoch = world.server_scope().epoch;
    for n in 0..40 {
        world.answer_by(starts[n % 2]);
        world.put(0, &format!("notes/{n}"), "more");
        world.push_all(0);
    }
    assert_eq!(world.server_scope().starts.len(), 2, "each is registered once");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().epoch, epoch);
}

/// A cursor that a client made up begins no epoch: only that client is reset.
pub fn what_a_client_makes_up_concerns_it_alone<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let row = world.server_scope();
    let sound = world.cursor(1);
    let beyond = Seq(row.head.0 + 5);
    let forged = sound.mark.clone().map(|mark| LogMark { at: beyond, ..mark });
    let cursors = [
        Cursor { after: beyond, position: beyond, ..sound.clone() },
        Cursor { after: beyond, position: beyond, mark: forged, ..sound.clone() },
        Cursor { after: beyond, position: beyond, mark: None, ..sound.clone() },
    ];
    for cursor in cursors {
        let Reply::Reset(reset) = world.changes(&cursor, Limits::CHUNK) else {
            panic!("a position beyond the head is served: {cursor:?}")
        };
        assert_eq!(reset, Reset { epoch: row.epoch, reason: ResetReason::Unproven });
    }
    assert_eq!(world.server_scope(), row);
    // A replica in that situation pulls everything afresh, keeps its edits, and continues.
    world.put(1, "notes/b", "mine");
    world.reset(1, &Reset { epoch: row.epoch, reason: ResetReason::Unproven });
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().documents, 2);
}

/// A replica that only pushes knows the log from verdicts alone. Verdicts carry marks: an
/// unannounced restore is detected with the replica's next push, and nothing that the replica wrote
/// is lost.
pub fn a_restore_is_found_by_the_mark_of_verdicts<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(1, "notes/other", "text");
    world.push_all(1);
    let backup = world.backup();
    let old = world.server_scope().epoch;
    for text in ["one", "two"] {
        world.put(0, "notes/a", text);
        world.push_once(0);
    }
    world.restore_silently(&backup);
    world.put(1, "notes/a", "new life");
    world.push_once(1);
    world.put(0, "notes/a", "three");
    world.push_once(0);
    assert_ne!(world.server_scope().epoch, old, "the restore is found");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("three"));
}

/// A replica at the head acknowledges, and the answer is a reset, because the log that it names was
/// lost.
pub fn a_restore_is_found_by_an_acknowledgement<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/b", "lost");
    world.sync_all();
    world.restore_silently(&backup);
    for name in ["notes/c", "notes/d"] {
        world.put(1, name, "new");
    }
    let told = world.acknowledge(0);
    assert!(
        matches!(told, Some(Reset { reason: ResetReason::EpochChanged { .. }, .. })),
        "{told:?}"
    );
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().documents, 4, "what was lost is offered again");
}

/// A full pull of chosen collections concludes nothing about others: an edit in a collection that
/// is chosen later conflicts with the server's state, and not with absence.
pub fn absence_is_concluded_of_chosen_collections_only<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "tasks/a", "theirs");
    world.push_all(0);
    world.put(0, "notes/a", "theirs");
    world.push_all(0);
    world.tick(10);
    world.put(1, "tasks/a", "mine, later");
    world.put(1, "notes/b", "mine");
    world.set_collections(1, Some(&["notes"]));
    world.sync_all_of(1);
    let pending_remote = world.record(1, "tasks/a").pending.and_then(|p| p.pending_remote);
    assert_eq!(pending_remote, None, "the pull was not asked for it");
    world.set_collections(1, Some(&["notes", "tasks"]));
    world.sync_all();
    world.assert_consistent();
    assert_eq!(world.server_text("tasks/a").as_deref(), Some("mine, later"));
}

/// A full pull of a replica that may read some collections concludes nothing about the others.
pub fn absence_is_concluded_of_visible_collections_only<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    for name in ["notes/a", "notes/gone", "secret/a"] {
        world.put(0, name, "text");
    }
    world.sync_all();
    world.put(1, "secret/a", "edited while it could be seen");
    world.delete(0, "notes/gone");
    world.push_all(0);
    let head = world.server_scope().head;
    world.purge(head);
    let epoch = world.server_scope().epoch;
    world.reset(1, &Reset { epoch, reason: ResetReason::BelowHorizon });
    let cursor = world.cursor(1);
    let visible = Visible::Only(Arc::new([World::<C>::collection("notes")].into()));
    let Reply::Chunk(chunk) = world.changes_seen_by(&cursor, Limits::CHUNK, &visible) else {
        panic!("no chunk")
    };
    assert!(world.apply(1, &chunk).moved);
    let record = world.record(1, "secret/a");
    assert_eq!(record.pending.and_then(|p| p.pending_remote), None, "the chunk says nothing of it");
    assert_eq!(world.text(1, "notes/gone"), None);
    assert!(world.text(1, "notes/a").is_some());
}

/// A restore that only undid a purge moves no position. A replica whose full pull had found the
/// document absent receives the tombstone in the verdict on its next edit, and applies it.
pub fn a_restore_that_undoes_a_purge_blocks_no_edit<C: Cores>(cores: C) {
    let mut world = purged_and_back(cores, |world| world.delete(0, "notes/a"));
    world.put(1, "notes/a", "anew");
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("anew"));
    world.assert_converged();
}

/// A restore that undid the purge of an erasure: it wins over an edit that did not know of it, and
/// the edit ends.
pub fn a_restore_that_undoes_the_purge_of_an_erasure_blocks_no_edit<C: Cores>(cores: C) {
    let mut world = purged_and_back(cores, |world| {
        world.erase(0, "notes/a");
    });
    world.put(1, "notes/a", "without knowing");
    world.sync_all();
    assert_eq!(world.text(1, "notes/a"), None);
    world.put(1, "notes/a", "anew");
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("anew"));
    world.assert_converged();
}

/// A restore that undid a purge whose horizon stays below the head: the replica remembers the
/// position at which the document was absent.
pub fn a_restore_that_undoes_an_early_purge_blocks_no_edit<C: Cores>(cores: C) {
    let mut world = purged_and_back_below(cores, 1, |world| world.delete(0, "notes/a"));
    world.put(1, "notes/a", "anew");
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("anew"));
    world.assert_converged();
}

/// Makes a world in which a tombstone was purged, the second replica pulled everything anew, and a
/// silent restore brought the tombstone back.
fn purged_and_back<C: Cores>(cores: C, delete: impl FnOnce(&mut World<C>)) -> World<C> {
    purged_and_back_below(cores, 0, delete)
}

/// As [`purged_and_back`], with so many documents above the horizon.
fn purged_and_back_below<C: Cores>(
    cores: C,
    above: u64,
    delete: impl FnOnce(&mut World<C>),
) -> World<C> {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.put(0, "notes/b", "stays");
    world.sync_all();
    delete(&mut world);
    world.sync_all();
    for n in 0..above {
        world.put(0, &format!("notes/above-{n}"), "stays");
    }
    world.sync_all();
    let backup = world.backup();
    let head = world.server_scope().head;
    world.purge(Seq(head.0 - above));
    world.request_reset(1);
    world.pull_all(1);
    world.restore_silently(&backup);
    world
}
