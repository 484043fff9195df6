//! Support for the tests.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::PathBuf;

use storage_sqlite::SqliteConfig;
use sync_core::clock::Now;
use sync_core::model::{
    Body, Collection, DocumentId, DocumentKey, DocumentState, ReplicaId, Revision, Scope, Stamp,
};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use tempfile::TempDir;

pub(crate) const REPLICA: ReplicaId = ReplicaId([7; 16]);
pub(crate) const NOW: Now = Now(1_800_000_000_000);

/// Returns a temporary folder, and a path of a file in it.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    (folder, path)
}

pub(crate) fn config(path: &std::path::Path) -> SqliteConfig {
    SqliteConfig::new(path)
}

pub(crate) fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

pub(crate) fn collection(name: &str) -> Collection {
    Collection::new(name).unwrap()
}

pub(crate) fn id(name: &str) -> DocumentId {
    DocumentId::new(name).unwrap()
}

pub(crate) fn key(s: &str, c: &str, i: &str) -> DocumentKey {
    DocumentKey::new(scope(s), collection(c), id(i))
}

pub(crate) fn revision(n: u64) -> Revision {
    Revision { stamp: Stamp::from_bits(n), replica: REPLICA }
}

pub(crate) fn state(n: u64, body: Option<&str>) -> DocumentState {
    let revision = revision(n);
    let body = body.map(|b| Body::parse(b.to_owned()).unwrap());
    DocumentState {
        revision,
        author: revision,
        created: Stamp::from_bits(n / 2),
        body,
        erased: None,
    }
}

/// Returns a local transaction that puts documents into the collection `notes` of the default
/// scope.
pub(crate) fn puts(documents: &[(&str, &str)]) -> LocalTransaction {
    let write = |(i, body): &(&str, &str)| {
        LocalWrite::new(
            collection("notes"),
            id(i),
            WriteOperation::Put(Body::parse((*body).to_owned()).unwrap()),
        )
    };
    LocalTransaction { scope: Scope::default(), writes: documents.iter().map(write).collect() }
}
