//! Erasures, and states that know them.

use super::*;
use sync_core::model::VerdictKind;

#[test]
fn an_append_that_erases_is_counted_and_one_that_does_not_is_not() {
    let mut log = Log::new();
    log.put("a", written(10, "one"));
    log.put("a", written(11, "two"));
    assert_eq!(log.scope().erasures, 0);
    log.put("a", erased(12));
    assert_eq!(log.scope().erasures, 1);
    // A later write includes the same erasure: nothing more is erased.
    log.put("a", DocumentState { erased: Some(revision(12)), ..written(13, "back") });
    assert_eq!(log.scope().erasures, 1);
    log.put("a", erased(14));
    assert_eq!(log.scope().erasures, 2);
    log.put("b", erased(15));
    assert_eq!(log.scope().erasures, 2, "there was nothing of it");
}

#[test]
fn one_document_that_is_erased_among_others_counts() {
    let mut log = Log::new();
    log.put("a", written(10, "one"));
    let base = log.on(&log.row("a").unwrap());
    let changes = vec![change("a", Some(base), erased(12)), change("b", None, written(13, "two"))];
    assert_eq!(log.push(changes).erasures, 1);
}

#[test]
fn a_merge_knows_of_the_newer_erasure_of_both() {
    let mut log = Log::new();
    let knows = |stamp, text| DocumentState { erased: Some(revision(5)), ..written(stamp, text) };
    log.put("a", knows(10, "held"));
    log.judge.resolution = Some(Resolution::Merge(body("both")));
    let verdict = log.decide(change("a", elsewhere(FIRST), knows(20, "edit")));
    assert_eq!(verdict.kind, VerdictKind::Merged);
    assert_eq!(log.row("a").unwrap().state.erased, Some(revision(5)));
}
