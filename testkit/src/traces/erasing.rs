//! Erasures: every body of the document is removed everywhere, with every edit that was made
//! without knowing of the erasure.

use std::sync::Arc;

use sync_core::error::ErrorKind;
use sync_core::model::{Limits, Reset, ResetReason, Seq, VerdictKind};
use sync_core::replica::{
    Committed, Decided, Decision, LocalTransaction, LocalWrite, WriteOperation,
};
use sync_core::resolver::{ClientWins, Resolution, ServerWins, resolve_with};

use super::{batch, decided, refusing, world_with};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::{Options, World};

/// Asserts that the app is notified that an edit was erased, and of nothing else.
#[track_caller]
fn assert_told(committed: &Committed) {
    let told: Vec<_> = committed.conflicts.iter().map(|c| c.decided).collect();
    assert_eq!(told, [Decided::Erased]);
}

/// Makes a world whose replicas hold one document, of which replica 1 has an unsettled edit.
/// Nothing is erased yet.
pub(super) fn edited<C: Cores>(cores: C) -> World<C> {
    let mut world = world_with(cores, ClientWins);
    world.put(0, "notes/a", "first secret");
    world.sync_all();
    world.put(0, "notes/a", "second secret");
    world.sync_all();
    world.put(1, "notes/a", "third secret");
    world
}

/// An erasure removes the current body, the earlier version that is the base of an edit, and the
/// edit. No resolver is called.
pub fn an_erasure_removes_every_body<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.erase(0, "notes/a");
    assert_eq!(world.text(0, "notes/a"), None);
    world.push_all(0);
    let chunk = super::chunk(&mut world, 1);
    let applied = world.apply(1, &chunk);
    assert_told(&applied.committed);
    assert_eq!(applied.committed.erased, [world.key("notes/a")]);
    assert!(applied.committed.changes.iter().all(|c| c.previous.is_none()));
    assert_eq!((world.text(1, "notes/a"), world.form(1)), (None, None));
    world.assert_gone("secret");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.calls().count(), 0);
    assert!(world.server_row("notes/a").is_some_and(|row| row.state.is_erasure()));
}

/// An edit that another replica pushed before the erasure reached the server is erased too.
pub fn an_erasure_wins_over_what_the_server_accepted_meanwhile<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.erase(0, "notes/a");
    world.push_all(1);
    assert_eq!(world.server_text("notes/a").as_deref(), Some("third secret"));
    // Two replicas erase the document: replica 0 before it receives the state in a chunk, and the
    // other one after it pulled the state.
    let other = world.join();
    world.pull_all(other);
    world.erase(other, "notes/a");
    world.pull_all(0);
    assert_eq!(world.text(0, "notes/a"), None, "what the server took comes back");
    world.push_all(0);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!(world.calls().count(), 0);
}

/// An edit that reaches the server after the erasure is superseded, and its replica reports that to
/// the app.
pub fn an_edit_without_the_erasure_is_discarded<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.erase(0, "notes/a");
    world.push_all(0);
    let pushed = batch(&mut world, 1);
    let verdicts = world.deliver(&pushed);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Superseded);
    assert_told(&world.settle(1, pushed.id, &verdicts));
    world.assert_gone("secret");
    // An insert by a replica that never received the document does not know of the erasure either.
    let other = world.join();
    world.put(other, "notes/a", "fourth secret");
    world.push_all(other);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!((world.text(other, "notes/a"), world.calls().count()), (None, 0));
}

