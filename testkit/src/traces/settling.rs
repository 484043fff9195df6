//! Verdicts, quarantine, clocks.

use std::collections::BTreeSet;
use std::sync::Arc;

use sync_core::clock::DRIFT_BOUND;
use sync_core::model::{PushId, RejectionCode, Revision, Seq, VerdictKind, Verdicts};
use sync_core::replica::Decision;
use sync_core::resolver::ClientWins;

use super::{batch, decided, refusing, world_with};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::{Options, World};

/// Verdicts on any batch but the one in flight change nothing.
pub fn verdicts_on_another_batch_change_nothing<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    let before = world.records(0);
    world.settle(0, PushId(7), &verdicts);
    assert_eq!(world.records(0), before);
    world.settle(0, pushed.id, &verdicts);
    let settled = world.records(0);
    world.settle(0, pushed.id, &verdicts);
    assert_eq!(world.records(0), settled, "a doubled answer changes nothing");
}

/// Verdicts that do not fit the batch, or belong to another epoch, change nothing.
pub fn verdicts_that_do_not_fit_change_nothing<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.put(0, "notes/a", "two");
    let pushed = batch(&mut world, 0);
    let Verdicts::Decided { epoch, verdicts, .. } = world.deliver(&pushed) else {
        panic!("undecided")
    };
    let before = world.records(0);
    let none = Verdicts::Decided { epoch, mark: None, verdicts: Vec::new() };
    assert!(world.try_settle(0, pushed.id, &none).is_err());
    let other = Verdicts::Decided { epoch: sync_core::model::Epoch([9; 16]), mark: None, verdicts };
    assert_eq!(world.settle(0, pushed.id, &other).applied, 0);
    assert_eq!(world.records(0), before);
}

/// A verdict may carry a conflict while a newer server state, which conflicts as well, waits: both
/// are reported, because the resolver is called twice.
pub fn two_conflicts_at_one_verdict_are_both_reported<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.put(1, "notes/a", "mine");
    world.put(0, "notes/a", "two");
    world.push_all(0);
    let pushed = batch(&mut world, 1);
    let verdicts = world.deliver(&pushed);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Conflict);
    world.put(0, "notes/a", "three");
    world.push_all(0);
    world.pull_all(1);
    let before = world.calls().count();
    let settled = world.settle(1, pushed.id, &verdicts);
    assert_eq!((world.calls().count() - before, settled.conflicts.len()), (2, 2));
    world.sync_all();
    world.assert_converged();
}

/// A verdict that is not newer than what is known changes nothing but the batch.
pub fn an_old_verdict_only_ends_the_batch<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    let late = world.deliver(&pushed);
    world.pull_all(0);
    world.pull_all(1);
    world.put(1, "notes/a", "two");
    world.push_all(1);
    world.pull_all(0);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("two"));
    world.settle(0, pushed.id, &late);
    let record = world.record(0, "notes/a");
    assert_eq!((record.server_seq, record.pending), (Seq(2), None));
    world.assert_converged();
}

/// A late verdict after a reset that voided the known positions: the base stays the deletion that
/// the document was written on, and no resolver is called.
pub fn a_late_verdict_after_a_reset_keeps_the_base<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    world.pull_all(0);
    world.pull_all(1);
    world.delete(1, "notes/a");
    world.push_all(1);
    world.pull_all(0);
    assert_eq!(world.text(0, "notes/a"), None);
    world.put(0, "notes/a", "two");
    world.request_reset(0);
    world.settle(0, pushed.id, &verdicts);
    let asked = world.calls().count();
    world.sync_all();
    assert_eq!(world.calls().count(), asked, "the edit was made on the deletion");
    assert_eq!(world.server_text("notes/a").as_deref(), Some("two"));
    world.assert_converged();
}

/// Accepted and edited since: the pushed state is the base of the next push.
pub fn accepted_and_edited_since<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    world.put(0, "notes/a", "two");
    let verdicts = world.deliver(&pushed);
    world.settle(0, pushed.id, &verdicts);
    let next = batch(&mut world, 0);
    assert_eq!(next.changes[0].base.map(|b| b.revision), Some(pushed.changes[0].state.revision));
    assert_eq!(decided(&world.deliver(&next))[0].kind, VerdictKind::Accepted);
    world.sync_all();
    world.assert_converged();
}

