//! Which verdicts are progress, what may have left the device, and what a lost life of the log
//! takes along.

use super::*;
use crate::model::{Rejection, RejectionCode, Reset, ResetReason, Settled};
use crate::replica::ops::push::is_further;
use crate::replica::ops::reset;
use crate::replica::ops::write::never_left;
use crate::replica::record::{Carried, Edit, InFlight};
use crate::replica::rows::ReplicaRows;

fn settled(seq: u64) -> Settled {
    Settled { epoch: EPOCH, seq: Seq(seq), state: state("base", 90) }
}

/// A record with an edit on that base.
fn edited(base: Option<Settled>) -> Record {
    let known = base.as_ref().map_or(Seq(0), |base| base.seq);
    let mut record = Record { current: Some(state("edit", 10)), known, ..Record::default() };
    record.pending_mut().edit = Some(Edit::new(crate::model::LocalSeq(1), base));
    record
}

fn in_flight(mut record: Record) -> Record {
    let revision = record.current.as_ref().unwrap().revision;
    let (push, base, carried) = (PushId(1), None, Carried::Current);
    record.pending_mut().in_flight = Some(InFlight { push, revision, base, carried });
    record
}

fn refused(code: RejectionCode) -> VerdictKind {
    VerdictKind::Rejected(Rejection { code, reason: String::new() })
}

#[test]
fn a_verdict_is_progress_if_it_moves_the_edit_or_what_is_known() {
    let clock = refused(RejectionCode::Clock { server_time: Stamp::new(1, 0) });
    let old = in_flight(edited(Some(settled(4))));
    let same = edited(Some(settled(4)));
    for kind in [VerdictKind::Conflict, VerdictKind::Accepted, clock.clone()] {
        assert!(!is_further(&old, &same, &kind), "{kind:?}: nothing moved");
        let gone = Record { pending: None, ..same.clone() };
        assert!(is_further(&old, &gone, &kind), "{kind:?}: the edit is gone");
        assert!(is_further(&old, &edited(Some(settled(5))), &kind), "{kind:?}: another base");
        let known = Record { known: Seq(5), ..same.clone() };
        assert!(is_further(&old, &known, &kind), "{kind:?}: more is known");
        let mut unlogged = same.clone();
        unlogged.pending_mut().edit.as_mut().unwrap().unlogged = true;
        assert!(is_further(&old, &unlogged, &kind), "{kind:?}: the base is in no log");
        let mut deferred = same.clone();
        deferred.pending_mut().deferred = true;
        assert!(is_further(&old, &deferred, &kind), "{kind:?}: it is left to the app");
    }
}

#[test]
fn a_decision_on_an_edit_that_was_made_again_since_is_progress() {
    let mut old = in_flight(edited(Some(settled(4))));
    old.show(Some(state("again", 5)));
    let new = Record { current: old.current.clone(), ..edited(Some(settled(4))) };
    for (kind, is_decided) in [
        (VerdictKind::Accepted, true),
        (VerdictKind::Superseded, true),
        (VerdictKind::Merged, true),
        (refused(RejectionCode::Invalid), true),
        (VerdictKind::Conflict, false),
        (refused(RejectionCode::Clock { server_time: Stamp::new(1, 0) }), false),
    ] {
        assert_eq!(is_further(&old, &new, &kind), is_decided, "{kind:?}");
    }
}

#[test]
fn a_document_never_left_if_nothing_of_it_was_settled_or_in_a_batch() {
    let fresh = edited(None);
    assert!(never_left(&fresh));
    assert!(!never_left(&Record { pending: None, ..fresh.clone() }), "there is no edit");
    assert!(!never_left(&edited(Some(settled(4)))), "it was settled");
    assert!(!never_left(&Record { known: Seq(1), ..fresh.clone() }), "the server knows of it");
    assert!(!never_left(&in_flight(fresh.clone())), "it is in a batch");
    let mut travelled = fresh.clone();
    travelled.pending_mut().edit.as_mut().unwrap().travelled = true;
    assert!(!never_left(&travelled), "it was in a batch");
    let mut waits = fresh.clone();
    waits.pending_mut().slot = Some(ServerState { seq: Seq(2), state: None });
    assert!(!never_left(&waits), "the server told something of it");
}

/// The record after the log was cut there.
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
fn a_base_that_was_in_no_log_is_lost_with_what_the_server_made_of_it() {
    let mut record = edited(Some(settled(4)));
    record.pending_mut().edit.as_mut().unwrap().unlogged = true;
    let kept = cut(&record, 4);
    assert!(kept.base().is_some() && kept.edit().unwrap().unlogged);
    let lost = cut(&record, 3);
    assert!(lost.base().is_none() && !lost.edit().unwrap().unlogged);
    // Any other base says where it was settled.
    assert_eq!(cut(&edited(Some(settled(4))), 3).base(), Some(&settled(4)));
}

#[test]
fn what_waits_above_the_cut_is_dropped_and_its_conflict_with_it() {
    let mut record = edited(Some(settled(2)));
    record.pending_mut().deferred = true;
    record.pending_mut().slot = Some(ServerState { seq: Seq(4), state: Some(state("told", 5)) });
    let kept = cut(&record, 4);
    assert!(kept.is_deferred() && kept.pending.unwrap().slot.is_some());
    let dropped = cut(&record, 3);
    assert!(!dropped.is_deferred() && dropped.pending.unwrap().slot.is_none());
}

#[test]
fn absence_is_forgotten_with_a_life_of_the_log() {
    let absent = Record { known: Seq(4), ..Record::default() };
    let mut on_what_is_gone = edited(Some(settled(2)));
    on_what_is_gone.known = Seq(4);
    assert_eq!(cut(&on_what_is_gone, 9).known, Seq(2), "its base is still known");
    let mut replaced = edited(None);
    replaced.known = absent.known;
    assert_eq!(cut(&replaced, 9).known, Seq(0));
    let shown = Record { current: Some(state("one", 90)), ..absent };
    assert_eq!(cut(&shown, 9).known, Seq(4), "what is shown is known");
}
