//! The suites, on the backend in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use storage_kit::Durability;
use storage_kit::kv::{Batch, KvOptions, MemoryKv, OrderedKv, Visit, open_replica, open_server};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::ReplicaId;
use sync_core::storage::Storage;
use sync_server::ServerStorage;
use testkit::conformance::server::ServerStorageHarness;
use testkit::conformance::storage::StorageHarness;
use testkit::conformance::{Capabilities, Place};

/// A map in memory that can be full: then it accepts only small values.
#[derive(Debug, Default)]
struct Disk {
    map: MemoryKv,
    full: AtomicBool,
}

impl OrderedKv for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.map.get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.map.range(start, end, visit)
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        let grows = batch.iter().any(|(_, value)| value.as_ref().is_some_and(|v| v.len() > 1_000));
        if grows && self.full.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Storage, "the disk is full"));
        }
        self.map.commit(batch, durability)
    }
}

/// The map outlives the storage over it, so it can be closed. A crash continues with a copy.
#[derive(Debug, Default)]
struct Memory {
    disk: Mutex<Arc<Disk>>,
}

impl Memory {
    fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.disk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn copy(&self) {
        let copy = Disk { map: self.disk().map.copy(), full: AtomicBool::new(false) };
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(copy);
    }

    fn fill(&self, full: bool) {
        self.disk().full.store(full, Ordering::Relaxed);
    }
}

#[async_trait]
impl Place for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none().durable().crash().full_disk()
    }

    async fn crash(&self) -> Result<()> {
        self.copy();
        Ok(())
    }

    async fn fill_disk(&self) -> Result<()> {
        self.fill(true);
        Ok(())
    }

    async fn free_disk(&self) -> Result<()> {
        self.fill(false);
        Ok(())
    }
}

#[async_trait]
impl StorageHarness for Memory {
    async fn open(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(open_replica(self.disk(), ReplicaId([7; 16]), KvOptions::default())?))
    }
}

#[async_trait]
impl ServerStorageHarness for Memory {
    async fn open(&self) -> Result<Arc<dyn ServerStorage>> {
        Ok(Arc::new(open_server(self.disk(), KvOptions::default())?))
    }
}

mod storage {
    testkit::storage_conformance!(super::Memory::default());
}

mod storage_fault_injection {
    testkit::storage_fault_injection!(super::Memory::default());
}

mod server {
    testkit::server_storage_conformance!(super::Memory::default());
}

mod server_fault_injection {
    testkit::server_storage_fault_injection!(super::Memory::default());
}
