//! Horizons, digests, and full pulls.

use sync_core::model::{Limits, Reset, ResetReason, Seq};
use sync_core::replica::Decision;
use sync_core::resolver::{ClientWins, Resolution};

use super::deferring::waiting;
use super::{batch, chunk, is_same, refusing, world_with};
use crate::cores::Cores;
use crate::resolvers::Deferring;
use crate::world::{ConnectResult, Reply, World};

/// Replica 1 holds what replica 0 wrote; then all of `deleted` are deleted and their tombstones
/// purged while replica 1 is offline.
fn away_past_the_horizon<C: Cores>(world: &mut World<C>, all: &[&str], deleted: &[&str]) {
    for name in all {
        world.put(0, name, "text");
    }
    world.sync_all();
    for name in deleted {
        world.delete(0, name);
    }
    world.put(0, "notes/later", "text");
    world.sync_all_of(0);
    let head = world.server_scope().head;
    world.purge(head);
}

fn below_the_horizon<C: Cores>(world: &mut World<C>, replica: usize) -> bool {
    matches!(
        world.greet(replica),
        ConnectResult::Reset(Reset { reason: ResetReason::BelowHorizon, .. })
    )
}

/// Below the horizon everything is pulled afresh, and clean documents that were not delivered are
/// removed.
pub fn a_full_pull_removes_what_is_absent<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    away_past_the_horizon(&mut world, &["notes/a", "notes/b", "notes/c"], &["notes/b"]);
    assert!(below_the_horizon(&mut world, 1));
    world.connect(1);
    assert_eq!(world.cursor(1).after, Seq(0));
    assert_eq!(world.text(1, "notes/b").as_deref(), Some("text"), "it stays until the pull ends");
    world.pull_all_by(1, Limits { documents: 1, ..Limits::CHUNK });
    assert_eq!(world.text(1, "notes/b"), None);
    world.assert_converged();
}

/// A full pull remembers the head at which it began: a purge up to it does not disturb it, a later
/// one restarts it.
pub fn a_full_pull_is_safe_up_to_its_floor<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    away_past_the_horizon(&mut world, &["notes/a", "notes/b", "notes/c"], &["notes/b"]);
    world.connect(1);
    let one = Limits { documents: 1, ..Limits::CHUNK };
    let cursor = world.cursor(1);
    let Reply::Chunk(first) = world.changes(&cursor, one) else { panic!("no chunk") };
    assert!(first.has_more());
    world.apply(1, &first);
    let floor = world.cursor(1).floor;
    assert_eq!(floor, Some(first.head));
    world.purge(first.head);
    assert_eq!(world.greet(1), ConnectResult::Welcome);
    world.delete(0, "notes/a");
    world.push_all(0);
    let head = world.server_scope().head;
    world.purge(head);
    assert!(below_the_horizon(&mut world, 1));
    world.sync_all();
    assert_eq!(world.text(1, "notes/a"), None);
    world.assert_converged();
}

/// A replica that holds only deferred conflicts still knows server states: a full pull that
/// begins again finds that they are gone, also if the previous full pull had delivered them.
pub fn a_full_pull_removes_what_is_absent_beside_a_deferred_insert<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    for name in ["notes/a", "notes/b"] {
        world.put(0, name, "first");
        world.push_all(0);
    }
    world.put(1, "notes/a", "second");
    let one = Limits { documents: 1, ..Limits::CHUNK };
    let cursor = world.cursor(1);
    let Reply::Chunk(met) = world.changes(&cursor, one) else { panic!("no chunk") };
    assert!(met.has_more());
    world.apply(1, &met);
    assert!(world.record(1, "notes/a").is_deferred());
    world.delete(0, "notes/a");
    world.push_all(0);
    let head = world.server_scope().head;
    world.purge(head);
    assert!(below_the_horizon(&mut world, 1));
    world.connect(1);
    world.pull_all(1);
    let waits = world.record(1, "notes/a").pending.and_then(|p| p.pending_remote);
    assert_eq!(
        waits.map(|pending_remote| pending_remote.state),
        Some(None),
        "what it waits for is absent now"
    );
    let remote = Decision::Resolve(Resolution::Remote);
    world.decide(1, "notes/a", &remote).unwrap_or_else(|e| panic!("{e}"));
    world.sync_all();
    assert_eq!(world.text(1, "notes/a"), None);
    world.assert_converged();
}

/// Dirty documents that a full pull does not find are left to the push, which meets "absent".
pub fn a_full_pull_leaves_dirty_documents_to_the_push<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    away_past_the_horizon(&mut world, &["notes/a", "notes/b"], &["notes/a", "notes/b"]);
    world.put(1, "notes/a", "edited");
    world.delete(1, "notes/b");
    world.pull_all(1);
    assert_eq!((world.text(1, "notes/a").as_deref(), world.calls().count()), (Some("edited"), 0));
    world.sync_all();
    assert_eq!(world.calls().count(), 1, "the edit met absent");
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("edited"));
}

