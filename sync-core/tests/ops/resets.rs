//! Other epochs of the log, and what remains of a position.

use super::*;
use sync_core::model::{LogKey, LogMark, LogRun, Reset, ResetReason, ServerStart};
use sync_core::replica::ops::reset;
use sync_core::replica::rows::ReplicaRows;

/// A replica that has pulled up to 4, with a mark of that position and a horizon at 2.
fn standing(at: u64) -> Replica {
    let mut replica = Replica::new();
    let run = LogRun { start: ServerStart(1), first: Seq(1), last: Seq(at) };
    let mark = Some(LogMark::sign(EPOCH, vec![run], &LogKey([7; 16])));
    let entries = vec![entry(1, "a", state("one", 90)), entry(4, "b", state("two", 80))];
    let pulled = Chunk { mark, horizon: Seq(2), ..chunk(Seq(0), 4, 4, entries) };
    apply(&mut replica.rows, &replica.cx, &pulled).unwrap();
    replica
}

fn change_epoch(replica: &mut Replica, epoch: Epoch, cut: u64) {
    let changed = Reset { epoch, reason: ResetReason::EpochChanged { cut: Seq(cut) } };
    reset(&mut replica.rows, &replica.cx, &Scope::default(), &changed).unwrap();
}

const NEXT: Epoch = Epoch([2; 16]);

#[test]
fn a_change_to_the_epoch_that_the_replica_is_in_changes_nothing() {
    let mut replica = standing(4);
    let before = replica.row();
    change_epoch(&mut replica, EPOCH, 0);
    assert_eq!(replica.row(), before);
    assert_eq!(replica.record("b").unwrap().server_seq, Seq(4));
}

#[test]
fn states_above_the_cut_are_offered_again_and_the_rest_stays() {
    let mut replica = standing(4);
    change_epoch(&mut replica, NEXT, 3);
    let checkpoint = replica.row().checkpoint;
    assert_eq!((checkpoint.epoch, checkpoint.position), (Some(NEXT), Seq(3)));
    let settled = ["a", "b"].map(|id| replica.record(id).unwrap().server_seq);
    assert_eq!(settled, [Seq(1), Seq(0)]);
    let offered = replica.next_push().unwrap();
    let bases: Vec<_> = offered.changes.iter().map(|c| c.base.unwrap()).collect();
    assert_eq!((bases.len(), bases[0].epoch, bases[0].seq), (1, EPOCH, Seq(4)));
}

#[test]
fn a_mark_of_positions_that_both_lives_share_stays() {
    for (cut, stays) in [(3, false), (4, true), (5, true)] {
        let mut replica = standing(4);
        change_epoch(&mut replica, NEXT, cut);
        assert_eq!(replica.row().checkpoint.mark.is_some(), stays, "{cut}");
    }
}

#[test]
fn a_log_that_shares_nothing_is_pulled_from_the_beginning() {
    let mut replica = standing(4);
    let mut row = replica.row();
    row.left_out = true;
    replica.rows.put_scope(&Scope::default(), &row).unwrap();
    change_epoch(&mut replica, NEXT, 0);
    let row = replica.row();
    assert_eq!((row.checkpoint.position, row.checkpoint.seen), (Seq(0), Seq(4)));
    assert!(!row.left_out, "the pull finds that out again");
}

#[test]
fn a_processed_horizon_is_known_up_to_the_cut() {
    for (cut, up_to, position) in [(3, 2, 3), (2, 2, 2), (1, 1, 0)] {
        let mut replica = standing(4);
        assert_eq!(replica.row().purge.up_to, Seq(2));
        change_epoch(&mut replica, NEXT, cut);
        let row = replica.row();
        // Below the horizon, a document that was deleted above the cut exists again.
        assert_eq!((row.purge.up_to, row.checkpoint.position), (Seq(up_to), Seq(position)));
    }
}
