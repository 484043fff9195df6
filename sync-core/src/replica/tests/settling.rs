//! Applying a verdict to the document that was pushed.

use super::*;
use crate::model::{Rejection, RejectionCode};
use crate::replica::rules::{Decided, apply_remote, hold_remote};
use crate::replica::settling::settle;
use crate::resolver::{Resolution, resolve_with};

fn rejected(code: RejectionCode) -> VerdictKind {
    VerdictKind::Rejected(Rejection { code, reason: String::new() })
}

#[test]
fn an_accepted_edit_is_clean() {
    let edit = state("edit", 10, HERE);
    let mut record = in_flight(edit.clone(), None);
    let accepted = verdict(4, VerdictKind::Accepted, None);
    let outcome = settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!((outcome.decided, outcome.refused), (Vec::new(), None));
    assert_eq!(record, Record { current: Some(edit), server_seq: Seq(4), ..Record::default() });
}

#[test]
fn a_later_edit_is_based_on_the_accepted_state() {
    let mut record = in_flight(state("first", 20, HERE), None);
    record.set_current(Some(state("second", 10, HERE)));
    record.pending_mut().edit.as_mut().unwrap().base_not_in_log = true;
    let accepted = verdict(4, VerdictKind::Accepted, None);
    settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!(record.base(), Some(&settled(4, state("first", 20, HERE))));
    assert!(!record.edit().unwrap().base_not_in_log);
    assert_eq!((record.server_seq, record.in_flight()), (Seq(4), None));
}

#[test]
fn a_state_that_the_server_stored_in_place_of_the_edit_is_shown() {
    let stored = state("edit", 5, THERE);
    let accepted = verdict(4, VerdictKind::Accepted, Some(held(4, stored.clone())));
    let mut record = in_flight(state("edit", 10, HERE), None);
    settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!((record.current.as_ref(), record.edit()), (Some(&stored), None));
    let later = state("later", 1, HERE);
    let mut record = in_flight(state("edit", 10, HERE), None);
    record.set_current(Some(later.clone()));
    settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!((record.current.as_ref(), record.base()), (Some(&later), Some(&settled(4, stored))));
}

#[test]
fn a_verdict_on_an_older_state_than_is_known_settles_nothing() {
    for void in [false, true] {
        let base = settled(9, state("base", 90, THERE));
        let mut record = in_flight(state("edit", 10, HERE), Some(base.clone()));
        if void {
            record.void();
        }
        let known = record.server_seq;
        let accepted = verdict(8, VerdictKind::Accepted, None);
        settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
        assert_eq!(
            (record.server_seq, record.base()),
            (known, Some(&base)),
            "seq_before_reset {void}"
        );
        assert_eq!(record.in_flight(), None, "and the batch is over");
    }
}

#[test]
fn after_a_reset_a_verdict_on_the_very_state_still_counts() {
    let edit = state("edit", 10, HERE);
    let mut record = in_flight(edit.clone(), Some(settled(9, state("base", 90, THERE))));
    record.void();
    let accepted = verdict(9, VerdictKind::Accepted, None);
    settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!(record, Record { current: Some(edit), server_seq: Seq(9), ..Record::default() });
}

#[test]
fn a_tombstone_that_a_restore_brought_back_is_news_at_any_position() {
    let mut record = in_flight(state("edit", 10, HERE), None);
    record.server_seq = Seq(9);
    let back = held(4, state("", 50, THERE).without_body());
    let superseded = verdict(4, VerdictKind::Superseded, Some(back.clone()));
    settle(&mut record, &key(), &superseded, &mut Bench::local().cx());
    assert_eq!((record.current, record.server_seq), (back.state, Seq(4)));
    // A live state at an old position is no news.
    let mut record = in_flight(state("edit", 10, HERE), None);
    record.server_seq = Seq(9);
    let live = verdict(4, VerdictKind::Superseded, Some(held(4, state("live", 50, THERE))));
    settle(&mut record, &key(), &live, &mut Bench::local().cx());
    assert_eq!((record.current, record.server_seq), (Some(state("edit", 10, HERE)), Seq(9)));
    // An erasure that the edit knows is no news either.
    let base = settled(9, state("base", 90, THERE));
    let mut record = in_flight(state("edit", 10, HERE), Some(base));
    settle(&mut record, &key(), &superseded, &mut Bench::local().cx());
    assert_eq!((record.current, record.server_seq), (Some(state("edit", 10, HERE)), Seq(9)));
}