/// A conflict in a verdict is decided with the server's state, once.
pub fn a_conflict_by_verdict<C: Cores>(cores: C) {
    let mut world = world_with(cores, ClientWins);
    world.put(0, "notes/a", "base");
    world.sync_all();
    world.put(1, "notes/a", "theirs");
    world.push_all(1);
    world.put(0, "notes/a", "mine");
    let pushed = batch(&mut world, 0);
    world.put(0, "notes/a", "mine, edited since");
    let verdicts = world.deliver(&pushed);
    world.settle(0, pushed.id, &verdicts);
    assert_eq!(world.calls().count(), 1);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("mine, edited since"));
    assert_eq!(world.calls().count(), 1);
}

/// The server's merge of an edit replaces it; if the document was edited since, the resolver's base
/// is the pushed state.
pub fn merged_and_edited_since<C: Cores>(cores: C) {
    let on_server = vec![(World::<C>::collection("notes"), Arc::new(Joining) as _)];
    let mut world = World::with(cores, Options { on_server, ..Options::default() });
    world.put(0, "notes/a", "base");
    world.sync_all();
    world.put(1, "notes/a", "base+theirs");
    world.push_all(1);
    world.put(0, "notes/a", "base+mine");
    let pushed = batch(&mut world, 0);
    world.put(0, "notes/a", "base");
    let verdicts = world.deliver(&pushed);
    world.settle(0, pushed.id, &verdicts);
    let base = world.record(0, "notes/a").edit().and_then(|e| e.base.clone());
    assert_eq!(base.map(|b| b.state.revision), Some(pushed.changes[0].state.revision));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("base+theirs"), "mine was taken back");
}

/// Rejected and unedited since: the edit moves into the quarantine, and the document shows its
/// newest settled state.
pub fn rejected_moves_aside<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.refuse(refusing("bad"));
    world.put(0, "notes/a", "bad");
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    world.put(1, "notes/a", "two");
    world.push_all(1);
    world.pull_all(0);
    world.settle(0, pushed.id, &verdicts);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("two"));
    assert_eq!(world.quarantine(0).len(), 1);
    assert!(world.form(0).is_none());
    assert_eq!(world.calls().count(), 0);
    world.sync_all();
    world.assert_converged();
}

/// A refused insert leaves nothing behind but its quarantined edit, and a refused deletion shows
/// the document again.
pub fn rejected_inserts_and_deletions<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/b", "one");
    world.sync_all();
    let refuse = |_: &sync_core::model::Change| {
        let code = RejectionCode::Forbidden;
        Some(sync_core::model::Rejection { code, reason: "closed".to_owned() })
    };
    world.refuse(Some(Arc::new(refuse)));
    world.put(0, "notes/a", "new");
    world.delete(0, "notes/b");
    world.sync_all();
    assert_eq!(world.text(0, "notes/a"), None);
    assert_eq!(world.text(0, "notes/b").as_deref(), Some("one"));
    assert_eq!(world.quarantine(0).len(), 2);
    world.assert_converged();
}

/// Rejected and edited since: the document stays dirty, and the newer edit is pushed on the settled
/// state.
pub fn rejected_and_edited_since<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.refuse(refusing("bad"));
    world.put(0, "notes/a", "bad");
    let pushed = batch(&mut world, 0);
    world.put(0, "notes/a", "good");
    let verdicts = world.deliver(&pushed);
    world.settle(0, pushed.id, &verdicts);
    assert_eq!((world.text(0, "notes/a").as_deref(), world.quarantine(0).len()), (Some("good"), 0));
    world.sync_all();
    world.assert_converged();
    assert_eq!((world.server_text("notes/a").as_deref(), world.calls().count()), (Some("good"), 0));
}

fn with_a_quarantined_edit<C: Cores>(cores: C) -> World<C> {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.refuse(refusing("bad"));
    world.put(0, "notes/a", "bad");
    world.sync_all();
    assert_eq!(world.quarantine(0).len(), 1);
    world.refuse(None);
    world
}

/// A retry is a new local write.
pub fn a_quarantined_edit_is_retried<C: Cores>(cores: C) {
    let mut world = with_a_quarantined_edit(cores);
    assert!(world.decide(0, "notes/a", &Decision::Retry).is_ok());
    assert_eq!((world.text(0, "notes/a").as_deref(), world.quarantine(0).len()), (Some("bad"), 0));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("bad"));
    assert!(world.decide(0, "notes/a", &Decision::Retry).is_err());
}

/// A retry that equals the settled state is dropped.
pub fn a_retry_equal_to_what_is_settled_vanishes<C: Cores>(cores: C) {
    let mut world = with_a_quarantined_edit(cores);
    world.put(0, "notes/a", "bad");
    world.sync_all();
    let head = world.server_scope().head;
    assert!(world.decide(0, "notes/a", &Decision::Retry).is_ok());
    assert_eq!(world.quarantine(0).len(), 0);
    assert!(world.form(0).is_none());
    world.sync_all();
    assert_eq!(world.server_scope().head, head);
    world.assert_converged();
}

