//! A disk that can lose power, fail and be full: a key-value store in memory that records which
//! commits are not synced.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use storage_kit::kv::{Batch, Key, KvWriter, OrderedKv, ReplicaKv, ServerKv, Visit};
use storage_kit::{Durability, ReplicaWriter, Transactional};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_server::rows::ServerRows;

use std::collections::BTreeMap;
use std::ops::Bound;

/// Makes the stores of a simulation, and applies the faults of disks to them.
pub trait Disks {
    /// The type that writes a replica's rows.
    type Replica: ReplicaWriter;
    /// The type that writes a server's rows.
    type Server: ServerRows + Transactional;

    /// Makes an empty store for a replica.
    ///
    /// # Errors
    /// Whatever keeps the backend from making one. The same holds for all others.
    fn replica(&mut self) -> Result<Self::Replica>;

    /// Makes an empty store for a server.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn server(&mut self) -> Result<Self::Server>;

    /// Copies a store with its committed rows: a device that was cloned.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn copy_replica(&mut self, replica: &mut Self::Replica) -> Result<Self::Replica>;

    /// Copies a store with its committed rows: a backup.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn copy_server(&mut self, server: &mut Self::Server) -> Result<Self::Server>;

    /// Ends the process and opens the store again. After a power failure, unsynced commits may be
    /// lost: `salt` decides how many.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn reopen_replica(
        &mut self,
        replica: Self::Replica,
        power: bool,
        salt: u64,
    ) -> Result<Self::Replica>;

    /// Ends a server's process and opens its store again, as for a replica.
    ///
    /// # Errors
    /// As [`Self::replica`].
    fn reopen_server(
        &mut self,
        server: Self::Server,
        power: bool,
        salt: u64,
    ) -> Result<Self::Server>;

    /// Makes that many of the next commits of a replica fail.
    fn fail_replica(&mut self, replica: &mut Self::Replica, commits: u32);

    /// Makes that many of the next commits of a server fail.
    fn fail_server(&mut self, server: &mut Self::Server, commits: u32);
}

/// A store in memory that records which commits a power failure may undo.
#[derive(Debug, Default)]
pub struct SimKv(Mutex<State>);

#[derive(Clone, Debug, Default)]
struct State {
    entries: BTreeMap<Key, Bytes>,
    /// The batches that undo each unsynced commit, oldest first.
    unsynced: Vec<Batch>,
    /// How many of the next commits fail.
    failing: u32,
}

impl SimKv {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(&self) -> Self {
        let entries = self.state().entries.clone();
        Self(Mutex::new(State { entries, ..State::default() }))
    }

    /// Simulates a power failure: of the unsynced commits the oldest few stay.
    fn lose_power(&self, salt: u64) {
        let mut state = self.state();
        let unsynced = std::mem::take(&mut state.unsynced);
        let kept = (salt % (unsynced.len() as u64 + 1)) as usize;
        for undo in unsynced.into_iter().skip(kept).rev() {
            put_all(&mut state.entries, undo);
        }
    }
}

/// Writes a batch; returns the batch that undoes it.
fn put_all(entries: &mut BTreeMap<Key, Bytes>, batch: Batch) -> Batch {
    batch
        .into_iter()
        .map(|(key, value)| {
            let before = match value {
                Some(value) => entries.insert(key.clone(), value),
                None => entries.remove(&key),
            };
            (key, before)
        })
        .collect()
}

impl OrderedKv for SimKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.state().entries.get(key).cloned())
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        for (key, value) in self.state().entries.range::<[u8], _>(bounds) {
            if let ControlFlow::Break(()) = visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        let mut state = self.state();
        if state.failing > 0 {
            state.failing -= 1;
            return Err(Error::new(ErrorKind::Storage, "the simulated disk failed")
                .retrying(Retry::Later(None)));
        }
        let undo = put_all(&mut state.entries, batch);
        match durability {
            Durability::Power => state.unsynced.clear(),
            Durability::Process => state.unsynced.push(undo),
        }
        Ok(())
    }
}

/// Stores in memory on simulated disks.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryDisks;

type Replica = ReplicaKv<KvWriter<SimKv>>;
type Server = ServerKv<KvWriter<SimKv>>;

impl Disks for MemoryDisks {
    type Replica = Replica;
    type Server = Server;

    fn replica(&mut self) -> Result<Replica> {
        Ok(ReplicaKv(KvWriter::new(Arc::default())))
    }

    fn server(&mut self) -> Result<Server> {
        Ok(ServerKv(KvWriter::new(Arc::default())))
    }

    fn copy_replica(&mut self, replica: &mut Replica) -> Result<Replica> {
        Ok(ReplicaKv(KvWriter::new(Arc::new(replica.0.store().copy()))))
    }

    fn copy_server(&mut self, server: &mut Server) -> Result<Server> {
        Ok(ServerKv(KvWriter::new(Arc::new(server.0.store().copy()))))
    }

    fn reopen_replica(&mut self, replica: Replica, power: bool, salt: u64) -> Result<Replica> {
        let kv = Arc::clone(replica.0.store());
        reopen(&kv, power, salt);
        Ok(ReplicaKv(KvWriter::new(kv)))
    }

    fn reopen_server(&mut self, server: Server, power: bool, salt: u64) -> Result<Server> {
        let kv = Arc::clone(server.0.store());
        reopen(&kv, power, salt);
        Ok(ServerKv(KvWriter::new(kv)))
    }

    fn fail_replica(&mut self, replica: &mut Replica, commits: u32) {
        replica.0.store().state().failing = commits;
    }

    fn fail_server(&mut self, server: &mut Server, commits: u32) {
        server.0.store().state().failing = commits;
    }
}

fn reopen(kv: &SimKv, power: bool, salt: u64) {
    if power {
        kv.lose_power(salt);
    }
    kv.state().failing = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(kv: &SimKv, key: &str, value: &'static str, durability: Durability) {
        kv.commit(vec![(key.as_bytes().into(), Some(value.into()))], durability).unwrap();
    }

    #[test]
    fn a_power_failure_takes_back_the_newest_commits_that_were_not_synced() {
        for salt in 0..3 {
            let kv = SimKv::default();
            put(&kv, "a", "synced", Durability::Power);
            put(&kv, "a", "first", Durability::Process);
            put(&kv, "b", "second", Durability::Process);
            kv.lose_power(salt);
            let value = |key: &str| kv.get(key.as_bytes()).unwrap();
            assert_eq!(value("a").unwrap(), if salt == 0 { "synced" } else { "first" });
            assert_eq!(value("b").is_some(), salt == 2);
        }
    }

    #[test]
    fn syncing_keeps_everything_before_it() {
        let kv = SimKv::default();
        put(&kv, "a", "first", Durability::Process);
        put(&kv, "b", "synced", Durability::Power);
        kv.lose_power(0);
        assert_eq!(kv.get(b"a").unwrap().unwrap(), "first");
    }

    #[test]
    fn a_commit_that_fails_changes_nothing() {
        let kv = SimKv::default();
        kv.state().failing = 1;
        assert!(kv.commit(vec![(b"a"[..].into(), Some("x".into()))], Durability::Power).is_err());
        assert_eq!(kv.get(b"a").unwrap(), None);
        put(&kv, "a", "x", Durability::Power);
    }
}
