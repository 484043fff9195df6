//! Replicas and servers that an earlier version created can be read by this one, and sync with each
//! other: `2026-11-30/README.md` describes how they were created.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod listing;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use support::soon;
use tempfile::TempDir;
use twotide::backend;
use twotide::backend::model::{Collection as Name, ReplicaId, Scope};
use twotide::prelude::*;
use twotide::server::ops::ChangesReply;
use twotide::server::{Server, ServerStorage, Visible};
use twotide::{OutboxCounts, ReplicaBuilder, StorageUrl};

/// The replica whose file is kept, and the other one that wrote to the server.
const REPLICAS: [ReplicaId; 2] = [ReplicaId([0xa; 16]), ReplicaId([0xb; 16])];
/// An identity that a file does not take, because it has one.
const FRESH: ReplicaId = ReplicaId([0xc; 16]);
const SCOPES: [&str; 2] = ["default", "team"];

/// The files of one backend, unpacked.
struct Files {
    kind: &'static str,
    folder: TempDir,
}

impl Files {
    fn unpack(kind: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old_files/2026-11-30");
        unpack(&packed.join(kind), folder.path());
        Self { kind, folder }
    }

    fn url(&self, name: &str) -> StorageUrl {
        format!("{}:{}", self.kind, self.folder.path().join(name).display()).parse().unwrap()
    }

    async fn replica(&self) -> ReplicaBuilder {
        Replica::builder().storage(self.url("replica").open_replica(FRESH).await.unwrap())
    }

    async fn server(&self) -> Arc<dyn ServerStorage> {
        self.url("server").open_server().await.unwrap()
    }
}

fn unpack(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            unpack(&path, &target);
        } else {
            let packed = std::fs::read(&path).unwrap();
            std::fs::write(target.with_extension(""), zstd::decode_all(&*packed).unwrap()).unwrap();
        }
    }
}

#[track_caller]
fn assert_same_lines(listed: &str, expected: &str) {
    for (line, expected) in listed.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(listed.lines().count(), expected.lines().count());
}

async fn hold_what_they_held(files: Files) {
    let mut listed = Vec::new();
    for scope in SCOPES {
        let replica = files.replica().await.scope(scope).open().await.unwrap();
        listed.push(listing::replica(&replica).await);
        replica.close().await.unwrap();
    }
    assert_same_lines(&listed.join("\n"), include_str!("2026-11-30/replica.txt"));
    let storage = files.server().await;
    let listed = listing::server(&*storage, &REPLICAS).await;
    storage.close().await.unwrap();
    assert_same_lines(&listed, include_str!("2026-11-30/server.txt"));
}

async fn outbox(replica: &Replica) -> OutboxCounts {
    replica.state().await.unwrap().outbox(replica.scope())
}

/// The documents of all synced collections.
async fn documents(replica: &Replica) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for name in ["inbox", "notes", "tags"] {
        for found in replica.raw(name).unwrap().scan(None, 1_000).await.unwrap().documents {
            let key = format!("{name}/{}", found.id());
            all.insert(key, found.value().as_str().to_owned());
        }
    }
    all
}

/// Syncs the collections that the replica had chosen, and decides the waiting conflicts.
async fn settle_what_was_chosen(builder: ReplicaBuilder) {
    let defer = resolve_with("defer", |_| Ok(Resolution::Defer));
    let replica = builder
        .collections(["inbox", "notes"])
        .resolver_for(Name::new("inbox").unwrap(), defer)
        .open()
        .await
        .unwrap();
    soon(replica.sync_now()).await.unwrap();
    let left = OutboxCounts { quarantined: 2, deferred: 1, not_chosen: 1, ..Default::default() };
    assert_eq!(outbox(&replica).await, left);
    let conflict = replica.conflicts().get("inbox", "conflict").await.unwrap().unwrap();
    assert_eq!(conflict.base.unwrap().as_str(), "{\"by\": \"both\"}");
    replica.conflicts().resolve("inbox", "conflict", Resolution::Local).await.unwrap();
    replica.quarantine().retry("notes", "refused").await.unwrap();
    replica.quarantine().discard("notes", "settled-2").await.unwrap();
    soon(replica.sync_now()).await.unwrap();
    let left = OutboxCounts { not_chosen: 1, ..OutboxCounts::default() };
    assert_eq!(outbox(&replica).await, left);
    replica.close().await.unwrap();
}

