//! Forming batches.

use std::sync::Arc;

use sync_core::clock::Now;
use sync_core::error::ErrorKind;
use sync_core::model::{Limits, PushBatch, PushId, Scope};
use sync_core::replica::{Failed, Failures, Unsettled};

use super::super::run::Outcome;
use super::super::tools::{ALL, documents, json, key, must, now, refused};
use super::StorageHarness;
use super::fixture::{Fixture, delete, put};
use super::log::Log;

fn ids(batch: &PushBatch) -> Vec<&str> {
    batch.changes.iter().map(|c| c.id.as_str()).collect()
}

/// A batch keeps its id and content until it is settled, whatever is written, pulled or requested
/// meanwhile.
pub async fn a_batch_is_the_same_until_it_is_settled<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.write([put("a", "1"), put("b", "1")]).await;
    let batch = fixture.push().await;
    assert_eq!(fixture.next_push(Limits::PUSH).await.as_ref(), Some(&batch), "asked again");
    fixture.write([put("a", "2"), put("c", "1"), delete("b")]).await;
    assert_eq!(fixture.next_push(Limits::PUSH).await.as_ref(), Some(&batch), "after a write");
    log.put("a", "\"theirs\"");
    log.put("d", "1");
    fixture.apply(log.rest(0)).await;
    assert_eq!(fixture.next_push(Limits::PUSH).await.as_ref(), Some(&batch), "after a pull");
    assert_eq!(fixture.next_push(documents(1)).await.as_ref(), Some(&batch), "with other limits");
    assert_eq!(fixture.state().await.last_push, batch.id);
    assert_eq!(fixture.summary().await.in_flight, Some(batch.id));
    let flying = fixture.unsettled(Unsettled::InFlight, ALL).await;
    assert_eq!(flying.len(), 2, "what is in flight can be looked at");
    assert!(flying.iter().all(|entry| entry.attempts == 5), "it was given five times");
    let alone = must(fixture.storage.unsettled_of(key("a")).await, "one document");
    assert_eq!(alone[0].1.attempts, 5, "of one document");
    let waiting = fixture.unsettled(Unsettled::Pending, ALL).await;
    assert_eq!(waiting.iter().map(|e| e.attempts).collect::<Vec<_>>(), [0], "it is in no batch");
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    let next = fixture.push().await;
    assert!(next.id > batch.id, "batches are numbered upwards");
    assert_eq!(ids(&next), ["a", "b", "c"]);
    fixture.check().await;
    Ok(())
}

/// Failures are stored, up to a bound, until a batch is settled or an attempt succeeds. Failures of
/// an unknown scope are not stored.
pub async fn what_failed_is_kept_until_it_works<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let note = async |failed| {
        let noted = fixture.storage.note_attempt(fixture.cx(), Scope::default(), failed).await;
        must(noted, "an attempt is noted");
    };
    let at = now();
    let failed = |message: String| {
        let retry_at = Some(Now(at.0 + 7));
        Failed { kind: ErrorKind::Network, message, at, retry_at }
    };
    note(Some(failed("nobody has heard of the scope".to_owned()))).await;
    assert_eq!(fixture.state().await.scopes, []);
    fixture.put("a", "1").await;
    for n in 0..10 {
        note(Some(failed(n.to_string()))).await;
    }
    note(Some(failed("ä".repeat(10_000)))).await;
    let Failures { count, last } = fixture.summary().await.failures;
    assert_eq!((count, last.len()), (11, Failures::KEPT), "the last ones are kept");
    assert_eq!(last[0], failed("7".to_owned()), "the oldest first");
    assert_eq!(last[3].message, "ä".repeat(Failures::MESSAGE_BYTES / 2), "within bounds");
    fixture.put("b", "1").await;
    assert_eq!(fixture.summary().await.failures.count, 11, "a write changes nothing about it");
    note(None).await;
    assert_eq!(fixture.summary().await.failures, Failures::default(), "it works");
    note(Some(failed("again".to_owned()))).await;
    let batch = fixture.push().await;
    assert_eq!(fixture.summary().await.failures.count, 1, "a batch that is formed is not settled");
    let verdicts = Log::new().accept(&batch);
    fixture.settle(&batch, verdicts).await;
    assert_eq!(fixture.summary().await.failures, Failures::default(), "a batch was settled");
    let new = Fixture::over(Arc::clone(&fixture.storage)).await;
    let late =
        fixture.storage.note_attempt(fixture.cx(), Scope::default(), Some(failed(String::new())));
    refused(late.await, ErrorKind::Superseded, "a former holder's failure");
    assert_eq!(new.summary().await.failures, Failures::default());
    Ok(())
}

