//! Forming batches, and the server's verdicts on them.

use std::sync::Arc;

use sync_core::model::{Limits, PushId, Seq, VerdictKind, Verdicts};

use super::{batch, decided, refusing};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::{ConnectResult, Options, World};

/// A batch is immutable: formed again it is the same, whatever was written since.
pub fn a_retry_sends_the_same_batch<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    let first = batch(&mut world, 0);
    world.put(0, "notes/a", "two");
    world.put(0, "notes/b", "other");
    world.delete(0, "notes/a");
    assert_eq!(batch(&mut world, 0), first);
    let verdicts = world.deliver(&first);
    world.settle(0, first.id, &verdicts);
    let second = batch(&mut world, 0);
    assert_eq!(second.changes.len(), 2);
    assert!(second.id > first.id);
    world.sync_all();
    world.assert_converged();
}

/// A document that was created and deleted before any batch is never pushed.
pub fn created_and_deleted_is_never_pushed<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.put(0, "notes/a", "two");
    world.delete(0, "notes/a");
    assert!(world.form(0).is_none());
    world.transaction(0, &[("notes/b", Some("one")), ("notes/b", None)]);
    assert!(world.form(0).is_none());
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_rows().len(), 0);
}

/// The server may know a document that was in a batch: its deletion is pushed.
pub fn created_pushed_and_deleted_is_pushed<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    world.delete(0, "notes/a");
    let verdicts = world.deliver(&pushed);
    world.pull_all(1);
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("one"));
    world.settle(0, pushed.id, &verdicts);
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.text(1, "notes/a"), world.calls().count()), (None, 0));
}

/// The same batch gets the original verdicts, with the states that the server holds now.
pub fn a_retried_push_gets_the_original_verdicts<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.put(0, "notes/b", "one");
    world.sync_all();
    world.put(1, "notes/b", "theirs");
    world.push_all(1);
    world.put(0, "notes/a", "two");
    world.put(0, "notes/b", "mine");
    let pushed = batch(&mut world, 0);
    let original = world.deliver(&pushed);
    let kinds: Vec<_> = decided(&original).iter().map(|v| v.kind.clone()).collect();
    assert_eq!(kinds, [VerdictKind::Accepted, VerdictKind::Conflict]);
    world.put(1, "notes/b", "theirs again");
    world.push_all(1);
    let retold = world.deliver(&pushed);
    let (was, now) = (decided(&original), decided(&retold));
    assert!(was.iter().zip(now).all(|(w, n)| w.kind == n.kind && w.seq == n.seq));
    assert_eq!(now[1].current.as_ref().map(|c| c.seq), Some(Seq(5)));
    assert_eq!(world.server_scope().head, Seq(5), "nothing was written twice");
    world.settle(0, pushed.id, &retold);
    world.sync_all();
    world.assert_converged();
}

/// The same id with other contents means that the replica was cloned. It takes a new identity and
/// pushes again.
pub fn a_cloned_replica_takes_a_new_identity<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let copy = world.clone_replica(0);
    world.tick(10);
    world.put(0, "notes/b", "mine");
    world.put(copy, "notes/c", "theirs");
    let (mine, theirs) = (batch(&mut world, 0), batch(&mut world, copy));
    assert_eq!((mine.id, mine.replica), (theirs.id, theirs.replica));
    world.deliver(&mine);
    assert_eq!(world.deliver(&theirs), Verdicts::Cloned);
    let old = world.meta(copy).replica;
    let stamped = world.record(copy, "notes/c").current.map(|s| s.revision);
    world.reidentify(copy);
    assert_ne!(world.meta(copy).replica, old);
    assert!(world.record(copy, "notes/c").current.map(|s| s.revision) > stamped);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().documents, 3);
}

/// Two clones give two states the same revision before the server detects the clone: neither state
/// is lost.
pub fn clones_that_made_one_revision<C: Cores>(cores: C) {
    let options = Options { resolver: Arc::new(Joining), replicas: 1, ..Options::default() };
    let mut world = World::with(cores, options);
    world.put(0, "notes/other", "text");
    world.sync_all();
    let copy = world.clone_replica(0);
    world.tick(10);
    world.skew(copy, -1);
    world.put(0, "notes/a", "mine");
    world.put(copy, "notes/a", "theirs");
    let revision = |world: &mut World<C>, r| world.record(r, "notes/a").current.map(|s| s.revision);
    assert_eq!(revision(&mut world, 0), revision(&mut world, copy));
    world.push_all(0);
    world.pull_all(copy);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine+theirs"));
}

