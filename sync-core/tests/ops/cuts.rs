//! What is lost with an epoch of the log.

use super::*;
use sync_core::model::{LocalSeq, Reset, ResetReason, Settled};
use sync_core::replica::ops::reset;
use sync_core::replica::record::{Edit, Pending};
use sync_core::replica::rows::ReplicaRows;

fn pending(record: &mut Record) -> &mut Pending {
    record.pending.get_or_insert_default()
}

fn settled(seq: u64) -> Settled {
    Settled { epoch: EPOCH, seq: Seq(seq), state: state("base", 90) }
}

/// A record with an edit on that base.
fn edited(base: Option<Settled>) -> Record {
    let known = base.as_ref().map_or(Seq(0), |base| base.seq);
    let mut record =
        Record { current: Some(state("edit", 10)), server_seq: known, ..Record::default() };
    pending(&mut record).edit = Some(Edit::new(LocalSeq(1), base));
    record
}

/// Returns the record after the log was cut there.
fn cut(record: &Record, cut: u64) -> Record {
    let mut replica = Replica::new();
    let scope = Scope::default();
    let mut row = replica.row();
    row.checkpoint.epoch = Some(EPOCH);
    row.checkpoint.position = Seq(9);
    replica.rows.put_scope(&scope, &row).unwrap();
    replica.rows.put_record(&key("a"), None, record).unwrap();
    let reason = ResetReason::EpochChanged { cut: Seq(cut) };
    let changed = Reset { epoch: Epoch([2; 16]), reason };
    reset(&mut replica.rows, &replica.cx, &scope, &changed).unwrap();
    replica.record("a").unwrap()
}

#[test]
fn a_base_that_was_in_no_log_is_lost_with_the_state_made_from_it() {
    let mut record = edited(Some(settled(4)));
    pending(&mut record).edit.as_mut().unwrap().base_not_in_log = true;
    let kept = cut(&record, 4);
    assert!(kept.base().is_some() && kept.edit().unwrap().base_not_in_log);
    let lost = cut(&record, 3);
    assert!(lost.base().is_none() && !lost.edit().unwrap().base_not_in_log);
    // Any other base has the position where it was settled.
    assert_eq!(cut(&edited(Some(settled(4))), 3).base(), Some(&settled(4)));
}

#[test]
fn a_pending_remote_state_above_the_cut_is_dropped_with_its_conflict() {
    let mut record = edited(Some(settled(2)));
    pending(&mut record).deferred = true;
    pending(&mut record).pending_remote =
        Some(ServerState { seq: Seq(4), state: Some(state("told", 5)) });
    let kept = cut(&record, 4);
    assert!(kept.is_deferred() && kept.pending.unwrap().pending_remote.is_some());
    let dropped = cut(&record, 3);
    assert!(!dropped.is_deferred() && dropped.pending.unwrap().pending_remote.is_none());
}

#[test]
fn absence_is_discarded_with_an_epoch_of_the_log() {
    let absent = Record { server_seq: Seq(4), ..Record::default() };
    let mut on_what_is_gone = edited(Some(settled(2)));
    on_what_is_gone.server_seq = Seq(4);
    assert_eq!(cut(&on_what_is_gone, 9).server_seq, Seq(2), "its base is still known");
    let mut replaced = edited(None);
    replaced.server_seq = absent.server_seq;
    assert_eq!(cut(&replaced, 9).server_seq, Seq(0));
    let shown = Record { current: Some(state("one", 90)), ..absent };
    assert_eq!(cut(&shown, 9).server_seq, Seq(4), "what is shown is known");
}