#[test]
fn a_superseded_edit_is_replaced_and_a_later_one_is_resolved() {
    let theirs = state("theirs", 5, THERE);
    let superseded = verdict(4, VerdictKind::Superseded, Some(held(4, theirs.clone())));
    let mut record = in_flight(state("edit", 10, HERE), None);
    let outcome = settle(&mut record, &key(), &superseded, &mut Bench::local().cx());
    assert_eq!(outcome.decided, []);
    assert_eq!((record.current.as_ref(), record.edit()), (Some(&theirs), None));
    let mut record = in_flight(state("edit", 10, HERE), None);
    record.set_current(Some(state("later", 1, HERE)));
    let outcome = settle(&mut record, &key(), &superseded, &mut Bench::local().cx());
    assert_eq!(outcome.decided, [Decided::Local]);
    assert_eq!(record.base(), Some(&settled(4, theirs)));
    // The verdict left out the state: the pushed one is the base, and is in no log.
    let mut record = in_flight(state("edit", 10, HERE), None);
    record.set_current(Some(state("later", 1, HERE)));
    let untold = verdict(4, VerdictKind::Merged, None);
    settle(&mut record, &key(), &untold, &mut Bench::local().cx());
    assert!(record.edit().unwrap().base_not_in_log);
    assert_eq!(record.base(), Some(&settled(4, state("edit", 10, HERE))));
}

#[test]
fn a_verdict_with_an_erasure_reports_what_was_removed() {
    let erased = verdict(4, VerdictKind::Superseded, Some(held(4, erasure(5, THERE))));
    let mut record = in_flight(state("edit", 10, HERE), None);
    let outcome = settle(&mut record, &key(), &erased, &mut Bench::local().cx());
    assert_eq!(outcome.decided, [Decided::Erased]);
    let mut record = in_flight(state("", 10, HERE).without_body(), None);
    let outcome = settle(&mut record, &key(), &erased, &mut Bench::local().cx());
    assert_eq!(outcome.decided, [], "a deletion loses nothing");
}

#[test]
fn a_conflict_with_a_new_state_is_decided_here() {
    let theirs = state("theirs", 5, THERE);
    let base = settled(4, state("base", 90, THERE));
    let conflict = |verdict_seq, seq| {
        let mut record = in_flight(state("edit", 10, HERE), Some(base.clone()));
        let current = Some(held(seq, theirs.clone()));
        let conflict = verdict(verdict_seq, VerdictKind::Conflict, current);
        let outcome = settle(&mut record, &key(), &conflict, &mut Bench::remote().cx());
        (outcome.decided, record.current.unwrap())
    };
    assert_eq!(conflict(5, 5), (vec![Decided::Remote], theirs.clone()));
    assert_eq!(conflict(3, 5), (vec![Decided::Remote], theirs.clone()), "told again, newer");
    assert_eq!(conflict(3, 4), (Vec::new(), state("edit", 10, HERE)), "known already");
    let mut record = in_flight(state("edit", 10, HERE), Some(base));
    let nothing = ServerState { seq: Seq(0), state: None };
    let empty = verdict(0, VerdictKind::Conflict, Some(nothing));
    let outcome = settle(&mut record, &key(), &empty, &mut Bench::remote().cx());
    assert_eq!(outcome.decided, [Decided::Remote], "an empty log has no newer position");
    assert_eq!(record.current, None);
}

#[test]
fn a_pending_remote_state_is_applied_after_the_verdict() {
    let theirs = state("theirs", 5, THERE);
    let mut record = in_flight(state("edit", 10, HERE), None);
    hold_remote(&mut record, held(7, theirs.clone()));
    let accepted = verdict(4, VerdictKind::Accepted, None);
    let outcome = settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!(outcome.decided, [], "it follows on ours");
    assert_eq!(record, Record { current: Some(theirs), server_seq: Seq(7), ..Record::default() });
}

#[test]
fn a_refused_edit_returns_to_its_base_unless_it_was_edited_since() {
    let base = settled(4, state("base", 90, THERE));
    let refused = verdict(4, rejected(RejectionCode::Invalid), None);
    let mut record = in_flight(state("edit", 10, HERE), Some(base.clone()));
    let outcome = settle(&mut record, &key(), &refused, &mut Bench::local().cx());
    assert_eq!(outcome.refused, Some((state("edit", 10, HERE), Some(base.clone()))));
    assert_eq!((record.current, record.pending), (Some(base.state.clone()), None));
    let mut record = in_flight(state("edit", 10, HERE), Some(base.clone()));
    record.set_current(Some(state("later", 1, HERE)));
    let outcome = settle(&mut record, &key(), &refused, &mut Bench::local().cx());
    assert_eq!((outcome.refused, record.base()), (None, Some(&base)));
    assert_eq!(record.pushable(), Some(LocalSeq(1)));
}

