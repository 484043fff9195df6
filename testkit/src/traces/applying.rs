//! Applying chunks.

use std::sync::Arc;

use sync_core::model::{Seq, VerdictKind};
use sync_core::replica::{Decided, Decision};
use sync_core::resolver::{ClientWins, LastWriteWins, Resolution, ServerWins};

use super::{batch, chunk, decided, world_with};
use crate::cores::Cores;
use crate::resolvers::{Deferring, Deleting, Joining};
use crate::world::{Options, World, body};

/// Makes two replicas that hold `base`; replica 1 has pushed `theirs` on it, replica 0 has written
/// `mine` and not pulled.
fn in_conflict<C: Cores>(world: &mut World<C>, mine: Option<&str>, theirs: Option<&str>) {
    world.put(0, "notes/a", "base");
    world.sync_all();
    world.transaction(1, &[("notes/a", theirs)]);
    world.push_all(1);
    world.transaction(0, &[("notes/a", mine)]);
}

/// An empty chunk moves the position to the head at which it was read.
pub fn an_empty_chunk_moves_the_position<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.push_all(0);
    world.delete(0, "notes/a");
    world.push_all(0);
    let fresh = world.join();
    world.purge(Seq(2));
    let empty = chunk(&mut world, fresh);
    assert_eq!((empty.entries.len(), empty.next), (0, Seq(2)));
    assert!(world.apply(fresh, &empty).moved);
    assert_eq!(world.cursor(fresh).after, Seq(2));
}

/// Rule 1: a state at or below the known position changes nothing, not even for watchers.
pub fn a_known_state_changes_nothing<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.push_all(0);
    let before = world.record(0, "notes/a");
    let head = world.meta(0).last_local;
    let echo = chunk(&mut world, 0);
    assert_eq!(echo.entries.len(), 1);
    assert_eq!(world.apply(0, &echo).changes, Vec::new());
    let after = world.record(0, "notes/a");
    assert_eq!((after.current, after.changed), (before.current, before.changed));
    assert_eq!(world.meta(0).last_local, head);
}

/// Rule 2: a clean document is replaced, and deleted.
pub fn a_clean_document_follows_the_server<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.put(0, "notes/a", "two");
    world.sync_all();
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("two"));
    world.delete(0, "notes/a");
    world.sync_all();
    assert_eq!(world.text(1, "notes/a"), None);
    world.assert_converged();
    assert_eq!(world.calls().count(), 0);
}

/// Rule 3: the replica's own state that arrives as an echo before the verdict makes the document
/// clean, and the verdict changes nothing.
pub fn an_echo_before_the_ack<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    let late = world.deliver(&pushed);
    world.pull_all(0);
    let record = world.record(0, "notes/a");
    assert!(record.edit().is_none() && record.in_flight().is_some());
    world.settle(0, pushed.id, &late);
    assert!(world.record(0, "notes/a").pending.is_none());
    world.assert_converged();
}

/// Rule 4: the echo of the state in flight becomes the base of a later edit.
pub fn an_echo_of_what_is_in_flight_is_the_base<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    let late = world.deliver(&pushed);
    world.put(0, "notes/a", "two");
    world.pull_all(0);
    let record = world.record(0, "notes/a");
    assert_eq!(record.edit().and_then(|e| e.base.as_ref()).map(|b| b.seq), Some(Seq(1)));
    world.settle(0, pushed.id, &late);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("two"), 0));
}

/// Rule 5: while a document is in flight no resolver is called; the newest state waits for the
/// verdict.
pub fn what_is_in_flight_waits_for_the_verdict<C: Cores>(cores: C) {
    let mut world = world_with(cores, LastWriteWins);
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    let pushed = batch(&mut world, 0);
    world.pull_all(0);
    world.put(1, "notes/a", "theirs again");
    world.push_all(1);
    world.pull_all(0);
    assert_eq!(world.calls().count(), 0);
    let pending_remote = world.record(0, "notes/a").pending.and_then(|p| p.pending_remote);
    assert_eq!(pending_remote.map(|s| s.seq), Some(Seq(3)));
    let verdicts = world.deliver(&pushed);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Conflict);
    world.settle(0, pushed.id, &verdicts);
    assert_eq!(world.calls().count(), 1);
    world.sync_all();
    world.assert_converged();
}

/// Rule 6: a true conflict is decided once, by the resolver of the replica that detects it.
pub fn a_true_conflict_is_decided_once<C: Cores>(cores: C) {
    let mut world = world_with(cores, LastWriteWins);
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine"));
    let calls = world.calls().since(0);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].base, world.writes()[0].after.as_ref().map(|s| s.revision));
}

/// The resolution `Remote` applies the server's state, and the document is clean.
pub fn the_resolver_returns_remote<C: Cores>(cores: C) {
    let mut world = world_with(cores, ServerWins);
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    world.pull_all(0);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("theirs"));
    assert!(world.form(0).is_none());
    world.assert_converged();
}

/// The resolution `Local` makes a fresh revision on the server's state; the author's stamp stays,
/// so that an old winner does not grow younger.
pub fn the_resolver_returns_local<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    let mine = world.record(0, "notes/a").current;
    world.pull_all(0);
    let now = world.record(0, "notes/a").current;
    assert_eq!(now.as_ref().map(|s| s.author), mine.as_ref().map(|s| s.author));
    assert!(now.as_ref().map(|s| s.revision) > mine.as_ref().map(|s| s.revision));
    let pushed = batch(&mut world, 0);
    assert_eq!(pushed.changes[0].base.map(|b| b.revision), world.server_revision("notes/a"));
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("mine"), 1));
}

