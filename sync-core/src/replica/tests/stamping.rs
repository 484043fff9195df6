//! Stamps of edits that were made while a clock was wrong.

use super::*;
use crate::clock::DRIFT_BOUND;
use crate::replica::record::Pending;
use crate::replica::stamping::{Parent, put_right, reidentify, restamp};

const HOUR: u64 = 3_600_000;

fn ahead(millis: u64, replica: ReplicaId) -> Revision {
    Revision { stamp: Stamp::new(NOW.0 + millis, 0), replica }
}

fn made(revision: Revision, author: Revision) -> DocumentState {
    DocumentState { author, created: revision.stamp, revision, ..state("edit", 0, HERE) }
}

#[test]
fn an_edit_within_the_bound_keeps_its_stamp() {
    let bound = u64::try_from(DRIFT_BOUND.as_millis()).unwrap();
    for (millis, is_fast) in [(0, false), (bound, false), (bound + 1, true)] {
        let edit = made(ahead(millis, HERE), ahead(millis, HERE));
        let mut record = dirty(edit.clone(), None);
        let changed = put_right(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0);
        assert_eq!((changed, record.current != Some(edit)), (is_fast, is_fast), "{millis}");
    }
}

#[test]
fn an_author_that_is_ahead_is_put_right_with_the_stamp_of_its_edit() {
    let mut record = dirty(made(ago(10, HERE), ahead(HOUR, THERE)), None);
    let mut meta = ReplicaMeta::new(HERE);
    assert!(put_right(&mut record, &mut meta, NOW, 0));
    let edit = record.current.unwrap();
    assert_eq!(edit.author, Revision { replica: THERE, ..edit.revision });
    assert!(edit.revision.stamp.millis() <= NOW.0);
}

#[test]
fn an_author_within_the_bound_is_kept_when_the_edit_is_stamped_anew() {
    let author = ago(500, THERE);
    let mut record = dirty(made(ahead(HOUR, HERE), author), None);
    assert!(put_right(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0));
    assert_eq!(record.current.unwrap().author, author);
}

#[test]
fn an_edit_may_lie_as_far_ahead_as_its_base() {
    let base = settled(1, made(ahead(HOUR, THERE), ahead(HOUR, THERE)));
    let follower = Revision { stamp: base.state.revision.stamp.next(), replica: HERE };
    let mut record = dirty(made(follower, follower), Some(base.clone()));
    assert!(!put_right(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0));
    // One that is further ahead gets a new stamp, and still follows.
    let mut record = dirty(made(ahead(2 * HOUR, HERE), ahead(2 * HOUR, HERE)), Some(base.clone()));
    assert!(put_right(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0));
    let edit = record.current.unwrap();
    assert_eq!(edit.revision.stamp.millis(), base.state.revision.stamp.millis());
    assert!(edit.revision > base.state.revision);
}

#[test]
fn a_clean_document_is_never_stamped() {
    let stored = made(ahead(HOUR, THERE), ahead(HOUR, THERE));
    let mut record =
        Record { current: Some(stored.clone()), server_seq: Seq(1), ..Record::default() };
    let mut meta = ReplicaMeta::new(HERE);
    assert!(!put_right(&mut record, &mut meta, NOW, 0));
    restamp(&mut record, &mut meta, NOW, 0, Parent::Always);
    assert_eq!(record.current, Some(stored));
}

#[test]
fn a_known_shift_moves_the_edit_back_to_when_it_was_made() {
    let shift = -i64::try_from(2 * HOUR).unwrap();
    let edit = made(ahead(HOUR, HERE), ahead(HOUR, HERE));
    let mut record = dirty(edit, None);
    restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, shift, Parent::Always);
    let edit = record.current.unwrap();
    assert_eq!(edit.revision.stamp.millis(), NOW.0 - HOUR);
    assert_eq!(edit.author, edit.revision);
    assert_eq!(edit.created, edit.revision.stamp);
    // It cannot have been made before its base.
    let base = settled(1, state("base", HOUR / 2, THERE));
    let mut record = dirty(made(ahead(HOUR, HERE), ahead(HOUR, HERE)), Some(base));
    restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, shift, Parent::Always);
    assert_eq!(record.current.unwrap().revision.stamp.millis(), NOW.0);
}

#[test]
fn an_own_unsettled_erasure_is_stamped_by_a_right_clock_and_a_settled_one_is_not() {
    let restamped = |erased: Revision, base: Option<Settled>| {
        let edit =
            DocumentState { erased: Some(erased), ..made(ahead(HOUR, HERE), ahead(HOUR, HERE)) };
        let mut record = dirty(edit, base);
        restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0, Parent::Always);
        record.current.unwrap()
    };
    let own = ahead(HOUR / 2, HERE);
    let edit = restamped(own, None);
    assert_eq!(edit.revision.stamp.millis(), NOW.0, "nothing else knows of the erasure");
    assert_eq!(edit.erased, Some(edit.revision), "nor is it later than the edit");
    let base = DocumentState { erased: Some(own), ..made(own, own) };
    let edit = restamped(own, Some(settled(1, base)));
    assert_eq!(edit.erased, Some(own));
    assert!(edit.revision > own, "what the server knows stays, and the edit stays later");
    let foreign = ahead(HOUR / 2, THERE);
    let edit = restamped(foreign, None);
    assert_eq!(edit.erased, Some(foreign), "another replica's erasure is settled");
    assert!(edit.revision > foreign);
}