/// An erasure of a document in flight removes its body at once. Its verdict still counts; if it
/// does not arrive, the batch is recalled.
pub fn what_is_in_flight_is_erased_here<C: Cores>(cores: C) {
    let mut world = edited(cores);
    for answered in [true, false] {
        world.put(1, "notes/a", "third secret");
        let pushed = batch(&mut world, 1);
        let verdicts = world.deliver(&pushed);
        world.erase(1, "notes/a");
        let in_flight = world.record(1, "notes/a").in_flight().cloned();
        assert!(in_flight.is_some_and(|f| f.is_withdrawn()));
        if answered {
            world.settle(1, pushed.id, &verdicts);
        } else {
            let recall = batch(&mut world, 1);
            assert_eq!((recall.id, recall.digest()), (pushed.id, pushed.digest()));
            let verdicts = world.deliver(&recall);
            assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Accepted);
            world.settle(1, recall.id, &verdicts);
        }
        let next = batch(&mut world, 1);
        assert!(next.id > pushed.id && next.changes[0].state.is_erasure());
        assert_eq!(batch(&mut world, 1), next, "a retry sends the same batch");
        world.settle(1, pushed.id, &verdicts);
        world.push_all(1);
        world.sync_all();
        world.assert_gone("secret");
        world.assert_converged();
    }
    assert_eq!(world.calls().count(), 0);
}

/// An edit in flight is removed as soon as its replica receives an erasure, whether or not the
/// server accepted the edit before.
pub fn what_is_in_flight_is_erased_by_another<C: Cores>(cores: C) {
    let mut world = edited(cores);
    let pushed = batch(&mut world, 1);
    world.erase(0, "notes/a");
    world.push_all(0);
    let chunk = super::chunk(&mut world, 1);
    assert_told(&world.apply(1, &chunk).committed);
    assert_eq!(world.text(1, "notes/a"), None);
    world.assert_gone("secret");
    // The first copy of the push arrives late, and its answer is not delivered.
    world.deliver(&pushed);
    world.assert_gone("secret");
    world.push_all(1);
    assert_eq!(world.batch_in_flight(1), None);
    // A replica that has received the erasure may write the document again.
    world.put(1, "notes/a", "fresh");
    let pushed = batch(&mut world, 1);
    let verdicts = world.deliver(&pushed);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Accepted);
    world.settle(1, pushed.id, &verdicts);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(0, "notes/a").as_deref(), world.calls().count()), (Some("fresh"), 0));
}

/// Of a batch of which one document is erased, the others are settled by its verdict: an edit that
/// was made on them meanwhile is no conflict.
pub fn the_others_of_a_batch_are_settled_as_ever<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.put(1, "notes/b", "one");
    let pushed = batch(&mut world, 1);
    let verdicts = world.deliver(&pushed);
    world.pull_all(0);
    world.put(0, "notes/b", "two");
    world.push_all(0);
    world.erase(1, "notes/a");
    world.pull_all(1);
    world.settle(1, pushed.id, &verdicts);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!((world.text(1, "notes/b").as_deref(), world.calls().count()), (Some("two"), 0));
}

/// Refused edits of the document are removed from the quarantine, on the replica that erases and on
/// the others.
pub fn refused_edits_are_erased<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.refuse(refusing("third"));
    world.push_all(1);
    world.put(0, "notes/a", "third secret of another");
    world.push_all(0);
    assert_eq!((world.quarantine(0).len(), world.quarantine(1).len()), (1, 1));
    world.erase(0, "notes/a");
    assert_eq!(world.quarantine(0).len(), 0);
    world.push_all(0);
    let chunk = super::chunk(&mut world, 1);
    assert_told(&world.apply(1, &chunk).committed);
    world.assert_gone("secret");
    world.sync_all();
    world.assert_converged();
    // A document that was only ever quarantined has no other trace.
    world.put(0, "notes/b", "third secret");
    world.push_all(0);
    world.erase(0, "notes/b");
    assert!(world.form(0).is_none());
    world.assert_gone("secret");
    world.assert_consistent();
}

/// An erasure ends deferred conflicts and removes both versions.
pub fn deferred_conflicts_are_erased<C: Cores>(cores: C) {
    let defer = resolve_with("defer", |_| Ok(Resolution::Defer));
    let mut world = world_with(cores, defer);
    for name in ["notes/a", "notes/b"] {
        world.put(0, name, "first secret");
        world.sync_all();
        world.put(0, name, "second secret");
        world.push_all(0);
        world.put(1, name, "third secret");
        world.pull_all(1);
        assert!(world.record(1, name).is_deferred());
    }
    // One document is erased by another replica, one by the replica that has the conflict.
    world.erase(0, "notes/a");
    world.push_all(0);
    let chunk = super::chunk(&mut world, 1);
    assert_told(&world.apply(1, &chunk).committed);
    world.erase(1, "notes/b");
    assert_eq!(world.scope_row(1).deferred, 0);
    world.sync_all();
    world.assert_gone("secret");
    world.assert_converged();
}

