//! Support for the tests.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use storage_kit::kv::{Key, OrderedKv};
use storage_sled::{SledConfig, SledKv};
use sync_core::clock::Now;
use sync_core::error::Result;
use sync_core::model::{Body, Collection, DocumentId, DocumentKey, ReplicaId, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use tempfile::TempDir;

pub(crate) const REPLICA: ReplicaId = ReplicaId([7; 16]);
pub(crate) const NOW: Now = Now(1_800_000_000_000);

/// Returns a temporary folder, and a path in it that does not exist yet.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sled");
    (folder, path)
}

/// Returns small bounds, without background cleaning and without syncing: most tests do not depend
/// on a power failure.
pub(crate) fn config(path: &Path) -> SledConfig {
    let mut config = SledConfig::new(path);
    config.sync = false;
    config.tidy_every = None;
    config.cache_bytes = 4 << 20;
    config
}

pub(crate) fn key(id: &str) -> DocumentKey {
    let (collection, id) = (Collection::new("notes").unwrap(), DocumentId::new(id).unwrap());
    DocumentKey::new(Scope::default(), collection, id)
}

/// Returns a local transaction that puts documents into the collection `notes` of the default
/// scope.
pub(crate) fn puts(documents: &[(&str, &str)]) -> LocalTransaction {
    let write = |(id, body): &(&str, &str)| {
        LocalWrite::new(
            key(id).collection,
            key(id).id,
            WriteOperation::Put(Body::parse((*body).to_owned()).unwrap()),
        )
    };
    LocalTransaction { scope: Scope::default(), writes: documents.iter().map(write).collect() }
}

/// Returns every entry of a store.
pub(crate) fn entries(kv: &SledKv) -> Result<Vec<(Key, Vec<u8>)>> {
    let mut entries = Vec::new();
    kv.range(&[], &[u8::MAX; 64], &mut |key, value| {
        entries.push((key.into(), value.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

/// Returns the names and bytes of all files below a folder.
pub(crate) fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.push((path.clone(), Vec::new()));
            files.extend(self::files(&path));
        } else {
            files.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}
