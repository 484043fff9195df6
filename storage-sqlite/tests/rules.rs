//! Every rule of applying, pushing, settling and resetting, on real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::cell::Cell;
use std::path::{Path, PathBuf};

use storage_sqlite::{SqliteConfig, SqliteReplicaWriter, SqliteServerWriter, Synchronous};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::ReplicaId;
use tempfile::TempDir;
use testkit::cores::Cores;

/// Cores over files in a temporary folder.
struct SqliteCores {
    folder: TempDir,
    files: Cell<u8>,
    load_from: Option<u64>,
}

impl SqliteCores {
    fn new() -> Self {
        let (folder, files) = (tempfile::tempdir().unwrap(), Cell::new(100));
        Self { folder, files, load_from: None }
    }

    /// Returns cores for which every first pull is loaded.
    fn loading() -> Self {
        Self { load_from: Some(1), ..Self::new() }
    }

    fn open_replica(&self, path: &Path, number: u8) -> Result<SqliteReplicaWriter> {
        let mut config = config(path);
        config.load_from = self.load_from.unwrap_or(config.load_from);
        SqliteReplicaWriter::open(&config, ReplicaId([number; 16]))
    }

    fn next(&self) -> (PathBuf, u8) {
        let number = self.files.get() + 1;
        self.files.set(number);
        (self.folder.path().join(format!("{number}.db")), number)
    }
}

fn config(path: &Path) -> SqliteConfig {
    let mut config = SqliteConfig::new(path);
    // Rules do not depend on power failures.
    config.synchronous = Synchronous::Normal;
    config
}

/// Copies a file that is not being written, with the log beside it.
fn copy(from: Option<&Path>, to: &Path) -> Result<()> {
    let from = from.ok_or_else(|| Error::new(ErrorKind::Internal, "there is no file to copy"))?;
    for suffix in ["", "-wal"] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        match std::fs::copy(with(from), with(to)) {
            Ok(_) => {}
            Err(e) if suffix == "-wal" && e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                return Err(Error::new(ErrorKind::Storage, "the file cannot be copied").because(e));
            }
        }
    }
    Ok(())
}

impl Cores for SqliteCores {
    type Replica = SqliteReplicaWriter;
    type Server = SqliteServerWriter;

    fn replica(&self) -> Result<Self::Replica> {
        let (path, number) = self.next();
        self.open_replica(&path, number)
    }

    fn server(&self) -> Result<Self::Server> {
        SqliteServerWriter::open(&config(&self.next().0))
    }

    fn copy_replica(&self, replica: &Self::Replica) -> Result<Self::Replica> {
        let (path, number) = self.next();
        copy(replica.file(), &path)?;
        self.open_replica(&path, number)
    }

    fn copy_server(&self, server: &Self::Server) -> Result<Self::Server> {
        let (path, _) = self.next();
        copy(server.file(), &path)?;
        SqliteServerWriter::open(&config(&path))
    }
}

mod as_ever {
    testkit::rule_traces!(super::SqliteCores::new());
}

mod with_loads {
    testkit::rule_traces!(super::SqliteCores::loading());
}
