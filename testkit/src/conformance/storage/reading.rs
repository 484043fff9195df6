//! Reads: documents, pages, the feed, the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sync_core::model::{Collection, DocumentId, DocumentKey, Limits, LocalSeq, Scope};
use sync_core::replica::{LocalTransaction, Operation, Origin, Scan, StoragePage, Stored};

use super::super::run::Outcome;
use super::super::tools::{
    ALL, collection, documents, finished, json, key, must, now, scope, soon,
};
use super::StorageHarness;
use super::fixture::{Fixture, delete, put, transaction};
use super::log::Log;

async fn scan(
    fixture: &Fixture,
    collection: Option<Collection>,
    after: Option<(Collection, DocumentId)>,
    limits: Limits,
) -> StoragePage<Stored> {
    let scan = Scan { scope: Scope::default(), collection, after, limits };
    must(fixture.storage.scan(scan).await, "a page is read")
}

fn names(items: &[Stored]) -> Vec<&str> {
    items.iter().map(|s| s.key.id.as_str()).collect()
}

/// `get` returns a result for every key in its place: none for a missing or deleted document, two
/// for a key that occurs twice.
pub async fn get_answers_every_key_in_its_place<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.write([put("a", "1"), put("b", "2"), put("gone", "3")]).await;
    let batch = fixture.push().await;
    let mut log = Log::new();
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    fixture.delete("gone").await;
    let keys = ["b", "missing", "a", "gone", "b", "other/a"].map(key).to_vec();
    let found = must(fixture.storage.get(keys.clone()).await, "documents are read");
    let found: Vec<_> = found.iter().map(|s| s.as_ref().map(|s| json(&s.state))).collect();
    assert_eq!(found, [Some("2"), None, Some("1"), None, Some("2"), None]);
    assert!(must(fixture.storage.get(Vec::new()).await, "no documents are read").is_empty());
    Ok(())
}

/// Scopes and collections are independent, also those whose names have a common prefix.
pub async fn scopes_and_collections_are_apart<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.write([put("c/x", "1"), put("cc/x", "2"), put("c c/x", "3")]).await;
    for (n, name) in ["defaul", "default ", "default/"].into_iter().enumerate() {
        let writes =
            LocalTransaction { scope: scope(name), writes: vec![put("c/x", &n.to_string())] };
        must(fixture.storage.write(now(), writes).await, "a write to another scope");
    }
    let page = scan(&fixture, Some(collection("c")), None, ALL).await;
    assert_eq!(page.items.iter().map(|s| json(&s.state)).collect::<Vec<_>>(), ["1"]);
    let all = fixture.documents().await;
    let all: Vec<_> = all.iter().map(|s| s.key.collection.as_str()).collect();
    assert_eq!(all, ["c", "c c", "cc"]);
    let missing = scan(&fixture, Some(collection("d")), None, ALL).await;
    assert_eq!((missing.items.len(), missing.more), (0, false));
    let state = fixture.state().await;
    let scopes: Vec<_> = state.scopes.iter().map(|s| (s.scope.as_str(), s.documents)).collect();
    assert_eq!(scopes, [("defaul", 1), ("default", 3), ("default ", 1), ("default/", 1)]);
    let other = DocumentKey { scope: scope("defaul"), ..key("c/x") };
    let other = must(fixture.storage.get(vec![other]).await, "another scope is read");
    assert_eq!(other[0].as_ref().map(|s| json(&s.state)), Some("0"));
    Ok(())
}

/// Pages are bounded in documents and in bytes, one document always fits, and `more` shows whether
/// more follow.
pub async fn pages_are_bounded<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let large = format!("\"{}\"", "x".repeat(10_000));
    fixture.write([put("a", &large), put("b", &large), put("c", "1"), put("d", "1")]).await;
    fixture.write([put("e", "1"), put("deleted", "1")]).await;
    fixture.delete("deleted").await;
    let page = scan(&fixture, None, None, documents(2)).await;
    assert_eq!((names(&page.items), page.more), (vec!["a", "b"], true));
    let exact = scan(&fixture, None, None, documents(5)).await;
    assert_eq!((exact.items.len(), exact.more), (5, false), "nothing follows on all documents");
    let by_bytes = |bytes| Limits { documents: 100, bytes };
    let page = scan(&fixture, None, None, by_bytes(15_000)).await;
    assert_eq!((names(&page.items), page.more), (vec!["a"], true), "two do not fit");
    let page = scan(&fixture, None, None, by_bytes(1)).await;
    assert_eq!((names(&page.items), page.more), (vec!["a"], true), "one always fits");
    for limits in [documents(1), documents(3), by_bytes(1), by_bytes(11_000), by_bytes(25_000)] {
        let all = fixture.documents_by(limits).await;
        assert_eq!(names(&all), ["a", "b", "c", "d", "e"], "by pages of {limits:?}");
    }
    Ok(())
}

