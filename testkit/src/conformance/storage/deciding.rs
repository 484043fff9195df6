//! The quarantine and the conflict inbox: their entries, and the app's decisions.

use sync_core::error::ErrorKind;
use sync_core::model::Limits;
use sync_core::replica::{Decision, Unsettled};
use sync_core::resolver::Resolution;

use super::super::run::Outcome;
use super::super::tools::{ALL, body, documents, json, must, refused};
use super::StorageHarness;
use super::applying::Told;
use super::fixture::{Fixture, put};
use super::log::Log;

/// Makes quarantined edits of documents that the server rejects.
async fn quarantined(fixture: &Fixture, log: &Log, names: &[&str]) {
    for name in names {
        fixture.put(name, "\"refused\"").await;
        let batch = fixture.push().await;
        fixture.settle(&batch, log.reject(&batch)).await;
    }
}

/// Makes documents with deferred conflicts: `"mine"` against `"theirs"`.
async fn deferred(fixture: &mut Fixture, log: &mut Log, names: &[&str]) {
    let before =
        std::mem::replace(&mut fixture.resolvers, Told::resolvers(|| Ok(Resolution::Defer)).0);
    for name in names {
        let at = log.head();
        log.put(name, "0");
        fixture.apply(log.rest(at)).await;
        fixture.put(name, "\"mine\"").await;
        let at = log.head();
        log.put(name, "\"theirs\"");
        fixture.apply(log.rest(at)).await;
    }
    fixture.resolvers = before;
}

/// A quarantined edit is written again by `Retry` and dropped by `Discard`; then nothing is left to
/// decide.
pub async fn a_quarantined_edit_is_retried_or_discarded<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    quarantined(&fixture, &log, &["retried", "discarded", "left"]).await;
    let retried = must(fixture.decide("retried", Decision::Retry).await, "a retry");
    assert_eq!(retried.changes.len(), 1, "a retry is a write");
    assert_eq!(fixture.text("retried").await.as_deref(), Some("\"refused\""));
    must(fixture.decide("discarded", Decision::Discard).await, "an edit is discarded");
    assert_eq!(fixture.text("discarded").await, None);
    let left = fixture.unsettled(Unsettled::Quarantine, ALL).await;
    assert_eq!(left.iter().map(|e| e.key.id.as_str()).collect::<Vec<_>>(), ["left"]);
    for name in ["retried", "discarded", "unknown"] {
        for decision in [Decision::Retry, Decision::Discard] {
            refused(fixture.decide(name, decision).await, ErrorKind::NotFound, name);
        }
    }
    let batch = fixture.push().await;
    let ids: Vec<_> = batch.changes.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["retried"]);
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    fixture.check().await;
    Ok(())
}

/// A deferred conflict shows the local side, is not pushed, and ends as the app decides.
pub async fn a_deferred_conflict_ends_as_decided<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let names = ["local", "remote", "merge", "delete"];
    deferred(&mut fixture, &mut log, &names).await;
    assert_eq!(fixture.outbox().await.deferred, 4);
    assert_eq!(fixture.text("remote").await.as_deref(), Some("\"mine\""), "the local side shows");
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "a deferred conflict is pushed");
    let newest = log.put("remote", "\"newer\"");
    fixture.apply(log.rest(log.head() - 1)).await;
    assert_eq!(fixture.outbox().await.deferred, 4, "a newer state makes no second entry");
    let defer = Decision::Resolve(Resolution::Defer);
    refused(fixture.decide("local", defer).await, ErrorKind::InvalidInput, "to defer again");
    let answers =
        [Resolution::Local, Resolution::Remote, Resolution::Merge(body("2")), Resolution::Delete];
    for (name, answer) in names.into_iter().zip(answers) {
        must(fixture.decide(name, Decision::Resolve(answer.clone())).await, name);
        let again = fixture.decide(name, Decision::Resolve(answer)).await;
        refused(again, ErrorKind::NotFound, "a decision twice");
    }
    assert_eq!(fixture.text("local").await.as_deref(), Some("\"mine\""));
    assert_eq!(fixture.get("remote").await.map(|s| (s.state, s.dirty)), Some((newest, false)));
    assert_eq!(fixture.text("merge").await.as_deref(), Some("2"));
    assert_eq!(fixture.text("delete").await, None);
    let batch = fixture.push().await;
    assert_eq!(batch.changes.len(), 3, "what the server does not hold is pushed");
    for change in &batch.changes {
        let theirs = log.current(change.id.as_str()).state.map(|s| s.revision);
        assert_eq!(change.base.map(|b| b.revision), theirs, "{change:?} is made on their state");
    }
    fixture.check().await;
    Ok(())
}

/// The lists of unsettled entries are read in bounded pages, every entry once.
pub async fn what_is_not_settled_comes_by_pages<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let names = ["e", "d", "c", "b", "a"];
    quarantined(&fixture, &log, &names.map(|n| ["q/", n].concat()).each_ref().map(|n| n.as_str()))
        .await;
    deferred(
        &mut fixture,
        &mut log,
        &names.map(|n| ["d/", n].concat()).each_ref().map(|n| n.as_str()),
    )
    .await;
    fixture.write(names.map(|n| put(&format!("f/{n}"), "1"))).await;
    let batch = fixture.push().await;
    for name in names {
        fixture.put(&format!("p/{name}"), "1").await;
    }
    fixture.write(["x", "y", "z"].map(|n| put(&format!("p/{n}"), "1"))).await;
    for (which, collection, count) in [
        (Unsettled::Quarantine, "q", 5),
        (Unsettled::Deferred, "d", 5),
        (Unsettled::InFlight, "f", 5),
        (Unsettled::Pending, "p", 8),
    ] {
        let all = fixture.unsettled(which, ALL).await;
        let keys: Vec<_> = all.iter().map(|e| e.key.clone()).collect();
        assert_eq!(keys.len(), count, "{which:?}: {keys:?}");
        assert!(keys.iter().all(|k| k.collection.as_str() == collection), "{which:?}: {keys:?}");
        for limit in [1, 2, 3, 5, 7] {
            let paged = fixture.unsettled(which, documents(limit)).await;
            assert_eq!(paged, all, "{which:?} by pages of {limit}");
        }
        let bytes = Limits { documents: 100, bytes: 1 };
        assert_eq!(fixture.unsettled(which, bytes).await, all, "{which:?} by single bytes");
        let page = fixture.storage.unsettled(
            Default::default(),
            which,
            Default::default(),
            documents(count),
        );
        let page = must(page.await, "a page");
        assert_eq!((page.items.len(), page.more), (count, false), "{which:?} exactly");
    }
    let waiting = fixture.unsettled(Unsettled::Deferred, ALL).await;
    assert_eq!(waiting[0].base.as_ref().map(|b| json(&b.state)), Some("0"));
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    fixture.check().await;
    Ok(())
}
