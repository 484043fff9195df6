//! Local writes.

use sync_core::clock::{DRIFT_BOUND, Now, ServerTime};
use sync_core::error::ErrorKind;
use sync_core::model::{DocumentKey, Limits, LocalSeq, WriteLimits};
use sync_core::replica::{Context, LocalWrite, Operation, Origin, WriteOperation};

use super::super::run::Outcome;
use super::super::tools::{ALL, body, collection, id, json, key, must, now, refused, server_time};
use super::StorageHarness;
use super::fixture::{Fixture, delete, put, transaction};
use super::log::Log;

fn write(name: &str, operation: WriteOperation) -> LocalWrite {
    let DocumentKey { collection, id, .. } = key(name);
    LocalWrite { collection, id, operation }
}

/// The effects of a write are visible as soon as it returns, and each operation has its documented
/// effect.
pub async fn a_write_is_there_when_it_returns<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let inserted = fixture.write([write("a", WriteOperation::Insert(body("1")))]).await;
    assert_eq!(inserted.changes.len(), 1, "{inserted:?}");
    assert_eq!(inserted.changes[0].operation, Operation::Insert);
    assert_eq!(inserted.changes[0].origin, Origin::Local);
    let Some(stored) = fixture.get("a").await else { panic!("what was inserted is missing") };
    assert_eq!((json(&stored.state), stored.dirty, stored.known.0), ("1", true, 0));
    let again = fixture.try_write([write("a", WriteOperation::Insert(body("2")))]).await;
    refused(again, ErrorKind::AlreadyExists, "a second insert");
    fixture.write([write("a", WriteOperation::Update(body("3")))]).await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("3"));
    let stale = WriteOperation::Replace(stored.state.revision, body("9"));
    let moved = fixture.try_write([write("a", stale.clone())]).await;
    refused(moved, ErrorKind::Superseded, "a replacement of an older revision");
    let Some(stored) = fixture.get("a").await else { panic!("what was updated is missing") };
    let fresh = WriteOperation::Replace(stored.state.revision, body("3.5"));
    fixture.write([write("a", fresh)]).await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("3.5"));
    fixture.delete("a").await;
    assert_eq!(fixture.text("a").await, None);
    refused(fixture.try_write([delete("a")]).await, ErrorKind::NotFound, "a second deletion");
    let update = fixture.try_write([write("a", WriteOperation::Update(body("4")))]).await;
    refused(update, ErrorKind::NotFound, "an update of what is deleted");
    let replaced = fixture.try_write([write("a", stale)]).await;
    refused(replaced, ErrorKind::NotFound, "a replacement of what is deleted");
    fixture.write([write("a", WriteOperation::Insert(body("5")))]).await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("5"));
    fixture.check().await;
    Ok(())
}

/// A transaction of which one operation is rejected writes nothing: no document, no outbox entry,
/// nothing in the feed.
pub async fn a_transaction_that_fails_in_the_middle_writes_nothing<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.put("a", "1").await;
    let before = (fixture.state().await, fixture.documents().await);
    let writes = [put("a", "2"), put("b", "2"), delete("missing"), put("c", "2")];
    refused(fixture.try_write(writes).await, ErrorKind::NotFound, "a deletion of nothing");
    let insert = write("a", WriteOperation::Insert(body("3")));
    let writes = [put("b", "3"), insert, put("c", "3")];
    refused(
        fixture.try_write(writes).await,
        ErrorKind::AlreadyExists,
        "an insert of what is there",
    );
    assert_eq!((fixture.state().await, fixture.documents().await), before);
    assert_eq!(fixture.feed(LocalSeq(0), ALL).await.len(), 1, "the feed tells of what failed");
    let batch = fixture.push().await;
    assert_eq!(batch.changes.len(), 1, "what failed is pushed: {batch:?}");
    Ok(())
}

