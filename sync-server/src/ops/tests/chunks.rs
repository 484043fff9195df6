//! The chunks of a log.

use super::*;
use crate::Visible;
use crate::ops::{ChangesReply, changes, purge};
use crate::record::Fork;
use sync_core::model::{Cursor, Limits, Reset, ResetReason};

fn at(after: u64) -> Cursor {
    let (after, epoch) = (Seq(after), Some(FIRST));
    Cursor { epoch, after, position: after, ..Cursor::default() }
}

fn read(log: &Log, cursor: &Cursor, limits: Limits) -> ChangesReply {
    changes(&log.rows, &Scope::default(), cursor, limits, &Visible::All).unwrap()
}

/// Returns where the chunk after a cursor ends, and the positions of its entries.
fn chunk(log: &Log, cursor: &Cursor, limits: Limits) -> (u64, Vec<u64>) {
    match read(log, cursor, limits) {
        ChangesReply::Chunk(chunk) => {
            assert_eq!(chunk.mark.as_ref().map(|m| m.at), Some(chunk.next), "it attests its end");
            (chunk.next.0, chunk.entries.iter().map(|e| e.seq.0).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn reset(log: &Log, cursor: &Cursor) -> Option<ResetReason> {
    match read(log, cursor, Limits::CHUNK) {
        ChangesReply::Chunk(_) => None,
        ChangesReply::Reset(Fork::Reset(Reset { reason, .. })) => Some(reason),
        other => panic!("{other:?}"),
    }
}

/// A log of appends of so many documents each.
fn appends(counts: &[u64]) -> Log {
    let mut log = Log::new();
    let mut n = 0;
    for count in counts {
        let names = n + 1..=n + count;
        log.push(names.map(|n| change_of("notes", n)).collect());
        n += count;
    }
    log
}

fn change_of(name: &str, n: u64) -> Change {
    let state = written(n, "x");
    Change { collection: collection(name), ..change(&format!("d{n}"), None, state) }
}

fn documents(documents: usize) -> Limits {
    Limits { documents, ..Limits::CHUNK }
}

#[test]
fn a_chunk_ends_at_the_limit_of_documents_where_an_append_ends() {
    let log = appends(&[1, 2, 1]);
    assert_eq!(chunk(&log, &at(0), documents(4)), (4, vec![1, 2, 3, 4]));
    assert_eq!(chunk(&log, &at(0), documents(3)), (3, vec![1, 2, 3]));
    assert_eq!(chunk(&log, &at(0), documents(2)), (1, vec![1]));
    assert_eq!(chunk(&log, &at(0), documents(1)), (1, vec![1]));
    // An append is sent whole, however small the limit is.
    assert_eq!(chunk(&log, &at(1), documents(1)), (3, vec![2, 3]));
    assert_eq!(chunk(&log, &at(3), documents(1)), (4, vec![4]));
    assert_eq!(chunk(&log, &at(4), documents(1)), (4, vec![]));
}

#[test]
fn a_chunk_ends_at_the_limit_of_bytes_where_an_append_ends() {
    let log = appends(&[1, 1, 1]);
    let ChangesReply::Chunk(all) = read(&log, &at(0), Limits::CHUNK) else { panic!("no chunk") };
    let one = all.entries[0].weight();
    let bytes = |bytes| Limits { bytes, ..Limits::CHUNK };
    assert_eq!(chunk(&log, &at(0), bytes(3 * one)), (3, vec![1, 2, 3]));
    assert_eq!(chunk(&log, &at(0), bytes(3 * one - 1)), (2, vec![1, 2]));
    assert_eq!(chunk(&log, &at(0), bytes(2 * one)), (2, vec![1, 2]));
    assert_eq!(chunk(&log, &at(0), bytes(1)), (1, vec![1]));
}

#[test]
fn collections_not_requested_or_not_visible_are_skipped() {
    let mut log = Log::new();
    let names = ["notes", "other", "third"].into_iter().zip(1..);
    log.push(names.map(|(name, n)| change_of(name, n)).collect());
    let only = |names: &[&str]| names.iter().map(|name| collection(name)).collect();
    let asking = Cursor { collections: Some(only(&["notes", "other"])), ..at(0) };
    assert_eq!(chunk(&log, &asking, Limits::CHUNK), (3, vec![1, 2]));
    let visible = Visible::Only(std::sync::Arc::new(only(&["other", "third"])));
    let reply = changes(&log.rows, &Scope::default(), &asking, Limits::CHUNK, &visible).unwrap();
    let ChangesReply::Chunk(seen) = reply else { panic!("no chunk") };
    let entries: Vec<_> = seen.entries.iter().map(|e| e.seq.0).collect();
    assert_eq!((seen.next, entries), (Seq(3), vec![2]));
    assert_eq!(seen.covers, Some(only(&["other", "third"])));
}

#[test]
fn a_collection_that_is_further_behind_is_read_from_its_own_position() {
    let mut log = Log::new();
    for (name, n) in ["notes", "late", "notes", "late", "notes"].into_iter().zip(1..) {
        log.push(vec![change_of(name, n)]);
    }
    let behind =
        Cursor { position: Seq(3), backfills: [(collection("late"), Seq(1))].into(), ..at(1) };
    assert_eq!(chunk(&log, &behind, Limits::CHUNK), (5, vec![2, 4, 5]));
}

#[test]
fn a_cursor_below_the_horizon_has_missed_tombstones() {
    let mut log = appends(&[1, 1, 1, 1]);
    purge(&mut log.rows, &Scope::default(), Seq(2)).unwrap();
    let below = Some(ResetReason::BelowHorizon);
    assert_eq!([0, 1, 2, 3].map(|after| reset(&log, &at(after))), [None, below, None, None]);
    // A full pull that began at the horizon or above it has not.
    let full = |floor| reset(&log, &Cursor { floor: Some(Seq(floor)), ..at(1) });
    assert_eq!([1, 2, 3].map(full), [below, None, None]);
}

#[test]
fn a_cursor_may_stand_at_the_head_and_not_beyond_it() {
    let log = appends(&[1, 1]);
    let unproven = Some(ResetReason::Unproven);
    assert_eq!([2, 3].map(|after| reset(&log, &at(after))), [None, unproven]);
    let ahead = Cursor { position: Seq(3), ..at(1) };
    assert_eq!(reset(&log, &ahead), unproven, "any position counts");
}

#[test]
fn a_position_without_an_epoch_is_not_valid() {
    let log = appends(&[1, 1]);
    let afresh = Some(ResetReason::EpochChanged { cut: Seq(0) });
    let nameless = |after| reset(&log, &Cursor { epoch: None, ..at(after) });
    assert_eq!([0, 1].map(nameless), [None, afresh]);
}