/// The resolution `Merge` is pushed on the server's state.
pub fn the_resolver_returns_merge<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    in_conflict(&mut world, Some("base+mine"), Some("base+theirs"));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("base+mine+theirs"));
    assert_eq!(world.calls().count(), 1);
}

/// The resolution `Delete` deletes.
pub fn the_resolver_returns_delete<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deleting);
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a"), world.calls().count()), (None, 1));
}

/// The resolution `Defer`: the local side is shown and is not pushed, later remote states replace
/// the pending remote state without another call, and the decision is a fresh revision on the
/// newest of them.
pub fn the_resolver_returns_defer<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    world.pull_all(0);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("mine"));
    assert!(world.form(0).is_none());
    world.put(1, "notes/a", "theirs again");
    world.push_all(1);
    world.pull_all(0);
    assert_eq!(world.calls().count(), 1);
    let pending_remote = world.record(0, "notes/a").pending.and_then(|p| p.pending_remote);
    assert_eq!(pending_remote.map(|s| s.seq), Some(Seq(3)));
    world.assert_converged();
    assert!(world.decide(0, "notes/a", &Decision::Resolve(Resolution::Defer)).is_err());
    let committed = world.decide(0, "notes/a", &Decision::Resolve(Resolution::Merge(body("both"))));
    assert_eq!(committed.ok().map(|c| c.conflicts[0].decided), Some(Decided::Merged));
    let pushed = batch(&mut world, 0);
    assert_eq!(pushed.changes[0].base.map(|b| b.revision), world.server_revision("notes/a"));
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("both"), 1));
}

/// A deferred document that is edited again still waits for the app.
pub fn a_deferred_document_is_edited<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    world.pull_all(0);
    world.put(0, "notes/a", "mine again");
    assert!(world.record(0, "notes/a").is_deferred());
    assert!(world.form(0).is_none());
    let decision = Decision::Resolve(Resolution::Local);
    assert!(world.decide(0, "notes/a", &decision).is_ok());
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine again"));
}

/// Delete against delete is no conflict.
pub fn delete_against_delete<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    in_conflict(&mut world, None, None);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(0, "notes/a"), world.calls().count()), (None, 0));
}

/// Equal bodies are no conflict, whether a chunk or a verdict carries the server's body.
pub fn equal_bodies<C: Cores>(cores: C) {
    let mut world = world_with(cores, Deferring);
    in_conflict(&mut world, Some("same"), Some("same"));
    world.pull_all(0);
    assert!(world.form(0).is_none());
    world.put(1, "notes/a", "again");
    world.put(0, "notes/a", "again");
    world.push_all(1);
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Superseded);
    world.settle(0, pushed.id, &verdicts);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.calls().count(), 0);
}

/// In collections that the server resolves a chunk only sets the pending remote state, and the push
/// decides.
pub fn only_the_server_resolves<C: Cores>(cores: C) {
    let on_server = vec![(World::<C>::collection("notes"), Arc::new(Joining) as _)];
    let mut world = World::with(cores, Options { on_server, ..Options::default() });
    in_conflict(&mut world, Some("base+mine"), Some("base+theirs"));
    world.pull_all(0);
    assert_eq!(world.calls().count(), 0);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("base+mine"));
    let pushed = batch(&mut world, 0);
    assert!(pushed.changes[0].base_body.is_some(), "this resolver asks for the base");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("base+mine+theirs"));
    let calls = world.calls().since(0);
    assert_eq!(calls.len(), 1);
    assert!(calls[0].on_server);
    let author = world.server_row("notes/a").map(|r| r.state.revision.replica.0);
    assert_eq!(author, Some(world.server_scope().epoch.0), "the server's own identity");
}

/// A conflict that the server's resolver defers waits for the app.
pub fn the_server_leaves_it_open<C: Cores>(cores: C) {
    let on_server = vec![(World::<C>::collection("notes"), Arc::new(Deferring) as _)];
    let mut world = World::with(cores, Options { on_server, ..Options::default() });
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    world.sync_all();
    assert!(world.record(0, "notes/a").is_deferred());
    let decision = Decision::Resolve(Resolution::Remote);
    assert!(world.decide(0, "notes/a", &decision).is_ok());
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("theirs"));
}

/// A resolver on the server that returns the server's own state keeps that state, as on replicas.
pub fn the_server_makes_what_it_holds<C: Cores>(cores: C) {
    let on_server = vec![(World::<C>::collection("notes"), Arc::new(Joining) as _)];
    let mut world = World::with(cores, Options { on_server, ..Options::default() });
    in_conflict(&mut world, Some("mine"), Some("mine+theirs"));
    let (head, held) = (world.server_scope().head, world.server_rows());
    world.sync_all();
    assert_eq!(world.calls().count(), 1, "there was a conflict");
    assert_eq!(world.server_scope().head, head, "nothing new was made");
    assert_eq!(world.server_rows(), held, "nor does the old one look younger");
    world.assert_converged();
}

/// An edit arrives without the base that the server's resolver needs: the resolver is not called,
/// and the app decides.
pub fn the_server_needs_a_base_and_gets_none<C: Cores>(cores: C) {
    let on_server = vec![(World::<C>::collection("notes"), Arc::new(Joining) as _)];
    let mut world = World::with(cores, Options { on_server, ..Options::default() });
    in_conflict(&mut world, Some("mine"), Some("theirs"));
    let mut pushed = super::batch(&mut world, 0);
    assert!(pushed.changes[0].base_body.take().is_some(), "a base travels");
    let verdicts = world.deliver(&pushed);
    world.settle(0, pushed.id, &verdicts);
    assert_eq!(world.calls().count(), 0);
    assert!(world.record(0, "notes/a").is_deferred());
}
