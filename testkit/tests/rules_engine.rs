//! The traces that broke the first version of the rules, with the real engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::sync::Arc;

use sync_core::model::{Seq, VerdictKind, Verdicts};
use sync_core::resolver::ClientWins;
use testkit::actors::{Actors, Parcel, ParcelContent};
use testkit::cores::MemoryCores;
use testkit::resolvers::Joining;
use testkit::world::{Options, World};

fn actors(replicas: usize) -> Actors<MemoryCores> {
    let options = Options { replicas, resolver: Arc::new(ClientWins), ..Options::default() };
    let mut actors = Actors::new(World::with(MemoryCores, options));
    for replica in 0..replicas {
        actors.start(replica);
    }
    actors.run();
    actors
}

fn is_push(parcel: &Parcel) -> bool {
    matches!(parcel.content, ParcelContent::Push(_))
}

fn is_verdict(parcel: &Parcel) -> bool {
    matches!(parcel.content, ParcelContent::Pushed(_))
}

/// Delivers the push of a replica to the server, and returns the answer.
fn answer_of(actors: &mut Actors<MemoryCores>, replica: usize) -> Parcel {
    let push = actors.take(|p| is_push(p) && p.replica == replica).expect("a push is on its way");
    actors.deliver(push);
    actors.take(is_verdict).expect("it is answered")
}

/// Reconnects all replicas, delivers everything, and asserts that they converge.
fn heal(actors: &mut Actors<MemoryCores>) {
    for _ in 0..4 {
        actors.wait();
        actors.run();
    }
    actors.world.assert_converged();
}

#[test]
fn trace_1_a_newer_state_comes_before_the_ack() {
    let mut a = actors(2);
    a.write(0, "notes/a", Some("r1"));
    let late = answer_of(&mut a, 0);
    // The echo of r1 is lost to replica 0, so that it receives r2 first.
    a.take(|p| p.replica == 0 && matches!(p.content, ParcelContent::Pulled(_))).expect("an echo");
    a.run();
    a.write(1, "notes/a", Some("r2"));
    a.run();
    a.deliver(late);
    a.cut(0);
    heal(&mut a);
    assert_eq!(a.world.text(0, "notes/a").as_deref(), Some("r2"));
    assert_eq!((a.world.calls().count(), a.world.server_scope().head), (0, Seq(2)));
}

#[test]
fn trace_2_an_own_echo_after_a_later_edit() {
    let mut a = actors(1);
    a.write(0, "notes/a", Some("one"));
    let ack = answer_of(&mut a, 0);
    let echo = a.take(|_| true).expect("an echo is on its way");
    a.deliver(ack);
    a.write(0, "notes/a", Some("two"));
    a.deliver(echo);
    heal(&mut a);
    assert_eq!(a.world.server_text("notes/a").as_deref(), Some("two"));
    assert_eq!(a.world.calls().count(), 0);
}

#[test]
fn trace_2_a_late_verdict_of_an_earlier_attempt_moves_nothing_back() {
    let mut a = actors(2);
    a.write(0, "notes/a", Some("mine"));
    let late = answer_of(&mut a, 0);
    a.cut(0);
    a.run();
    a.write(1, "notes/a", Some("theirs"));
    a.run();
    a.write(0, "notes/a", Some("edited since"));
    heal(&mut a);
    let before = a.world.record(0, "notes/a");
    a.deliver(late);
    assert_eq!(a.world.record(0, "notes/a"), before);
    assert_eq!(a.world.text(1, "notes/a").as_deref(), Some("edited since"));
    assert_eq!(a.world.calls().count(), 1, "edited since against theirs");
}

#[test]
fn trace_3_a_chunk_that_comes_twice_or_late_is_applied_once() {
    let mut a = actors(2);
    a.cut(1);
    a.write(0, "notes/a", Some("one"));
    a.run();
    a.wait();
    let pull = a.take(|p| p.replica == 1).expect("it pulls");
    a.deliver(pull);
    let chunk = a.take(|p| p.replica == 1).expect("it is answered");
    a.deliver(chunk.clone());
    assert_eq!(a.position(1), Seq(1));
    a.write(0, "notes/a", None);
    a.run();
    assert_eq!(a.position(1), Seq(2));
    a.deliver(chunk);
    a.run();
    assert_eq!((a.position(1), a.world.text(1, "notes/a")), (Seq(2), None));
    heal(&mut a);
}

