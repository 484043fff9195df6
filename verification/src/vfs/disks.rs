//! The simulation's stores on simulated disks, for any backend that keeps SQLite files.

use std::path::Path;

use storage_kit::{ReplicaWriter, Transactional};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::ReplicaId;
use sync_server::rows::ServerRows;

use super::disk::SimDisk;
use testkit::sim::Disks;

/// Opens the stores of a backend in SQLite files.
pub trait SqliteFiles {
    /// The type that writes a replica's rows.
    type Replica: ReplicaWriter;
    /// The type that writes a server's rows.
    type Server: ServerRows + Transactional;

    /// Opens a replica's file through the VFS [`VFS`](super::VFS). A missing file is made, and may
    /// take the identity `fresh` at once.
    ///
    /// # Errors
    /// Any failure to open it. The same holds for a server.
    fn open_replica(&self, path: &Path, fresh: ReplicaId) -> Result<Self::Replica>;

    /// Opens a server's file through the VFS [`VFS`](super::VFS), or makes it.
    ///
    /// # Errors
    /// As [`Self::open_replica`].
    fn open_server(&self, path: &Path) -> Result<Self::Server>;

    /// Returns the path under which a replica was opened.
    fn replica_path<'r>(&self, replica: &'r Self::Replica) -> Option<&'r Path>;

    /// Returns the path under which a server was opened.
    fn server_path<'s>(&self, server: &'s Self::Server) -> Option<&'s Path>;
}

/// Stores of a backend in SQLite files, each on a separate [`SimDisk`].
#[derive(Debug)]
pub struct VfsDisks<F> {
    files: F,
    disks: Vec<SimDisk>,
}

const FILE: &str = "store.db";

impl<F: SqliteFiles> VfsDisks<F> {
    /// Makes an empty set of stores.
    #[must_use]
    pub fn new(files: F) -> Self {
        Self { files, disks: Vec::new() }
    }

    /// Returns the disks of all stores that were made, oldest first, including unused ones.
    #[must_use]
    pub fn disks(&self) -> &[SimDisk] {
        &self.disks
    }

    /// Returns the disk of a path.
    fn disk_of(&self, path: Option<&Path>) -> Result<SimDisk> {
        let found = path.and_then(|path| self.disks.iter().find(|d| d.path(FILE) == path));
        found.cloned().ok_or_else(|| Error::new(ErrorKind::Internal, "the store is on no disk"))
    }

    fn replica_on(&mut self, disk: SimDisk) -> Result<F::Replica> {
        self.disks.push(disk.clone());
        self.open_replica(&disk)
    }

    fn open_replica(&self, disk: &SimDisk) -> Result<F::Replica> {
        // No two stores of a run may start with one identity.
        let mut fresh = [0xbb; 16];
        fresh[8..].copy_from_slice(&(self.disks.len() as u64).to_be_bytes());
        self.files.open_replica(&disk.path(FILE), ReplicaId(fresh))
    }

    fn server_on(&mut self, disk: SimDisk) -> Result<F::Server> {
        let opened = self.files.open_server(&disk.path(FILE))?;
        self.disks.push(disk);
        Ok(opened)
    }
}

/// Ends the process or the machine.
fn end(disk: &SimDisk, power: bool, salt: u64) {
    disk.mend();
    if power {
        disk.lose_power(salt);
    } else {
        disk.kill();
    }
}

impl<F: SqliteFiles> Disks for VfsDisks<F> {
    type Replica = F::Replica;
    type Server = F::Server;

    fn replica(&mut self) -> Result<F::Replica> {
        self.replica_on(SimDisk::new())
    }

    fn server(&mut self) -> Result<F::Server> {
        self.server_on(SimDisk::new())
    }

    fn copy_replica(&mut self, replica: &mut F::Replica) -> Result<F::Replica> {
        let disk = self.disk_of(self.files.replica_path(replica))?.copy();
        self.replica_on(disk)
    }

    fn copy_server(&mut self, server: &mut F::Server) -> Result<F::Server> {
        let disk = self.disk_of(self.files.server_path(server))?.copy();
        self.server_on(disk)
    }

    fn reopen_replica(
        &mut self,
        replica: F::Replica,
        power: bool,
        salt: u64,
    ) -> Result<F::Replica> {
        let disk = self.disk_of(self.files.replica_path(&replica))?;
        end(&disk, power, salt);
        drop(replica);
        self.open_replica(&disk)
    }

    fn reopen_server(&mut self, server: F::Server, power: bool, salt: u64) -> Result<F::Server> {
        let disk = self.disk_of(self.files.server_path(&server))?;
        end(&disk, power, salt);
        drop(server);
        self.files.open_server(&disk.path(FILE))
    }

    fn fail_replica(&mut self, replica: &mut F::Replica, commits: u32) {
        if let Ok(disk) = self.disk_of(self.files.replica_path(replica)) {
            disk.fail_writes(commits);
        }
    }

    fn fail_server(&mut self, server: &mut F::Server, commits: u32) {
        if let Ok(disk) = self.disk_of(self.files.server_path(server)) {
            disk.fail_writes(commits);
        }
    }
}
