//! Reading chunks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sync_core::error::ErrorKind;
use sync_core::model::{
    Chunk, Cursor, DocumentKey, Epoch, Limits, PushBatch, ResetReason, Scope, Seq,
};
use sync_server::Visible;
use sync_server::ops::{Acknowledgement, ChangesReply};
use sync_server::record::Fork;

use super::super::run::Outcome;
use super::super::tools::{ALL, collection, documents, json, key, must, refused, scope};
use super::ServerStorageHarness;
use super::fixture::{FRESH, Fixture, NEW, Reader, WRITER, batch, insert};

fn ids(chunk: &Chunk) -> Vec<&str> {
    chunk.entries.iter().map(|e| e.id.as_str()).collect()
}

/// The log holds every document once, at its newest position, tombstones included.
pub async fn every_document_once_at_its_newest_position<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]).await;
    fixture.push(&[("a", Some("2"))]).await;
    fixture.push(&[("b", None), ("a", Some("3"))]).await;
    fixture.push(&[("d", Some("1"))]).await;
    fixture.push(&[("d", None)]).await;
    let all = fixture.all().await;
    let all: Vec<_> = all.iter().map(|e| (e.seq.0, e.id.as_str(), json(&e.state))).collect();
    let gone = "(a tombstone)";
    assert_eq!(all, [(3, "c", "1"), (5, "b", gone), (6, "a", "3"), (8, "d", gone)]);
    fixture.push(&[("b", Some("\"again\""))]).await;
    assert_eq!(fixture.all().await.len(), 4);
    fixture.check().await;
    Ok(())
}

/// A read from any position returns exactly the entries after it, in order, whatever the sizes of
/// its chunks.
pub async fn a_chunk_holds_exactly_what_follows<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    for n in 0..12 {
        let name = format!("d{}", n * 5 % 7);
        fixture.push(&[(&name, Some(&n.to_string())), (&format!("n{n}"), Some("1"))]).await;
    }
    let all = fixture.all().await;
    let head = fixture.scope().await.head;
    for position in 0..=head.0 {
        let expected: Vec<_> = all.iter().filter(|e| e.seq.0 > position).cloned().collect();
        let chunk = fixture.chunk(fixture.at(position).await, ALL).await;
        assert_eq!((chunk.after, chunk.next, chunk.head), (Seq(position), head, head));
        assert_eq!(chunk.entries, expected, "after {position}");
        for limit in [1, 2, 5] {
            let mut reader = Reader::default();
            reader.checkpoint.epoch = Some(FRESH);
            reader.checkpoint.position = Seq(position);
            assert_eq!(reader.follow(&*fixture.storage, documents(limit)).await, head);
            let mut seen: Vec<_> = reader.seen.into_values().collect();
            seen.sort_by_key(|e| e.seq);
            assert_eq!(seen, expected, "after {position} by chunks of {limit}");
        }
    }
    let at_head = fixture.chunk(fixture.at(head.0).await, ALL).await;
    assert_eq!((at_head.entries.len(), at_head.has_more()), (0, false));
    Ok(())
}

/// A chunk never ends inside a push, so that a reader at the head never shows half of a
/// transaction.
pub async fn a_chunk_never_cuts_a_push<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut ends = BTreeSet::from([0]);
    for n in 0..9 {
        let size = [3, 1, 5, 2][n % 4];
        ends.insert(fixture.fill(&format!("p{n}"), size).await.head.0);
    }
    let head = fixture.scope().await.head;
    for limit in 1..=8 {
        let mut reader = Reader::default();
        loop {
            let chunk = reader.step(&*fixture.storage, documents(limit)).await;
            assert!(ends.contains(&chunk.next.0), "a chunk of {limit} ends at {}", chunk.next);
            assert!(chunk.entries.len() <= limit.max(5), "{} of {limit}", chunk.entries.len());
            if !chunk.has_more() {
                break;
            }
        }
        assert_eq!(reader.checkpoint.after(), head);
        assert_eq!(reader.seen.len(), 3 + 1 + 5 + 2 + 3 + 1 + 5 + 2 + 3);
    }
    Ok(())
}

/// Chunks are bounded in documents and bytes, and always make progress: one push fits, however
/// large.
pub async fn chunks_are_bounded_and_move_on<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let large = format!("\"{}\"", "x".repeat(10_000));
    for n in 0..6 {
        fixture.push(&[(&format!("large-{n}"), Some(large.as_str()))]).await;
    }
    for n in 0..20 {
        fixture.push(&[(&format!("small-{n:02}"), Some("1"))]).await;
    }
    let by_bytes = |bytes| Limits { documents: 1_000, bytes };
    let chunk = fixture.chunk(Cursor::default(), by_bytes(25_000)).await;
    assert_eq!((ids(&chunk), chunk.next), (vec!["large-0", "large-1"], Seq(2)), "25,000 bytes");
    let chunk = fixture.chunk(Cursor::default(), documents(4)).await;
    assert_eq!((chunk.entries.len(), chunk.next.0, chunk.has_more()), (4, 4, true));
    for limits in [by_bytes(1), by_bytes(9_000), documents(1), documents(0), documents(7)] {
        let mut reader = Reader::default();
        let (mut chunks, mut most) = (0, 0);
        while reader.checkpoint.after() < Seq(26) {
            let chunk = reader.step(&*fixture.storage, limits).await;
            most = most.max(chunk.entries.len());
            chunks += 1;
            assert!(chunks <= 26, "within {limits:?} it does not move on");
        }
        assert_eq!(reader.seen.len(), 26, "within {limits:?}");
        assert!(most <= limits.documents.max(1), "{most} documents within {limits:?}");
    }
    Ok(())
}

