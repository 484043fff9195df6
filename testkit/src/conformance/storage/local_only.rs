//! Collections that never leave the device.

use sync_core::error::{ErrorKind, Result};
use sync_core::model::{Collection, DocumentKey, LocalSeq, Scope};
use sync_core::replica::{
    Committed, Forget, LocalTransaction, LocalWrite, Operation, Scan, Stored,
};

use super::super::run::Outcome;
use super::super::tools::{ALL, collection, key, must, now};
use super::StorageHarness;
use super::fixture::{Fixture, delete, put};
use super::log::Log;

async fn declare(fixture: &Fixture, names: &[&str]) -> Result<()> {
    fixture.storage.declare_local_only(names.iter().map(|n| collection(n)).collect()).await
}

async fn write_local(fixture: &Fixture, writes: Vec<LocalWrite>) -> Result<Committed> {
    fixture.storage.write(now(), LocalTransaction { scope: Scope::local(), writes }).await
}

async fn local_documents(fixture: &Fixture, only: Option<Collection>) -> Vec<Stored> {
    let scan = Scan { scope: Scope::local(), collection: only, after: None, limits: ALL };
    must(fixture.storage.scan(scan).await, "local documents are read").items
}

/// Documents of a local-only collection are read and reported like others, and have no part in
/// sync: no batch, no digest, no chunk. Nothing is left of a deleted one.
pub async fn what_is_local_only_stays_on_the_device<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    must(declare(&fixture, &["drafts"]).await, "a collection is declared local-only");
    assert_eq!(fixture.state().await.local_only, [collection("drafts")].into());
    let writes = vec![put("drafts/a", "1"), put("drafts/b", "2"), put("drafts/a", "3")];
    let written = must(write_local(&fixture, writes).await, "local documents are written");
    let told: Vec<_> = written.changes.iter().map(|c| c.operation).collect();
    assert_eq!(told, [Operation::Insert, Operation::Insert, Operation::Update]);
    let found = local_documents(&fixture, Some(collection("drafts"))).await;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|s| !s.dirty && s.known.0 == 0), "{found:?}");
    let feed = fixture.feed(LocalSeq(0), ALL).await;
    assert!(feed.iter().any(|c| c.key.scope.is_local()), "the feed tells of them: {feed:?}");
    assert_eq!(fixture.next_push(ALL).await, None, "a local-only document is pushed");
    // The scope is a part of the key.
    for (scope, name) in [(Scope::default(), "drafts/a"), (Scope::local(), "notes/a")] {
        let writes = vec![put("notes/x", "1"), put(name, "1")];
        let writes =
            if scope.is_local() { vec![put("drafts/x", "1"), put(name, "1")] } else { writes };
        let refused = fixture.storage.write(now(), LocalTransaction { scope, writes }).await;
        assert_eq!(refused.map_err(|e| e.kind()), Err(ErrorKind::InvalidInput), "{name}");
    }
    // Documents that other replicas sync under that name are not applied here.
    let mut log = Log::new();
    log.put("drafts/theirs", "1");
    log.put("notes/theirs", "1");
    fixture.apply(log.rest(0)).await;
    let names: Vec<_> = fixture.documents().await.into_iter().map(|s| s.key.id).collect();
    assert_eq!(names, [key("theirs").id]);
    assert!(fixture.summary().await.is_partial, "the digest cannot be compared");
    assert!(fixture.storage.forget(now(), None, Forget::Scope(Scope::local())).await.is_err());
    must(write_local(&fixture, vec![delete("drafts/a")]).await, "a local document is deleted");
    let left = local_documents(&fixture, None).await;
    assert_eq!(left.len(), 1, "a deleted document is left: {left:?}");
    assert_eq!(fixture.state().await.scope(&Scope::local()).map(|s| s.documents), Some(1));
    let gone = DocumentKey::new(Scope::local(), collection("drafts"), key("a").id);
    let page = must(fixture.storage.feed(LocalSeq(0), ALL).await, "the feed is read");
    let told = page.changes.iter().any(|c| c.key == gone && c.operation == Operation::Delete);
    assert!(told || page.gap, "the feed is silent about what was deleted");
    fixture.check().await;
    Ok(())
}

/// No declaration changes the meaning of existing documents; a rejected declaration changes
/// nothing. A collection that was local-only is pulled from the beginning once it is synced.
pub async fn a_declaration_that_would_change_documents_is_refused<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.put("synced/a", "1");
    log.put("late/a", "1");
    must(declare(&fixture, &["drafts", "late"]).await, "two collections are declared local-only");
    fixture.apply(log.rest(0)).await;
    must(write_local(&fixture, vec![put("drafts/a", "1")]).await, "a local document is written");
    fixture.put("edited/a", "1").await;
    for (names, wrong) in [
        (&["drafts", "late", "synced"][..], "synced"),
        (&["drafts", "late", "edited"], "edited"),
        (&["late"], "drafts"),
        (&[], "drafts"),
    ] {
        let Err(error) = declare(&fixture, names).await else {
            panic!("a declaration that changes documents")
        };
        let (kind, text) = (error.kind(), error.report().to_string());
        assert_eq!(kind, ErrorKind::InvalidInput);
        assert!(text.contains(wrong), "{text}");
        assert_eq!(
            fixture.state().await.local_only,
            [collection("drafts"), collection("late")].into()
        );
    }
    must(declare(&fixture, &["drafts"]).await, "a collection without documents is synced");
    assert_eq!(fixture.position().await, 0, "it is pulled from the beginning");
    fixture.apply(log.rest(0)).await;
    assert!(fixture.text("late/a").await.is_some());
    assert_eq!(fixture.position().await, 2);
    fixture.check().await;
    Ok(())
}

/// A declaration holds until the next one, also when the storage is opened again.
pub async fn a_declaration_is_kept<H: StorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_durable()?;
    let fixture = Fixture::open(&harness).await;
    must(declare(&fixture, &["drafts"]).await, "a collection is declared local-only");
    must(write_local(&fixture, vec![put("drafts/a", "1")]).await, "a local document is written");
    must(fixture.storage.close().await, "the storage is closed");
    let fixture = Fixture::open(&harness).await;
    assert_eq!(fixture.state().await.local_only, [collection("drafts")].into());
    assert_eq!(local_documents(&fixture, None).await.len(), 1);
    Ok(())
}
