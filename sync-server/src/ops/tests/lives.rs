//! New epochs of a log, and what remains of the old ones.

use super::*;
use crate::Visible;
use crate::ops::{Acknowledgement, ChangesReply, acknowledge, begin_epoch, changes};
use crate::record::{Ancestor, Fork};
use sync_core::model::{Cursor, Limits, Reset, ResetReason, VerdictKind};

const SECOND: Epoch = Epoch([2; 16]);

fn begin(log: &mut Log, from: Epoch, cut: u64) -> ServerScope {
    begin_epoch(&mut log.rows, &Scope::default(), from, Seq(cut), SECOND).unwrap()
}

/// A log with one document, in its second life, which was cut there.
fn second_life(cut: u64) -> Log {
    let mut log = Log::new();
    log.put("a", written(10, "held"));
    begin(&mut log, FIRST, cut);
    log
}

#[test]
fn an_epoch_is_ended_once_and_not_beyond_the_head() {
    let mut log = Log::new();
    log.put("a", written(10, "held"));
    let row = begin(&mut log, FIRST, 9);
    assert_eq!(row, log.scope());
    let ancestor = Ancestor { epoch: FIRST, cut: Seq(1) };
    assert_eq!((row.epoch, &row.ancestors), (SECOND, &vec![ancestor]));
    // An epoch that has already ended is not ended again.
    let again = begin_epoch(&mut log.rows, &Scope::default(), FIRST, Seq(0), Epoch([3; 16]));
    assert_eq!(again.unwrap(), row);
    assert_eq!(log.scope(), row);
}

#[test]
fn a_resolver_receives_no_base_that_was_lost() {
    let base = BaseRef { revision: revision(9), epoch: FIRST, seq: Seq(1), tombstone: false };
    let edit =
        Change { base_body: Some(body("base")), ..change("a", Some(base), written(20, "e")) };
    let asked = |mut log: Log| {
        // Written in the new epoch, so that the edit is in conflict either way.
        log.put("a", written(15, "newer"));
        log.decide(edit.clone());
        log.judge.asked.lock().unwrap().pop().unwrap()
    };
    let kept = asked(second_life(1));
    assert_eq!((kept.base, kept.base_body), (Some(base), Some(body("base"))));
    let lost = asked(second_life(0));
    assert_eq!((lost.base, lost.base_body), (None, None));
    assert_eq!(lost.state, edit.state);
}

#[test]
fn a_winning_edit_of_a_lost_state_keeps_the_position_of_that_state() {
    let mut log = second_life(0);
    log.put("a", written(15, "newer"));
    log.judge.resolution = Some(Resolution::Local);
    let base = BaseRef { revision: revision(9), epoch: FIRST, seq: Seq(1), tombstone: false };
    let verdict = log.decide(change("a", Some(base), written(20, "edit")));
    let offered = log.row("a").unwrap().offered.unwrap();
    assert_eq!(verdict.kind, VerdictKind::Accepted);
    assert_eq!((offered.epoch, offered.seq, offered.edited), (FIRST, Seq(1), true));
}

#[test]
fn a_mark_of_lost_positions_shows_the_restore_in_every_request() {
    let (mut backup, mut lost) = (Log::new(), Log::new());
    for log in [&mut backup, &mut lost] {
        log.put("a", written(10, "one"));
    }
    let ahead = lost.push(vec![change("b", None, written(11, "two"))]).mark.unwrap();
    let same = backup.push(Vec::new()).mark;
    let fork = Fork::Unannounced { epoch: FIRST, cut: Seq(1) };
    let scope = Scope::default();

    let mut acknowledged = |mark, seq| {
        let at = Acknowledgement { mark, ..Acknowledgement::new(FIRST, Seq(seq)) };
        acknowledge(&mut backup.rows, &scope, REPLICA, &at).unwrap()
    };
    assert_eq!(acknowledged(Some(ahead.clone()), 2), Some(fork));
    assert_eq!(acknowledged(same.clone(), 1), None);

    let mut cursor =
        Cursor { epoch: Some(FIRST), after: Seq(2), position: Seq(2), ..Cursor::default() };
    let mut read = |mark| {
        cursor.mark = mark;
        changes(&backup.rows, &scope, &cursor, Limits::CHUNK, &Visible::All).unwrap()
    };
    assert_eq!(read(Some(ahead)), ChangesReply::Reset(fork));
    // Nothing proves it: the claim concerns the client alone.
    let unproven = Reset { epoch: FIRST, reason: ResetReason::Unproven };
    assert_eq!(read(same), ChangesReply::Reset(Fork::Reset(unproven)));
}
