//! The content of a record, and the readings of its clock.

use std::time::Duration;

use super::*;
use crate::clock::DRIFT_BOUND;
use crate::replica::record::Carried;

#[test]
fn a_body_in_the_slot_is_erased_by_an_erasure_that_it_does_not_know() {
    let erased = erasure(10, HERE);
    let mut record = dirty(erased.clone(), Some(settled(1, state("base", 90, THERE))));
    assert!(!record.holds_erased(), "nothing waits");
    let other = state("other", 20, THERE);
    record.pending_mut().pending_remote = Some(held(2, other.clone()));
    assert!(record.holds_erased());
    record.pending_mut().pending_remote = Some(held(2, other.clone().without_body()));
    assert!(!record.holds_erased(), "a tombstone has no body");
    record.pending_mut().pending_remote =
        Some(held(2, DocumentState { erased: erased.erased, ..other }));
    assert!(!record.holds_erased(), "it was written in knowledge of the erasure");
}

#[test]
fn a_voided_position_is_remembered_until_something_is_known_again() {
    let mut record =
        Record { current: Some(state("a", 10, THERE)), server_seq: Seq(7), ..Record::default() };
    record.void();
    assert_eq!((record.server_seq, record.settled_at()), (Seq(0), Seq(7)));
    record.void();
    record.normalize();
    assert_eq!(record.settled_at(), Seq(7), "seq_before_reset twice");
    record.server_seq = Seq(3);
    record.normalize();
    assert_eq!((record.settled_at(), &record.pending), (Seq(3), &None));
}

#[test]
fn an_unknown_document_has_no_voided_position() {
    let mut record = Record::default();
    record.void();
    assert_eq!(record, Record::default());
}

#[test]
fn former_states_go_with_the_edit() {
    let mut record = dirty(state("new", 10, HERE), None);
    record.pending_mut().former.push(state("new", 10, THERE));
    record.normalize();
    assert_eq!(record.pending_mut().former.len(), 1);
    record.pending_mut().edit = None;
    record.normalize();
    assert_eq!(record.pending, None);
}

#[test]
fn an_offset_is_cleared_once_the_clock_was_set_back_by_more_than_the_drift_bound() {
    let measured = || ReplicaMeta {
        clock_offset: 5_000,
        wall: NOW.plus(DRIFT_BOUND),
        ..ReplicaMeta::new(HERE)
    };
    let mut meta = measured();
    let stamp = meta.revision(NOW, Stamp::ZERO).stamp;
    assert_eq!((stamp.millis(), meta.clock_offset), (NOW.0 + 5_000, 5_000));
    assert_eq!(meta.wall, NOW.plus(DRIFT_BOUND), "the latest time stays");
    let mut meta =
        ReplicaMeta { wall: NOW.plus(DRIFT_BOUND + Duration::from_millis(1)), ..measured() };
    let stamp = meta.revision(NOW, Stamp::ZERO).stamp;
    assert_eq!((stamp.millis(), meta.clock_offset, meta.wall), (NOW.0, 0, NOW));
}

#[test]
fn a_stamp_of_another_replica_moves_the_clock_within_the_bound_only() {
    let told = |ahead: u64, replica| DocumentState {
        revision: Revision { stamp: Stamp::new(NOW.0 + ahead, 3), replica },
        ..state("a", 0, replica)
    };
    let bound = u64::try_from(DRIFT_BOUND.as_millis()).unwrap();
    let mut meta = ReplicaMeta::new(HERE);
    meta.note_told(NOW, &told(bound + 1, THERE));
    assert_eq!(meta.clock, crate::clock::Clock::default());
    meta.note_told(NOW, &told(bound, THERE));
    assert_eq!(meta.clock.high_water, Stamp::new(NOW.0 + bound, 3));
    meta.note_told(NOW, &told(bound + 1, HERE));
    assert_eq!(meta.clock.ahead, Stamp::new(NOW.0 + bound + 1, 3), "its own is not used again");
}

