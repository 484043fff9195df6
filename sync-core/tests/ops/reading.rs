//! Pages of documents and of the feed.

use super::*;
use sync_core::model::LocalSeq;
use sync_core::replica::ops::{feed, get, scan};
use sync_core::replica::{Operation, Origin, Scan, StoragePage, Stored};

fn page(replica: &Replica, after: Option<&str>, limits: Limits) -> StoragePage<Stored> {
    let after = after.map(|id| (key(id).collection, key(id).id));
    let scan_of = Scan { scope: Scope::default(), collection: None, after, limits };
    scan(&replica.rows, &scan_of).unwrap()
}

fn ids(page: &StoragePage<Stored>) -> Vec<&str> {
    page.items.iter().map(|stored| stored.key.id.as_str()).collect()
}

fn documents(documents: usize) -> Limits {
    Limits { documents, ..Limits::PUSH }
}

#[test]
fn a_document_is_read_with_what_is_known_of_it() {
    let mut replica = Replica::new();
    let gone = state("", 80).without_body();
    replica.pull(2, vec![entry(1, "clean", state("one", 90)), entry(2, "gone", gone)]);
    replica.put("dirty", "two");
    let keys = ["clean", "gone", "dirty", "missing"].map(key);
    let found = get(&replica.rows, &keys).unwrap();
    let known = found.iter().map(|stored| stored.as_ref().map(|s| (s.known, s.dirty)));
    let expected = [Some((Seq(1), false)), None, Some((Seq(0), true)), None];
    assert_eq!(known.collect::<Vec<_>>(), expected);
    assert_eq!(found[0].as_ref().map(|s| &s.state), Some(&state("one", 90)));
}

#[test]
fn a_page_ends_at_its_limits_and_says_whether_more_follow() {
    let mut replica = Replica::new();
    for id in ["a", "b", "c", "d"] {
        replica.put(id, "text");
    }
    replica.write(&[("b", WriteOperation::Delete)]);
    for (limit, expected, more) in
        [(1, vec!["a"], true), (2, vec!["a", "c"], true), (3, vec!["a", "c", "d"], false)]
    {
        let page = page(&replica, None, documents(limit));
        assert_eq!((ids(&page), page.more), (expected, more));
    }
    let rest = page(&replica, Some("a"), documents(9));
    assert_eq!((ids(&rest), rest.more), (vec!["c", "d"], false));
    let one = rest.items[0].state.weight();
    let bytes = |bytes| page(&replica, None, Limits { bytes, ..Limits::PUSH });
    assert_eq!(ids(&bytes(1)), ["a"], "one always fits");
    assert_eq!(ids(&bytes(2 * one - 1)), ["a"]);
    assert_eq!(ids(&bytes(2 * one)), ["a", "c"]);
    assert_eq!(ids(&bytes(3 * one - 1)), ["a", "c"]);
    assert_eq!(ids(&bytes(3 * one)), ["a", "c", "d"]);
}

#[test]
fn tombstones_are_skipped_however_many_there_are() {
    let mut replica = Replica::new();
    let gone = |n| entry(n, &format!("d{n:05}"), state("", 90).without_body());
    let mut entries: Vec<_> = (1..=2_500).map(gone).collect();
    entries.push(entry(2_501, "last", state("x", 80)));
    replica.pull(2_501, entries);
    for limit in [1, 2, 1_000] {
        let page = page(&replica, None, documents(limit));
        assert_eq!((ids(&page), page.more), (vec!["last"], false));
    }
}

#[test]
fn the_feed_returns_each_document_once_at_its_newest_place() {
    let mut replica = Replica::new();
    replica.pull(1, vec![entry(1, "pulled", state("one", 90))]);
    for (id, text) in [("new", "x"), ("edited", "y"), ("edited", "z"), ("gone", "g")] {
        replica.put(id, text);
    }
    // A document that was never pushed would leave no trace.
    replica.next_push().unwrap();
    replica.write(&[("gone", WriteOperation::Delete)]);
    let told = |after, limits| {
        let page = feed(&replica.rows, after, limits).unwrap();
        let changes = page.changes.iter().map(|c| (c.key.id.as_str().to_owned(), c.operation));
        (changes.collect::<Vec<_>>(), page.more, page.gap, page.changes)
    };
    let expected = [
        ("pulled", Operation::Insert),
        ("new", Operation::Insert),
        ("edited", Operation::Update),
        ("gone", Operation::Delete),
    ];
    let expected = expected.map(|(id, operation)| (id.to_owned(), operation));
    let (changes, more, gap, all) = told(LocalSeq(0), Limits::PUSH);
    assert_eq!((&changes[..], more, gap), (&expected[..], false, false));
    let origins: Vec<_> = all.iter().map(|c| c.origin).collect();
    assert_eq!(origins, [Origin::Remote, Origin::Local, Origin::Local, Origin::Local]);
    let (first, more, ..) = told(LocalSeq(0), documents(2));
    assert_eq!((&first[..], more), (&expected[..2], true));
    let (rest, more, ..) = told(all[1].at, documents(2));
    assert_eq!((&rest[..], more), (&expected[2..], false));
}

#[test]
fn the_feed_reports_a_gap_to_readers_at_an_earlier_place() {
    use sync_core::replica::rows::ReplicaRows;
    let mut replica = Replica::new();
    replica.put("a", "x");
    let floor = LocalSeq(7);
    let meta = ReplicaMeta { feed_floor: floor, ..replica.meta() };
    replica.rows.put_meta(&meta).unwrap();
    let has_gap = |after| feed(&replica.rows, LocalSeq(after), Limits::PUSH).unwrap().gap;
    assert_eq!([6, 7, 8].map(has_gap), [true, false, false]);
}
