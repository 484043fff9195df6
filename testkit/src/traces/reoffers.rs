//! A server that was restored from a backup: cuts and re-offers.

use std::sync::Arc;

use sync_core::model::{Cursor, Epoch, Limits, Seq, VerdictKind};
use sync_core::resolver::{ClientWins, ServerWins};

use super::{batch, decided, refusing, world_with};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::{ConnectResult, Options, Reply, World};

/// Positions up to the cut stay valid, the position moves back to it, and only states that were
/// settled above it are offered again, by their old epoch and position.
pub fn only_what_lies_above_the_cut_is_offered_again<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/b", "two");
    world.sync_all();
    let old = world.server_scope().epoch;
    world.restore(&backup);
    world.connect(1);
    assert_eq!((world.cursor(1).after, world.record(1, "notes/a").server_seq), (Seq(1), Seq(1)));
    let offer = batch(&mut world, 1);
    assert_eq!(offer.changes.len(), 1);
    let base = offer.changes[0].base;
    assert_eq!(
        base.map(|b| (b.epoch, b.seq, b.revision)),
        Some((old, Seq(2), offer.changes[0].state.revision))
    );
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/b").as_deref(), world.calls().count()), (Some("two"), 0));
}

/// The server loses everything: the first replica to connect offers it again, and no conflict
/// arises.
pub fn every_replica_offers_everything_again<C: Cores>(cores: C) {
    let mut world = World::new(cores, 3);
    let empty = world.backup();
    world.put(0, "notes/a", "one");
    world.put(1, "notes/b", "one");
    world.put(2, "notes/c", "one");
    world.sync_all();
    world.put(1, "notes/a", "two");
    world.delete(1, "notes/b");
    world.sync_all();
    world.restore(&empty);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("two"));
    assert_eq!((world.server_text("notes/b"), world.calls().count()), (None, 0));
}

/// Makes replica 0 hold an older lost state than replica 1.
fn two_lost_states<C: Cores>(world: &mut World<C>) {
    world.put(0, "notes/a", "base");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/a", "older");
    world.sync_all();
    world.put(1, "notes/a", "newer");
    world.sync_all_of(1);
    world.restore(&backup);
}

/// A re-offer over one of an older position is accepted.
pub fn a_reoffer_over_an_older_one<C: Cores>(cores: C) {
    let mut world = world_with(cores, ServerWins);
    two_lost_states(&mut world);
    world.push_all(0);
    assert_eq!(world.server_text("notes/a").as_deref(), Some("older"));
    world.push_all(1);
    assert_eq!(world.server_text("notes/a").as_deref(), Some("newer"));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.calls().count(), 0);
}

/// A re-offer over one of a newer position is superseded, and no resolver is called.
pub fn a_reoffer_over_a_newer_one<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    two_lost_states(&mut world);
    world.push_all(1);
    world.connect(0);
    let offer = batch(&mut world, 0);
    let verdicts = world.deliver(&offer);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Superseded);
    world.settle(0, offer.id, &verdicts);
    world.sync_all();
    world.assert_converged();
    assert_eq!(
        (world.server_text("notes/a").as_deref(), world.calls().count()),
        (Some("newer"), 0)
    );
}

/// A re-offer of an older state over a write on a re-offer of a newer one is superseded too: the
/// row descends from it.
pub fn a_reoffer_over_a_descendant_of_a_newer_one<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    two_lost_states(&mut world);
    world.push_all(1);
    world.put(1, "notes/a", "written on it");
    world.push_all(1);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("written on it"));
    assert_eq!(world.calls().count(), 0);
}

/// An edit on a lost state is offered with it, and a re-offer of that state finds it there already.
pub fn an_edit_on_a_lost_state<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let empty = world.backup();
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.put(0, "notes/a", "two");
    world.restore(&empty);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("two"), 0));
}

/// A re-offer against a write that was made since the cut is a conflict.
pub fn a_reoffer_against_a_fresh_write<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    world.put(0, "notes/a", "base");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/a", "lost");
    world.push_all(0);
    world.restore(&backup);
    world.put(1, "notes/a", "fresh");
    world.push_all(1);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("lost"), 1));
}

