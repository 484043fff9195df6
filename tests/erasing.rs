//! Erasures, from the app of one device to the files of all devices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::soon;
use twotide::backend::environment::System;
use twotide::backend::model::{
    Change, DocumentState, Limits, Rejection, RejectionCode, ReplicaId, Scope,
};
use twotide::backend::replica::Context;
use twotide::backend::resolver::Resolvers;
use twotide::backend::storage::Storage;
use twotide::prelude::{
    Body, ErrorKind, EventFilter, EventKind, Replica, Resolution, resolve_with,
};
use twotide::server::{Hooks, Server, Validate};
use twotide::sqlite::{SqliteConfig, open_replica, open_server};

/// Refuses bodies that contain the word.
#[derive(Debug)]
struct Refusing(&'static str);

impl Validate for Refusing {
    fn change(
        &self,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        let body = change.state.body.as_ref().map_or("", Body::as_str);
        match body.contains(self.0) {
            true => Err(Rejection { code: RejectionCode::Invalid, reason: self.0.to_owned() }),
            false => Ok(()),
        }
    }
}

const SECRET: &str = "the secret that has to go";

fn body(text: &str) -> Body {
    Body::from_value(&format!("{text}: {SECRET}")).unwrap()
}

struct Device {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    replica: Replica,
}

async fn device(server: &Server, folder: &Path, id: u8) -> Device {
    let path = folder.join(format!("{id}.db"));
    let storage = open_replica(&SqliteConfig::new(&path), ReplicaId([id; 16])).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let defer = resolve_with("defer", |_| Ok(Resolution::Defer));
    let replica = Replica::builder()
        .storage(Arc::clone(&storage))
        .transport(Arc::new(server.in_process()))
        .resolver_for("inbox", defer)
        .open()
        .await
        .unwrap();
    Device { path, storage, replica }
}

impl Device {
    async fn put(&self, collection: &str, id: &str, text: &str) {
        self.replica.raw(collection).unwrap().put(id, &body(text)).await.unwrap();
    }

    async fn sync(&self) {
        soon(self.replica.sync_now()).await.unwrap();
    }
}

/// Counts how often the secret occurs in the files of a database.
fn found(path: &Path) -> usize {
    let beside = |suffix| std::fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
    let bytes: Vec<u8> = ["", "-wal", "-shm"].into_iter().flat_map(beside).collect();
    bytes.windows(SECRET.len()).filter(|w| *w == SECRET.as_bytes()).count()
}

#[tokio::test]
async fn an_erased_document_is_in_no_file_of_any_device() {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("server.db");
    let storage = Arc::new(open_server(&SqliteConfig::new(&served)).unwrap());
    let hooks = Hooks { validate: Arc::new(Refusing("refused")), ..Hooks::default() };
    let server = Server::builder(storage).hooks(hooks).build();
    let ann = device(&server, folder.path(), 1).await;
    let bob = device(&server, folder.path(), 2).await;
    let eve = device(&server, folder.path(), 3).await;
    let documents =
        [("notes", "a"), ("notes", "b"), ("notes", "c"), ("inbox", "d"), ("notes", "e")];
    for text in ["first", "second"] {
        for (collection, id) in documents {
            ann.put(collection, id, text).await;
        }
        for device in [&ann, &bob, &eve] {
            device.sync().await;
        }
    }
    // Bob has a refused edit of `a`, a waiting conflict of `d`, a plain edit of `c`, and `b` is in
    // a batch that was formed and not answered.
    bob.put("notes", "a", "refused").await;
    ann.put("inbox", "d", "third").await;
    ann.sync().await;
    bob.put("inbox", "d", "fourth").await;
    bob.sync().await;
    assert_eq!(bob.replica.sync_state("notes", "a").await.unwrap().as_str(), "quarantined");
    assert_eq!(bob.replica.sync_state("inbox", "d").await.unwrap().as_str(), "conflict");
    bob.put("notes", "b", "flying").await;
    let lease = bob.storage.claim("a batch".to_owned()).await.unwrap();
    let now = twotide::backend::environment::Environment::now(&System);
    let cx = Context { now, resolvers: Resolvers::default(), lease };
    let batch = bob.storage.next_push(cx, Scope::default(), Limits::PUSH).await.unwrap();
    assert_eq!(batch.map(|b| b.changes.len()), Some(1));
    bob.storage.release(lease).await.unwrap();
    bob.put("notes", "c", "edited").await;
    let mut events = bob.replica.event_stream(EventFilter::all().kinds([EventKind::EditErased]));
    // The test proves nothing unless the secret was in every file.
    for path in [&ann.path, &bob.path, &eve.path, &served] {
        assert!(found(path) > 3, "{}", path.display());
    }
    for (collection, id) in documents {
        ann.replica.raw(collection).unwrap().erase(id).await.unwrap();
    }
    ann.sync().await;
    bob.sync().await;
    eve.sync().await;
    let mut told = Vec::new();
    while told.len() < 4 {
        let event = soon(events.next()).await.unwrap().unwrap();
        told.push(event.document().unwrap().id.as_str().to_owned());
    }
    told.sort();
    assert_eq!(told, ["a", "b", "c", "d"]);
    for device in [&ann, &bob, &eve] {
        for (collection, id) in documents {
            let state = device.replica.sync_state(collection, id).await.unwrap();
            assert_eq!(state.as_str(), "synced", "{id}");
            assert!(device.replica.raw(collection).unwrap().get(id).await.unwrap().is_none());
        }
        assert!(device.replica.purge_erased().await.unwrap());
        assert_eq!(found(&device.path), 0, "{}", device.path.display());
    }
    assert!(server.storage().purge_erased().await.unwrap());
    assert_eq!(found(&served), 0, "the server holds it");
    // A replica that has received the erasure can write a new document.
    bob.replica.raw("notes").unwrap().put("a", &Body::parse("1").unwrap()).await.unwrap();
    bob.sync().await;
    ann.sync().await;
    assert!(ann.replica.raw("notes").unwrap().get("a").await.unwrap().unwrap().is_synced());
    for device in [ann, bob, eve] {
        device.replica.close().await.unwrap();
        assert_eq!(found(&device.path), 0);
    }
    server.storage().close().await.unwrap();
    assert_eq!(found(&served), 0);
}

#[tokio::test]
async fn an_erasure_is_one_of_several_writes_of_a_transaction() {
    let replica = Replica::builder().memory().open().await.unwrap();
    let notes = replica.raw("notes").unwrap();
    notes.put("a", &body("first")).await.unwrap();
    let mut transaction = replica.transaction();
    transaction.erase(&notes, "a").unwrap();
    transaction.put(&notes, "b", &Body::parse("1").unwrap()).unwrap();
    transaction.commit().await.unwrap();
    assert!(notes.get("a").await.unwrap().is_none());
    let error = notes.erase("never").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(replica.purge_erased().await.unwrap());
    replica.close().await.unwrap();
}