/// Paging continues after a document, not after a count: inserts and deletions of other tasks make
/// it neither miss nor repeat one.
pub async fn paging_goes_on_from_a_document<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.write((0..20).map(|n| put(&format!("k-{n:02}"), "1"))).await;
    let place = |page: &StoragePage<Stored>| {
        page.items.last().map(|s| (s.key.collection.clone(), s.key.id.clone()))
    };
    let first = scan(&fixture, None, None, documents(5)).await;
    fixture.write([delete("k-00"), delete("k-01"), delete("k-04")]).await;
    let second = scan(&fixture, None, place(&first), documents(5)).await;
    assert_eq!(names(&second.items), ["k-05", "k-06", "k-07", "k-08", "k-09"], "after deletions");
    fixture.write((0..7).map(|n| put(&format!("a-{n}"), "1"))).await;
    let third = scan(&fixture, None, place(&second), documents(5)).await;
    assert_eq!(names(&third.items), ["k-10", "k-11", "k-12", "k-13", "k-14"], "after inserts");
    fixture.put("k-12x", "1").await;
    let last = scan(&fixture, None, place(&third), documents(50)).await;
    assert_eq!(names(&last.items), ["k-15", "k-16", "k-17", "k-18", "k-19"]);
    assert!(!last.more);
    Ok(())
}

/// While other tasks write, paging returns every document that was there all the time exactly once.
pub async fn paging_is_complete_while_others_write<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.write((0..300).map(|n| put(&format!("k-{n:03}"), "1"))).await;
    let done = Arc::new(AtomicBool::new(false));
    let (storage, stop) = (Arc::clone(&fixture.storage), Arc::clone(&done));
    let writer = tokio::spawn(async move {
        let mut n = 0;
        while !stop.load(Ordering::Acquire) {
            let (a, b) = (format!("a-{:03}", n % 50), format!("k-{:03}x", n * 7 % 300));
            let k = format!("k-{:03}", n * 11 % 300);
            let round = n.to_string();
            let writes = [put(&a, &round), put(&b, &round), put(&k, &round)];
            must(storage.write(now(), transaction(writes)).await, "a write meanwhile");
            let gone = [delete(&a), delete(&b)];
            must(storage.write(now(), transaction(gone)).await, "a deletion meanwhile");
            n += 1;
        }
    });
    for limits in [7, 50, 299, 301] {
        let all = fixture.documents_by(documents(limits)).await;
        let ids = names(&all);
        assert!(ids.is_sorted(), "by pages of {limits}: {ids:?}");
        let distinct: BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "by pages of {limits} a document came twice");
        let there = ids.iter().filter(|i| i.len() == 5 && i.starts_with("k-")).count();
        assert_eq!(there, 300, "by pages of {limits} a document is missing");
    }
    done.store(true, Ordering::Release);
    finished(writer).await;
    fixture.check().await;
    Ok(())
}

/// The feed returns every document that changed, in order, from any place and with any page size.
pub async fn the_feed_returns_every_change_in_order<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 10);
    fixture.apply(log.rest(0)).await;
    fixture.fill("l", 10).await;
    fixture.put("l-00003", "\"edited\"").await;
    fixture.delete("l-00004").await;
    log.put("r-00005", "\"edited\"");
    log.delete("r-00006");
    fixture.apply(log.rest(10)).await;
    let all = fixture.feed(LocalSeq(0), ALL).await;
    let newest: BTreeMap<_, _> = all.iter().map(|c| (c.key.clone(), c)).collect();
    assert!(newest.len() >= 19, "the feed tells of {} documents only", newest.len());
    for (name, operation, text, origin) in [
        ("l-00003", None, Some("\"edited\""), Origin::Local),
        ("r-00005", None, Some("\"edited\""), Origin::Remote),
        ("r-00006", Some(Operation::Delete), None, Origin::Remote),
        ("r-00009", None, Some("9"), Origin::Remote),
        ("l-00009", Some(Operation::Insert), Some("9"), Origin::Local),
    ] {
        let Some(change) = newest.get(&key(name)) else { panic!("the feed misses {name}") };
        let live = change.document.as_ref().filter(|d| !d.is_deleted());
        assert_eq!((live.map(json), change.origin), (text, origin), "{name}");
        assert!(operation.is_none_or(|o| o == change.operation), "{name}: {change:?}");
    }
    let places: Vec<_> = all.iter().map(|c| c.at).collect();
    assert_eq!(fixture.state().await.last_local, places[places.len() - 1]);
    for limit in [1, 2, 3, 7, 100] {
        let paged = fixture.feed(LocalSeq(0), documents(limit)).await;
        let newest_paged: BTreeMap<_, _> = paged.iter().map(|c| (c.key.clone(), c.at)).collect();
        let newest: BTreeMap<_, _> = newest.iter().map(|(k, c)| (k.clone(), c.at)).collect();
        assert_eq!(newest_paged, newest, "by pages of {limit}");
    }
    let middle = places[places.len() / 2];
    let rest = fixture.feed(middle, documents(2)).await;
    assert_eq!(rest.iter().map(|c| c.at).collect::<Vec<_>>(), places[places.len() / 2 + 1..]);
    Ok(())
}