/// Two restores: what survived the second cut survived, also if it had been offered again after the
/// first.
pub fn a_second_restore<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    let empty = world.backup();
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.put(0, "notes/a", "edited on one");
    world.restore(&empty);
    world.sync_all_of(0); // The edit is offered again, as an edit.
    let second = world.backup();
    world.sync_all();
    world.put(1, "notes/a", "settled after it");
    world.sync_all();
    world.restore(&second);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("settled after it"));
    assert_eq!(world.calls().count(), 0);
}

/// Two lives of the log ended at the same backup and do not know of each other: states that were
/// settled in one conflict with those of the other, whatever their positions are.
pub fn states_of_two_lost_lives<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    let empty = world.backup();
    world.put(1, "notes/a", "first life");
    world.push_all(1);
    world.restore(&empty);
    world.put(0, "notes/a", "second life");
    world.push_all(0);
    world.restore(&empty);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("first life+second life"));
    assert_eq!(world.calls().count(), 1);
}

/// A lost state that is offered again was settled on a state that the server does not know any
/// more: the resolver gets no base, or it would conclude that the fresh write knew the lost state
/// and dropped it.
pub fn a_reoffer_has_no_common_base<C: Cores>(cores: C) {
    let on_server = vec![(World::<C>::collection("merged"), Arc::new(Joining) as _)];
    let resolver = Arc::new(Joining);
    let mut world =
        World::with(cores, Options { resolver, on_server, replicas: 3, ..Options::default() });
    let empty = world.backup();
    for name in ["notes/a", "merged/a"] {
        world.put(0, name, "lost");
    }
    world.push_all(0);
    world.pull_all(2);
    for name in ["notes/a", "merged/a"] {
        world.put(2, name, "lost+edited");
    }
    world.restore(&empty);
    for name in ["notes/a", "merged/a"] {
        world.put(1, name, "fresh");
    }
    world.push_all(1);
    world.sync_all_of(2);
    for name in ["notes/a", "merged/a"] {
        assert_eq!(world.server_text(name).as_deref(), Some("edited+fresh+lost"));
    }
    world.sync_all();
    world.assert_converged();
    assert!(world.calls().since(0).iter().take(2).all(|c| c.base.is_none()));
}

fn lose_a_merge<C: Cores>(cores: C, in_flight: bool) {
    let on_server = vec![(World::<C>::collection("notes"), Arc::new(Joining) as _)];
    let mut world = World::with(cores, Options { on_server, ..Options::default() });
    world.put(0, "notes/a", "theirs");
    world.push_all(0);
    let backup = world.backup();
    world.put(1, "notes/a", "mine");
    let pushed = batch(&mut world, 1);
    world.put(1, "notes/a", "mine+since");
    let merged = world.deliver(&pushed);
    assert_eq!(decided(&merged)[0].kind, VerdictKind::Merged);
    world.settle(1, pushed.id, &merged);
    if in_flight {
        batch(&mut world, 1);
    }
    world.restore(&backup);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine+since+theirs"));
}

/// An edit on a pushed state that the server had merged, and the merge is lost: the pushed state
/// was in no log, so the edit follows no surviving state.
pub fn a_merge_is_lost<C: Cores>(cores: C) {
    lose_a_merge(cores, false);
}

/// As above, when the edit is in flight already.
pub fn a_merge_is_lost_in_flight<C: Cores>(cores: C) {
    lose_a_merge(cores, true);
}

/// A lost state is offered again after the document was deleted, and the tombstone purged, in the
/// new epoch: it conflicts with "absent", and does not come back by itself.
pub fn a_reoffer_after_a_purge<C: Cores>(cores: C) {
    let mut world = world_with(cores, ServerWins);
    let empty = world.backup();
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.restore(&empty);
    world.sync_all_of(1);
    world.delete(1, "notes/a");
    world.sync_all_of(1);
    let head = world.server_scope().head;
    world.purge(head);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a"), world.calls().count()), (None, 1));
}

