//! The conformance suites, on redb.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use storage_redb::{open_replica, open_server};
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
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), crashes: AtomicU32::new(0) }
    }

    fn path(&self) -> PathBuf {
        let crashes = self.crashes.load(Ordering::Relaxed);
        self.folder.path().join(format!("{crashes}.redb"))
    }

    fn go_on_with_a_copy(&self) {
        let from = self.path();
        self.crashes.fetch_add(1, Ordering::Relaxed);
        std::fs::copy(from, self.path()).unwrap();
    }
}

#[async_trait]
impl Place for Files {
    /// No second handle, because redb allows one process; and no disk that can be full.
    fn capabilities(&self) -> Capabilities {
        Capabilities::none().durable().crash()
    }

    async fn crash(&self) -> Result<()> {
        self.go_on_with_a_copy();
        Ok(())
    }
}

#[async_trait]
impl StorageHarness for Files {
    async fn open(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(open_replica(&self.path(), ReplicaId([7; 16]))?))
    }
}

#[async_trait]
impl ServerStorageHarness for Files {
    async fn open(&self) -> Result<Arc<dyn ServerStorage>> {
        Ok(Arc::new(open_server(&self.path())?))
    }
}

mod storage {
    testkit::storage_conformance!(super::Files::new());
}

mod server {
    testkit::server_storage_conformance!(super::Files::new());
}
