//! Copies of a world, and hashes that distinguish them, for checks that explore worlds state by
//! state.

use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

use storage_kit::kv::{MemoryKv, OrderedKv};

use super::{Backup, Device, World};
use crate::cores::{Cores, MemoryCores, must};

impl World<MemoryCores> {
    /// Copies the world, with the same history.
    #[doc(hidden)]
    pub fn copy(&self) -> Self {
        let cores = self.cores;
        let device = |device: &Device<_>| Device {
            core: must(cores.copy_replica(&device.core), "a replica is copied"),
            lease: device.lease,
            skew: device.skew,
            seen: device.seen.clone(),
        };
        let calls = self.calls.copy();
        Self {
            cores,
            options: self.options.clone(),
            scope: self.scope.clone(),
            devices: self.devices.iter().map(device).collect(),
            server: must(cores.copy_server(&self.server), "a server is copied"),
            resolvers: self.options.recorded(&calls),
            calls,
            writes: self.writes.clone(),
            time: self.time,
            stands_still: self.stands_still,
            fresh: self.fresh,
            start: self.start,
            server_skew: self.server_skew,
        }
    }

    /// Stops the clock: no step takes time from now on.
    #[doc(hidden)]
    pub fn stand_still(&mut self) {
        self.stands_still = true;
    }

    /// Hashes everything that decides what can happen next: every row, the time, and the next
    /// names. The history is not hashed.
    #[doc(hidden)]
    pub fn hash_rows(&self, hasher: &mut impl Hasher) {
        for device in &self.devices {
            (device.lease, device.skew).hash(hasher);
            hash_entries(device.core.0.store(), hasher);
        }
        hash_entries(self.server.0.store(), hasher);
        (self.time, self.fresh, self.start, self.server_skew).hash(hasher);
    }
}

impl Backup<<MemoryCores as Cores>::Server> {
    /// Copies the backup.
    #[doc(hidden)]
    pub fn copy(&self) -> Self {
        Self {
            server: must(MemoryCores.copy_server(&self.server), "a backup is copied"),
            head: self.head,
        }
    }

    /// Hashes every row.
    #[doc(hidden)]
    pub fn hash_rows(&self, hasher: &mut impl Hasher) {
        hash_entries(self.server.0.store(), hasher);
    }
}

fn hash_entries(store: &MemoryKv, hasher: &mut impl Hasher) {
    let visited = store.range(&[], &[u8::MAX], &mut |key, value| {
        (key, value).hash(hasher);
        Ok(ControlFlow::Continue(()))
    });
    must(visited, "a store in memory is read");
}
