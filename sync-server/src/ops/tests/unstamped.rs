//! Changes that leave their stamp to the server.

use super::*;
use sync_core::model::{ServerState, VerdictKind};

/// A state without a stamp, as a client without a clock sends it.
fn unstamped(text: &str) -> DocumentState {
    DocumentState { created: Stamp::ZERO, ..written(0, text) }
}

#[test]
fn the_stamp_is_the_time_of_the_server_and_is_returned() {
    let mut log = Log::new();
    let batch = log.batch(vec![change("a", None, unstamped("one"))]);
    let verdict = decided(log.append(&batch).verdicts).remove(0);
    let row = log.row("a").unwrap();
    assert_eq!(row.state, written(1_000, "one"));
    let current = Some(ServerState { seq: Seq(1), state: Some(row.state) });
    assert_eq!((verdict.kind, &verdict.current), (VerdictKind::Accepted, &current));
    // The same batch gets the same stamp again.
    let again = decided(log.append(&batch).verdicts).remove(0);
    assert_eq!((again.current, log.scope().head), (current, Seq(1)));
}

#[test]
fn the_stamp_is_after_all_stamps_of_the_log() {
    let mut log = Log::new();
    log.put("a", written(1_200, "ahead of the time"));
    log.decide(change("b", None, unstamped("one")));
    assert!(log.row("b").unwrap().state.revision.stamp > Stamp::new(1_200, 0));
}

#[test]
fn a_clock_of_the_server_that_was_set_back_refuses_no_stamp_of_its_own() {
    let mut log = Log::new();
    log.put("a", written(1_000, "one"));
    log.cx.now = Now(10);
    let base = log.on(&log.row("a").unwrap());
    let verdict = log.decide(change("a", Some(base), unstamped("two")));
    assert_eq!(verdict.kind, VerdictKind::Accepted);
    assert!(log.row("a").unwrap().state.revision.stamp > Stamp::new(1_000, 0));
}

#[test]
fn an_author_and_a_beginning_that_are_named_are_kept() {
    let mut log = Log::new();
    let state = DocumentState { author: revision(7), created: Stamp::new(5, 0), ..unstamped("x") };
    log.decide(change("a", None, state));
    let state = log.row("a").unwrap().state;
    assert_eq!((state.revision, state.author), (revision(1_000), revision(7)));
    assert_eq!(state.created, Stamp::new(5, 0));
}

#[test]
fn an_edit_of_a_living_document_keeps_its_beginning_and_one_of_a_tombstone_does_not() {
    for (held, created) in [(written(10, "held"), 10), (deleted(10), 1_000)] {
        let mut log = Log::new();
        let base = log.put("a", held);
        let base = log.on(&base);
        log.decide(change("a", Some(base), unstamped("edit")));
        assert_eq!(log.row("a").unwrap().state.created, Stamp::new(created, 0));
    }
}

#[test]
fn an_erasure_gets_the_stamp_of_its_tombstone() {
    let mut log = Log::new();
    let base = log.put("a", written(10, "held"));
    let base = log.on(&base);
    let erasure = DocumentState { erased: Some(revision(0)), ..unstamped("").without_body() };
    log.decide(change("a", Some(base), erasure));
    let state = log.row("a").unwrap().state;
    assert!(state.is_erasure() && state.revision == revision(1_000), "{state:?}");
}

#[test]
fn an_edit_knows_of_the_erasure_that_its_base_knows_of_and_of_no_other() {
    let mut log = Log::new();
    let row = log.put("a", erased(10));
    let base = log.on(&row);
    log.decide(change("a", Some(base), unstamped("edit")));
    let state = log.row("a").unwrap().state;
    assert_eq!((state.body, state.erased), (Some(body("edit")), Some(revision(10))));
    // Without the base it does not know the erasure, and is superseded.
    let verdict = log.decide(change("a", None, unstamped("other")));
    assert_eq!(verdict.kind, VerdictKind::Superseded);
    assert_eq!(log.row("a").unwrap().state.body, Some(body("edit")));
    // A change that names an erasure itself is left as it is.
    let held = log.row("a").unwrap();
    let names = DocumentState { erased: Some(revision(500)), ..unstamped("later") };
    log.decide(change("a", Some(log.on(&held)), names));
    assert_eq!(log.row("a").unwrap().state.erased, Some(revision(500)));
}
