//! The effect of a resolver's decision on a record.

use super::*;
use crate::replica::rules::{ApplyOutcome, Decided, apply_remote};
use crate::replica::settling::settle;
use crate::resolver::{Conflict, Resolution, ResolveOn, resolve_with};

/// An edit is in conflict with that state at position 4, and a resolver decides.
fn decided(
    mut record: Record,
    remote: Option<DocumentState>,
    by: Resolution,
) -> (ApplyOutcome, Record) {
    let resolver = resolve_with("by-test", move |_: &Conflict<'_>| Ok(by.clone()));
    let incoming = ServerState { seq: Seq(4), state: remote };
    let taken = apply_remote(&mut record, &key(), incoming, &mut Bench::new(resolver).cx());
    (taken, record)
}

fn edit() -> Record {
    dirty(state("edit", 10, HERE), Some(settled(1, state("base", 90, THERE))))
}

fn merge(text: &str) -> Resolution {
    Resolution::Merge(body(text).unwrap())
}

#[test]
fn a_decision_for_what_the_server_holds_leaves_nothing_to_push() {
    let theirs = state("theirs", 5, THERE);
    let tombstone = state("", 5, THERE).without_body();
    for (remote, by) in [
        (Some(theirs.clone()), merge("theirs")),
        (Some(theirs), Resolution::Remote),
        (Some(tombstone), Resolution::Delete),
        (None, Resolution::Delete),
    ] {
        let (taken, record) = decided(edit(), remote.clone(), by);
        assert_eq!(taken, ApplyOutcome::Resolved(Decided::Remote));
        assert_eq!((record.current, record.pending, record.server_seq), (remote, None, Seq(4)));
    }
}

#[test]
fn a_decision_for_anything_else_is_an_edit_on_what_the_server_holds() {
    let theirs = state("theirs", 5, THERE);
    for (by, ends, shows) in [
        (merge("both"), Decided::Merged, body("both")),
        (Resolution::Delete, Decided::Deleted, None),
        (Resolution::Local, Decided::Local, body("edit")),
    ] {
        let (taken, record) = decided(edit(), Some(theirs.clone()), by);
        assert_eq!(taken, ApplyOutcome::Resolved(ends));
        assert_eq!(record.base(), Some(&settled(4, theirs.clone())));
        assert_eq!(record.current.map(|c| c.body), Some(shows));
    }
}

#[test]
fn what_both_sides_made_began_with_the_earlier_of_both_living_ones() {
    let created = |remote: DocumentState| {
        let (_, record) = decided(edit(), Some(remote), merge("both"));
        record.current.unwrap().created
    };
    assert_eq!(created(state("theirs", 50, THERE)), ago(50, THERE).stamp);
    assert_eq!(created(state("theirs", 5, THERE)), ago(10, HERE).stamp);
    // A life that has ended is not continued.
    assert_eq!(created(state("", 50, THERE).without_body()), ago(10, HERE).stamp);
}

#[test]
fn a_pending_remote_state_stays_after_a_decision_if_it_is_newer() {
    for (waits_at, stays) in [(3, false), (4, false), (5, true)] {
        let mut record = edit();
        record.pending_mut().pending_remote = Some(held(waits_at, state("waits", 1, THERE)));
        let (_, mut record) = decided(record, Some(state("theirs", 5, THERE)), Resolution::Local);
        assert_eq!(record.pending_mut().pending_remote.is_some(), stays, "{waits_at}");
    }
}

#[test]
fn a_pending_remote_state_stays_after_an_echo_if_it_is_newer() {
    for (waits_at, stays) in [(3, false), (4, false), (5, true)] {
        let own = state("edit", 10, HERE);
        let mut record = in_flight(own.clone(), None);
        record.pending_mut().pending_remote = Some(held(waits_at, state("waits", 1, THERE)));
        let taken = apply_remote(&mut record, &key(), held(4, own), &mut Bench::local().cx());
        assert_eq!(taken, ApplyOutcome::Cleaned);
        assert_eq!(record.pending_mut().pending_remote.is_some(), stays, "{waits_at}");
    }
}

#[test]
fn a_conflict_that_a_resolving_server_did_not_resolve_waits_for_the_app() {
    let mut bench = Bench::local();
    bench.resolvers = Resolvers::shared(std::sync::Arc::new(ClientWins), ResolveOn::Server);
    let mut record = in_flight(state("edit", 10, HERE), Some(settled(1, state("b", 90, THERE))));
    let theirs = held(4, state("theirs", 5, THERE));
    let conflict = verdict(4, VerdictKind::Conflict, Some(theirs.clone()));
    let outcome = settle(&mut record, &key(), &conflict, &mut bench.cx());
    assert_eq!(outcome.decided, [Decided::Deferred]);
    assert!(record.is_deferred());
    assert_eq!(record.pending_mut().pending_remote, Some(theirs));
}

#[test]
fn a_conflict_with_its_own_state_is_none() {
    let [current, base, former] = ["edit", "base", "former"].map(|text| state(text, 10, HERE));
    let base = DocumentState { revision: ago(90, THERE), ..base };
    for told in [&current, &base, &former] {
        let mut record = in_flight(current.clone(), Some(settled(1, base.clone())));
        record.pending_mut().former.push(former.clone());
        let unasked = |_: &Conflict<'_>| -> crate::error::Result<_> { panic!("asked") };
        let mut bench = Bench::new(resolve_with("unasked", unasked));
        let conflict = verdict(4, VerdictKind::Conflict, Some(held(4, told.clone())));
        let outcome = settle(&mut record, &key(), &conflict, &mut bench.cx());
        assert_eq!(outcome.decided, []);
        assert_eq!(record.current.as_ref(), Some(&current));
        let on = (told != &current).then(|| settled(4, told.clone()));
        assert_eq!((record.base(), record.server_seq), (on.as_ref(), Seq(4)), "{told:?}");
    }
}

#[test]
fn a_conflict_about_a_document_that_is_clean_meanwhile_is_decided_by_its_position() {
    // The echo arrived before the verdict.
    for (at, is_newer) in [(4, false), (6, true)] {
        let own = state("edit", 10, HERE);
        let mut record = in_flight(own.clone(), None);
        apply_remote(&mut record, &key(), held(5, own.clone()), &mut Bench::local().cx());
        let theirs = state("theirs", 5, THERE);
        let conflict = verdict(at, VerdictKind::Conflict, Some(held(at, theirs.clone())));
        settle(&mut record, &key(), &conflict, &mut Bench::local().cx());
        let shows = if is_newer { theirs } else { own };
        assert_eq!((record.current, record.server_seq), (Some(shows), Seq(at.max(5))), "{at}");
    }
}
