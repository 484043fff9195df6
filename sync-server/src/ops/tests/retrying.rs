//! A batch that is sent again, or arrives too late.

use super::*;
use sync_core::model::{ServerState, VerdictKind};

#[test]
fn a_repeated_batch_gets_its_verdicts_and_changes_nothing() {
    let mut log = Log::new();
    log.put("a", written(10, "held"));
    let changes = vec![
        change("a", elsewhere(FIRST), written(20, "edit")),
        change("b", None, written(21, "new")),
    ];
    let batch = log.batch(changes);
    let first = log.append(&batch);
    // The judge would decide otherwise now, and is not called.
    log.judge.resolution = Some(Resolution::Local);
    log.judge.refuses = |_| true;
    let again = log.append(&batch);
    assert_eq!(again.verdicts, first.verdicts);
    assert_eq!((again.before, again.head, again.entries.len()), (Seq(2), Seq(2), 0));
    let kinds: Vec<_> = decided(again.verdicts).into_iter().map(|v| (v.seq, v.kind)).collect();
    assert_eq!(kinds, [(Seq(1), VerdictKind::Conflict), (Seq(2), VerdictKind::Accepted)]);
}

#[test]
fn repeated_verdicts_include_the_current_states() {
    let mut log = Log::new();
    log.put("a", written(10, "held"));
    let batch = log.batch(vec![change("a", elsewhere(FIRST), written(20, "edit"))]);
    log.append(&batch);
    // Another replica writes meanwhile.
    let base = log.on(&log.row("a").unwrap());
    let newer = change("a", Some(base), written(30, "newer"));
    let other = PushBatch { replica: ReplicaId([8; 16]), changes: vec![newer], ..batch.clone() };
    log.append(&other);
    let verdict = decided(log.append(&batch).verdicts).remove(0);
    let now = ServerState { seq: Seq(2), state: Some(written(30, "newer")) };
    assert_eq!((verdict.kind, verdict.seq), (VerdictKind::Conflict, Seq(1)));
    assert_eq!(verdict.current, Some(now));
}

#[test]
fn an_older_batch_has_no_effect() {
    let mut log = Log::new();
    let old = log.batch(vec![change("a", None, written(10, "old"))]);
    log.put("b", written(20, "new"));
    assert_eq!(log.append(&old).verdicts, Verdicts::Stale);
    assert_eq!(log.row("a"), None);
}

#[test]
fn another_batch_under_a_known_id_is_of_a_clone() {
    let mut log = Log::new();
    let batch = log.batch(vec![change("a", None, written(10, "one"))]);
    log.append(&batch);
    let other = PushBatch { changes: vec![change("b", None, written(11, "two"))], ..batch.clone() };
    assert_eq!(log.append(&other).verdicts, Verdicts::Cloned);
    assert_eq!(log.row("b"), None);
    // A recall that claims the digest of the batch, but not its changes.
    let recall = PushBatch { changes: Vec::new(), ..batch.clone().recalled(batch.digest()) };
    assert_eq!(log.append(&recall).verdicts, Verdicts::Cloned);
}

#[test]
fn a_batch_that_was_recalled_before_it_arrived_is_never_applied() {
    let mut log = Log::new();
    let batch = log.batch(vec![change("a", None, written(10, "one"))]);
    let recall = batch.clone().recalled(batch.digest());
    assert_eq!(log.append(&recall).verdicts, Verdicts::Recalled);
    assert_eq!(log.append(&recall).verdicts, Verdicts::Recalled, "an answer may be lost");
    assert_eq!(log.append(&batch).verdicts, Verdicts::Recalled);
    assert_eq!((log.row("a"), log.scope().head), (None, Seq(0)));
    let other = PushBatch { changes: vec![change("a", None, written(11, "two"))], ..batch };
    assert_eq!(log.append(&other).verdicts, Verdicts::Cloned);
}

#[test]
fn a_batch_that_was_applied_before_its_recall_gets_its_verdicts() {
    let mut log = Log::new();
    let batch = log.batch(vec![change("a", None, written(10, "one"))]);
    let first = log.append(&batch);
    let recall = batch.clone().recalled(batch.digest());
    assert_eq!(log.append(&recall).verdicts, first.verdicts);
}

#[test]
fn a_repeated_empty_batch_was_decided_and_not_recalled() {
    let mut log = Log::new();
    let batch = log.batch(Vec::new());
    let first = log.append(&batch);
    assert_eq!(decided(first.verdicts), []);
    assert_eq!(decided(log.append(&batch).verdicts), []);
}

#[test]
fn a_rejection_includes_the_stored_state_only_if_the_replica_needs_it() {
    let held = written(10, "held");
    let told = Some(ServerState { seq: Seq(1), state: Some(held.clone()) });
    for (edit, current) in
        [(erased(20), &told), (written(2_000, "ahead"), &told), (written(20, "edit"), &None)]
    {
        let mut log = Log::new();
        log.put("a", held.clone());
        log.judge.refuses = |_| true;
        let base = log.on(&log.row("a").unwrap());
        let batch = log.batch(vec![change("a", Some(base), edit)]);
        for verdicts in [log.append(&batch).verdicts, log.append(&batch).verdicts] {
            let verdict = decided(verdicts).remove(0);
            assert!(matches!(verdict.kind, VerdictKind::Rejected(_)));
            assert_eq!(&verdict.current, current);
        }
    }
}

/// A state whose weight is that many bytes.
fn of_weight(stamp: u64, weight: usize) -> DocumentState {
    let text = "x".repeat(weight - 66);
    let state = written(stamp, &text);
    assert_eq!(state.weight(), weight);
    state
}

#[test]
fn verdicts_include_as_many_states_as_fit_into_a_message_and_at_least_one() {
    const TOLD: usize = sync_core::model::Limits::CHUNK.bytes;
    let half = TOLD / 2;
    for (weights, told) in [
        (vec![half, half], vec![true, true]),
        (vec![half, half + 1], vec![true, false]),
        (vec![TOLD + 1], vec![true]),
        (vec![half, half, 100, 100], vec![true, true, false, false]),
    ] {
        let mut log = Log::new();
        let names = ["a", "b", "c", "d"];
        for (name, weight) in names.iter().zip(&weights) {
            log.put(name, of_weight(10, *weight));
        }
        let edits = names.iter().take(weights.len());
        let edits = edits.map(|name| change(name, elsewhere(FIRST), written(20, "edit")));
        let batch = log.batch(edits.collect());
        for verdicts in [log.append(&batch).verdicts, log.append(&batch).verdicts] {
            let verdicts = decided(verdicts);
            let is_told: Vec<_> = verdicts.iter().map(|v| v.current.is_some()).collect();
            assert_eq!(is_told, told, "{weights:?}");
        }
    }
}

#[test]
fn a_batch_that_shows_a_restore_is_not_applied() {
    let (mut backup, mut lost) = (Log::new(), Log::new());
    for log in [&mut backup, &mut lost] {
        log.put("a", written(10, "one"));
    }
    let ahead = lost.push(vec![change("b", None, written(11, "two"))]);
    let mut batch = backup.batch(vec![change("c", None, written(12, "three"))]);
    batch.mark = ahead.mark;
    let answer = backup.append(&batch);
    let fork = crate::record::Fork::Unannounced { epoch: FIRST, cut: Seq(1) };
    assert_eq!((answer.fork, backup.row("c")), (Some(fork), None));
    batch.mark = None;
    assert_eq!(decided(backup.append(&batch).verdicts)[0].kind, VerdictKind::Accepted);
}
