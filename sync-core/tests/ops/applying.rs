//! Chunks that fit, and chunks that do not.

use super::*;
use sync_core::codec::Codec;
use sync_core::error::ErrorKind;
use sync_core::model::{
    BaseRef, Bookmark, Bookmarks, Checkpoint, Digest, LogKey, LogMark, LogRun, ServerStart,
};

/// A replica at position 2 that has `a`.
fn standing() -> Replica {
    let mut replica = Replica::new();
    let applied = replica.pull(2, vec![entry(1, "a", state("one", 90))]);
    assert!(applied.moved);
    replica
}

fn mark(start: u64) -> Option<LogMark> {
    let run = LogRun { start: ServerStart(start), first: Seq(1), last: Seq(2) };
    Some(LogMark::sign(EPOCH, vec![run], &LogKey([7; 16])))
}

fn next() -> Chunk {
    chunk(Seq(2), 3, 3, vec![entry(3, "b", state("two", 80))])
}

fn take(replica: &mut Replica, chunk: &Chunk) -> Applied {
    apply(&mut replica.rows, &replica.cx, chunk).unwrap()
}

#[test]
fn a_chunk_that_begins_at_the_replicas_position_is_applied() {
    let mut replica = standing();
    let applied = take(&mut replica, &next());
    assert_eq!((applied.moved, applied.applied), (true, 1));
    assert_eq!(applied.checkpoint, replica.row().checkpoint);
    assert_eq!((applied.checkpoint.position, applied.checkpoint.epoch), (Seq(3), Some(EPOCH)));
    assert_eq!(replica.record("b").unwrap().server_seq, Seq(3));
}

#[test]
fn a_chunk_that_does_not_fit_changes_nothing() {
    let bookmarks = |after| Some(Bookmarks { after, next: Bookmark::new("next").ok() });
    let elsewhere = Bookmark::new("elsewhere").ok();
    for (what, chunk) in [
        ("it begins before", Chunk { after: Seq(1), ..next() }),
        ("it begins behind", chunk(Seq(3), 4, 4, vec![entry(4, "b", state("two", 80))])),
        ("another log", Chunk { epoch: Epoch([9; 16]), ..next() }),
        ("a restored log", Chunk { mark: mark(2), ..next() }),
        ("another bookmark", Chunk { bookmarks: bookmarks(elsewhere), ..next() }),
    ] {
        let mut replica = standing();
        replica.row_with_mark(mark(1));
        let before = replica.row();
        let applied = take(&mut replica, &chunk);
        assert_eq!((applied.moved, &applied.checkpoint), (false, &before.checkpoint), "{what}");
        assert_eq!((replica.row(), replica.record("b")), (before, None), "{what}");
    }
    let mut replica = standing();
    replica.row_with_mark(mark(1));
    let fits = Chunk { mark: mark(1), bookmarks: bookmarks(None), ..next() };
    assert!(take(&mut replica, &fits).moved);
}

impl Replica {
    /// The replica has that mark of the log.
    fn row_with_mark(&mut self, mark: Option<LogMark>) {
        use sync_core::replica::rows::ReplicaRows;
        let mut row = self.row();
        row.checkpoint.mark = mark;
        self.rows.put_scope(&Scope::default(), &row).unwrap();
    }
}

#[test]
fn a_chunk_that_contradicts_itself_is_refused() {
    let two =
        |first, second| vec![entry(first, "b", state("b", 80)), entry(second, "c", state("c", 70))];
    for (what, chunk) in [
        ("out of order", chunk(Seq(2), 4, 4, two(4, 3))),
        ("one position twice", chunk(Seq(2), 4, 4, two(3, 3))),
        ("an entry before it", chunk(Seq(2), 4, 4, two(2, 3))),
        ("an entry behind it", chunk(Seq(2), 3, 4, two(3, 4))),
        ("it goes back", chunk(Seq(2), 1, 4, Vec::new())),
        ("it ends behind the head", chunk(Seq(2), 4, 3, two(3, 4))),
    ] {
        let mut replica = standing();
        let before = replica.row();
        let refused = apply(&mut replica.rows, &replica.cx, &chunk).unwrap_err();
        assert_eq!((refused.kind(), replica.row()), (ErrorKind::Protocol, before), "{what}");
    }
}

/// The digest of a state alone, which a chunk sends in place of a body.
fn digest_of_state(state: &DocumentState) -> u128 {
    let mut bytes = Vec::new();
    None::<BaseRef>.encode(&mut bytes);
    state.encode(&mut bytes);
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

/// The chunk after [`standing`] without the body of its entry.
fn without_body(of: &DocumentState) -> Chunk {
    let mut chunk = next();
    chunk.entries[0].state = of.clone().without_body();
    chunk.left_out = [(Seq(3), Digest(digest_of_state(of)))].into();
    chunk
}

#[test]
fn a_body_that_was_left_out_is_filled_in_from_what_is_here() {
    let mut replica = standing();
    replica.put("b", "mine");
    let mine = replica.record("b").unwrap().current.unwrap();
    let applied = take(&mut replica, &without_body(&mine));
    assert!(applied.moved);
    let record = replica.record("b").unwrap();
    assert_eq!((record.current, record.server_seq, record.pending), (Some(mine), Seq(3), None));
}

#[test]
fn a_body_that_was_left_out_and_is_missing_is_requested() {
    let mut replica = standing();
    let before = replica.row().checkpoint;
    let applied = take(&mut replica, &without_body(&state("gone", 80)));
    let lacks = Checkpoint { lacks_own: true, ..before.clone() };
    assert_eq!((applied.moved, applied.checkpoint), (false, lacks));
    assert_eq!((replica.record("b"), replica.row().checkpoint), (None, before));
}

#[test]
fn a_body_that_was_left_out_of_a_known_state_is_not_needed() {
    // A verdict arrived before the chunk, and the document was edited again.
    let mut replica = standing();
    replica.put("b", "mine");
    let batch = replica.next_push().unwrap();
    replica.settle(&batch, 3, &VerdictKind::Accepted);
    let later = state("later", 0);
    let mut newer = replica.record("b").unwrap();
    let pushed = newer.current.replace(later.clone()).unwrap();
    newer.server_seq = Seq(3);
    {
        use sync_core::replica::rows::ReplicaRows;
        let old = replica.record("b");
        replica.rows.put_record(&key("b"), old.as_ref(), &newer).unwrap();
    }
    let applied = take(&mut replica, &without_body(&pushed));
    assert!(applied.moved);
    assert_eq!(replica.record("b").unwrap().current, Some(later));
}
