//! Tests of bounds, sums and counts.

use super::*;
use crate::model::WriteLimits;

#[test]
fn the_smaller_of_two_bounds_of_writes_applies() {
    let limits = |body_bytes, documents, bytes| WriteLimits {
        body_bytes,
        transaction: Limits { documents, bytes },
    };
    assert_eq!(limits(1, 20, 3).min(limits(10, 2, 30)), limits(1, 2, 3));
}

#[test]
fn sums_are_right_if_they_are_those_of_the_documents() {
    let sums = |documents, digest| Sums { documents, digest: Digest(digest) };
    let is_right =
        |counted| Checked { scope: Scope::default(), kept: sums(2, 7), counted }.is_right();
    assert!(is_right(sums(2, 7)));
    assert!(!is_right(sums(3, 7)) && !is_right(sums(2, 8)));
}

#[test]
fn counts_of_scopes_add_up() {
    let counts = |n: [u64; 5]| {
        let [pending, in_flight, quarantined, deferred, not_chosen] = n;
        OutboxCounts { pending, in_flight, quarantined, deferred, not_chosen }
    };
    let mut sum = counts([1, 2, 3, 4, 5]);
    sum.add(counts([10, 20, 30, 40, 50]));
    sum.add(OutboxCounts::default());
    assert_eq!(sum, counts([11, 22, 33, 44, 55]));
}

#[test]
fn a_replica_reports_each_scope() {
    let outbox = OutboxCounts { pending: 3, ..OutboxCounts::default() };
    let known = ScopeSummary {
        scope: Scope::new("known").unwrap(),
        checkpoint: Checkpoint { position: Seq(4), ..Checkpoint::default() },
        documents: 2,
        outbox,
        ..ScopeSummary::default()
    };
    let state =
        ReplicaState { scopes: vec![known.clone()], ..ReplicaState::new(ReplicaId([1; 16])) };
    assert_eq!(state.scope(&known.scope), Some(&known));
    assert_eq!(state.outbox(&known.scope), outbox);
    assert_eq!(state.checkpoint(&known.scope), known.checkpoint);
    let other = Scope::new("other").unwrap();
    assert_eq!((state.scope(&other), state.outbox(&other)), (None, OutboxCounts::default()));
    assert_eq!(state.checkpoint(&other), Checkpoint::default());
}
