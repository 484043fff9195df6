//! A restore from a backup that was made before a purge: the server holds tombstones again of
//! documents that a replica found to be absent.

use sync_core::model::{Limits, Seq};
use sync_core::replica::Decision;
use sync_core::resolver::{ClientWins, Resolution};

use super::{batch, is_same, world_with};
use crate::cores::Cores;
use crate::resolvers::Deferring;
use crate::world::{Backup, World};

/// Makes two replicas that hold two documents; replica 0 deletes or erases some and writes another.
/// The backup holds their tombstones, and the server has purged them.
fn purged_after_a_backup<C: Cores>(
    world: &mut World<C>,
    take_away: impl FnOnce(&mut World<C>),
) -> Backup<C::Server> {
    world.put(0, "notes/a", "first");
    world.put(0, "notes/b", "first");
    world.sync_all();
    take_away(world);
    world.put(0, "notes/later", "text");
    world.sync_all_of(0);
    let backup = world.backup();
    let head = world.server_scope().head;
    world.purge(head);
    backup
}

/// A document that is absent after a full pull is a tombstone again after the restore. A replica
/// that writes it anew conflicts with the tombstone, once.
pub fn a_restore_brings_a_purged_tombstone_back<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    let backup = purged_after_a_backup(&mut world, |world| {
        world.delete(0, "notes/a");
    });
    world.request_reset(1);
    world.sync_all_of(1);
    assert_eq!(world.text(1, "notes/a"), None);
    world.restore(&backup);
    world.sync_all_of(1);
    world.put(1, "notes/a", "second");
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("second"));
    world.assert_converged();
}

/// As above, with an edit that was made before the restore, without a base and on a state that was
/// deleted since.
pub fn an_edit_on_what_is_absent_meets_a_purged_tombstone<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    let backup = purged_after_a_backup(&mut world, |world| {
        world.delete(0, "notes/a");
        world.delete(0, "notes/b");
    });
    world.put(1, "notes/a", "second");
    world.request_reset(1);
    world.pull_all(1);
    world.put(1, "notes/b", "second");
    world.restore(&backup);
    world.sync_all();
    for name in ["notes/a", "notes/b"] {
        assert_eq!(world.server_text(name).as_deref(), Some("second"));
    }
    world.assert_converged();
}

/// As above, with an erasure: it is known again, and wins.
pub fn a_restore_brings_a_purged_erasure_back<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let backup = purged_after_a_backup(&mut world, |world| {
        world.erase(0, "notes/a");
    });
    world.request_reset(1);
    world.sync_all_of(1);
    world.restore(&backup);
    world.sync_all_of(1);
    world.put(1, "notes/a", "did not know");
    world.sync_all();
    assert_eq!((world.text(1, "notes/a"), world.server_text("notes/a")), (None, None));
    world.put(1, "notes/a", "knows");
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("knows"));
    world.assert_converged();
}

/// "Absent" that waits for a verdict is forgotten with the restore: the push meets the tombstone.
pub fn a_restore_while_absent_waits_for_a_verdict<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    let backup = purged_after_a_backup(&mut world, |world| {
        world.delete(0, "notes/a");
    });
    world.put(1, "notes/a", "second");
    let pushed = batch(&mut world, 1); // It never arrives.
    world.request_reset(1);
    world.pull_all_by(1, Limits { documents: 1, ..Limits::CHUNK });
    let pending_remote = world.record(1, "notes/a").pending.and_then(|p| p.pending_remote);
    assert_eq!(pending_remote.map(|s| s.state), Some(None));
    world.restore(&backup);
    world.connect(1);
    assert_eq!(world.record(1, "notes/a").pending.and_then(|p| p.pending_remote), None);
    assert!(is_same(&batch(&mut world, 1), &pushed));
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("second"));
    world.assert_converged();
}

/// A conflict with "absent" that waits for the app ends with the restore: it arises anew, with the
/// tombstone.
pub fn a_restore_while_absent_waits_for_the_app<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    let backup = purged_after_a_backup(&mut world, |world| {
        world.delete(0, "notes/a");
    });
    world.put(1, "notes/a", "second");
    world.request_reset(1);
    world.sync_all_of(1);
    let waiting = world.record(1, "notes/a");
    assert!(waiting.is_deferred());
    assert_eq!(waiting.pending.and_then(|p| p.pending_remote).map(|s| s.state), Some(None));
    world.restore(&backup);
    world.sync_all_of(1);
    let waiting = world.record(1, "notes/a");
    assert!(waiting.is_deferred());
    let pending_remote = waiting.pending.and_then(|p| p.pending_remote);
    assert!(
        pending_remote.is_some_and(|s| s.seq > Seq(0) && s.state.is_some_and(|s| s.is_deleted()))
    );
    assert!(world.decide(1, "notes/a", &Decision::Resolve(Resolution::Local)).is_ok());
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("second"));
    world.assert_converged();
}
