//! Applying a server state to a record.

use super::*;
use crate::replica::rules::{
    ApplyOutcome, Decided, apply_remote, end_if_equal, hold_remote, take_pending_remote,
};
use crate::resolver::{Conflict, Resolution, ResolveOn, resolve_with};

#[test]
fn a_known_server_state_changes_nothing() {
    let edit = state("edit", 10, HERE);
    let mut record = dirty(edit, Some(settled(5, state("base", 90, THERE))));
    let before = record.clone();
    for seq in [4, 5] {
        let taken = apply_remote(
            &mut record,
            &key(),
            held(seq, state("old", 80, THERE)),
            &mut Bench::remote().cx(),
        );
        assert_eq!((taken, &record), (ApplyOutcome::Nothing, &before));
    }
}

#[test]
fn a_clean_document_shows_the_newer_state() {
    let mut record = Record { server_seq: Seq(1), ..Record::default() };
    let newer = state("newer", 10, THERE);
    let taken =
        apply_remote(&mut record, &key(), held(2, newer.clone()), &mut Bench::remote().cx());
    assert_eq!(taken, ApplyOutcome::Replaced);
    assert_eq!((record.current, record.server_seq, record.pending), (Some(newer), Seq(2), None));
}

#[test]
fn the_own_echo_cleans_and_one_of_an_earlier_state_rebases() {
    let edit = state("edit", 10, HERE);
    let mut record = in_flight(edit.clone(), None);
    let taken = apply_remote(&mut record, &key(), held(3, edit.clone()), &mut Bench::remote().cx());
    assert_eq!((taken, record.edit(), record.server_seq), (ApplyOutcome::Cleaned, None, Seq(3)));
    let later = state("later", 5, HERE);
    let mut record = in_flight(edit.clone(), None);
    record.set_current(Some(later.clone()));
    record.pending_mut().former.push(state("former", 15, THERE));
    let taken = apply_remote(&mut record, &key(), held(3, edit.clone()), &mut Bench::remote().cx());
    assert_eq!((taken, record.current.as_ref()), (ApplyOutcome::Rebased, Some(&later)));
    assert_eq!((record.base(), record.server_seq), (Some(&settled(3, edit)), Seq(3)));
    assert!(record.pending.unwrap().former.is_empty(), "it has come back");
}

#[test]
fn the_echo_of_a_former_identity_is_what_the_edit_is_based_on() {
    let former = state("edit", 10, THERE);
    let mut record = dirty(state("edit", 10, HERE), None);
    record.pending_mut().former.push(former.clone());
    let taken =
        apply_remote(&mut record, &key(), held(3, former.clone()), &mut Bench::remote().cx());
    assert_eq!((taken, record.base()), (ApplyOutcome::Rebased, Some(&settled(3, former))));
}

#[test]
fn a_base_that_comes_again_after_a_reset_is_no_conflict() {
    let base = state("base", 90, THERE);
    let edit = state("edit", 10, HERE);
    let mut record = dirty(edit.clone(), Some(settled(5, base.clone())));
    record.void();
    let taken = apply_remote(&mut record, &key(), held(2, base.clone()), &mut Bench::remote().cx());
    assert_eq!((taken, record.current.as_ref()), (ApplyOutcome::Rebased, Some(&edit)));
    assert_eq!(record.base(), Some(&settled(2, base)));
}

#[test]
fn a_newer_state_waits_while_the_edit_is_in_flight() {
    let edit = state("edit", 10, HERE);
    let mut record = in_flight(edit.clone(), None);
    for (seq, text) in [(3, "three"), (2, "two"), (3, "again")] {
        let taken = apply_remote(
            &mut record,
            &key(),
            held(seq, state(text, 5, THERE)),
            &mut Bench::remote().cx(),
        );
        assert_eq!((taken, record.current.as_ref()), (ApplyOutcome::Waiting, Some(&edit)));
    }
    assert_eq!(
        take_pending_remote(&mut record),
        Some(held(3, state("three", 5, THERE))),
        "the newest"
    );
    assert_eq!(take_pending_remote(&mut record), None);
}

#[test]
fn a_resolver_decides_what_is_not_in_flight() {
    let edit = || dirty(state("edit", 10, HERE), None);
    let theirs = state("theirs", 5, THERE);
    let mut record = edit();
    let taken =
        apply_remote(&mut record, &key(), held(2, theirs.clone()), &mut Bench::remote().cx());
    assert_eq!(taken, ApplyOutcome::Resolved(Decided::Remote));
    assert_eq!((record.current.as_ref(), record.edit()), (Some(&theirs), None));
    let mut record = edit();
    let taken =
        apply_remote(&mut record, &key(), held(2, theirs.clone()), &mut Bench::local().cx());
    assert_eq!(taken, ApplyOutcome::Resolved(Decided::Local));
    let local = record.current.clone().unwrap();
    assert_eq!((local.body, local.author), (body("edit"), ago(10, HERE)));
    assert!(local.revision > theirs.revision, "it follows on what it won against");
    assert_eq!(local.created, ago(10, HERE).stamp, "the earlier of both");
    assert_eq!((record.base(), record.server_seq), (Some(&settled(2, theirs)), Seq(2)));
    assert!(record.edit().unwrap().was_sent);
}