/// If the push of such a document is rejected, it does not fall back to a state that is gone.
pub fn a_refused_edit_of_what_a_full_pull_did_not_find<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    away_past_the_horizon(&mut world, &["notes/a", "notes/b"], &["notes/a"]);
    world.put(1, "notes/a", "refused");
    world.refuse(refusing("refused"));
    world.pull_all(1);
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("refused"));
    world.sync_all();
    assert_eq!((world.text(1, "notes/a"), world.quarantine(1).len()), (None, 1));
    world.assert_converged();
}

/// A deferred conflict about a document that was purged meanwhile: the app decides against
/// "absent".
pub fn a_deferred_document_is_gone_meanwhile<C: Cores>(cores: C) {
    let mut world = waiting(cores);
    assert!(world.record(1, "notes/a").is_deferred());
    world.delete(0, "notes/a");
    world.push_all(0);
    let head = world.server_scope().head;
    world.purge(head);
    world.pull_all(1);
    assert!(world.decide(1, "notes/a", &Decision::Resolve(Resolution::Remote)).is_ok());
    assert_eq!(world.text(1, "notes/a"), None);
    world.sync_all();
    world.assert_converged();
}

/// An insert without a base of an id whose tombstone is purged is a new document.
pub fn an_insert_after_a_purge_is_a_new_document<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all_of(0);
    world.delete(0, "notes/a");
    world.sync_all_of(0);
    let head = world.server_scope().head;
    world.purge(head);
    world.put(1, "notes/a", "new");
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("new"), 0));
}

/// The reset after a differing digest voids the known positions, keeps bases, and treats a state
/// that equals the base as no conflict.
pub fn a_digest_reset_is_no_conflict<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    for name in ["notes/a", "notes/b"] {
        world.put(0, name, "one");
    }
    world.sync_all();
    world.put(1, "notes/a", "mine");
    let base = world.record(1, "notes/a").edit().and_then(|e| e.base.clone());
    let epoch = world.server_scope().epoch;
    world.reset(1, &Reset { epoch, reason: ResetReason::DigestDiffers });
    assert_eq!(world.record(1, "notes/b").server_seq, Seq(0));
    assert_eq!(world.record(1, "notes/a").edit().and_then(|e| e.base.clone()), base);
    world.pull_all(1);
    assert_eq!(world.calls().count(), 0);
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("mine"));
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("mine"), 0));
}

/// A digest reset removes a document that the server does not have, and repairs one that differs.
pub fn a_digest_reset_repairs<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    for name in ["notes/a", "notes/b"] {
        world.put(0, name, "one");
    }
    world.sync_all();
    // A server lost the end of its log, and wrote as much again: positions show no difference.
    let told = world.acknowledgement(1);
    assert!(told.is_some_and(|a| a.digest.is_some()));
    assert_eq!(world.acknowledge(1), None);
    world.put(0, "notes/c", "two");
    world.push_all(0);
    assert_eq!(world.acknowledge(1), None, "another position is not compared");
    world.put(1, "notes/a", "mine");
    let told = world.acknowledgement(1);
    assert!(told.is_some_and(|a| a.digest.is_none()), "unsettled edits are not compared");
    world.sync_all();
    world.assert_converged();
}

/// A reset while a batch is in flight: the batch is retried unchanged.
pub fn a_reset_while_in_flight<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/a", "two");
    let pushed = batch(&mut world, 0);
    world.deliver(&pushed); // The answer is lost, and so is what the server wrote.
    world.restore(&backup);
    world.connect(0);
    assert!(is_same(&batch(&mut world, 0), &pushed));
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("two"), 0));
}

/// A reset while a conflict is deferred whose remote side the restore lost: the conflict ends, the
/// edit is pushed, and the replica that wrote the remote side offers it again.
pub fn a_reset_while_deferred<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    world.put(0, "notes/a", "base");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/a", "theirs");
    world.push_all(0);
    world.put(1, "notes/a", "mine");
    world.pull_all(1);
    assert!(world.record(1, "notes/a").is_deferred());
    world.restore(&backup);
    world.connect(1);
    assert!(!world.record(1, "notes/a").is_deferred());
    world.push_all(1);
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine"));
    world.pull_all(0);
    world.push_all(0);
    assert!(world.record(0, "notes/a").is_deferred(), "the conflict arises anew");
    assert!(world.decide(0, "notes/a", &Decision::Resolve(Resolution::Local)).is_ok());
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("theirs"));
}

/// The server is restored during a full pull: what the replica knew before still counts.
pub fn a_restore_while_everything_is_pulled<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "kept");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/b", "lost");
    world.sync_all();
    world.request_reset(0);
    world.restore(&backup);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/b").as_deref(), Some("lost"));
    assert_eq!((world.server_scope().head, world.calls().count()), (Seq(2), 0));
}

/// A reset that the app requests keeps unsynced edits.
pub fn a_requested_reset_keeps_edits<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.put(0, "notes/b", "one");
    world.sync_all();
    world.put(1, "notes/a", "mine");
    world.put(1, "notes/new", "mine");
    world.delete(1, "notes/b");
    world.request_reset(1);
    let all = chunk(&mut world, 1);
    assert_eq!(all.after, Seq(0));
    world.apply(1, &all);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine"));
    assert_eq!(world.server_text("notes/new").as_deref(), Some("mine"));
    assert_eq!((world.server_text("notes/b"), world.calls().count()), (None, 0));
}