/// A transaction over the limits is rejected as a whole, because it could not be pushed.
pub async fn a_transaction_over_the_limits_is_refused<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.put("a", "1").await;
    let before = fixture.state().await;
    let many = (0..=Limits::PUSH.documents).map(|n| put(&format!("many-{n}"), "1"));
    refused(fixture.try_write(many).await, ErrorKind::InvalidInput, "too many documents");
    let large = format!("\"{}\"", "x".repeat(Limits::BODY_BYTES));
    let writes = [put("b", "1"), put("large", &large)];
    refused(fixture.try_write(writes).await, ErrorKind::InvalidInput, "a body over the limit");
    let large = format!("\"{}\"", "x".repeat(Limits::BODY_BYTES - 2));
    let heavy = (0..5).map(|n| put(&format!("heavy-{n}"), &large));
    refused(fixture.try_write(heavy).await, ErrorKind::InvalidInput, "too many bytes");
    assert_eq!(fixture.state().await, before);
    fixture.put("largest", &large).await;
    assert_eq!(fixture.text("largest").await, Some(large));
    Ok(())
}

/// The server's limits bound local writes as well, once they are known: a write that could not be
/// pushed is rejected at once.
pub async fn what_the_server_does_not_take_is_refused<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let note = async |body_bytes, documents| {
        let transaction = Limits { documents, bytes: 1 << 20 };
        let limits = WriteLimits { body_bytes, transaction };
        must(
            fixture.storage.note_server(fixture.cx(), server_time(now()), limits).await,
            "the limits are noted",
        );
    };
    let two = || [put("a", "1"), put("b", "1")];
    fixture.write(two()).await;
    note(10, 1).await;
    refused(fixture.try_write(two()).await, ErrorKind::InvalidInput, "two documents");
    let large = format!("\"{}\"", "x".repeat(9));
    let body = fixture.try_write([put("a", &large)]).await;
    refused(body, ErrorKind::InvalidInput, "a body over the server's limit");
    fixture.put("a", "\"23456789\"").await;
    note(11, 2).await;
    fixture.put("a", &large).await;
    fixture.write(two()).await;
    note(usize::MAX, usize::MAX).await;
    let large = format!("\"{}\"", "x".repeat(Limits::BODY_BYTES));
    let body = fixture.try_write([put("a", &large)]).await;
    refused(body, ErrorKind::InvalidInput, "a body over the storage's own limit");
    Ok(())
}

/// Within a transaction a later write reads the earlier ones.
pub async fn a_later_write_sees_the_earlier_ones<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let insert = write("a", WriteOperation::Insert(body("1")));
    let update = write("a", WriteOperation::Update(body("2")));
    fixture.write([insert.clone(), update, delete("a"), insert, put("b", "1"), delete("b")]).await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("1"));
    assert_eq!(fixture.text("b").await, None);
    let batch = fixture.push().await;
    let ids: Vec<_> = batch.changes.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["a"], "what came and went within one transaction never travels");
    fixture.check().await;
    Ok(())
}

/// Bodies are kept byte for byte, whether the app or another replica wrote them, and by whichever
/// method they are read.
pub async fn bodies_are_kept_byte_for_byte<H: StorageHarness>(harness: H) -> Outcome {
    let bodies = [
        "null",
        r#"{"b":1,"a":2,"b":3}"#,
        r#" { "spaced" : [ 1 , 2 ] } "#,
        "123456789012345678901234567890.10",
        "1.0e+400",
        "-0.0",
        r#""\u0041\/\ud83d\ude00 é 😀""#,
        r#"{"":"","a":[[[[]]],{}],"\u0000":"\u0000"}"#,
    ];
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    for (n, text) in bodies.iter().enumerate() {
        fixture.put(&format!("local-{n}"), text).await;
        log.put(&format!("remote-{n}"), text);
    }
    fixture.apply(log.rest(0)).await;
    let pushed = fixture.push().await;
    let feed = fixture.feed(LocalSeq(0), ALL).await;
    for origin in ["local", "remote"] {
        for (n, text) in bodies.iter().enumerate() {
            let name = format!("{origin}-{n}");
            assert_eq!(fixture.text(&name).await.as_deref(), Some(*text), "{name} by get");
            let told = feed.iter().find(|c| c.key == key(&name)).and_then(|c| c.document.as_ref());
            assert_eq!(told.map(json), Some(*text), "{name} in the feed");
        }
    }
    for (change, text) in pushed.changes.iter().zip(bodies) {
        assert_eq!(json(&change.state), text, "in the push");
    }
    for stored in fixture.documents().await {
        let (_, n) = stored.key.id.as_str().split_once('-').unwrap_or_default();
        let n: usize = must(n.parse(), "the number of a body");
        assert_eq!(json(&stored.state), bodies[n], "in a scan");
    }
    Ok(())
}

