//! Deferred conflicts that end by themselves.

use super::{batch, world_with};
use crate::cores::Cores;
use crate::resolvers::Deferring;
use crate::world::World;

/// Makes a world in which replica 1 has a deferred conflict: its own text is `mine`, the server's
/// is `theirs`.
pub(super) fn waiting<C: Cores>(cores: C) -> World<C> {
    let mut world = world_with(cores, Deferring);
    world.put(0, "notes/a", "base");
    world.sync_all();
    world.put(0, "notes/a", "theirs");
    world.push_all(0);
    world.put(1, "notes/a", "mine");
    world.pull_all(1);
    assert_eq!(world.scope_row(1).deferred, 1);
    world
}

fn ends<C: Cores>(mut world: World<C>, text: Option<&str>) {
    assert_eq!(world.scope_row(1).deferred, 0, "both sides are the same, and the conflict waits");
    assert!(world.form(1).is_none(), "nothing is left to push");
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (text, 1));
}

/// A deferred conflict ends when the app writes the server's state.
pub fn a_deferred_conflict_ends_when_the_app_writes_the_same<C: Cores>(cores: C) {
    let mut world = waiting(cores);
    world.put(1, "notes/a", "theirs");
    ends(world, Some("theirs"));
}

/// A deferred conflict ends when the server holds what the app wrote.
pub fn a_deferred_conflict_ends_when_the_server_holds_the_same<C: Cores>(cores: C) {
    let mut world = waiting(cores);
    world.put(0, "notes/a", "mine");
    world.push_all(0);
    world.pull_all(1);
    ends(world, Some("mine"));
}

/// A deferred conflict ends when the app deletes a document that was deleted on the server.
pub fn a_deferred_conflict_ends_when_the_app_deletes_too<C: Cores>(cores: C) {
    let mut world = waiting(cores);
    world.delete(0, "notes/a");
    world.push_all(0);
    world.pull_all(1);
    world.delete(1, "notes/a");
    ends(world, None);
}

/// A deferred conflict ends when the server deletes a document that the app deleted.
pub fn a_deferred_conflict_ends_when_the_server_deletes_too<C: Cores>(cores: C) {
    let mut world = waiting(cores);
    world.delete(1, "notes/a");
    world.delete(0, "notes/a");
    let deleted = batch(&mut world, 0);
    world.deliver(&deleted);
    world.pull_all(1);
    ends(world, None);
}
