//! The cores that a storage backend gives the testkit, run inline.

use std::cell::Cell;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use storage_kit::kv::{KvWriter, MemoryKv, OrderedKv, ReplicaKv, ServerKv};
use storage_kit::{Durability, ReplicaWriter, Transactional};
use sync_core::error::Result;
use sync_server::rows::ServerRows;

/// Makes the cores of a storage backend: the synchronous halves that do all the work.
pub trait Cores {
    /// The type that writes a replica's rows.
    type Replica: ReplicaWriter;
    /// The type that writes a server's rows.
    type Server: ServerRows + Transactional;

    /// Makes an empty core for a replica.
    ///
    /// # Errors
    /// Whatever keeps the backend from making one. The same holds for all others.
    fn replica(&self) -> Result<Self::Replica>;

    /// Makes an empty core for a server.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn server(&self) -> Result<Self::Server>;

    /// Copies a core with its committed rows: a device that was cloned. No transaction is open.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn copy_replica(&self, replica: &Self::Replica) -> Result<Self::Replica>;

    /// Copies a core with its committed rows: a backup. No transaction is open.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn copy_server(&self, server: &Self::Server) -> Result<Self::Server>;
}

/// The cores of the memory backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryCores;

impl Cores for MemoryCores {
    type Replica = ReplicaKv<KvWriter<MemoryKv>>;
    type Server = ServerKv<KvWriter<MemoryKv>>;

    fn replica(&self) -> Result<Self::Replica> {
        Ok(ReplicaKv(KvWriter::new(Arc::default())))
    }

    fn server(&self) -> Result<Self::Server> {
        Ok(ServerKv(KvWriter::new(Arc::default())))
    }

    fn copy_replica(&self, replica: &Self::Replica) -> Result<Self::Replica> {
        Ok(ReplicaKv(KvWriter::new(Arc::new(replica.0.store().copy()))))
    }

    fn copy_server(&self, server: &Self::Server) -> Result<Self::Server> {
        Ok(ServerKv(KvWriter::new(Arc::new(server.0.store().copy()))))
    }
}

/// The cores of a backend over an [`OrderedKv`]: the function opens the store of a number, which is
/// empty at first.
#[derive(Debug)]
pub struct KvCores<F> {
    open: F,
    stores: Cell<u32>,
}

impl<K: OrderedKv, F: Fn(u32) -> Result<K>> KvCores<F> {
    /// Opens the stores with this function.
    pub const fn new(open: F) -> Self {
        Self { open, stores: Cell::new(0) }
    }

    fn writer(&self) -> Result<KvWriter<K>> {
        let number = self.stores.replace(self.stores.get() + 1);
        Ok(KvWriter::new(Arc::new((self.open)(number)?)))
    }

    fn copy(&self, from: &KvWriter<K>) -> Result<KvWriter<K>> {
        let (to, mut all) = (self.writer()?, Vec::new());
        from.store().range(&[], &[u8::MAX; 64], &mut |key, value| {
            all.push((key.into(), Some(value.to_vec().into())));
            Ok(ControlFlow::Continue(()))
        })?;
        to.store().commit(all, Durability::Process)?;
        Ok(to)
    }
}

impl<K: OrderedKv, F: Fn(u32) -> Result<K>> Cores for KvCores<F> {
    type Replica = ReplicaKv<KvWriter<K>>;
    type Server = ServerKv<KvWriter<K>>;

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

/// Runs a job as one transaction that survives a power failure.
#[doc(hidden)]
pub fn transact<W: Transactional, T>(
    core: &mut W,
    job: impl FnOnce(&mut W) -> Result<T>,
) -> Result<T> {
    transact_as(core, Durability::Power, job)
}

/// Runs a job as one transaction.
#[doc(hidden)]
pub fn transact_as<W: Transactional, T>(
    core: &mut W,
    durability: Durability,
    job: impl FnOnce(&mut W) -> Result<T>,
) -> Result<T> {
    core.begin(durability)?;
    core.mark()?;
    let result = job(core);
    match result {
        Ok(value) => core.commit().map(|_| value),
        Err(error) => {
            core.rollback();
            Err(error)
        }
    }
}

/// Reads rows without writing any.
#[doc(hidden)]
pub fn look<W: Transactional, T>(core: &mut W, job: impl FnOnce(&W) -> Result<T>) -> T {
    must(core.begin(Durability::Process), "a core begins a transaction");
    let result = job(core);
    core.rollback();
    must(result, "a core reads its rows")
}

/// Panics if a step that cannot fail has failed.
#[allow(clippy::panic, reason = "this is how a test ends")]
#[track_caller]
#[doc(hidden)]
pub fn must<T, E: fmt::Display>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}
