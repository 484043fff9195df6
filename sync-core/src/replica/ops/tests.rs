//! Tests which verdicts are progress, and what may have left the device.

use super::push::is_further;
use super::write::never_left;
use crate::model::{
    Body, DocumentState, Epoch, PushId, Rejection, RejectionCode, ReplicaId, Revision, Seq,
    ServerState, Settled, Stamp, VerdictKind,
};
use crate::replica::record::{Carried, Edit, InFlight, Record};

const EPOCH: Epoch = Epoch([1; 16]);

/// A state that another replica wrote so many milliseconds before the present.
fn state(text: &str, ago: u64) -> DocumentState {
    let revision = Revision { stamp: Stamp::new(1_000 - ago, 0), replica: ReplicaId([2; 16]) };
    let (created, body) = (revision.stamp, Body::parse(format!("{text:?}")).unwrap());
    DocumentState { revision, author: revision, created, body: Some(body), erased: None }
}

fn settled(seq: u64) -> Settled {
    Settled { epoch: EPOCH, seq: Seq(seq), state: state("base", 90) }
}

/// A record with an edit on that base.
fn edited(base: Option<Settled>) -> Record {
    let known = base.as_ref().map_or(Seq(0), |base| base.seq);
    let mut record =
        Record { current: Some(state("edit", 10)), server_seq: known, ..Record::default() };
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
fn a_verdict_is_progress_if_it_changes_the_edit_or_the_known_state() {
    let clock = refused(RejectionCode::Clock { server_time: Stamp::new(1, 0) });
    let old = in_flight(edited(Some(settled(4))));
    let same = edited(Some(settled(4)));
    for kind in [VerdictKind::Conflict, VerdictKind::Accepted, clock.clone()] {
        assert!(!is_further(&old, &same, &kind), "{kind:?}: nothing moved");
        let gone = Record { pending: None, ..same.clone() };
        assert!(is_further(&old, &gone, &kind), "{kind:?}: the edit is gone");
        assert!(is_further(&old, &edited(Some(settled(5))), &kind), "{kind:?}: another base");
        let known = Record { server_seq: Seq(5), ..same.clone() };
        assert!(is_further(&old, &known, &kind), "{kind:?}: more is known");
        let mut base_not_in_log = same.clone();
        base_not_in_log.pending_mut().edit.as_mut().unwrap().base_not_in_log = true;
        assert!(is_further(&old, &base_not_in_log, &kind), "{kind:?}: the base is in no log");
        let mut deferred = same.clone();
        deferred.pending_mut().deferred = true;
        assert!(is_further(&old, &deferred, &kind), "{kind:?}: it is left to the app");
    }
}

#[test]
fn a_decision_on_an_edit_that_was_made_again_since_is_progress() {
    let mut old = in_flight(edited(Some(settled(4))));
    old.set_current(Some(state("again", 5)));
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
    assert!(!never_left(&Record { server_seq: Seq(1), ..fresh.clone() }), "the server knows of it");
    assert!(!never_left(&in_flight(fresh.clone())), "it is in a batch");
    let mut was_sent = fresh.clone();
    was_sent.pending_mut().edit.as_mut().unwrap().was_sent = true;
    assert!(!never_left(&was_sent), "it was in a batch");
    let mut waits = fresh.clone();
    waits.pending_mut().pending_remote = Some(ServerState { seq: Seq(2), state: None });
    assert!(!never_left(&waits), "the server told something of it");
}
