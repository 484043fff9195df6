//! Every rule of taking in, pushing, settling and resetting, on real folders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

mod common;

use std::cell::Cell;
use std::sync::Arc;

use storage_kit::kv::{KvWriter, ReplicaKv, ServerKv};
use storage_sled::SledKv;
use sync_core::error::Result;
use tempfile::TempDir;
use testkit::cores::Cores;

/// Cores over folders within one of their own.
struct SledCores {
    folder: TempDir,
    stores: Cell<u32>,
}

impl SledCores {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), stores: Cell::new(0) }
    }

    fn writer(&self) -> Result<KvWriter<SledKv>> {
        let number = self.stores.get() + 1;
        self.stores.set(number);
        let path = self.folder.path().join(format!("{number}.sled"));
        Ok(KvWriter::new(Arc::new(SledKv::open(&common::config(&path))?)))
    }

    fn copy(&self, from: &KvWriter<SledKv>) -> Result<KvWriter<SledKv>> {
        let to = self.writer()?;
        common::copy(from.store(), to.store())?;
        Ok(to)
    }
}

impl Cores for SledCores {
    type Replica = ReplicaKv<KvWriter<SledKv>>;
    type Server = ServerKv<KvWriter<SledKv>>;

    fn replica(&self) -> Result<Self::Replica> {
        self.writer().map(ReplicaKv)
    }

    fn server(&self) -> Result<Self::Server> {
        self.writer().map(ServerKv)
    }

    fn copy_replica(&self, replica: &Self::Replica) -> Result<Self::Replica> {
        self.copy(&replica.0).map(ReplicaKv)
    }

    fn copy_server(&self, server: &Self::Server) -> Result<Self::Server> {
        self.copy(&server.0).map(ServerKv)
    }
}

testkit::rule_traces!(SledCores::new());