/// A batch is bounded in documents and in bytes; one change always fits.
pub async fn a_batch_is_bounded<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let large = format!("\"{}\"", "x".repeat(10_000));
    for n in 0..6 {
        fixture.put(&format!("large-{n}"), &large).await;
    }
    fixture.fill("small", 10).await;
    let limits = [
        (Limits { documents: 100, bytes: 25_000 }, vec!["large-0", "large-1"]),
        (Limits { documents: 100, bytes: 1 }, vec!["large-2"]),
        (documents(2), vec!["large-3", "large-4"]),
        (documents(0), vec!["large-5"]),
        (documents(3), vec!["small-00000", "small-00001", "small-00002"]),
    ];
    for (limits, expected) in limits {
        let Some(batch) = fixture.next_push(limits).await else {
            panic!("nothing within {limits:?}")
        };
        assert_eq!(ids(&batch), expected, "within {limits:?}");
        let verdicts = log.accept(&batch);
        fixture.settle(&batch, verdicts).await;
    }
    assert_eq!(fixture.push().await.changes.len(), 7);
    Ok(())
}

/// Batches hold whole transactions, oldest first; a document that was edited again is pushed with
/// the later one.
pub async fn batches_hold_whole_transactions_in_order<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.write(["z1", "a1", "m1"].map(|n| put(n, "1"))).await;
    fixture.write(["z2", "a2", "m2"].map(|n| put(n, "2"))).await;
    fixture.write(["z3", "a1"].map(|n| put(n, "3"))).await;
    let mut batches = Vec::new();
    while let Some(batch) = fixture.next_push(documents(4)).await {
        let verdicts = log.accept(&batch);
        fixture.settle(&batch, verdicts).await;
        let mut ids: Vec<_> = ids(&batch).into_iter().map(str::to_owned).collect();
        ids.sort();
        batches.push(ids);
        assert!(batches.len() < 9, "the outbox does not get empty: {batches:?}");
    }
    assert_eq!(batches, [vec!["m1", "z1"], vec!["a2", "m2", "z2"], vec!["a1", "z3"]]);
    Ok(())
}

/// An outbox of ten thousand edits is pushed in bounded batches, every edit once, in the order in
/// which they were written.
pub async fn ten_thousand_edits_are_pushed_in_bounded_batches<H: StorageHarness>(
    harness: H,
) -> Outcome {
    const EDITS: usize = 10_000;
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    // Names whose order is not the order of the writes.
    let name = |n: usize| format!("{:05}", n * 7_919 % EDITS);
    for from in (0..EDITS).step_by(500) {
        let writes = (from..from + 500).map(|n| put(&name(n), &n.to_string()));
        fixture.write(writes).await;
    }
    assert_eq!(fixture.outbox().await.pending, EDITS as u64);
    let waiting = fixture.storage.unsettled(
        Default::default(),
        Unsettled::Pending,
        Default::default(),
        documents(100),
    );
    let waiting = super::super::tools::must(waiting.await, "a page of the outbox");
    assert_eq!((waiting.items.len(), waiting.more), (100, true), "a page of the outbox");
    let (mut next, mut last) = (0, PushId(0));
    while let Some(batch) = fixture.next_push(Limits::PUSH).await {
        assert!(batch.changes.len() <= Limits::PUSH.documents, "{}", batch.changes.len());
        assert!(last < batch.id, "batches are numbered upwards");
        last = batch.id;
        let mut numbers: Vec<usize> = Vec::new();
        for change in &batch.changes {
            let text = json(&change.state);
            numbers.push(super::super::tools::must(text.parse(), "the number of an edit"));
            assert_eq!(change.base, None);
        }
        numbers.sort_unstable();
        let expected: Vec<_> = (next..next + numbers.len()).collect();
        assert_eq!(numbers, expected, "the batch after {next} edits");
        next += numbers.len();
        // The log of the case is not needed, and would be slow.
        let verdicts = log.decided((0..numbers.len()).map(|n| accepted(next + n)).collect());
        fixture.settle(&batch, verdicts).await;
        assert_eq!(fixture.outbox().await.pending as usize, EDITS - next);
    }
    assert_eq!(next, EDITS, "every edit is pushed");
    log.put("one-more", "1");
    assert_eq!(fixture.summary().await.documents, EDITS as u64);
    Ok(())
}

fn accepted(seq: usize) -> sync_core::model::Verdict {
    sync_core::model::Verdict {
        seq: sync_core::model::Seq(seq as u64),
        kind: sync_core::model::VerdictKind::Accepted,
        current: None,
    }
}
