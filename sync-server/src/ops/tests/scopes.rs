//! A scope's beginning, its purges, and what replicas acknowledge.

use super::*;
use crate::ops::{Acknowledgement, Noted, acknowledge, has_right_sums, open_scope, purge};
use crate::record::{Fork, Owner};
use sync_core::error::ErrorKind;
use sync_core::model::{Digest, LogMark, Reset, ResetReason};

fn purged(log: &mut Log, up_to: u64) -> u64 {
    purge(&mut log.rows, &Scope::default(), Seq(up_to)).unwrap()
}

#[test]
fn a_scope_begins_once_with_a_key() {
    let mut log = Log::new();
    let missing = read_scope(&log.rows, &Scope::default()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let row = open_scope(&mut log.rows, &Scope::default(), FRESH).unwrap();
    assert_eq!((row.epoch, row.key, row.head), (FIRST, Some(FRESH.key), Seq(0)));
    assert_eq!(log.scope(), row);
    let other = NewLog { epoch: Epoch([5; 16]), key: LogKey([5; 16]) };
    assert_eq!(open_scope(&mut log.rows, &Scope::default(), other).unwrap(), row);
}

#[test]
fn a_purge_removes_tombstones_up_to_its_position_and_nothing_else() {
    let mut log = Log::new();
    log.put("a", written(10, "stays"));
    log.put("b", deleted(11));
    log.put("c", deleted(12));
    log.put("d", deleted(13));
    assert_eq!(purged(&mut log, 3), 2);
    let left = ["a", "b", "c", "d"].map(|id| log.row(id).is_some());
    assert_eq!((left, log.scope().horizon), ([true, false, false, true], Seq(3)));
    // Neither backwards nor beyond the head.
    assert_eq!((purged(&mut log, 1), log.scope().horizon), (0, Seq(3)));
    assert_eq!((purged(&mut log, 99), log.scope().horizon), (1, Seq(4)));
    assert_eq!(log.row("a").map(|row| row.state), Some(written(10, "stays")));
    assert!(has_right_sums(&log.rows).unwrap());
}

#[test]
fn a_purge_of_more_than_is_read_at_a_time_removes_all_of_it() {
    for count in [1_000_u64, 2_500] {
        let mut log = Log::new();
        let tombstones = (1..=count).map(|n| change(&format!("d{n}"), None, deleted(n)));
        let mut tombstones: Vec<_> = tombstones.collect();
        tombstones.push(change("living", None, written(1, "x")));
        log.cx.drift = Duration::from_secs(60);
        log.push(tombstones);
        assert_eq!(purged(&mut log, count + 1), count);
        assert_eq!((log.row("d1"), log.row(&format!("d{count}"))), (None, None));
        assert!(log.row("living").is_some());
    }
}

#[test]
fn wrong_sums_are_found_wherever_they_are() {
    let mut log = Log::new();
    // More scopes than one read returns.
    let names: Vec<_> = (0..600).map(|n| Scope::new(format!("s{n:03}")).unwrap()).collect();
    for scope in &names {
        let mut batch = log.batch(vec![change("a", None, written(10, "one"))]);
        batch.scope = scope.clone();
        log.append(&batch);
    }
    assert!(has_right_sums(&log.rows).unwrap());
    for scope in [&names[0], &names[255], &names[256], &names[599]] {
        let right = read_scope(&log.rows, scope).unwrap();
        for wrong in [
            ServerScope { documents: 2, ..right.clone() },
            ServerScope { digest: Digest(1), ..right.clone() },
        ] {
            crate::rows::ServerRows::put_scope(&mut log.rows, scope, &wrong).unwrap();
            assert!(!has_right_sums(&log.rows).unwrap(), "{scope}");
        }
        crate::rows::ServerRows::put_scope(&mut log.rows, scope, &right).unwrap();
    }
    assert!(has_right_sums(&log.rows).unwrap());
}

/// A log with two documents, and what a replica that has both acknowledges.
fn acknowledging() -> (Log, Acknowledgement) {
    let mut log = Log::new();
    log.put("a", written(10, "one"));
    log.put("b", written(11, "two"));
    let digest = Some(log.scope().digest);
    (
        log,
        Acknowledgement {
            epoch: FIRST,
            seq: Seq(2),
            digest,
            mark: None::<LogMark>,
            noted: Default::default(),
        },
    )
}

fn acknowledged(log: &mut Log, ack: &Acknowledgement) -> (Option<Fork>, Option<(Epoch, Seq)>) {
    let scope = Scope::default();
    let answer = acknowledge(&mut log.rows, &scope, REPLICA, ack).unwrap();
    let at = log.rows.acknowledged(&scope, REPLICA).unwrap();
    (answer, at.map(|at| (at.epoch, at.seq)))
}

#[test]
fn an_acknowledged_position_is_recorded_and_never_moves_back() {
    let (mut log, ack) = acknowledging();
    let first = Acknowledgement { seq: Seq(1), digest: None, ..ack.clone() };
    assert_eq!(acknowledged(&mut log, &first), (None, Some((FIRST, Seq(1)))));
    assert_eq!(acknowledged(&mut log, &ack), (None, Some((FIRST, Seq(2)))));
    assert_eq!(acknowledged(&mut log, &first), (None, Some((FIRST, Seq(2)))));
    let beyond = Acknowledgement { seq: Seq(9), ..ack };
    assert_eq!(acknowledged(&mut log, &beyond), (None, Some((FIRST, Seq(2)))));
}

#[test]
fn nothing_is_recorded_for_read_only_access_or_another_owner() {
    let (mut log, ack) = acknowledging();
    let by = |noted| Acknowledgement { noted, ..ack.clone() };
    assert_eq!(acknowledged(&mut log, &by(Noted::Never)), (None, None));
    // The id belonged to no principal before owners were stored.
    let first = Acknowledgement { seq: Seq(1), ..by(Noted::Of(Owner::of("ann"))) };
    assert_eq!(acknowledged(&mut log, &first).1, Some((FIRST, Seq(1))));
    log.cx.owner = Some(Owner::of("ann"));
    log.put("c", written(12, "three"));
    let moved = |name| Acknowledgement { seq: Seq(3), ..by(Noted::Of(Owner::of(name))) };
    assert_eq!(acknowledged(&mut log, &moved("ben")).1, Some((FIRST, Seq(1))));
    assert_eq!(acknowledged(&mut log, &moved("ann")).1, Some((FIRST, Seq(3))));
    // The result of the digests is returned all the same.
    let differs = Acknowledgement { digest: Some(Digest(1)), ..moved("ben") };
    assert!(acknowledged(&mut log, &differs).0.is_some());
}

#[test]
fn a_replica_belongs_to_the_principal_of_its_first_push() {
    let mut log = Log::new();
    log.cx.owner = Some(Owner::of("ann"));
    log.put("a", written(10, "one"));
    let record = |log: &Log| log.rows.push_record(&Scope::default(), REPLICA).unwrap();
    let before = (log.scope(), record(&log));
    log.cx.owner = Some(Owner::of("ben"));
    let newer = log.batch(vec![change("b", None, written(11, "two"))]);
    let again = PushBatch { id: PushId(1), ..newer.clone() };
    let recalled = PushBatch { recall: Some(7), changes: Vec::new(), ..newer.clone() };
    for batch in [newer, again, recalled] {
        assert_eq!(log.append(&batch).verdicts, Verdicts::Cloned);
        assert_eq!((log.scope(), record(&log)), before);
    }
    // A server whose clients are all the same checks no owner, and keeps the stored one.
    log.cx.owner = None;
    log.put("b", written(11, "two"));
    assert_eq!(record(&log).unwrap().owner, Some(Owner::of("ann")));
}

#[test]
fn nothing_is_recorded_of_another_epoch() {
    let (mut log, ack) = acknowledging();
    let other = Acknowledgement { epoch: Epoch([5; 16]), digest: Some(Digest(1)), ..ack };
    assert_eq!(acknowledged(&mut log, &other), (None, None));
}

#[test]
fn digests_are_compared_if_both_are_at_the_head() {
    let (mut log, ack) = acknowledging();
    let reset = Reset { epoch: FIRST, reason: ResetReason::DigestDiffers };
    let differs = Acknowledgement { digest: Some(Digest(1)), ..ack.clone() };
    assert_eq!(acknowledged(&mut log, &differs).0, Some(Fork::Reset(reset)));
    assert_eq!(acknowledged(&mut log, &ack).0, None);
    for seq in [1, 9] {
        let elsewhere = Acknowledgement { seq: Seq(seq), ..differs.clone() };
        assert_eq!(acknowledged(&mut log, &elsewhere).0, None, "{seq}");
    }
    let silent = Acknowledgement { digest: None, ..ack };
    assert_eq!(acknowledged(&mut log, &silent).0, None);
}