#[test]
fn the_pushed_state_is_kept_when_the_app_writes_again() {
    let first = state("first", 10, HERE);
    let mut record = in_flight(first.clone(), None);
    assert_eq!(record.pushed_state(), Some(&first));
    record.set_current(Some(first.clone()));
    assert_eq!(record.in_flight().unwrap().carried, Carried::Current, "the same state");
    let second = state("second", 5, HERE);
    record.set_current(Some(second.clone()));
    record.set_current(None);
    assert_eq!(record.pushed_state(), Some(&first));
    assert_eq!(record.current, None);
}

#[test]
fn a_state_in_flight_is_withdrawn_by_an_erasure_made_on_it() {
    let first = state("first", 10, HERE);
    let mut record = in_flight(first.clone(), None);
    record.set_current(Some(erasure(5, HERE)));
    record.normalize();
    assert!(record.in_flight().unwrap().is_withdrawn());
    assert_eq!(record.pushed_state(), None);
    let left = record.pushed().unwrap();
    assert_eq!((left.revision, left.body), (first.revision, None));
}

#[test]
fn a_state_is_found_by_revision_and_digest_wherever_the_record_holds_it() {
    use crate::model::{Digest, digest_of_state};
    let [current, pushed, base, pending_remote, former] =
        ["current", "pushed", "base", "pending_remote", "former"].map(|text| state(text, 10, HERE));
    let mut record = in_flight(pushed.clone(), Some(settled(1, base.clone())));
    record.set_current(Some(DocumentState { revision: ago(5, HERE), ..current.clone() }));
    record.pending_mut().pending_remote = Some(held(2, pending_remote.clone()));
    record.pending_mut().former.push(former.clone());
    let digest = |state: &DocumentState| Digest(digest_of_state(None, state));
    let current = DocumentState { revision: ago(5, HERE), ..current };
    for held in [&current, &pushed, &base, &pending_remote, &former] {
        assert_eq!(record.state_with(held.revision, digest(held)), Some(held));
    }
    assert_eq!(record.state_with(current.revision, digest(&pushed)), None);
}

#[test]
fn an_edit_may_be_put_into_a_batch_unless_it_is_in_one_or_waits_for_the_app() {
    let edit = || state("edit", 10, HERE);
    assert_eq!(dirty(edit(), None).pushable(), Some(LocalSeq(1)));
    assert_eq!(in_flight(edit(), None).pushable(), None);
    let mut deferred = dirty(edit(), None);
    deferred.pending_mut().deferred = true;
    assert_eq!(deferred.pushable(), None);
    let clean = Record { current: Some(edit()), server_seq: Seq(1), ..Record::default() };
    assert_eq!(clean.pushable(), None);
}

#[test]
fn a_record_with_any_content_is_not_empty() {
    assert!(Record::default().is_empty());
    let shows = Record { current: Some(state("a", 10, HERE)), ..Record::default() };
    let knows = Record { server_seq: Seq(1), ..Record::default() };
    let mut waits = Record::default();
    waits.pending_mut().pending_remote = Some(held(2, state("a", 10, THERE)));
    assert!(!shows.is_empty() && !knows.is_empty() && !waits.is_empty());
}

#[test]
fn a_first_edit_is_made_on_the_settled_state() {
    let shown = state("a", 10, THERE);
    let record = Record { current: Some(shown.clone()), server_seq: Seq(7), ..Record::default() };
    assert_eq!(record.settled(Some(EPOCH)), Some(settled(7, shown)));
    assert_eq!(record.settled(None), None, "before the first sync nothing is settled");
    assert_eq!(Record::default().settled(Some(EPOCH)), None);
}

#[test]
fn local_positions_follow_on_each_other() {
    let mut meta = ReplicaMeta { last_local: LocalSeq(4), ..ReplicaMeta::new(HERE) };
    assert_eq!([meta.next_local(), meta.next_local()], [LocalSeq(5), LocalSeq(6)]);
    assert_eq!(meta.last_local, LocalSeq(6));
}