/// Returns what a new replica pulls from the server.
async fn pulled(server: &Server, scope: &str) -> BTreeMap<String, String> {
    let builder = Replica::builder().memory().transport(Arc::new(server.in_process()));
    let replica = builder.scope(scope).open().await.unwrap();
    soon(replica.sync_now()).await.unwrap();
    let pulled = documents(&replica).await;
    replica.close().await.unwrap();
    pulled
}

async fn settle_and_end_equal(files: Files) {
    // This server does not have the check that refused two edits.
    let server = Server::builder(files.server().await).build();
    let transport = || Arc::new(server.in_process());
    settle_what_was_chosen(files.replica().await.transport(transport())).await;
    let mut held = Vec::new();
    for scope in SCOPES {
        let builder = files.replica().await.transport(transport()).scope(scope);
        let replica = builder.open().await.unwrap();
        soon(replica.sync_now()).await.unwrap();
        assert_eq!(outbox(&replica).await, OutboxCounts::default());
        let state = replica.state().await.unwrap();
        let own = state.scope(replica.scope()).unwrap();
        let row = server.storage().find_scope(Scope::new(scope).unwrap()).await.unwrap().unwrap();
        assert_eq!((own.documents, own.digest), (row.documents, row.digest));
        let at = &own.checkpoint;
        assert_eq!((at.epoch, at.position), (Some(row.epoch), row.head));
        let shown = documents(&replica).await;
        assert_eq!(pulled(&server, scope).await, shown);
        let draft = replica.raw("drafts").unwrap().get("draft").await.unwrap().unwrap();
        assert_eq!(draft.value().as_str(), "\"stays here\"");
        held.push(shown);
        replica.close().await.unwrap();
    }
    let large = held[0].remove("notes/large").unwrap();
    assert_eq!(large, format!("\"{}\"", "a page of text, ".repeat(12_000)));
    let held = held
        .iter()
        .map(|all| all.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect::<Vec<_>>());
    let expected = [
        vec![
            ("inbox/conflict", "{\"by\": \"ann\"}"),
            ("notes/flying", "\"arrived\""),
            ("notes/flying-on", "\"edited meanwhile\""),
            ("notes/fought", "\"by ben\""),
            ("notes/news", "\"not pulled yet\""),
            ("notes/refused", "-1"),
            ("notes/settled-0", "{\"n\": 0}"),
            ("notes/settled-1", "{\"n\": 1, \"by\": \"ben\"}"),
            ("notes/settled-2", "{\"n\": 2}"),
            ("notes/settled-4", "{\"n\": 4, \"by\": \"ben\"}"),
            ("notes/settled-7", "77"),
            ("notes/settled-8", "88"),
            ("notes/settled-9", "{\"n\": 9}"),
            ("notes/waiting", "\"new\""),
            ("tags/mine", "\"not chosen\""),
            ("tags/theirs", "\"another device\""),
        ],
        vec![("notes/team-1", "11"), ("notes/team-3", "33"), ("notes/team-4", "4")],
    ];
    assert_eq!(held.collect::<Vec<_>>(), expected);
    server.storage().close().await.unwrap();
}

#[tokio::test]
async fn old_files_of_sqlite_hold_what_they_held() {
    hold_what_they_held(Files::unpack("sqlite")).await;
}

#[tokio::test]
async fn old_folders_of_sled_hold_what_they_held() {
    hold_what_they_held(Files::unpack("sled")).await;
}

#[tokio::test]
async fn old_files_of_sqlite_settle_and_end_equal() {
    settle_and_end_equal(Files::unpack("sqlite")).await;
}

#[tokio::test]
async fn old_folders_of_sled_settle_and_end_equal() {
    settle_and_end_equal(Files::unpack("sled")).await;
}
