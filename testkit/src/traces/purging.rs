//! Tombstones that leave the replicas once they are gone on the server.

use super::world_with;
use crate::cores::Cores;
use crate::resolvers::Deferring;
use crate::world::World;

/// Deletes and purges documents of replica 0 that replica 1 holds; both replicas receive the
/// horizon.
fn deleted_and_purged<C: Cores>(world: &mut World<C>, names: &[&str]) {
    for name in names {
        world.put(0, name, "one");
    }
    world.sync_all();
    for name in names {
        world.delete(0, name);
    }
    world.sync_all();
    purge_everywhere(world);
}

fn purge_everywhere<C: Cores>(world: &mut World<C>) {
    let head = world.server_scope().head;
    world.purge(head);
    world.put(0, "notes/later", "text");
    world.sync_all();
}

fn is_kept<C: Cores>(world: &mut World<C>, replica: usize, name: &str) -> bool {
    let key = world.key(name);
    world.record_at(replica, &key).is_some()
}

/// Tombstones leave every replica, and the id is a new document when it is written again.
pub fn tombstones_leave_the_replicas<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    deleted_and_purged(&mut world, &["notes/a", "notes/b"]);
    for replica in [0, 1] {
        assert!(!is_kept(&mut world, replica, "notes/a"));
        assert_eq!(world.scope_row(replica).settled, 1);
    }
    world.put(1, "notes/a", "new");
    assert!(world.record(1, "notes/a").edit().is_some_and(|edit| edit.base.is_none()));
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("new"), 0));
}

/// The record of a document that a full pull found to be absent leaves the replica as well.
pub fn absences_leave_the_replicas<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.delete(0, "notes/a");
    world.sync_all_of(0);
    let head = world.server_scope().head;
    world.purge(head);
    world.sync_all_of(1);
    assert_eq!(world.record(1, "notes/a").current, None);
    purge_everywhere(&mut world);
    assert!(!is_kept(&mut world, 1, "notes/a"));
    world.assert_converged();
}

/// A document with an unsettled state stays, whatever the horizon: a deferred conflict knows what
/// was deleted.
pub fn an_unsettled_tombstone_stays<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.delete(0, "notes/a");
    world.sync_all_of(0);
    world.put(1, "notes/a", "mine");
    world.sync_all_of(1);
    assert!(world.record(1, "notes/a").is_deferred());
    purge_everywhere(&mut world);
    assert!(world.record(1, "notes/a").is_deferred());
    assert!(!is_kept(&mut world, 0, "notes/a"));
}

/// A backup from before the purge holds the tombstones again, at positions that the replicas have
/// passed. A new write conflicts with them.
pub fn a_restore_of_tombstones_that_left<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.delete(0, "notes/a");
    world.sync_all();
    let backup = world.backup();
    purge_everywhere(&mut world);
    world.restore(&backup);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(0, "notes/a"), world.text(1, "notes/a")), (None, None));
    world.put(1, "notes/a", "new");
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("new"));
    world.assert_converged();
}

/// After a restore from a backup that is older than a purged deletion, no replica can offer the
/// deletion again, and every replica gets the document back, even if digests are equal.
pub fn a_restore_below_what_left<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let backup = world.backup();
    world.delete(0, "notes/a");
    world.sync_all();
    purge_everywhere(&mut world);
    world.put(1, "notes/mine", "kept");
    world.restore(&backup);
    world.sync_all();
    for replica in [0, 1] {
        assert_eq!(world.text(replica, "notes/a").as_deref(), Some("one"));
        assert_eq!(world.text(replica, "notes/later").as_deref(), Some("text"));
        assert_eq!(world.text(replica, "notes/mine").as_deref(), Some("kept"));
    }
    world.assert_converged();
}

/// Replicas keep erased tombstones, so that an erasure is offered again whatever backup is
/// restored.
pub fn an_erased_tombstone_stays_on_the_replicas<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "secret");
    world.sync_all();
    let backup = world.backup();
    world.erase(0, "notes/a");
    world.sync_all();
    purge_everywhere(&mut world);
    assert!(is_kept(&mut world, 0, "notes/a") && is_kept(&mut world, 1, "notes/a"));
    world.restore(&backup);
    world.sync_all();
    assert_eq!((world.server_text("notes/a"), world.text(1, "notes/a")), (None, None));
    world.assert_converged();
}
