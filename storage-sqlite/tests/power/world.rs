//! Syncing after a power failure: the replica, the server and another replica must converge.

use std::cell::RefCell;
use std::collections::VecDeque;

use storage_sqlite::{SqliteReplicaWriter, SqliteServerWriter, Synchronous};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::ReplicaId;
use testkit::cores::Cores;
use testkit::world::{Options, World};
use verification::vfs::SimDisk;

use super::film::{Film, Side};
use super::play::config;

/// Cores on disks that exist already.
struct Prepared {
    server: SimDisk,
    replicas: RefCell<VecDeque<SimDisk>>,
}

impl Cores for Prepared {
    type Replica = SqliteReplicaWriter;
    type Server = SqliteServerWriter;

    fn replica(&self) -> Result<Self::Replica> {
        let mut replicas = self.replicas.borrow_mut();
        let disk = replicas.pop_front().ok_or_else(|| not_prepared("a disk"))?;
        let fresh = ReplicaId([0x50 + replicas.len() as u8; 16]);
        SqliteReplicaWriter::open(&config(&disk, Synchronous::Full), fresh)
    }

    fn server(&self) -> Result<Self::Server> {
        SqliteServerWriter::open(&config(&self.server, Synchronous::Full))
    }

    fn copy_replica(&self, _: &Self::Replica) -> Result<Self::Replica> {
        Err(not_prepared("a copy of a replica"))
    }

    fn copy_server(&self, _: &Self::Server) -> Result<Self::Server> {
        Err(not_prepared("a copy of a server"))
    }
}

fn not_prepared(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{what} was not prepared"))
}

/// Asserts that after a power failure of one side both sides sync, and accept new writes.
pub(crate) fn assert_goes_on(film: &Film, side: Side, changes: usize, disk: &SimDisk) {
    let other = film.other_disk(side, film.step_at(side, changes));
    let (replica, server) = match side {
        Side::Replica => (disk.clone(), other),
        Side::Server => (other, disk.clone()),
    };
    let replicas = RefCell::new([replica, SimDisk::new()].into());
    // Longer than the script takes.
    let options = Options { replicas: 2, past: 1_000_000, ..Options::default() };
    let mut world = World::with(Prepared { server, replicas }, options);
    world.assert_consistent();
    world.put(0, "notes/after", "it goes on");
    world.put(1, "notes/also", "and so do others");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.text(1, "notes/after").as_deref(), Some("it goes on"));
    assert_eq!(world.text(0, "notes/also").as_deref(), Some("and so do others"));
}