#[test]
fn a_refusal_drops_a_base_that_the_server_does_not_hold() {
    let base = settled(1, made(ahead(HOUR, THERE), ahead(HOUR, THERE)));
    let after = Revision { stamp: base.state.revision.stamp.next(), replica: HERE };
    let author = ahead(HOUR, THERE);
    let refused = || dirty(made(after, author), Some(base.clone()));
    let mut record = refused();
    let held = base.state.clone();
    restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0, Parent::UpTo(Some(&held)));
    let followed = record.current.unwrap();
    assert!(followed.revision > base.state.revision, "the server holds it: it can be followed");
    assert_eq!(followed.author, author);
    let mut record = refused();
    restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0, Parent::UpTo(None));
    let anew = record.current.unwrap();
    assert_eq!(anew.revision.stamp.millis(), NOW.0);
    assert_eq!(
        anew.author,
        Revision { replica: THERE, ..anew.revision },
        "its author goes with it"
    );
}

#[test]
fn another_identity_keeps_the_time_and_the_states_that_may_have_been_sent() {
    let first = state("first", 20, HERE);
    let mut record = in_flight(first.clone(), None);
    let second = state("second", 10, HERE);
    record.set_current(Some(second.clone()));
    reidentify(&mut record, THERE);
    let renamed = record.current.clone().unwrap();
    assert_eq!(renamed.revision, Revision { replica: THERE, ..second.revision });
    assert_eq!((renamed.author, renamed.body), (renamed.revision, second.body.clone()));
    let pending = record.pending.clone().unwrap();
    assert_eq!((pending.in_flight, pending.former), (None, vec![first, second]));
    for at in 0..Pending::FORMER {
        reidentify(&mut record, ReplicaId([u8::try_from(at).unwrap() + 3; 16]));
    }
    assert_eq!(record.pending.unwrap().former.len(), Pending::FORMER);
}

#[test]
fn another_identity_does_not_rename_what_is_offered_again() {
    let lost = state("lost", 20, HERE);
    let mut record = in_flight(lost.clone(), Some(settled(9, lost.clone())));
    reidentify(&mut record, THERE);
    assert_eq!(record.current, Some(lost));
    assert_eq!(record.in_flight(), None);
    assert!(record.pending.unwrap().former.is_empty());
}

#[test]
fn a_refusal_stamps_an_edit_after_the_erasure_that_the_server_holds() {
    let held = |erased| DocumentState {
        erased: Some(erased),
        ..made(ahead(HOUR, THERE), ahead(HOUR, THERE))
    };
    // The log may have lost the later erasure that the edit knows, and have an earlier one.
    let knows = Some(ahead(2 * HOUR, THERE));
    let refused =
        DocumentState { erased: knows, ..made(ahead(3 * HOUR, HERE), ahead(3 * HOUR, HERE)) };
    let restamped = |held: &DocumentState| {
        let mut record = dirty(refused.clone(), None);
        restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0, Parent::UpTo(Some(held)));
        record.current.unwrap().revision
    };
    let earlier = ahead(HOUR, THERE);
    assert!(restamped(&held(earlier)) > earlier);
    // An erasure that the edit does not know removes the edit, whatever its stamp.
    let later = held(ahead(4 * HOUR, THERE));
    assert_eq!(restamped(&later).stamp.millis(), NOW.0);
}

#[test]
fn an_own_erasure_later_than_the_one_of_its_base_gives_way_to_a_right_clock() {
    let base = DocumentState { erased: Some(ago(90, THERE)), ..state("base", 80, THERE) };
    let own = ahead(HOUR / 2, HERE);
    let edit = DocumentState { erased: Some(own), ..made(ahead(HOUR, HERE), ahead(HOUR, HERE)) };
    let mut record = dirty(edit, Some(settled(1, base)));
    restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0, Parent::Always);
    let edit = record.current.unwrap();
    assert_eq!(edit.revision.stamp.millis(), NOW.0);
    assert_eq!(edit.erased, Some(edit.revision));
}

#[test]
fn a_stamp_that_is_moved_back_takes_no_counter_of_a_time_that_was_its_own() {
    use crate::clock::FIRST_OF_FOLLOWERS;
    let shift = -i64::try_from(2 * HOUR).unwrap();
    let moved = |counter, base: Option<Settled>| {
        let revision = Revision { stamp: Stamp::new(NOW.0 + HOUR, counter), replica: HERE };
        let mut record = dirty(made(revision, revision), base);
        restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, shift, Parent::Always);
        record.current.unwrap().revision.stamp
    };
    let meant = Stamp::new(NOW.0 - HOUR, FIRST_OF_FOLLOWERS | 5);
    assert_eq!(moved(5, None), meant);
    assert_eq!(moved(FIRST_OF_FOLLOWERS | 5, None), meant);
    // No edit gets the stamp of its base.
    let revision = Revision { stamp: meant, replica: THERE };
    let base = settled(1, made(revision, revision));
    assert!(moved(5, Some(base)) > meant);
}

#[test]
fn the_author_of_an_edit_goes_with_its_stamp_and_another_author_stays() {
    // The server refuses it, although this clock finds nothing wrong with it.
    let mut record = dirty(made(ago(10, HERE), ago(10, HERE)), None);
    restamp(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0, Parent::UpTo(None));
    let edit = record.current.unwrap();
    assert!(edit.revision != ago(10, HERE));
    assert_eq!(edit.author, edit.revision);
    // The author of the base may stay as far ahead as it is there.
    let author = ahead(HOUR, THERE);
    let base = settled(1, made(ago(10, THERE), author));
    let mut record = dirty(made(ahead(2 * HOUR, HERE), author), Some(base));
    assert!(put_right(&mut record, &mut ReplicaMeta::new(HERE), NOW, 0));
    let edit = record.current.unwrap();
    assert!(edit.revision < author);
    assert_eq!(edit.author, author);
}