/// A reader that reads the feed when the commit counter moves, while several tasks write, ends with
/// every document in its last state.
pub async fn following_the_feed_misses_nothing<H: StorageHarness>(harness: H) -> Outcome {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 30;
    let fixture = Fixture::open(&harness).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|w| {
            let storage = Arc::clone(&fixture.storage);
            tokio::spawn(async move {
                for n in 0..ROUNDS {
                    let names = [format!("w{w}-{}", n % 7), format!("w{w}-last")];
                    let writes = names.iter().map(|name| put(name, &n.to_string()));
                    must(storage.write(now(), transaction(writes)).await, "a write");
                }
            })
        })
        .collect();
    let mut commits = fixture.storage.commits();
    let (mut after, mut seen) = (LocalSeq(0), BTreeMap::new());
    let last = (ROUNDS - 1).to_string();
    let is_done = |seen: &BTreeMap<String, String>| {
        (0..WRITERS).all(|w| seen.get(&format!("w{w}-last")) == Some(&last))
    };
    while !is_done(&seen) {
        commits.mark_unchanged();
        let changes = fixture.feed(after, documents(5)).await;
        if changes.is_empty() {
            must(soon("a commit moves the counter", commits.changed()).await, "the counter lives");
        }
        for change in changes {
            after = change.at;
            let text = change.document.as_ref().map_or("", json).to_owned();
            seen.insert(change.key.id.as_str().to_owned(), text);
        }
    }
    for writer in writers {
        finished(writer).await;
    }
    let shown: BTreeMap<_, _> = fixture
        .documents()
        .await
        .iter()
        .map(|s| (s.key.id.as_str().to_owned(), json(&s.state).to_owned()))
        .collect();
    assert_eq!(seen, shown);
    Ok(())
}

/// The commit counter moves after every kind of commit, so that readers need not poll.
pub async fn every_commit_moves_the_counter<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let mut commits = fixture.storage.commits();
    for step in ["write", "apply", "push", "settle", "forget"] {
        commits.mark_unchanged();
        match step {
            "write" => drop(fixture.put("a", "1").await),
            "apply" => {
                log.put("b", "1");
                drop(fixture.apply(log.rest(0)).await);
            }
            "push" => drop(fixture.push().await),
            "settle" => {
                let batch = fixture.push().await;
                // Forming the batch was another commit, or none.
                commits.mark_unchanged();
                let verdicts = log.accept(&batch);
                drop(fixture.settle(&batch, verdicts).await);
            }
            _ => {
                let what = sync_core::replica::Forget::Scope(Scope::default());
                drop(must(fixture.storage.forget(now(), None, what).await, "a scope is forgotten"));
            }
        }
        must(soon(step, commits.changed()).await, "the counter lives");
    }
    Ok(())
}

/// Counts and digests equal those of a recount, after every operation on a document.
pub async fn the_state_is_what_a_recount_gives<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 30);
    fixture.apply(log.chunk(0, 17)).await;
    fixture.check().await;
    fixture.fill("l", 20).await;
    fixture.write((0..5).map(|n| put(&format!("r-{n:05}"), "\"edited\""))).await;
    fixture.write([delete("r-00007"), delete("l-00003")]).await;
    fixture.check().await;
    let batch = fixture.push().await;
    fixture.check().await;
    fixture.write([put("l-00001", "\"since\""), delete("l-00002"), put("r-00008", "1")]).await;
    log.put("r-00002", "\"theirs\"");
    log.delete("r-00001");
    fixture.apply(log.rest(17)).await;
    fixture.check().await;
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    fixture.check().await;
    let batch = fixture.push().await;
    fixture.settle(&batch, log.reject(&batch)).await;
    fixture.check().await;
    let counts = fixture.outbox().await;
    assert_eq!((counts.pending, counts.in_flight), (0, 0));
    assert_eq!(counts.quarantined, batch.changes.len() as u64);
    let digest = fixture.summary().await.digest;
    fixture.put("one-more", "1").await;
    assert_ne!(fixture.summary().await.digest, digest, "a digest that does not move");
    Ok(())
}
