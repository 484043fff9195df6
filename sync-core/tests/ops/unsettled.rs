//! Edits that wait, are in flight, or were refused.

use super::*;
use sync_core::model::{Rejection, RejectionCode};
use sync_core::replica::ops::{unsettled, unsettled_of};
use sync_core::replica::{Decided, StoragePage, Unsettled, UnsettledAfter, UnsettledEntry};

fn page(
    replica: &Replica,
    which: Unsettled,
    after: Option<&UnsettledEntry>,
    documents: usize,
) -> StoragePage<UnsettledEntry> {
    let after = after.map_or(UnsettledAfter::Start, |entry| UnsettledAfter::Entry {
        transaction: entry.transaction,
        key: entry.key.clone(),
        ticket: entry.refused.as_ref().map_or(0, |(.., ticket)| *ticket),
    });
    let limits = Limits { documents, ..Limits::PUSH };
    unsettled(&replica.rows, &Scope::default(), which, &after, limits).unwrap()
}

/// All pages of two entries, by the names of their documents.
fn by_two(replica: &Replica, which: Unsettled) -> Vec<Vec<String>> {
    let (mut pages, mut last) = (Vec::new(), None);
    loop {
        let page = page(replica, which, last.as_ref(), 2);
        pages.push(page.items.iter().map(|e| e.key.id.as_str().to_owned()).collect());
        last = page.items.last().cloned();
        assert!(pages.len() < 100, "it has no end");
        if !page.more {
            return pages;
        }
    }
}

fn with(ids: &[&str]) -> Replica {
    let mut replica = Replica::new();
    ids.iter().for_each(|id| drop(replica.put(id, "text")));
    replica
}

fn refuse(replica: &mut Replica) -> Committed {
    let batch = replica.next_push().unwrap();
    let rejection = Rejection { code: RejectionCode::Forbidden, reason: "no".to_owned() };
    replica.settle(&batch, 1, &VerdictKind::Rejected(rejection))
}

fn erased(ago: u64) -> DocumentState {
    let state = state("", ago).without_body();
    DocumentState { erased: Some(state.revision), ..state }
}

#[test]
fn entries_are_read_page_by_page_in_whatever_state_they_are() {
    let mut replica = with(&["a", "b", "c", "d", "e"]);
    let pages = [&["a", "b"][..], &["c", "d"], &["e"]];
    assert_eq!(by_two(&replica, Unsettled::Pending), pages);
    assert_eq!(by_two(&replica, Unsettled::InFlight), [Vec::<String>::new()]);
    replica.next_push().unwrap();
    assert_eq!(by_two(&replica, Unsettled::InFlight), pages);
    assert_eq!(by_two(&replica, Unsettled::Pending), [Vec::<String>::new()]);
    assert_eq!(page(&replica, Unsettled::InFlight, None, 9).items[0].attempts, 1);
    refuse(&mut replica);
    assert_eq!(by_two(&replica, Unsettled::Quarantine), pages);
    assert_eq!(by_two(&with(&["a", "b"]), Unsettled::Pending), [&["a", "b"]], "just full");
}

#[test]
fn the_unsettled_entries_of_one_document_are_found() {
    let mut replica = with(&["other", "a"]);
    let of = |replica: &Replica| {
        let found = unsettled_of(&replica.rows, &key("a")).unwrap();
        assert!(found.iter().all(|(_, entry)| entry.key == key("a")));
        found.iter().map(|(which, entry)| (*which, entry.attempts)).collect::<Vec<_>>()
    };
    assert_eq!(of(&replica), [(Unsettled::Pending, 0)]);
    replica.next_push().unwrap();
    assert_eq!(of(&replica), [(Unsettled::InFlight, 1)]);
    refuse(&mut replica);
    assert_eq!(of(&replica), [(Unsettled::Quarantine, 0)]);
    replica.put("a", "again");
    assert_eq!(of(&replica), [(Unsettled::Pending, 0), (Unsettled::Quarantine, 0)]);
}

#[test]
fn an_erasure_removes_refused_edits_and_is_reported() {
    let mut replica = with(&["a", "b"]);
    refuse(&mut replica);
    let applied = replica.pull(1, vec![entry(1, "a", erased(5))]);
    assert_eq!(applied.erased, [key("a")]);
    let told: Vec<_> = applied.conflicts.iter().map(|c| (&c.key, c.decided)).collect();
    assert_eq!(told, [(&key("a"), Decided::Erased)]);
    assert_eq!(by_two(&replica, Unsettled::Quarantine), [&["b"]]);
    assert_eq!(replica.row().quarantined, 1);
    // An own erasure is no news for the app, and neither is one of an unknown document.
    let own = replica.write(&[("b", WriteOperation::Erase)]);
    assert_eq!((own.erased, own.conflicts), (vec![key("b")], Vec::new()));
    let unknown = replica.pull(2, vec![entry(2, "unknown", erased(4))]);
    assert_eq!((&unknown.erased, &unknown.conflicts), (&Vec::new(), &Vec::new()));
}

#[test]
fn an_erasure_of_a_document_without_refused_edits_is_no_conflict() {
    let mut replica = Replica::new();
    replica.pull(1, vec![entry(1, "a", state("one", 90))]);
    let applied = replica.pull(2, vec![entry(2, "a", erased(5))]);
    assert_eq!((&applied.erased, &applied.conflicts), (&vec![key("a")], &Vec::new()));
}

#[test]
fn a_document_that_exists_after_all_is_reported_once() {
    let mut replica = Replica::new();
    replica.pull(1, vec![entry(1, "b", state("", 90).without_body())]);
    let insert = || WriteOperation::Insert(body("new"));
    let put = WriteOperation::Put(body("x"));
    let committed = replica.write(&[("x", put), ("b", insert()), ("a", insert()), ("c", insert())]);
    let told: Vec<_> = committed.changes.iter().map(|c| c.key.id.as_str()).collect();
    assert_eq!(told, ["x", "a", "c", "b"]);
    assert!(committed.changes.windows(2).all(|pair| pair[0].at < pair[1].at));
}

#[test]
fn an_erasure_of_a_document_that_left_the_device_removes_its_refused_edits() {
    use sync_core::replica::Forget;
    use sync_core::replica::ops::forget;
    let mut replica = with(&["a", "b"]);
    forget(&mut replica.rows, NOW, None, &Forget::Scope(Scope::default())).unwrap();
    assert_eq!((replica.record("a"), replica.row().quarantined), (None, 2));
    let applied = replica.pull(2, vec![entry(1, "a", erased(5)), entry(2, "b", erased(4))]);
    assert_eq!(applied.erased, [key("a"), key("b")]);
    let told: Vec<_> = applied.conflicts.iter().map(|c| &c.key).collect();
    assert_eq!(told, [&key("a"), &key("b")], "of each");
    assert_eq!(replica.row().quarantined, 0);
}