#[test]
fn equal_sides_are_no_conflict() {
    let taken = |record: &mut Record, incoming| {
        let unasked = |_: &Conflict<'_>| -> crate::error::Result<_> { panic!("asked") };
        let resolver = resolve_with("unasked", unasked);
        apply_remote(record, &key(), incoming, &mut Bench::new(resolver).cx())
    };
    let mut record = dirty(state("same", 10, HERE), None);
    let theirs = state("same", 5, THERE);
    assert_eq!(taken(&mut record, held(2, theirs.clone())), ApplyOutcome::Replaced);
    assert_eq!((record.current.as_ref(), record.edit()), (Some(&theirs), None));
    let mut record = dirty(state("", 10, HERE).without_body(), None);
    let absent = ServerState { seq: Seq(2), state: None };
    assert_eq!(taken(&mut record, absent), ApplyOutcome::Replaced);
    assert_eq!((record.current.as_ref(), record.edit()), (None, None));
}

#[test]
fn a_deferred_conflict_ends_when_both_sides_have_become_the_same() {
    let deferred = |current: DocumentState| {
        let mut record = dirty(current, None);
        record.pending_mut().deferred = true;
        record
    };
    let same = state("same", 5, THERE);
    let mut record = deferred(state("same", 10, HERE));
    assert!(!end_if_equal(&mut record), "nothing waits");
    let taken = apply_remote(&mut record, &key(), held(2, same.clone()), &mut Bench::local().cx());
    assert_eq!((taken, record.current, record.pending), (ApplyOutcome::Replaced, Some(same), None));
    let mut record = deferred(state("", 10, HERE).without_body());
    hold_remote(&mut record, ServerState { seq: Seq(2), state: None });
    assert!(end_if_equal(&mut record), "both are deleted");
    let mut record = deferred(state("mine", 10, HERE));
    hold_remote(&mut record, held(2, state("theirs", 5, THERE)));
    assert!(!end_if_equal(&mut record));
    assert!(record.is_deferred());
    assert_eq!(take_pending_remote(&mut record), None, "the app decides about it");
    record.pending_mut().deferred = false;
    assert!(!end_if_equal(&mut record));
    assert!(take_pending_remote(&mut record).is_some());
}

#[test]
fn a_newer_erasure_wins_on_either_side_without_a_resolver() {
    let erased = erasure(5, THERE);
    let mut record = dirty(state("edit", 1, HERE), Some(settled(1, state("base", 90, THERE))));
    let taken =
        apply_remote(&mut record, &key(), held(2, erased.clone()), &mut Bench::local().cx());
    assert_eq!(taken, ApplyOutcome::Resolved(Decided::Erased));
    assert_eq!((record.current.as_ref(), record.edit()), (Some(&erased), None));
    let mut record = dirty(state("", 1, HERE).without_body(), None);
    let taken =
        apply_remote(&mut record, &key(), held(2, erased.clone()), &mut Bench::local().cx());
    assert_eq!(taken, ApplyOutcome::Replaced, "a deletion loses nothing");
    let own = erasure(5, HERE);
    let theirs = state("theirs", 1, THERE);
    let mut record = dirty(own.clone(), Some(settled(1, state("base", 90, THERE))));
    let taken =
        apply_remote(&mut record, &key(), held(2, theirs.clone()), &mut Bench::remote().cx());
    assert_eq!(taken, ApplyOutcome::Rebased);
    let stands = record.current.clone().unwrap();
    assert_eq!((stands.body, stands.erased), (None, own.erased));
    assert!(stands.revision > theirs.revision);
    assert_eq!(record.base(), Some(&settled(2, theirs.without_body())), "its body is gone");
    let mut record = in_flight(own, None);
    let waits = held(2, state("theirs", 1, THERE));
    let taken = apply_remote(&mut record, &key(), waits.clone(), &mut Bench::remote().cx());
    assert_eq!(
        (taken, record.pending.unwrap().pending_remote),
        (ApplyOutcome::Waiting, Some(waits))
    );
}

#[test]
fn where_the_server_resolves_a_newer_state_waits_for_the_push() {
    let mut bench = Bench::local();
    bench.resolvers = Resolvers::shared(std::sync::Arc::new(ClientWins), ResolveOn::Server);
    let mut record = dirty(state("edit", 10, HERE), None);
    let taken =
        apply_remote(&mut record, &key(), held(2, state("theirs", 5, THERE)), &mut bench.cx());
    assert_eq!((taken, record.pushable()), (ApplyOutcome::Waiting, Some(LocalSeq(1))));
}

#[test]
fn a_base_of_a_lost_life_of_the_log_is_no_common_ancestor() {
    let asked = |epoch: Epoch, seq: u64, known: u64| {
        let base = Settled { epoch, ..settled(seq, state("base", 90, THERE)) };
        let mut record = dirty(state("edit", 10, HERE), Some(base));
        record.server_seq = Seq(known);
        let resolver = resolve_with("has-base", |conflict: &Conflict<'_>| {
            Ok(Resolution::Merge(Body::from_value(&conflict.base.is_some())?))
        });
        apply_remote(
            &mut record,
            &key(),
            held(20, state("theirs", 5, THERE)),
            &mut Bench::new(resolver).cx(),
        );
        record.current.unwrap().body.unwrap().to::<bool>().unwrap()
    };
    let earlier = Epoch([9; 16]);
    assert!(asked(EPOCH, 9, 5), "settled in this life");
    assert!(asked(earlier, 5, 5), "it survived the restore");
    assert!(!asked(earlier, 6, 5), "settled behind what survived");
}
