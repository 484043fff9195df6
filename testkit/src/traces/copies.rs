//! Copies of a replica's storage: an edit keeps its time, and a state that was pushed under another
//! identity is recognised.

use sync_core::model::Revision;
use sync_core::resolver::LastWriteWins;

use super::{batch, world_with};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::World;

fn revision<C: Cores>(world: &mut World<C>, replica: usize, name: &str) -> Option<Revision> {
    world.record(replica, name).current.map(|state| state.revision)
}

/// An edit waits in a storage that is copied. The original pushes it, and another replica writes on
/// it. The copy takes a new identity, and its edit keeps its time: it does not overwrite the later
/// write.
pub fn a_clone_keeps_the_time_of_its_edits<C: Cores>(cores: C) {
    let mut world = world_with(cores, LastWriteWins);
    for name in ["notes/update", "notes/delete"] {
        world.put(0, name, "first");
    }
    world.sync_all();
    world.put(0, "notes/insert", "old");
    world.put(0, "notes/update", "old");
    world.delete(0, "notes/delete");
    let copy = world.clone_replica(0);
    world.sync_all_of(0);
    world.sync_all_of(1);
    for name in ["notes/insert", "notes/update", "notes/delete"] {
        world.put(1, name, "newer");
    }
    world.sync_all_of(1);
    world.tick(100);
    world.sync_all_of(copy);
    world.sync_all();
    world.assert_converged();
    for name in ["notes/insert", "notes/update", "notes/delete"] {
        assert_eq!(world.server_text(name).as_deref(), Some("newer"), "{name}");
    }
}

/// The copy is edited further. The original's push of the earlier edit comes back, and is no
/// conflict: the copy's edit was made on it.
pub fn the_echo_of_an_edit_from_a_copy_is_known<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    world.put(0, "notes/other", "text");
    world.sync_all();
    world.put(0, "notes/a", "old");
    let copy = world.clone_replica(0);
    world.reidentify(copy);
    world.put(copy, "notes/a", "edited on");
    world.push_all(0);
    world.pull_all(copy);
    assert_eq!(world.calls().count(), 0, "an echo is no conflict");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("edited on"));
}

/// A batch arrived and its answer was lost, and then the replica takes a new identity. It was
/// edited meanwhile: its own echo is no conflict, whether a chunk or a verdict carries it.
pub fn a_batch_in_flight_is_known_after_a_new_identity<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    world.put(0, "notes/pulled", "base");
    world.put(0, "notes/pushed", "base");
    world.sync_all();
    world.put(0, "notes/pulled", "was_sent");
    world.put(0, "notes/pushed", "was_sent");
    let pushed = batch(&mut world, 0);
    world.deliver(&pushed);
    world.put(0, "notes/pulled", "edited on");
    world.put(0, "notes/pushed", "edited on");
    let before = revision(&mut world, 0, "notes/pushed");
    world.reidentify(0);
    let after = revision(&mut world, 0, "notes/pushed");
    assert_eq!(before.map(|r| r.stamp), after.map(|r| r.stamp), "an edit keeps its time");
    assert_ne!(before, after);
    world.push_all(0);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.calls().count(), 0, "an echo is no conflict");
    assert_eq!(world.server_text("notes/pushed").as_deref(), Some("edited on"));
}

/// A restored storage receives its own later writes: it gives none of their stamps to another
/// state.
pub fn what_an_older_copy_of_this_replica_wrote_is_not_stamped_again<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let old = world.clone_replica(0);
    world.put(0, "notes/a", "two");
    world.push_all(0);
    let taken = revision(&mut world, 0, "notes/a");
    // Its clock is set back to the time of the other one's write, and then to before it.
    world.skew(old, -5);
    world.pull_all(old);
    world.put(old, "notes/b", "three");
    assert!(revision(&mut world, old, "notes/b") > taken);
    world.sync_all();
    world.assert_converged();
}

/// A device takes another identity after it erased a document and wrote it anew: the erasure keeps
/// its name, so that it removes no state that was written with knowledge of it.
pub fn an_erasure_under_an_edit_keeps_its_name<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.erase(0, "notes/a");
    world.put(0, "notes/a", "two");
    let erased = world.record(0, "notes/a").erased();
    assert!(erased.is_some());
    world.reidentify(0);
    let record = world.record(0, "notes/a");
    let named = record.current.as_ref().map(|state| state.revision.replica);
    assert_eq!((record.erased(), named), (erased, Some(world.meta(0).replica)));
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("two"));
    world.assert_converged();
}
