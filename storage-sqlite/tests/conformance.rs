//! The conformance suites, on files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use storage_sqlite::{SqliteConfig, Synchronous, open_replica, open_server};
use sync_core::error::Result;
use sync_core::model::ReplicaId;
use sync_core::storage::Storage;
use sync_server::ServerStorage;
use tempfile::TempDir;
use testkit::conformance::server::ServerStorageHarness;
use testkit::conformance::storage::StorageHarness;
use testkit::conformance::{Capabilities, Place};

/// A file in a temporary folder. After a crash the test continues with a copy of it.
#[derive(Debug)]
struct Files {
    folder: TempDir,
    crashes: AtomicU32,
    full: AtomicBool,
    load_from: Option<u64>,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (crashes, full) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { folder, crashes, full, load_from: None }
    }

    /// Returns files for which every first pull is loaded.
    fn loading() -> Self {
        Self { load_from: Some(1), ..Self::new() }
    }

    fn path(&self) -> PathBuf {
        let crashes = self.crashes.load(Ordering::Relaxed);
        self.folder.path().join(format!("{crashes}.db"))
    }

    fn config(&self) -> SqliteConfig {
        let mut config = SqliteConfig::new(self.path());
        // A killed process leaves the same data, whatever was synced.
        config.synchronous = Synchronous::Normal;
        config.load_from = self.load_from.unwrap_or(config.load_from);
        // A file never becomes smaller, so this keeps it from growing.
        config.max_page_count = self.full.load(Ordering::Relaxed).then_some(1);
        config
    }

    /// Returns the bytes of the file, and of SQLite's files beside it.
    fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let path = format!("{}{suffix}", self.path().display());
            bytes.extend(std::fs::read(path).unwrap_or_default());
        }
        bytes
    }

    /// Copies the file and the log, as a killed process leaves them.
    fn copy(&self) {
        let with = |path: &Path, suffix| PathBuf::from(format!("{}{suffix}", path.display()));
        let from = self.path();
        self.crashes.fetch_add(1, Ordering::Relaxed);
        for suffix in ["", "-wal"] {
            std::fs::copy(with(&from, suffix), with(&self.path(), suffix)).unwrap();
        }
    }
}

#[async_trait]
impl Place for Files {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none().durable().crash().full_disk().several_handles().searchable()
    }

    async fn crash(&self) -> Result<()> {
        self.copy();
        Ok(())
    }

    async fn fill_disk(&self) -> Result<()> {
        self.full.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn free_disk(&self) -> Result<()> {
        self.full.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn bytes(&self) -> Result<Vec<u8>> {
        Ok(self.read())
    }
}

#[async_trait]
impl StorageHarness for Files {
    async fn open(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(open_replica(&self.config(), ReplicaId([7; 16]))?))
    }
}

#[async_trait]
impl ServerStorageHarness for Files {
    async fn open(&self) -> Result<Arc<dyn ServerStorage>> {
        Ok(Arc::new(open_server(&self.config())?))
    }
}

mod storage {
    testkit::storage_conformance!(super::Files::new());
}

mod storage_that_loads {
    testkit::storage_conformance!(super::Files::loading());
}

mod storage_fault_injection {
    testkit::storage_fault_injection!(super::Files::new());
}

mod server {
    testkit::server_storage_conformance!(super::Files::new());
}

mod server_fault_injection {
    testkit::server_storage_fault_injection!(super::Files::new());
}