/// An unannounced restore is detected by the ids of the server's starts, although the head has
/// passed the replica's position.
pub fn an_unannounced_restore_is_found_by_starts<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let backup = world.backup();
    let old: Epoch = world.server_scope().epoch;
    world.put(0, "notes/b", "lost");
    world.sync_all();
    world.restore_silently(&backup);
    let fresh = world.join();
    for name in ["notes/c", "notes/d", "notes/e"] {
        world.put(fresh, name, "new");
    }
    world.push_all(fresh);
    assert_eq!(world.server_scope().epoch, old);
    assert!(world.server_scope().head > world.cursor(0).after);
    assert!(matches!(world.greet(0), ConnectResult::Reset(_)));
    assert_ne!(world.server_scope().epoch, old);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_scope().documents, world.calls().count()), (5, 0));
}

/// An unannounced restore leaves two lives of the log under one epoch: an edit that was accepted in
/// the new life before the restore was detected conflicts with the state that the old life had
/// settled at the same position.
pub fn two_lives_under_one_epoch<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    let empty = world.backup();
    world.put(1, "notes/a", "old life");
    world.sync_all_of(1);
    world.restore_silently(&empty);
    world.put(0, "notes/a", "new life");
    world.push_once(0);
    world.connect(1);
    world.put(0, "notes/a", "new life+more");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("more+new life+old life"));
}

/// A chunk that was requested ahead comes from a server that was restored without an announcement
/// meanwhile: the replica rejects it, although epoch and position fit, and the restore is detected.
pub fn a_chunk_requested_ahead_is_from_a_restored_server<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let empty = world.backup();
    for name in ["notes/a", "notes/b"] {
        world.put(0, name, "old life");
        world.push_all(0);
    }
    let one = Limits { documents: 1, ..Limits::CHUNK };
    let start = world.cursor(1);
    let Reply::Chunk(first) = world.changes(&start, one) else { panic!("no chunk") };
    world.restore_silently(&empty);
    let fresh = world.join();
    for name in ["notes/c", "notes/d", "notes/e"] {
        world.put(fresh, name, "new life");
        world.push_once(fresh);
    }
    // It was requested before the first chunk's mark was known.
    let ahead = Cursor { mark: None, ..start.following(&first) };
    let Reply::Chunk(second) = world.changes(&ahead, one) else { panic!("no chunk") };
    assert!(world.apply(1, &first).moved);
    assert!(!world.apply(1, &second).moved);
    assert!(matches!(world.greet(1), ConnectResult::Reset(_)));
    world.sync_all_of(1);
    assert_eq!(world.text(1, "notes/c").as_deref(), Some("new life"));
    assert_eq!(world.server_text("notes/a").as_deref(), Some("old life"), "offered again");
}

/// An edit on a lost state is rejected: the state that the document falls back to is offered again.
pub fn a_refused_edit_on_a_lost_state<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let empty = world.backup();
    world.put(0, "notes/a", "lost");
    world.sync_all_of(0);
    world.refuse(refusing("bad"));
    world.put(0, "notes/a", "bad");
    world.restore(&empty);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("lost"));
    assert_eq!(world.quarantine(0).len(), 1);
}

/// A lost state that is offered again is rejected: it goes into the quarantine, once.
pub fn a_refused_reoffer<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let empty = world.backup();
    world.put(0, "notes/a", "bad by now");
    world.sync_all_of(0);
    world.refuse(refusing("bad"));
    world.restore(&empty);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(0, "notes/a"), world.quarantine(0).len()), (None, 1));
}

/// A conflict with an empty log, where no position is newer than any other, is still decided.
pub fn a_conflict_with_an_empty_log<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    let empty = world.backup();
    world.put(0, "notes/a", "settled");
    world.sync_all_of(0);
    world.put(0, "notes/a", "edited");
    world.restore_silently(&empty);
    world.request_reset(0); // Now nothing shows that the server was restored.
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("edited"));
}

/// A position ahead of the head proves a restore too.
pub fn a_position_ahead_of_the_head<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let empty = world.backup();
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.restore_silently(&empty);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("one"));
}
