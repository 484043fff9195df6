//! Pulls from the beginning, which find the documents that are gone.

use super::*;
use sync_core::model::{FullPull, Reset, ResetReason};
use sync_core::replica::ops::{reset, set_collections};

fn full_pull(replica: &Replica) -> Option<FullPull> {
    replica.row().checkpoint.full_pull
}

/// Begins a pull from the beginning of a log with more to follow.
fn begin(replica: &mut Replica) -> FullPull {
    let first = chunk(Seq(0), 1, 9, vec![entry(1, "a", state("one", 90))]);
    assert!(apply(&mut replica.rows, &replica.cx, &first).unwrap().moved);
    full_pull(replica).unwrap()
}

fn reset_all(replica: &mut Replica) {
    let requested = Reset { epoch: EPOCH, reason: ResetReason::Requested };
    reset(&mut replica.rows, &replica.cx, &Scope::default(), &requested).unwrap();
}

#[test]
fn a_first_pull_stores_its_head_and_detects_no_deletions() {
    let mut replica = Replica::new();
    replica.put("b", "never pushed");
    let begun = begin(&mut replica);
    assert_eq!((begun.floor, begun.marks), (Seq(9), false));
    // It continues as the same one, whatever the head is then.
    let on = chunk(Seq(1), 2, 12, vec![entry(2, "c", state("two", 80))]);
    apply(&mut replica.rows, &replica.cx, &on).unwrap();
    assert_eq!(full_pull(&replica), Some(begun));
    // It ends at the head, and what the server never received stays.
    replica.pull(12, Vec::new());
    assert_eq!(full_pull(&replica), None);
    let left = ["a", "b", "c"].map(|id| replica.record(id).is_some_and(|r| r.live().is_some()));
    assert_eq!(left, [true; 3]);
}

#[test]
fn a_pull_after_settled_documents_detects_which_of_them_are_gone() {
    let mut replica = Replica::new();
    let both = vec![entry(1, "a", state("one", 90)), entry(2, "gone", state("two", 80))];
    replica.pull(2, both);
    reset_all(&mut replica);
    let begun = begin(&mut replica);
    assert!(begun.marks);
    replica.pull(9, vec![entry(5, "new", state("three", 70))]);
    let left = ["a", "gone", "new"];
    let left = left.map(|id| replica.record(id).is_some_and(|r| r.live().is_some()));
    assert_eq!((full_pull(&replica), left), (None, [true, false, true]));
}

#[test]
fn each_full_pull_is_another_one() {
    let mut replica = Replica::new();
    let first = begin(&mut replica);
    replica.pull(9, Vec::new());
    reset_all(&mut replica);
    assert_ne!(begin(&mut replica).generation, first.generation);
}

#[test]
fn an_edit_in_flight_may_have_been_settled_before_the_first_pull() {
    let mut replica = Replica::new();
    replica.put("mine", "mine");
    replica.next_push().unwrap();
    assert!(begin(&mut replica).marks);
}

#[test]
fn a_waiting_conflict_has_a_server_state_before_the_first_pull() {
    use sync_core::resolver::{Conflict, Resolution, resolve_with};
    let mut replica = Replica::new();
    let defers = resolve_with("defers", |_: &Conflict<'_>| Ok(Resolution::Defer));
    replica.cx.resolvers = Resolvers::new(defers);
    replica.put("mine", "mine");
    let batch = replica.next_push().unwrap();
    let theirs = ServerState { seq: Seq(3), state: Some(state("theirs", 5)) };
    let conflict = verdict(3, VerdictKind::Conflict, Some(theirs));
    replica.settle_with(batch.id, vec![conflict]);
    assert_eq!((replica.row().deferred, replica.row().in_flight), (1, 0));
    assert!(begin(&mut replica).marks);
}

#[test]
fn a_collection_that_is_backfilled_detects_no_deletions() {
    use sync_core::replica::rows::ReplicaRows;
    let mut replica = Replica::new();
    replica.pull(2, vec![entry(1, "a", state("one", 90)), entry(2, "b", state("two", 80))]);
    let mut row = replica.row();
    row.checkpoint.backfills.insert(collection("late"), Seq(0));
    replica.rows.put_scope(&Scope::default(), &row).unwrap();
    let beside = chunk(Seq(0), 1, 2, vec![entry(1, "a", state("one", 90))]);
    apply(&mut replica.rows, &replica.cx, &beside).unwrap();
    assert!(!full_pull(&replica).unwrap().marks);
    // At the head it is over, and everything is as it was.
    replica.pull(2, vec![entry(2, "b", state("two", 80))]);
    assert_eq!((full_pull(&replica), replica.row().documents), (None, 2));
}

#[test]
fn a_document_settled_beyond_the_end_of_a_full_pull_is_not_gone() {
    let mut replica = Replica::new();
    replica.pull(2, vec![entry(1, "a", state("one", 90))]);
    reset_all(&mut replica);
    begin(&mut replica);
    for (id, seq) in [("within", 8), ("at-the-end", 9), ("behind", 10)] {
        replica.put(id, "mine");
        let batch = replica.next_push().unwrap();
        replica.settle(&batch, seq, &VerdictKind::Accepted);
    }
    replica.pull(9, Vec::new());
    let left = ["within", "at-the-end", "behind"];
    let left = left.map(|id| replica.record(id).is_some_and(|r| r.live().is_some()));
    assert_eq!(left, [false, false, true]);
}

#[test]
fn a_full_pull_covers_the_collections_of_all_its_chunks() {
    let covers = |names: &[&str]| Some(names.iter().map(|name| collection(name)).collect());
    let mut replica = Replica::new();
    // If a collection that is synced becomes visible in between, the pull starts over.
    let chosen = covers(&["b"]);
    set_collections(&mut replica.rows, &replica.cx, &Scope::default(), chosen.as_ref()).unwrap();
    let mut take = |after, next, names| {
        let chunk = Chunk { covers: covers(names), ..chunk(Seq(after), next, 9, Vec::new()) };
        let applied = apply(&mut replica.rows, &replica.cx, &chunk).unwrap();
        applied.checkpoint.covered.clone()
    };
    assert_eq!(take(0, 1, &["a", "b"]), covers(&["a", "b"]));
    assert_eq!(take(1, 2, &["b", "c"]), covers(&["b"]));
    // After its end the newest chunk counts.
    assert_eq!(take(2, 9, &["b"]), covers(&["b"]));
}

#[test]
fn another_full_pull_covers_what_its_own_chunks_do() {
    let covers = |names: &[&str]| Some(names.iter().map(|name| collection(name)).collect());
    let mut replica = Replica::new();
    let first = Chunk { covers: covers(&["a"]), ..chunk(Seq(0), 9, 9, Vec::new()) };
    apply(&mut replica.rows, &replica.cx, &first).unwrap();
    reset_all(&mut replica);
    let again = Chunk { covers: covers(&["b"]), ..chunk(Seq(0), 1, 9, Vec::new()) };
    let applied = apply(&mut replica.rows, &replica.cx, &again).unwrap();
    assert_eq!(applied.checkpoint.covered, covers(&["b"]));
}
