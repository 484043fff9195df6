//! The suites, on files.
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

/// A file in a folder of its own. A crash goes on with a copy of it.
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

    /// Every first pull is loaded.
    fn loading() -> Self {
        Self { load_from: Some(1), ..Self::new() }
    }

    fn path(&self) -> PathBuf {
        let crashes = self.crashes.load(Ordering::Relaxed);
        self.folder.path().join(format!("{crashes}.db"))
    }

    fn config(&self) -> SqliteConfig {
        let mut config = SqliteConfig::new(self.path());
        // A process that is killed leaves the same behind, whatever was synced.
        config.synchronous = Synchronous::Normal;
        config.load_from = self.load_from.unwrap_or(config.load_from);
        // A file is never smaller than it is: it may not grow.
        config.max_page_count = self.full.load(Ordering::Relaxed).then_some(1);
        config
    }

    /// The file, and whatever SQLite keeps beside it.
    fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let path = format!("{}{suffix}", self.path().display());
            bytes.extend(std::fs::read(path).unwrap_or_default());
        }
        bytes
    }

    /// What a killed process leaves: the file, and the log beside it.
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