/// A replica that has received the erasure writes a new document. An edit by a replica that has not
/// is discarded, also if that replica receives only the new document.
pub fn written_again_after_an_erasure<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.erase(0, "notes/a");
    world.push_all(0);
    world.put(0, "notes/a", "fresh");
    world.push_all(0);
    world.put(0, "notes/a", "fresher");
    world.push_all(0);
    let chunk = super::chunk(&mut world, 1);
    assert_told(&world.apply(1, &chunk).committed);
    world.assert_gone("secret");
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("fresher"));
    // From here on both replicas know of the erasure, and conflicts are resolved as usual.
    world.put(1, "notes/a", "mine");
    world.put(0, "notes/a", "theirs");
    world.push_all(0);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(0, "notes/a").as_deref(), world.calls().count()), (Some("mine"), 1));
}

/// A document that is erased and written again before either is pushed still erases the earlier
/// bodies.
pub fn written_again_before_the_erasure_has_travelled<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.erase(0, "notes/a");
    world.put(0, "notes/a", "fresh");
    world.push_all(1);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!((world.text(1, "notes/a").as_deref(), world.calls().count()), (Some("fresh"), 0));
}

/// Two erasures are no conflict, and the later one counts.
pub fn two_erasures<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.erase(1, "notes/a");
    world.erase(0, "notes/a");
    world.push_all(0);
    world.put(0, "notes/a", "fresh");
    world.push_all(0);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!(world.calls().count(), 0);
    world.erase(0, "notes/a");
    assert!(world.form(0).is_some() || world.text(1, "notes/a").is_none());
    world.sync_all();
    world.assert_converged();
}

/// A deletion may keep earlier bodies, for instance as bases; an erasure of the deleted document
/// removes them.
pub fn an_erasure_of_what_was_deleted<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.delete(0, "notes/a");
    world.push_all(0);
    world.erase(0, "notes/a");
    world.push_all(0);
    world.pull_all(1);
    world.assert_gone("secret");
    world.sync_all();
    world.assert_converged();
    // A document that never existed cannot be erased.
    let key = world.key("notes/never");
    let operation = WriteOperation::Erase;
    let writes = vec![LocalWrite { collection: key.collection, id: key.id, operation }];
    let refused = world.write(0, LocalTransaction { scope: key.scope, writes });
    assert_eq!(refused.map_err(|e| e.kind()).err(), Some(ErrorKind::NotFound));
}

/// A document that is created and erased before it is in a batch is never pushed.
pub fn an_erasure_of_what_never_left<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "secret");
    let committed = world.erase(0, "notes/a");
    assert_eq!(committed.erased.len(), 1);
    assert!(committed.changes.iter().all(|c| c.previous.is_none()));
    assert!(world.form(0).is_none());
    world.assert_gone("secret");
    world.assert_consistent();
}

/// A resolver on the server is not called for an erasure either.
pub fn an_erasure_calls_no_resolver_of_the_server<C: Cores>(cores: C) {
    let on_server: Vec<(_, Arc<dyn sync_core::resolver::ConflictResolver>)> =
        vec![(World::<C>::collection("notes"), Arc::new(Joining))];
    let mut world = World::with(cores, Options { on_server, ..Options::default() });
    world.put(0, "notes/a", "first secret");
    world.sync_all();
    world.put(1, "notes/a", "second secret");
    world.erase(0, "notes/a");
    world.push_all(1);
    world.pull_all(0);
    world.push_all(0);
    world.put(1, "notes/a", "third secret");
    world.push_all(1);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!(world.calls().count(), 0);
}