/// A reader receives the collections that it may read, and moves past the others.
pub async fn only_visible_collections_are_read<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    for n in 0..10 {
        let names = [format!("open/{n}"), format!("secret/{n}"), format!("also open/{n}")];
        fixture.push(&names.each_ref().map(|name| (name.as_str(), Some("1")))).await;
    }
    let visible = ["open", "also open", "empty"].map(collection);
    let visible = Visible::Only(Arc::new(visible.into_iter().collect()));
    for (visible, each) in [(visible, 2), (Visible::Only(Arc::default()), 0), (Visible::All, 3)] {
        for limits in [ALL, documents(1), documents(7)] {
            let (mut cursor, mut told) = (Cursor::default(), Vec::new());
            for _ in 0..40 {
                let reply = fixture
                    .storage
                    .changes(Scope::default(), cursor, limits, visible.clone())
                    .await;
                let ChangesReply::Chunk(chunk) = must(reply, "changes are read") else {
                    panic!("a chunk was expected")
                };
                cursor = fixture.at(chunk.next.0).await;
                let more = chunk.has_more();
                told.extend(chunk.entries);
                if !more {
                    break;
                }
            }
            assert_eq!(cursor.after, Seq(30), "within {limits:?} the reader does not move on");
            assert_eq!(told.len(), each * 10, "{visible:?} within {limits:?}");
            let hidden = told.iter().find(|e| !visible.includes(&e.collection));
            assert_eq!(hidden, None, "what may not be seen was told");
        }
    }
    Ok(())
}

/// A reader receives the collections that its cursor names, among those that it may read, and moves
/// past all others.
pub async fn only_chosen_collections_are_read<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    for n in 0..10 {
        let names = [format!("a/{n}"), format!("b/{n}"), format!("secret/{n}")];
        fixture.push(&names.each_ref().map(|name| (name.as_str(), Some("1")))).await;
    }
    let visible = Visible::Only(Arc::new(["a", "b"].map(collection).into()));
    for (names, each) in [(&["a"][..], 1), (&["a", "secret"], 1), (&["empty"], 0)] {
        let collections = Some(names.iter().map(|name| collection(name)).collect());
        for limits in [ALL, documents(1), documents(7)] {
            let mut cursor = Cursor { collections: collections.clone(), ..Cursor::default() };
            let mut told = Vec::new();
            for _ in 0..40 {
                let (scope, visible) = (Scope::default(), visible.clone());
                let reply = fixture.storage.changes(scope, cursor.clone(), limits, visible).await;
                let ChangesReply::Chunk(chunk) = must(reply, "changes are read") else {
                    panic!("a chunk was expected")
                };
                cursor = cursor.following(&chunk);
                let more = chunk.has_more();
                told.extend(chunk.entries);
                if !more {
                    break;
                }
            }
            assert_eq!(cursor.collections, collections, "the next cursor names the same");
            assert_eq!(cursor.after, Seq(30), "within {limits:?} the reader does not move on");
            assert_eq!(told.len(), each * 10, "{names:?} within {limits:?}");
            assert!(told.iter().all(|e| e.collection.as_str() == "a"), "{told:?}");
        }
    }
    Ok(())
}

/// A collection that is further behind is filled in by the same chunks, and the others are not sent
/// again.
pub async fn a_collection_further_behind_is_filled_in<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    for n in 0..6 {
        let names = [format!("old/{n}"), format!("new/{n}")];
        fixture.push(&names.each_ref().map(|name| (name.as_str(), Some("1")))).await;
    }
    let mut cursor = fixture.at(8).await;
    cursor.backfills = BTreeMap::from([(collection("new"), Seq(0))]);
    cursor.after = Seq(0);
    let chunk = fixture.chunk(cursor, ALL).await;
    let told: Vec<_> = chunk.entries.iter().map(|e| e.seq.0).collect();
    assert_eq!(told, [2, 4, 6, 8, 9, 10, 11, 12]);
    assert_eq!((chunk.after, chunk.next), (Seq(0), Seq(12)));
    Ok(())
}

