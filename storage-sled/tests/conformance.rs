//! The conformance suites, on folders.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use common::{REPLICA, config};
use storage_sled::{open_replica, open_server};
use sync_core::error::Result;
use sync_core::storage::Storage;
use sync_server::ServerStorage;
use tempfile::TempDir;
use testkit::conformance::server::ServerStorageHarness;
use testkit::conformance::storage::StorageHarness;
use testkit::conformance::{Capabilities, Place};

/// A folder inside a temporary one. After a crash the test continues with a copy of it.
///
/// It has no disk that can be full and then have space again: sled stops at the first failure,
/// until it is reopened; `disk.rs` tests that. Two processes cannot have it open, either.
#[derive(Debug)]
struct Folders {
    place: TempDir,
    crashes: AtomicU32,
}

impl Folders {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap(), crashes: AtomicU32::new(0) }
    }

    fn path(&self) -> PathBuf {
        let crashes = self.crashes.load(Ordering::Relaxed);
        self.place.path().join(format!("{crashes}.sled"))
    }

    fn go_on_with_a_copy(&self) {
        let from = self.path();
        self.crashes.fetch_add(1, Ordering::Relaxed);
        copy(&from, &self.path()).unwrap();
    }
}

/// Copies a folder that is open and not being written.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let (from, to) = (entry?.path(), to.to_owned());
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

#[async_trait]
impl Place for Folders {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none().durable().crash()
    }

    async fn crash(&self) -> Result<()> {
        self.go_on_with_a_copy();
        Ok(())
    }
}

#[async_trait]
impl StorageHarness for Folders {
    async fn open(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(open_replica(&config(&self.path()), REPLICA)?))
    }
}

#[async_trait]
impl ServerStorageHarness for Folders {
    async fn open(&self) -> Result<Arc<dyn ServerStorage>> {
        Ok(Arc::new(open_server(&config(&self.path()))?))
    }
}

mod storage {
    testkit::storage_conformance!(super::Folders::new());
}

mod server {
    testkit::server_storage_conformance!(super::Folders::new());
}