#[test]
fn trace_4_a_doubled_old_push() {
    let mut a = actors(1);
    a.write(0, "notes/a", Some("one"));
    let first = a.take(is_push).expect("a push");
    a.deliver(first.clone());
    a.run();
    a.write(0, "notes/a", Some("two"));
    let answered = answer_of(&mut a, 0);
    // The old push arrives once more, and then the link is lost with the answer to the new one.
    a.deliver(first);
    let stale = a.take(is_verdict).expect("it is answered");
    assert_eq!(stale.content, ParcelContent::Pushed(Verdicts::Stale));
    a.deliver(stale);
    a.cut(0);
    a.wait();
    let again = answer_of(&mut a, 0);
    assert_eq!(again.content, answered.content, "the original verdicts");
    a.deliver(again);
    heal(&mut a);
    assert_eq!((a.world.calls().count(), a.world.server_scope().head), (0, Seq(2)));
}

#[test]
fn trace_5_settled_then_the_server_is_restored() {
    let mut a = actors(2);
    let backup = a.world.backup();
    a.write(0, "notes/a", Some("settled"));
    let ack = answer_of(&mut a, 0);
    a.deliver(ack);
    a.wire.clear();
    a.cut(0);
    a.cut(1);
    a.world.restore(&backup);
    a.world.put(1, "notes/b", "takes position 1 again");
    heal(&mut a);
    for replica in 0..2 {
        assert_eq!(a.world.text(replica, "notes/a").as_deref(), Some("settled"));
        assert_eq!(a.world.text(replica, "notes/b").as_deref(), Some("takes position 1 again"));
    }
    assert_eq!(a.world.calls().count(), 0);
}

#[test]
fn trace_5_an_unannounced_restore() {
    let mut a = actors(2);
    a.write(1, "notes/old", Some("in the backup"));
    a.run();
    let backup = a.world.backup();
    a.write(0, "notes/a", Some("settled"));
    a.run();
    a.cut(0);
    a.cut(1);
    a.world.restore_silently(&backup);
    a.world.put(1, "notes/b", "new");
    heal(&mut a);
    assert_eq!(a.world.server_text("notes/a").as_deref(), Some("settled"));
    assert_eq!(a.world.calls().count(), 0);
}

#[test]
fn trace_6_a_late_ack_after_a_purge() {
    let mut a = actors(2);
    a.write(0, "notes/a", Some("text"));
    let late = answer_of(&mut a, 0);
    let ParcelContent::Pushed(Verdicts::Decided { verdicts, .. }) = &late.content else { panic!() };
    assert_eq!(verdicts[0].kind, VerdictKind::Accepted);
    a.take(|p| p.replica == 0).expect("the echo is lost");
    a.cut(0);
    a.run();
    a.write(1, "notes/a", None);
    a.run();
    a.world.purge(Seq(2));
    heal(&mut a);
    assert_eq!((a.world.text(0, "notes/a"), a.world.server_row("notes/a")), (None, None));
}

#[test]
fn trace_7_edited_while_the_server_merges() {
    let notes = World::<MemoryCores>::collection("notes");
    let options =
        Options { replicas: 2, on_server: vec![(notes, Arc::new(Joining))], ..Options::default() };
    let mut a = Actors::new(World::with(MemoryCores, options));
    a.start(0);
    a.start(1);
    a.write(0, "notes/a", Some("base"));
    a.run();
    a.cut(0);
    a.write(1, "notes/a", Some("theirs"));
    a.run();
    a.world.put(0, "notes/a", "mine");
    a.wait();
    let merged = answer_of(&mut a, 0);
    a.write(0, "notes/a", Some("edited since"));
    a.deliver(merged);
    heal(&mut a);
    let text = a.world.server_text("notes/a").unwrap_or_default();
    for part in ["theirs", "edited since"] {
        assert!(text.contains(part), "{part} is lost in {text}");
    }
    assert_eq!(a.world.text(0, "notes/a"), a.world.text(1, "notes/a"));
}