/// For an unknown scope every method fails with `NotFound` or returns nothing, and does not create
/// the scope.
pub async fn an_unknown_scope_is_not_found<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1"))]).await;
    let (storage, unknown) = (&fixture.storage, || scope("unknown"));
    let read = storage.changes(unknown(), Cursor::default(), ALL, Visible::All).await;
    refused(read, ErrorKind::NotFound, "changes");
    refused(storage.purge(unknown(), Seq(1)).await, ErrorKind::NotFound, "purge");
    let begun = storage.begin_epoch(unknown(), FRESH, Seq(0), Epoch([1; 16])).await;
    refused(begun, ErrorKind::NotFound, "begin_epoch");
    let ack = Acknowledgement::new(FRESH, Seq(0));
    let acknowledged = storage.acknowledge(unknown(), WRITER, ack).await;
    refused(acknowledged, ErrorKind::NotFound, "acknowledge");
    assert_eq!(must(storage.find_scope(unknown()).await, "find_scope"), None);
    assert_eq!(must(storage.replica(unknown(), WRITER).await, "replica"), (None, None));
    assert_eq!(must(storage.scopes(None, 10).await, "scopes"), [Scope::default()]);
    Ok(())
}

/// Scopes are listed in order of their names, in pages, each once.
pub async fn scopes_come_by_pages<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut names: Vec<_> = (0..25).map(|n| format!("s{:02}", n * 7 % 25)).collect();
    names.extend(["s", "s0", "é", "Z", "😀", "s00 "].map(str::to_owned));
    for name in &names {
        must(fixture.storage.scope(scope(name), NEW).await, "a scope begins");
    }
    names.sort();
    for limit in [1, 2, 7, 31, 100] {
        let mut listed: Vec<Scope> = Vec::new();
        loop {
            let page = fixture.storage.scopes(listed.last().cloned(), limit).await;
            let page = must(page, "a page of scopes");
            assert!(page.len() <= limit, "{} of {limit}", page.len());
            let is_last = page.len() < limit;
            listed.extend(page);
            if is_last {
                break;
            }
            assert!(listed.len() <= names.len(), "scopes are listed twice: {listed:?}");
        }
        let listed: Vec<_> = listed.iter().map(Scope::as_str).collect();
        assert_eq!(listed, names, "by pages of {limit}");
    }
    Ok(())
}

/// Scopes are independent: positions, documents, digests.
pub async fn scopes_are_apart<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1")), ("b", Some("1"))]).await;
    let before = (fixture.scope().await, fixture.all().await);
    for (n, name) in ["defaul", "default ", "default/"].into_iter().enumerate() {
        let changes = (0..=n).map(|d| insert(&format!("a{d}"), "2")).collect();
        let elsewhere = PushBatch { scope: scope(name), ..batch(WRITER, 9, changes) };
        assert_eq!(fixture.append(&elsewhere).await.head, Seq(n as u64 + 1), "{name}");
    }
    must(fixture.storage.purge(scope("defaul"), Seq(1)).await, "a purge");
    assert_eq!((fixture.scope().await, fixture.all().await), before);
    Ok(())
}

/// Positions of another log are detected: of an unknown epoch, without an epoch, and beyond the
/// head.
pub async fn positions_of_another_log_are_a_fork<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 5).await;
    let sound = fixture.at(3).await;
    let changed = Fork::Reset(sync_core::model::Reset {
        epoch: fixture.scope().await.epoch,
        reason: ResetReason::EpochChanged { cut: Seq(0) },
    });
    let unknown = Cursor { epoch: Some(Epoch([0x99; 16])), ..sound.clone() };
    assert_eq!(fixture.fork(unknown).await, changed);
    assert_eq!(fixture.fork(Cursor { epoch: None, ..sound.clone() }).await, changed);
    // A position beyond the head proves nothing: it concerns the client alone.
    let beyond = Cursor { after: Seq(9), position: Seq(9), ..sound };
    let (epoch, reason) = (fixture.scope().await.epoch, ResetReason::Unproven);
    let unproven = Fork::Reset(sync_core::model::Reset { epoch, reason });
    assert_eq!(fixture.fork(beyond).await, unproven);
    Ok(())
}

/// Bodies and names are returned byte for byte.
pub async fn bodies_and_names_come_back_byte_for_byte<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let long = |end: &str| format!("{}{end}", "x".repeat(512 - end.len()));
    let documents = [
        (long("a"), "123456789012345678901234567890.10"),
        (long("b"), r#"{"b":1,"a":2,"b":3}"#),
        ("é".to_owned(), r#" { "spaced" : [ 1 , 2 ] } "#),
        ("e\u{301}".to_owned(), r#""\u0041\/\ud83d\ude00 é 😀""#),
        ("A".to_owned(), "-0.0"),
        ("a".to_owned(), "null"),
        ("a ".to_owned(), "1.0e+400"),
    ];
    let changes: Vec<_> = documents
        .iter()
        .map(|(id, json)| {
            let DocumentKey { collection, .. } = key("x");
            let mut change = insert("x", json);
            change.collection = collection;
            change.id = super::super::tools::id(id);
            change
        })
        .collect();
    let pushed = fixture.batch(changes);
    fixture.append(&pushed).await;
    let all = fixture.all().await;
    assert_eq!(all.len(), documents.len(), "two names are taken for one");
    for (entry, change) in all.iter().zip(&pushed.changes) {
        assert_eq!((&entry.id, &entry.state), (&change.id, &change.state));
    }
    Ok(())
}
