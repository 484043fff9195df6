//! The verdict on a change, by its base and by the decision of the judge.

use super::*;
use crate::record::author_of;
use sync_core::model::{ServerState, VerdictKind};

/// Returns a log that holds `a`, and the verdict on an edit of it that was made on another state.
fn conflict(
    held: DocumentState,
    edit: DocumentState,
    answer: Option<Resolution>,
) -> (Log, Verdict) {
    let mut log = Log::new();
    log.put("a", held);
    log.judge.resolution = answer;
    let verdict = log.decide(change("a", elsewhere(FIRST), edit));
    (log, verdict)
}

fn told(log: &Log) -> Option<ServerState> {
    log.row("a").map(|row| ServerState { seq: row.seq, state: Some(row.state) })
}

#[test]
fn a_change_on_the_stored_state_is_accepted_at_a_new_position() {
    let mut log = Log::new();
    let first = log.push(vec![change("a", None, written(10, "one"))]);
    assert_eq!((first.before, first.head, first.entries.len()), (Seq(0), Seq(1), 1));
    let base = log.on(&log.row("a").unwrap());
    let second = log.push(vec![change("a", Some(base), written(20, "two"))]);
    assert_eq!((second.before, second.head), (Seq(1), Seq(2)));
    let entry = &second.entries[0];
    assert_eq!((entry.seq, &entry.state), (Seq(2), &written(20, "two")));
    let accepted = Verdict { seq: Seq(2), kind: VerdictKind::Accepted, current: None };
    assert_eq!(decided(second.verdicts), [accepted]);
    assert_eq!(log.row("a").unwrap().state, written(20, "two"));
}

#[test]
fn the_stored_state_is_accepted_again_without_the_judge() {
    let mut log = Log::new();
    log.put("a", written(10, "one"));
    log.judge.refuses = |_| true;
    let again = log.push(vec![change("a", elsewhere(FIRST), written(10, "one"))]);
    assert_eq!((again.before, again.head, again.entries.len()), (Seq(1), Seq(1), 0));
    assert_eq!(decided(again.verdicts)[0].kind, VerdictKind::Accepted);
}

#[test]
fn an_unresolved_conflict_is_returned_with_the_stored_state() {
    for answer in [None, Some(Resolution::Defer)] {
        let (log, verdict) = conflict(written(10, "held"), written(20, "edit"), answer);
        assert_eq!(verdict.kind, VerdictKind::Conflict);
        assert_eq!((verdict.current, log.scope().head), (told(&log), Seq(1)));
    }
}

#[test]
fn a_conflict_of_equal_bodies_is_none() {
    for (held, edit) in [(written(10, "x"), written(20, "x")), (deleted(10), deleted(20))] {
        let (log, verdict) = conflict(held, edit, Some(Resolution::Local));
        assert_eq!((verdict.kind, verdict.current), (VerdictKind::Superseded, told(&log)));
        assert!(log.judge.asked.lock().unwrap().is_empty());
    }
}

#[test]
fn either_side_of_a_conflict_may_win() {
    let (held, edit) = (written(10, "held"), written(20, "edit"));
    let (log, verdict) = conflict(held.clone(), edit.clone(), Some(Resolution::Remote));
    assert_eq!((verdict.kind, verdict.current), (VerdictKind::Superseded, told(&log)));
    assert_eq!(log.row("a").unwrap().state, held);
    let (log, verdict) = conflict(held, edit.clone(), Some(Resolution::Local));
    assert_eq!((verdict.kind, verdict.current), (VerdictKind::Accepted, None));
    assert_eq!(log.row("a").unwrap().state, edit);
}

#[test]
fn a_resolvers_result_is_a_new_state_of_the_server() {
    let merged = Some(Resolution::Merge(body("both")));
    let (log, verdict) = conflict(written(10, "held"), written(20, "edit"), merged);
    let state = log.row("a").unwrap().state;
    assert_eq!((verdict.kind, verdict.seq), (VerdictKind::Merged, Seq(2)));
    assert_eq!(verdict.current, told(&log));
    assert_eq!((state.body, state.author), (Some(body("both")), revision(20)));
    assert_eq!((state.created, state.revision.replica), (Stamp::new(10, 0), author_of(FIRST)));
    assert!(state.revision.stamp > Stamp::new(20, 0));

    let deletes = Some(Resolution::Delete);
    let (log, verdict) = conflict(written(10, "held"), written(20, "edit"), deletes);
    assert_eq!(verdict.kind, VerdictKind::Merged);
    assert!(log.row("a").unwrap().state.is_deleted());
}

#[test]
fn a_resolvers_result_on_a_tombstone_is_as_old_as_the_edit() {
    let merged = Some(Resolution::Merge(body("both")));
    let (log, _) = conflict(deleted(10), written(20, "edit"), merged);
    assert_eq!(log.row("a").unwrap().state.created, Stamp::new(20, 0));
}

#[test]
fn a_resolvers_result_is_not_written_if_it_is_already_stored() {
    let merged = Some(Resolution::Merge(body("held")));
    let (log, verdict) = conflict(written(10, "held"), written(20, "edit"), merged);
    assert_eq!((verdict.kind, verdict.current), (VerdictKind::Superseded, told(&log)));
    assert_eq!((log.scope().head, log.row("a").unwrap().state), (Seq(1), written(10, "held")));

    let deletes = Some(Resolution::Delete);
    let (log, verdict) = conflict(deleted(10), written(20, "edit"), deletes);
    assert_eq!((verdict.kind, verdict.current), (VerdictKind::Superseded, told(&log)));
    assert_eq!(log.row("a").unwrap().state, deleted(10));
}

#[test]
fn a_resolvers_result_is_judged_and_may_be_refused() {
    let mut log = Log::new();
    log.put("a", written(10, "held"));
    log.judge.resolution = Some(Resolution::Merge(body("both")));
    log.judge.refuses = |change| change.state.body == Some(body("both"));
    let verdict = log.decide(change("a", elsewhere(FIRST), written(20, "edit")));
    assert_eq!((verdict.kind, verdict.current), (VerdictKind::Conflict, told(&log)));
    assert_eq!(log.row("a").unwrap().state, written(10, "held"));
}

#[test]
fn a_refused_change_is_not_stored() {
    let mut log = Log::new();
    log.put("a", written(10, "held"));
    log.judge.refuses = |_| true;
    let base = log.on(&log.row("a").unwrap());
    let refused = log.push(vec![change("a", Some(base), written(20, "edit"))]);
    assert_eq!((refused.head, refused.entries.len()), (Seq(1), 0));
    let verdict = decided(refused.verdicts).remove(0);
    assert!(matches!(verdict.kind, VerdictKind::Rejected(_)), "{verdict:?}");
    assert_eq!((verdict.seq, verdict.current), (Seq(1), None));
    assert_eq!(log.row("a").unwrap().state, written(10, "held"));
}

#[test]
fn a_start_is_registered_by_the_first_push_that_writes() {
    let mut log = Log::new();
    log.judge.refuses = |_| true;
    log.decide(change("a", None, written(10, "one")));
    assert_eq!(log.rows.scope(&Scope::default()).unwrap(), None, "a refused write begins nothing");
    log.judge.refuses = |_| false;
    log.put("a", written(10, "one"));
    let starts: Vec<_> = log.scope().starts.iter().map(|s| (s.start, s.first)).collect();
    assert_eq!(starts, [(ServerStart(1), Seq(1))]);
}