#[test]
fn a_refused_edit_offers_its_base_again_if_the_log_lost_it() {
    let lost = Settled { epoch: Epoch([9; 16]), ..settled(8, state("base", 90, THERE)) };
    let mut record = in_flight(state("edit", 10, HERE), Some(lost.clone()));
    record.server_seq = Seq(4);
    let refused = verdict(4, rejected(RejectionCode::Invalid), None);
    settle(&mut record, &key(), &refused, &mut Bench::local().cx());
    assert_eq!(record.current, Some(lost.state.clone()));
    let edit = record.edit().unwrap();
    assert_eq!(
        (edit.base.as_ref(), edit.was_sent, edit.base_not_in_log),
        (Some(&lost), true, false)
    );
}

#[test]
fn a_clock_refusal_stamps_anew_and_quarantines_nothing() {
    let server_time = Stamp::new(NOW.0 - 7_200_000, 0);
    let refused = verdict(0, rejected(RejectionCode::Clock { server_time }), None);
    let mut bench = Bench::local();
    let mut record = in_flight(state("edit", 10, HERE), None);
    let outcome = settle(&mut record, &key(), &refused, &mut bench.cx());
    assert_eq!(outcome.refused, None);
    assert_eq!(bench.meta.clock_offset, -7_200_000);
    let edit = record.current.clone().unwrap();
    assert!(edit.revision.stamp <= server_time, "by the server's clock");
    assert_eq!((edit.body, record.pushable()), (body("edit"), Some(LocalSeq(1))));
    // What was written since keeps its stamp, and what waits is replaced by the server's state.
    let later = state("later", 1, HERE);
    let told = held(6, state("told", 5, THERE));
    let refused = Verdict { current: Some(told.clone()), ..refused };
    let mut record = in_flight(state("edit", 10, HERE), None);
    record.set_current(Some(later.clone()));
    record.pending_mut().deferred = true;
    hold_remote(&mut record, held(5, state("waits", 8, THERE)));
    settle(&mut record, &key(), &refused, &mut Bench::local().cx());
    assert_eq!(record.current, Some(later));
    assert_eq!(record.pending.unwrap().pending_remote, Some(told));
}

#[test]
fn a_refused_erasure_shows_the_servers_state() {
    let base = settled(4, DocumentState { body: None, ..state("base", 90, THERE) });
    let erased = erasure(10, HERE);
    let told = held(6, state("told", 5, THERE));
    let refused = verdict(6, rejected(RejectionCode::Forbidden), Some(told.clone()));
    let mut record = in_flight(erased.clone(), Some(base.clone()));
    let outcome = settle(&mut record, &key(), &refused, &mut Bench::local().cx());
    assert_eq!(outcome.refused.map(|(state, _)| state), Some(erased.clone()));
    assert_eq!((record.current, record.server_seq), (told.state, Seq(6)));
    let untold = verdict(6, rejected(RejectionCode::Forbidden), None);
    let mut record = in_flight(erased, Some(base));
    settle(&mut record, &key(), &untold, &mut Bench::local().cx());
    assert_eq!((record.current, record.server_seq), (None, Seq(0)), "nothing is left to show");
}

#[test]
fn a_verdict_on_a_document_that_is_not_in_flight_changes_nothing() {
    let mut record = dirty(state("edit", 10, HERE), None);
    let before = record.clone();
    let accepted = verdict(4, VerdictKind::Accepted, None);
    settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!(record, before);
}

#[test]
fn a_conflict_that_the_pending_remote_state_ends_is_not_left_to_the_app() {
    let mut record = in_flight(state("edit", 20, HERE), None);
    record.set_current(Some(state("", 5, HERE).without_body()));
    let deleted = held(5, state("", 8, THERE).without_body());
    hold_remote(&mut record, deleted.clone());
    let older = verdict(4, VerdictKind::Conflict, Some(held(4, state("theirs", 10, THERE))));
    let defer = resolve_with("defer", |_| Ok(Resolution::Defer));
    let outcome = settle(&mut record, &key(), &older, &mut Bench::new(defer).cx());
    assert_eq!(outcome.decided, [Decided::Remote]);
    assert_eq!((record.current, record.pending), (deleted.state, None));
}

#[test]
fn a_new_life_after_a_purged_erasure_is_taken_from_the_log() {
    let base = settled(2, state("", 90, THERE).without_body());
    let mut record = in_flight(state("edit", 10, HERE), Some(base));
    let erased = held(3, erasure(20, THERE));
    apply_remote(&mut record, &key(), erased.clone(), &mut Bench::local().cx());
    assert_eq!((record.edit(), record.server_seq), (None, Seq(3)));
    let accepted = verdict(4, VerdictKind::Accepted, None);
    settle(&mut record, &key(), &accepted, &mut Bench::local().cx());
    assert_eq!((record.current.as_ref(), record.server_seq), (erased.state.as_ref(), Seq(3)));
    let told = held(4, state("edit", 10, HERE));
    apply_remote(&mut record, &key(), told.clone(), &mut Bench::local().cx());
    assert_eq!((record.current, record.server_seq), (told.state, Seq(4)));
}
