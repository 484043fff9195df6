//! A batch that names a document more than once, and its other changes.

use super::*;
use crate::ops::has_right_sums;

#[test]
fn only_the_newest_state_of_a_document_is_sent() {
    let mut log = Log::new();
    let elsewhere =
        Change { collection: collection("other"), ..change("a", None, written(13, "o")) };
    let first = written(11, "first");
    let on_first =
        BaseRef { revision: first.revision, epoch: FIRST, seq: Seq(1), tombstone: false };
    let appended = log.push(vec![
        change("a", None, first),
        change("b", None, written(12, "b")),
        elsewhere,
        change("a", Some(on_first), written(14, "second")),
    ]);
    let entries: Vec<_> = appended.entries.iter().map(|e| (e.seq, e.state.clone())).collect();
    let expected =
        [(Seq(2), written(12, "b")), (Seq(3), written(13, "o")), (Seq(4), written(14, "second"))];
    assert_eq!(entries, expected);
    assert_eq!((appended.head, log.scope().documents), (Seq(4), 3));
    assert!(has_right_sums(&log.rows).unwrap());
}

#[test]
fn an_edit_of_an_earlier_document_removes_no_entry_of_the_push() {
    let mut log = Log::new();
    log.put("a", written(10, "one"));
    let base = log.on(&log.row("a").unwrap());
    let appended = log.push(vec![
        change("b", None, written(11, "b")),
        change("a", Some(base), written(12, "two")),
    ]);
    assert_eq!(appended.entries.len(), 2);
}

#[test]
fn documents_and_their_digest_are_counted_through_writes_and_deletions() {
    let mut log = Log::new();
    log.put("a", written(10, "one"));
    log.put("b", written(11, "two"));
    assert_eq!(log.scope().documents, 2);
    log.put("a", written(12, "edited"));
    assert_eq!(log.scope().documents, 2);
    assert!(has_right_sums(&log.rows).unwrap());
    log.put("a", deleted(13));
    assert_eq!((log.scope().documents, log.row("a").unwrap().state), (1, deleted(13)));
    log.put("a", deleted(14));
    assert_eq!(log.scope().documents, 1);
    log.put("a", written(15, "back"));
    assert_eq!(log.scope().documents, 2);
    assert!(has_right_sums(&log.rows).unwrap());
}