/// Names are compared by their bytes: long ones are not cut, and nothing is folded, trimmed or
/// normalised.
pub async fn names_are_compared_by_their_bytes<H: StorageHarness>(harness: H) -> Outcome {
    let long = |end: &str| format!("{}{end}", "x".repeat(512 - end.len()));
    let wide = |end: &str| format!("{}{end}", "😀".repeat(127));
    let mut names = vec![long("a"), long("b"), wide("aaaa"), wide("aaab")];
    for name in ["é", "e\u{301}", "É", "a", "A", "a ", " a", "a/b", "%", "_", "'", "\"", "\\", "/"]
    {
        names.push(name.to_owned());
    }
    for name in ["0", "00", "٠", "ß", "ss", "\u{feff}", "\u{10ffff}", "\u{e000}", "*", "?", "[a]"]
    {
        names.push(name.to_owned());
    }
    let fixture = Fixture::open(&harness).await;
    let key_of = |n: usize, name: &str| {
        // The same ids in two collections whose names differ in the same way.
        let long = format!("{}{n}", "c".repeat(127));
        DocumentKey::new(Default::default(), collection(&long), id(name))
    };
    for c in [0, 1] {
        for (n, name) in names.iter().enumerate() {
            let DocumentKey { collection, id, .. } = key_of(c, name);
            let operation = WriteOperation::Insert(body(&format!("[{c},{n}]")));
            let written = [LocalWrite { collection, id, operation }];
            must(fixture.storage.write(now(), transaction(written)).await, name);
        }
    }
    for c in [0, 1] {
        for (n, name) in names.iter().enumerate() {
            let found = must(fixture.storage.get(vec![key_of(c, name)]).await, name);
            let found = found.first().and_then(Option::as_ref).map(|s| json(&s.state).to_owned());
            assert_eq!(found, Some(format!("[{c},{n}]")), "{name:?}");
        }
    }
    let scanned: Vec<_> = fixture.documents().await.into_iter().map(|s| s.key).collect();
    let mut expected: Vec<_> =
        [0, 1].iter().flat_map(|c| names.iter().map(|name| key_of(*c, name))).collect();
    expected.sort();
    assert_eq!(scanned, expected, "a scan is not in the order of the names' bytes");
    Ok(())
}

/// The base of an edit is the settled state before the first unsettled edit, however many follow.
pub async fn the_base_is_the_settled_state_before_the_first_edit<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let settled = log.put("a", "0");
    fixture.apply(log.rest(0)).await;
    for text in ["1", "2", "3"] {
        fixture.put("a", text).await;
    }
    let batch = fixture.push().await;
    let base = batch.changes[0].base;
    assert_eq!(base.map(|b| b.revision), Some(settled.revision), "the base of three edits");
    assert_eq!(base.map(|b| (b.seq.0, b.epoch)), Some((1, log.epoch)), "where it was settled");
    // An edit of a document in flight is based on the pushed state, once that is accepted.
    fixture.put("a", "4").await;
    fixture.put("a", "5").await;
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    let next = fixture.push().await;
    let pushed = batch.changes[0].state.revision;
    assert_eq!(next.changes[0].base.map(|b| b.revision), Some(pushed), "the base after a push");
    assert_eq!(json(&next.changes[0].state), "5");
    // Nothing is based on a state that was never settled.
    fixture.put("b", "1").await;
    fixture.put("b", "2").await;
    let verdicts = log.accept(&next);
    fixture.settle(&next, verdicts).await;
    assert_eq!(fixture.push().await.changes[0].base, None, "the base of an insert");
    Ok(())
}

