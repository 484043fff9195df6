//! Tombstones that are removed, some with every chunk.

use super::*;

/// Applies an empty chunk at the head that names a horizon.
fn hear_of(replica: &mut Replica, horizon: u64) {
    let at = replica.row().checkpoint.position;
    let heard = Chunk { horizon: Seq(horizon), ..chunk(at, at.0, at.0, Vec::new()) };
    assert!(apply(&mut replica.rows, &replica.cx, &heard).unwrap().moved);
}

/// A replica that has pulled so many documents.
fn with(count: u64, of: impl Fn() -> DocumentState) -> Replica {
    let mut replica = Replica::new();
    let entries = (1..=count).map(|n| entry(n, &format!("d{n}"), of()));
    replica.pull(count, entries.collect());
    replica
}

fn left(replica: &Replica) -> usize {
    replica.rows.records(&Scope::default(), None, None, 10_000).unwrap().len()
}

#[test]
fn all_tombstones_are_removed_with_a_few_chunks_and_no_documents() {
    let mut replica = with(600, || state("", 90).without_body());
    replica.pull(601, vec![entry(601, "living", state("x", 80))]);
    hear_of(&mut replica, 601);
    assert!(replica.row().purge.runs && left(&replica) > 1);
    hear_of(&mut replica, 601);
    hear_of(&mut replica, 601);
    assert_eq!((left(&replica), replica.row().purge.runs), (1, false));
    assert!(replica.record("living").is_some());
}

#[test]
fn a_tombstone_above_the_horizon_stays() {
    let mut replica = with(3, || state("", 90).without_body());
    hear_of(&mut replica, 2);
    let stays = ["d1", "d2", "d3"].map(|id| replica.record(id).is_some());
    assert_eq!(stays, [false, false, true]);
}

#[test]
fn a_horizon_that_was_processed_is_not_processed_again() {
    let mut replica = with(300, || state("x", 90));
    hear_of(&mut replica, 300);
    assert!(replica.row().purge.runs);
    hear_of(&mut replica, 300);
    assert!(!replica.row().purge.runs);
    let before = replica.row();
    hear_of(&mut replica, 300);
    assert_eq!(replica.row(), before);
}

#[test]
fn a_horizon_that_moves_meanwhile_is_processed_afterwards() {
    let mut replica = with(300, || state("x", 90));
    hear_of(&mut replica, 100);
    let place = replica.row().purge.after;
    assert!(place.is_some());
    hear_of(&mut replica, 300);
    let purge = replica.row().purge;
    assert_eq!((purge.up_to, purge.runs), (Seq(100), false), "it goes on where it was");
    hear_of(&mut replica, 300);
    assert_eq!((replica.row().purge.up_to, replica.row().purge.after), (Seq(300), place));
}
