//! Erasures.

use sync_core::model::{DocumentState, LocalSeq, PushBatch, Scope, Verdicts};
use sync_core::replica::{Decided, LocalTransaction, LocalWrite, Unsettled, WriteOperation};

use super::super::run::Outcome;
use super::super::tools::{ALL, collection, key, must, now, state};
use super::StorageHarness;
use super::fixture::{Fixture, put};
use super::log::Log;

fn erase(name: &str) -> LocalWrite {
    let key = key(name);
    LocalWrite { collection: key.collection, id: key.id, operation: WriteOperation::Erase }
}

/// Returns the state by which another replica erases a document.
fn erasure() -> DocumentState {
    let state = state(None);
    DocumentState { erased: Some(state.revision), ..state }
}

/// Makes a document that is settled, edited, in flight, and edited again, with an edit that was
/// rejected before; returns its batch in flight.
async fn everywhere(fixture: &Fixture, log: &mut Log, name: &str) -> PushBatch {
    log.put(name, "\"secret settled\"");
    fixture.apply(log.rest(fixture.position().await)).await;
    fixture.put(name, "\"secret refused\"").await;
    let refused = fixture.push().await;
    let verdicts = log.reject(&refused);
    fixture.settle(&refused, verdicts).await;
    fixture.put(name, "\"secret flying\"").await;
    let flying = fixture.push().await;
    fixture.put(name, "\"secret edited\"").await;
    flying
}

/// Asserts that no result of the storage about a document holds the word any more.
async fn assert_gone(fixture: &Fixture, name: &str) {
    assert_eq!(fixture.get(name).await.map(|s| s.key.id), None);
    let unsettled =
        must(fixture.storage.unsettled_of(key(name)).await, "what is not settled of it");
    let feed = fixture.feed(LocalSeq(0), ALL).await;
    let told: Vec<_> = feed.iter().filter(|c| c.key == key(name)).collect();
    let quarantine = fixture.unsettled(Unsettled::Quarantine, ALL).await;
    let held = format!("{unsettled:?} {told:?} {quarantine:?}");
    assert!(!held.contains("secret"), "{held}");
}

/// Asserts that the sent batch is recalled by its id and its digest, because it cannot be sent
/// again.
async fn assert_recalled(fixture: &Fixture, flying: &PushBatch) {
    let recall = fixture.push().await;
    assert_eq!((recall.id, recall.digest()), (flying.id, flying.digest()));
    assert!(recall.recall.is_some() && recall.changes.len() == flying.changes.len());
    let bodies =
        recall.changes.iter().filter_map(|c| c.state.body.as_ref().or(c.base_body.as_ref()));
    assert_eq!(bodies.count(), 0, "what was erased is pushed");
}

/// An erasure removes every body of a document at once: the current one, its base, the one in
/// flight, rejected ones, and those in the feed. The push is an erased tombstone.
pub async fn an_erasure_removes_everything_of_a_document<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.feed(LocalSeq(0), ALL).await;
    let mut log = Log::new();
    let flying = everywhere(&fixture, &mut log, "a").await;
    fixture.put("b", "1").await;
    let committed = fixture.write([erase("a")]).await;
    assert_eq!(committed.erased, [key("a")]);
    assert_gone(&fixture, "a").await;
    assert_recalled(&fixture, &flying).await;
    fixture.settle(&flying, Verdicts::Recalled).await;
    // The rest of it has another id.
    let next = fixture.push().await;
    assert!(next.id > flying.id);
    let erased = next.changes.iter().find(|c| c.id == key("a").id).map(|c| &c.state);
    assert!(erased.is_some_and(DocumentState::is_erasure), "{next:?}");
    assert_eq!(fixture.push().await, next, "a retry is the same batch");
    let verdicts = log.accept(&next);
    fixture.settle(&next, verdicts).await;
    fixture.apply(log.rest(fixture.position().await)).await;
    assert_eq!(fixture.documents().await.len(), 1);
    // A replica that knows of the erasure writes a new document.
    fixture.put("a", "\"fresh\"").await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("\"fresh\""));
    fixture.check().await;
    Ok(())
}