/// A document that was created and deleted before any batch is never pushed; one that was in a
/// batch is.
pub async fn created_and_deleted_in_between_is_never_pushed<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.put("a", "1").await;
    fixture.delete("a").await;
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "nobody has heard of the document");
    fixture.put("b", "1").await;
    let batch = fixture.push().await;
    fixture.delete("b").await;
    let mut log = Log::new();
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    let next = fixture.push().await;
    assert!(next.changes[0].state.is_deleted(), "the deletion has to travel: {next:?}");
    fixture.check().await;
    Ok(())
}

/// Stamps only grow, whatever the clock does, and a child is stamped after its parent.
pub async fn stamps_only_grow<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut last = None;
    let start = now();
    for (n, back) in [0u64, 5_000, 60_000, 1, 0, 86_400_000].into_iter().enumerate() {
        let time = Now(start.0 - back);
        let writes = transaction([put("a", &n.to_string()), put("b", &n.to_string())]);
        let committed = must(fixture.storage.write(time, writes).await, "a write");
        for change in &committed.changes {
            let stamp = change.stamp();
            assert!(last < Some(stamp), "{stamp} does not follow on {last:?}");
            last = Some(stamp);
        }
    }
    let mut log = Log::new();
    let parent = log.put("c", "1");
    fixture.apply(log.rest(0)).await;
    let early = Now(start.0 - 86_400_000);
    let committed =
        must(fixture.storage.write(early, transaction([put("c", "2")])).await, "a write");
    assert!(committed.changes[0].stamp() > parent.revision.stamp, "a child is before its parent");
    Ok(())
}

/// A clock that runs ahead is corrected by the server's time: edits that were stamped too far ahead
/// get new stamps before they are pushed, and later writes are stamped by the corrected clock.
pub async fn the_servers_time_corrects_the_clock<H: StorageHarness>(harness: H) -> Outcome {
    const AHEAD: u64 = 3_600_000;
    let fixture = Fixture::open(&harness).await;
    let truth = now();
    let wrong = Now(truth.0 + AHEAD);
    let early = must(fixture.storage.write(wrong, transaction([put("a", "1")])).await, "a write");
    assert!(early.changes[0].stamp().millis() >= wrong.0, "nobody knows better yet");
    let cx = Context { now: wrong, ..fixture.cx() };
    let limits = WriteLimits::default();
    let time = ServerTime { sent: wrong, server: truth };
    let noted = fixture.storage.note_server(cx.clone(), time, limits).await;
    must(noted, "the server's time is noted");
    let shown = fixture.documents().await[0].state.clone();
    for stamp in [shown.revision.stamp, shown.author.stamp, shown.created] {
        assert!(stamp.millis().abs_diff(truth.0) < 1_000, "{stamp}: an edit keeps its time");
    }
    let late = must(fixture.storage.write(wrong, transaction([put("b", "1")])).await, "a write");
    let bound = truth.plus(DRIFT_BOUND).0;
    let stamp = late.changes[0].stamp();
    assert!(stamp.millis() <= bound, "{stamp} is written by a clock that is known to be wrong");
    let batch = fixture.storage.next_push(cx, Default::default(), Limits::PUSH).await;
    let Some(batch) = must(batch, "a batch is formed") else {
        panic!("there is something to push")
    };
    for change in &batch.changes {
        let stamp = change.state.revision.stamp;
        assert!(stamp.millis() <= bound, "{} travels with {stamp}", change.id);
    }
    fixture.check().await;
    Ok(())
}
