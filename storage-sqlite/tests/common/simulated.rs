//! Replicas and servers on simulated disks.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;

use storage_sqlite::{SqliteConfig, SqliteReplicaWriter, SqliteServerWriter};
use sync_core::error::Result;
use sync_core::model::ReplicaId;
use verification::vfs::{SqliteFiles, VFS};

/// Returns settings for a simulated disk. Pages move from the log into the file often, so that
/// failures during a move are frequent.
pub(crate) fn config(path: &Path) -> SqliteConfig {
    let mut config = SqliteConfig::new(path);
    config.vfs = Some(VFS.to_owned());
    config.readers = 1;
    config.checkpoint_pages = 40;
    config
}

/// Opens the stores of the simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files;

impl SqliteFiles for Files {
    type Replica = SqliteReplicaWriter;
    type Server = SqliteServerWriter;

    fn open_replica(&self, path: &Path, fresh: ReplicaId) -> Result<Self::Replica> {
        SqliteReplicaWriter::open(&config(path), fresh)
    }

    fn open_server(&self, path: &Path) -> Result<Self::Server> {
        SqliteServerWriter::open(&config(path))
    }

    fn replica_path<'r>(&self, replica: &'r Self::Replica) -> Option<&'r Path> {
        replica.file()
    }

    fn server_path<'s>(&self, server: &'s Self::Server) -> Option<&'s Path> {
        server.file()
    }
}
