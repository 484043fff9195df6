//! Every rule of taking in, pushing, settling and resetting, on redb.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use storage_kit::Durability;
use storage_kit::kv::{KvWriter, OrderedKv, ReplicaKv, ServerKv};
use storage_redb::RedbKv;
use sync_core::error::Result;
use tempfile::TempDir;
use testkit::cores::Cores;

/// Makes cores over files in a folder of its own.
struct RedbCores {
    folder: TempDir,
    files: Cell<u32>,
}

impl RedbCores {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), files: Cell::new(0) }
    }

    fn writer(&self) -> Result<KvWriter<RedbKv>> {
        let number = self.files.replace(self.files.get() + 1);
        let path = self.folder.path().join(format!("{number}.redb"));
        Ok(KvWriter::new(Arc::new(RedbKv::open(&path)?)))
    }

    /// A store of its own with the same entries.
    fn copy(&self, from: &KvWriter<RedbKv>) -> Result<KvWriter<RedbKv>> {
        let (to, mut all) = (self.writer()?, Vec::new());
        from.store().range(&[], &[u8::MAX; 64], &mut |key, value| {
            all.push((key.into(), Some(value.to_vec().into())));
            Ok(ControlFlow::Continue(()))
        })?;
        to.store().commit(all, Durability::Process)?;
        Ok(to)
    }
}

impl Cores for RedbCores {
    type Replica = ReplicaKv<KvWriter<RedbKv>>;
    type Server = ServerKv<KvWriter<RedbKv>>;

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

testkit::rule_traces!(RedbCores::new());