/// A quarantined edit is discarded.
pub fn a_quarantined_edit_is_discarded<C: Cores>(cores: C) {
    let mut world = with_a_quarantined_edit(cores);
    assert!(world.decide(0, "notes/a", &Decision::Discard).is_ok());
    assert_eq!((world.text(0, "notes/a").as_deref(), world.quarantine(0).len()), (Some("one"), 0));
    world.sync_all();
    world.assert_converged();
}

fn far() -> i64 {
    i64::try_from(DRIFT_BOUND.as_millis()).unwrap_or_default() * 3
}

/// A stamp that is too far ahead is answered with the server's time; the replica stamps the edit
/// anew, pushes again, and nothing is quarantined.
pub fn a_clock_that_runs_ahead<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.skew(0, far());
    world.put(0, "notes/a", "ahead");
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    assert!(matches!(&decided(&verdicts)[0].kind,
        VerdictKind::Rejected(r) if matches!(r.code, RejectionCode::Clock { .. })));
    world.settle(0, pushed.id, &verdicts);
    assert_eq!(world.quarantine(0).len(), 0);
    let stamp = world.record(0, "notes/a").current.map(|s| s.revision.stamp.millis());
    assert!(stamp.is_some_and(|s| s <= world.now().0 + 1));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("ahead"));
    world.put(1, "notes/a", "later");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("later"), "nobody is locked out");
}

/// A replica that received the server's time replaces stamps before it forms a batch.
pub fn stamps_are_taken_anew_before_a_batch<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.skew(0, far());
    world.put(0, "notes/a", "ahead");
    world.tell_time(0);
    let pushed = batch(&mut world, 0);
    assert_eq!(decided(&world.deliver(&pushed))[0].kind, VerdictKind::Accepted);
    world.sync_all();
    world.assert_converged();
}

fn revisions<C: Cores>(world: &mut World<C>, replica: usize) -> Vec<Option<Revision>> {
    let names = ["notes/a", "notes/b", "notes/c"];
    names.map(|n| world.record(replica, n).current.map(|s| s.revision)).to_vec()
}

fn all_differ(revisions: &[Option<Revision>]) -> bool {
    let set: BTreeSet<_> = revisions.iter().collect();
    set.len() == revisions.len()
}

/// Replaced stamps are still unique for each state: after a rejection, before a batch, and when the
/// clock is set back before the settled states.
pub fn stamps_taken_anew_are_unique<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let all = |text| [("notes/a", Some(text)), ("notes/b", Some(text)), ("notes/c", Some(text))];
    world.skew(0, far());
    world.transaction(0, &all("refused"));
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    world.settle(0, pushed.id, &verdicts);
    assert!(all_differ(&revisions(&mut world, 0)));
    world.sync_all();
    world.skew(0, 2 * far());
    world.transaction(0, &all("ahead"));
    world.tell_time(0);
    batch(&mut world, 0);
    assert!(all_differ(&revisions(&mut world, 0)));
    world.sync_all();
    world.skew(1, -far());
    world.transaction(1, &all("behind"));
    let stamped = revisions(&mut world, 1);
    batch(&mut world, 1);
    assert!(all_differ(&stamped));
    assert_eq!(revisions(&mut world, 1), stamped, "the server settled such stamps");
    world.sync_all();
    world.assert_converged();
}

/// A document was edited again while its stamp was rejected: the newer edit is stamped anew too.
pub fn a_refused_stamp_and_edited_since<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "base");
    world.sync_all();
    world.skew(0, far());
    world.put(0, "notes/a", "ahead");
    let pushed = batch(&mut world, 0);
    world.put(0, "notes/a", "ahead again");
    let verdicts = world.deliver(&pushed);
    world.settle(0, pushed.id, &verdicts);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("ahead again"));
    assert_eq!(world.quarantine(0).len(), 0);
}

/// Replicas merge every stamp in a chunk: a write on a state is stamped after it.
pub fn a_child_is_stamped_after_its_parent<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.skew(0, far() / 6);
    world.put(0, "notes/a", "one");
    world.put(0, "notes/b", "one");
    world.sync_all();
    let parent = world.record(1, "notes/a").current.map(|s| s.revision.stamp);
    world.put(1, "notes/c", "two");
    assert!(world.record(1, "notes/c").current.map(|s| s.revision.stamp) > parent);
}
