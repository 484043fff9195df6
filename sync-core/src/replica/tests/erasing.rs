//! What an erasure removes, and which states know it and stay.

use super::*;
use crate::model::{Rejection, RejectionCode};
use crate::replica::record::Carried;
use crate::replica::rules::{ApplyOutcome, apply_remote};
use crate::replica::settling::settle;

/// A record whose edit knows an erasure, with older states in each place for them.
fn with_others(other: impl Fn(&str) -> DocumentState) -> Record {
    let mut record = in_flight(other("pushed"), Some(settled(1, other("base"))));
    let edit = DocumentState { erased: Some(ago(10, THERE)), ..state("edit", 1, HERE) };
    record.set_current(Some(edit));
    record.pending_mut().pending_remote = Some(held(2, other("pending_remote")));
    record.pending_mut().former.push(other("former"));
    record.normalize();
    record
}

#[test]
fn a_state_without_knowledge_of_the_erasure_keeps_no_body() {
    let mut record = with_others(|text| state(text, 20, THERE));
    assert_eq!(record.current.as_ref().map(|c| c.body.clone()), Some(body("edit")));
    assert!(record.base().unwrap().state.is_deleted());
    assert!(record.in_flight().unwrap().is_withdrawn());
    let pending = record.pending_mut();
    assert!(pending.pending_remote.as_ref().unwrap().state.as_ref().unwrap().is_deleted());
    assert_eq!(pending.former, []);
}

#[test]
fn a_state_with_knowledge_of_the_erasure_keeps_its_body() {
    let knows =
        |text: &str| DocumentState { erased: Some(ago(10, THERE)), ..state(text, 5, THERE) };
    let mut record = with_others(knows);
    assert_eq!(record.base().map(|b| &b.state), Some(&knows("base")));
    assert_eq!(record.pushed_state(), Some(&knows("pushed")));
    let pending = record.pending_mut();
    assert_eq!(pending.pending_remote, Some(held(2, knows("pending_remote"))));
    assert_eq!(pending.former, [knows("former")]);
}

#[test]
fn a_state_that_waits_for_an_erasure_in_flight_keeps_its_body_until_the_verdict() {
    let mut record = in_flight(erasure(10, HERE), Some(settled(1, state("base", 90, THERE))));
    let other = state("other", 5, THERE);
    record.pending_mut().pending_remote = Some(held(2, other.clone()));
    record.normalize();
    assert_eq!(record.pending_mut().pending_remote, Some(held(2, other)));
}

#[test]
fn an_own_erasure_also_removes_a_base_that_knows_of_a_later_one() {
    let later = DocumentState { erased: Some(ago(1, THERE)), ..state("later", 1, THERE) };
    let mut record = dirty(erasure(10, HERE), Some(settled(1, later.clone())));
    record.pending_mut().former.push(later);
    record.normalize();
    assert!(record.base().unwrap().state.is_deleted(), "the clocks may have been set back");
    assert_eq!(record.pending_mut().former, []);
}

#[test]
fn a_clean_document_is_erased_without_a_conflict() {
    let mut record =
        Record { current: Some(state("held", 90, THERE)), server_seq: Seq(1), ..Record::default() };
    let erased = erasure(5, THERE);
    let taken =
        apply_remote(&mut record, &key(), held(2, erased.clone()), &mut Bench::local().cx());
    assert_eq!((taken, record.current), (ApplyOutcome::Replaced, Some(erased)));
}

/// Returns a record with a refused erasure, while a state waits.
fn refused_beside(waits: DocumentState) -> Record {
    let mut record = in_flight(erasure(10, HERE), Some(settled(1, state("base", 90, THERE))));
    record.pending_mut().pending_remote = Some(held(5, waits));
    let code = RejectionCode::Forbidden;
    let rejected = VerdictKind::Rejected(Rejection { code, reason: String::new() });
    settle(&mut record, &key(), &verdict(4, rejected, None), &mut Bench::local().cx());
    record
}

#[test]
fn a_state_that_a_refused_erasure_would_have_erased_is_sent_again_by_the_server() {
    let record = refused_beside(state("other", 5, THERE));
    assert_eq!((record.current, record.server_seq, record.pending), (None, Seq(0), None));
}

#[test]
fn a_state_that_knows_of_a_refused_erasure_is_applied() {
    let knows = DocumentState { erased: Some(ago(10, HERE)), ..state("other", 5, THERE) };
    let record = refused_beside(knows.clone());
    assert_eq!((record.current, record.server_seq), (Some(knows), Seq(5)));
}

#[test]
fn another_identity_gives_its_own_erasure_its_new_name_and_no_other_one() {
    use crate::replica::stamping::reidentify;
    let own = erasure(10, HERE);
    let mut record = dirty(own.clone(), None);
    reidentify(&mut record, THERE);
    let renamed = record.current.clone().unwrap();
    assert_eq!(renamed.revision, Revision { replica: THERE, ..own.revision });
    assert!(renamed.is_erasure());
    let known = Some(ago(20, HERE));
    let mut record = dirty(DocumentState { erased: known, ..state("edit", 10, HERE) }, None);
    reidentify(&mut record, THERE);
    assert_eq!(record.current.unwrap().erased, known);
}

#[test]
fn a_withdrawn_state_stays_withdrawn_and_others_are_found_by_revision() {
    let mut record = with_others(|text| state(text, 20, THERE));
    assert!(matches!(record.in_flight().unwrap().carried, Carried::Withdrawn(_)));
    record.set_current(None);
    record.normalize();
    assert!(record.in_flight().unwrap().is_withdrawn());
    assert_eq!(record.pushed().map(|p| p.revision), Some(ago(20, THERE)));
}