/// A replica that greets with an older push than the server knows was rolled back.
pub fn a_rolled_back_replica_is_found_by_its_greeting<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.sync_all();
    let old = world.clone_replica(0);
    world.put(0, "notes/a", "two");
    world.sync_all_of(0);
    assert_eq!(world.greet(old), ConnectResult::Cloned);
    world.put(old, "notes/b", "mine");
    let stale = batch(&mut world, old);
    world.put(0, "notes/a", "three");
    world.sync_all_of(0);
    assert_eq!(world.deliver(&stale), Verdicts::Stale);
    assert!(world.try_settle(old, stale.id, &Verdicts::Stale).is_err());
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/b").as_deref(), Some("mine"));
}

/// A change whose revision is the current one is accepted with the current position, whichever
/// batch it is in.
pub fn the_same_revision_is_accepted_in_any_batch<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    world.deliver(&pushed);
    let mut again = pushed.clone();
    again.id = PushId(pushed.id.0 + 1);
    let verdicts = world.deliver(&again);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Accepted);
    assert_eq!(decided(&verdicts)[0].seq, Seq(1));
    assert_eq!(world.server_scope().head, Seq(1));
}

/// A batch that is rejected as a whole is remembered under its id and dissolved: the outbox is not
/// blocked.
pub fn a_whole_refusal_does_not_block_the_outbox<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.refuse(refusing("bad"));
    world.transaction(0, &[("notes/a", Some("bad")), ("notes/b", Some("bad too"))]);
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    world.refuse(None);
    assert_eq!(world.deliver(&pushed), verdicts, "it is remembered");
    world.settle(0, pushed.id, &verdicts);
    assert_eq!(world.quarantine(0).len(), 2);
    world.put(0, "notes/c", "good");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().documents, 1);
}

/// A batch holds whole local transactions, as many as fit, at least one.
pub fn a_batch_holds_whole_transactions<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    let text = Some("text");
    world.transaction(0, &[("notes/a", text), ("notes/b", text)]);
    world.transaction(0, &[("notes/c", text), ("notes/d", text)]);
    let three = Limits { documents: 3, ..Limits::PUSH };
    let pushed = world.form_within(0, three).map(|b| b.changes.len());
    assert_eq!(pushed, Some(2));
    world.push_all(0);
    world.transaction(0, &[("notes/e", text), ("notes/f", text)]);
    let one = Limits { documents: 1, ..Limits::PUSH };
    assert_eq!(world.form_within(0, one).map(|b| b.changes.len()), Some(2), "at least one");
    world.sync_all();
    world.assert_converged();
}

/// A document that a later edit took over leaves its transaction and is pushed with the later one.
pub fn a_later_edit_takes_a_document_over<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.transaction(0, &[("notes/a", Some("one")), ("notes/b", Some("one"))]);
    world.put(0, "notes/a", "two");
    let one = Limits { documents: 1, ..Limits::PUSH };
    let first = world.form_within(0, one);
    let ids = |b: &sync_core::model::PushBatch| {
        b.changes.iter().map(|c| c.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(first.as_ref().map(ids), Some(vec!["b".to_owned()]));
    world.sync_all();
    world.assert_converged();
}

/// Absent matches no base, and a base that is a tombstone; a delete is accepted; any other base is
/// in conflict with it.
pub fn what_absent_matches<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    for name in ["notes/a", "notes/b", "notes/c"] {
        world.put(0, name, "one");
    }
    world.sync_all();
    world.delete(0, "notes/a");
    world.sync_all();
    // Replica 1 knows the tombstone of a, and the live states of b and c.
    world.put(1, "notes/a", "again");
    world.put(1, "notes/b", "edited");
    world.delete(1, "notes/c");
    world.put(1, "notes/d", "new");
    world.delete(0, "notes/b");
    world.delete(0, "notes/c");
    world.push_all(0);
    let head = world.server_scope().head;
    world.purge(head);
    let pushed = batch(&mut world, 1);
    let verdicts = world.deliver(&pushed);
    let kinds: Vec<_> = pushed
        .changes
        .iter()
        .zip(decided(&verdicts))
        .map(|(c, v)| (c.id.as_str().to_owned(), v.kind.clone()))
        .collect();
    let kind = |name: &str| kinds.iter().find(|(n, _)| n == name).map(|(_, k)| k.clone());
    assert_eq!(kind("a"), Some(VerdictKind::Accepted));
    assert_eq!(kind("b"), Some(VerdictKind::Conflict));
    assert_eq!(kind("c"), Some(VerdictKind::Accepted));
    assert_eq!(kind("d"), Some(VerdictKind::Accepted));
    world.settle(1, pushed.id, &verdicts);
    assert_eq!(world.calls().count(), 1);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/b").as_deref(), Some("edited"), "the resolver said so");
}