/// An erasure by another replica also removes everything, without calling the resolver, and the app
/// is notified.
pub async fn a_received_erasure_removes_everything<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.feed(LocalSeq(0), ALL).await;
    let mut log = Log::new();
    let flying = everywhere(&fixture, &mut log, "a").await;
    log.set("a", erasure());
    let applied = fixture.apply(log.rest(fixture.position().await)).await;
    let told: Vec<_> = applied.conflicts.iter().map(|c| (c.key.clone(), c.decided)).collect();
    assert_eq!(told, [(key("a"), Decided::Erased)]);
    assert_gone(&fixture, "a").await;
    assert_recalled(&fixture, &flying).await;
    // The late verdict on the batch in flight changes nothing.
    let verdicts = log.conflict(&flying);
    fixture.settle(&flying, verdicts).await;
    assert_gone(&fixture, "a").await;
    // A document that was written again also carries the erasure.
    everywhere(&fixture, &mut log, "b").await;
    let erased = Some(erasure().revision);
    log.set("b", DocumentState { erased, ..state(Some("\"fresh\"")) });
    let applied = fixture.apply(log.rest(fixture.position().await)).await;
    assert_eq!(applied.conflicts.first().map(|c| c.decided), Some(Decided::Erased));
    assert_eq!(fixture.text("b").await.as_deref(), Some("\"fresh\""));
    assert_eq!(fixture.unsettled(Unsettled::Quarantine, ALL).await, []);
    fixture.check().await;
    Ok(())
}

/// After `purge_erased`, no byte of erased data is in the storage's files: current and earlier
/// bodies, bases, edits in flight, rejected edits, local-only documents.
pub async fn nothing_is_left_in_the_files_of_what_was_erased<H: StorageHarness>(
    harness: H,
) -> Outcome {
    harness.capabilities().need_searchable()?;
    let fixture = Fixture::open(&harness).await;
    let drafts = [collection("drafts")].into();
    must(fixture.storage.declare_local_only(drafts).await, "a collection is local-only");
    let mut log = Log::new();
    everywhere(&fixture, &mut log, "here").await;
    everywhere(&fixture, &mut log, "elsewhere").await;
    // Large documents, and neighbours that move them within the file.
    let large = |n: usize| format!("\"secret {}\"", "s".repeat(n * 700));
    for n in 0..200 {
        fixture
            .write([put(&format!("bulk/{n}"), &large(n % 20)), put(&format!("kept/{n}"), "1")])
            .await;
    }
    let write_local = async |writes| {
        let transaction = LocalTransaction { scope: Scope::local(), writes };
        must(fixture.storage.write(now(), transaction).await, "a local-only document is written")
    };
    write_local(vec![put("drafts/a", "\"secret draft\"")]).await;
    let found = search(&harness, b"secret").await;
    assert!(found > 200, "the search finds what is there: {found}");
    fixture.write((0..200).map(|n| erase(&format!("bulk/{n}")))).await;
    fixture.write([erase("here")]).await;
    write_local(vec![erase("drafts/a")]).await;
    log.set("elsewhere", erasure());
    fixture.apply(log.rest(fixture.position().await)).await;
    assert!(must(fixture.storage.purge_erased().await, "the storage is purged"));
    assert_eq!(search(&harness, b"secret").await, 0, "something is left in the files");
    assert_eq!(fixture.documents().await.len(), 200);
    fixture.check().await;
    must(fixture.storage.close().await, "the storage is closed");
    assert_eq!(search(&harness, b"secret").await, 0, "something is left in the files");
    Ok(())
}

/// Counts how often a word occurs in the files.
async fn search<H: StorageHarness>(harness: &H, word: &[u8]) -> usize {
    let bytes = must(harness.bytes().await, "the files are read");
    bytes.windows(word.len()).filter(|w| *w == word).count()
}