/// A clock that runs ahead does not make an erasure win for ever.
pub fn an_erasure_with_a_wrong_clock<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.skew(0, 3_600_000);
    world.erase(0, "notes/a");
    world.put(0, "notes/b", "fresh");
    world.erase(0, "notes/b");
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    let erased = world.server_row("notes/a").and_then(|row| row.state.erased);
    assert!(erased.is_some_and(|e| e.stamp.millis() < world.now().0 + 600_000), "{erased:?}");
    assert_eq!(world.calls().count(), 0);
}
/// A restored server has lost the erasure; the replica offers it again.
pub fn an_erasure_is_lost_in_a_restore<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.push_all(1);
    let backup = world.backup();
    world.pull_all(0);
    world.erase(0, "notes/a");
    world.push_all(0);
    world.pull_all(0);
    world.restore(&backup);
    // Replica 1 edits the restored document before the erasure is offered again.
    world.pull_all(1);
    world.put(1, "notes/a", "fourth secret");
    world.push_all(1);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!(world.calls().count(), 0);
}

/// An erased tombstone is purged like any other; what is written afterwards under its id is a new
/// document.
pub fn an_erased_tombstone_is_purged<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.push_all(1);
    world.erase(0, "notes/a");
    world.sync_all();
    let head = world.server_scope().head;
    assert_eq!(world.purge(head), 1);
    world.put(1, "notes/a", "fresh");
    let other = world.join();
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.text(other, "notes/a").as_deref(), Some("fresh"));
    world.assert_gone("secret");
}

/// A document that was written anew after its erasure, deleted and purged is not restored by an
/// edit that only knew of the erasure: the resolver is called.
pub fn an_erasure_that_is_known_revives_nothing<C: Cores>(cores: C) {
    let mut world = world_with(cores, ServerWins);
    world.put(0, "notes/a", "one");
    world.push_all(0);
    world.erase(0, "notes/a");
    world.put(0, "notes/a", "two");
    world.sync_all();
    world.put(1, "notes/a", "three");
    world.transaction(0, &[("notes/a", None)]);
    world.push_all(0);
    let head = world.server_scope().head;
    assert_eq!(world.purge(head), 1);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a"), world.calls().count()), (None, 1));
}

/// An edit that knew of an erasure was removed with its scope before it was pushed. Its retry
/// erases nothing: it conflicts with an edit that another replica made since.
pub fn a_retry_of_an_edit_that_includes_an_erasure_erases_nothing<C: Cores>(cores: C) {
    let mut world = world_with(cores, ServerWins);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.erase(0, "notes/a");
    world.sync_all();
    world.put(1, "notes/a", "two");
    world.forget(1, None);
    world.put(0, "notes/a", "three");
    world.push_all(0);
    assert!(world.decide(1, "notes/a", &Decision::Retry).is_ok());
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.calls().count(), 1);
    assert_eq!(world.server_text("notes/a").as_deref(), Some("three"));
}

/// An erasure of a deleted document changes nothing for the app, and is still a separate
/// transaction.
pub fn an_erasure_of_a_deleted_document_is_pushed_alone<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.push_all(0);
    world.transaction(0, &[("notes/a", None)]);
    world.push_all(0);
    world.erase(0, "notes/a");
    world.transaction(0, &[("notes/b", Some("two")), ("notes/c", Some("two"))]);
    let one = Limits { documents: 1, ..Limits::PUSH };
    assert_eq!(world.form_within(0, one).map(|b| b.changes.len()), Some(1));
    world.sync_all();
    world.assert_converged();
}

/// After a reset that discards the known positions an erasure still wins, and an edit that was made
/// with knowledge of it is still kept.
pub fn an_erasure_after_a_digest_reset<C: Cores>(cores: C) {
    let mut world = edited(cores);
    world.push_all(1);
    world.pull_all(0);
    world.erase(0, "notes/a");
    let epoch = world.server_scope().epoch;
    world.reset(0, &Reset { epoch, reason: ResetReason::DigestDiffers });
    world.pull_all(0);
    assert_eq!(world.text(0, "notes/a"), None);
    world.sync_all();
    world.put(1, "notes/a", "fresh");
    world.reset(1, &Reset { epoch, reason: ResetReason::DigestDiffers });
    assert_eq!(world.cursor(1).after, Seq(0));
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!((world.text(0, "notes/a").as_deref(), world.calls().count()), (Some("fresh"), 0));
}
