//! The locks and the shared memory of the connections to one file.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::ffi;

use super::Code;

/// Identifies a connection's handle of a file.
pub(super) type HandleId = u64;

const SHARED: Code = ffi::SQLITE_LOCK_SHARED;
const RESERVED: Code = ffi::SQLITE_LOCK_RESERVED;
const PENDING: Code = ffi::SQLITE_LOCK_PENDING;
const EXCLUSIVE: Code = ffi::SQLITE_LOCK_EXCLUSIVE;

/// The locks that connections hold on one file.
#[derive(Debug, Default)]
pub(super) struct Locks {
    levels: BTreeMap<HandleId, Code>,
    /// By handle, the slots of the shared memory that it holds shared and exclusively, as bits.
    slots: BTreeMap<HandleId, (u32, u32)>,
    pub(super) memory: Arc<SharedMemory>,
}

impl Locks {
    /// Returns the highest level that another connection holds.
    fn others(&self, who: HandleId) -> Code {
        let others = self.levels.iter().filter(|(id, _)| **id != who);
        others.map(|(_, level)| *level).max().unwrap_or(ffi::SQLITE_LOCK_NONE)
    }

    /// Raises a lock, by the rules of SQLite's `xLock`.
    pub(super) fn raise(&mut self, who: HandleId, to: Code) -> Result<(), Code> {
        let own = self.levels.get(&who).copied().unwrap_or(ffi::SQLITE_LOCK_NONE);
        if own >= to {
            return Ok(());
        }
        let others = self.others(who);
        let bound = if to == SHARED { PENDING } else { RESERVED };
        if others >= bound {
            return Err(ffi::SQLITE_BUSY);
        }
        if to == EXCLUSIVE && others >= SHARED {
            // No new reader is admitted; the present ones are waited for.
            self.levels.insert(who, PENDING);
            return Err(ffi::SQLITE_BUSY);
        }
        self.levels.insert(who, to);
        Ok(())
    }

    pub(super) fn lower(&mut self, who: HandleId, to: Code) {
        if to == ffi::SQLITE_LOCK_NONE {
            self.levels.remove(&who);
        } else {
            self.levels.insert(who, to);
        }
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.levels.values().any(|level| *level >= RESERVED)
    }

    /// Takes or releases slots of the shared memory, by the rules of `xShmLock`.
    pub(super) fn slots(&mut self, who: HandleId, mask: u32, flags: Code) -> Result<(), Code> {
        let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
        if flags & ffi::SQLITE_SHM_LOCK != 0 {
            let others = self.slots.iter().filter(|(id, _)| **id != who);
            let taken = others.fold(0, |all, (_, (shared, exclusively))| {
                all | exclusively | if exclusive { *shared } else { 0 }
            });
            if taken & mask != 0 {
                return Err(ffi::SQLITE_BUSY);
            }
            let (shared, exclusively) = self.slots.entry(who).or_default();
            *(if exclusive { exclusively } else { shared }) |= mask;
        } else if let Some((shared, exclusively)) = self.slots.get_mut(&who) {
            *(if exclusive { exclusively } else { shared }) &= !mask;
        }
        Ok(())
    }

    /// Releases the shared memory. Once no connection holds it, the next connection gets an empty
    /// one.
    pub(super) fn leave_memory(&mut self, who: HandleId) {
        self.slots.remove(&who);
        // One count is that of this struct.
        if Arc::strong_count(&self.memory) == 1 {
            self.memory = Arc::default();
        }
    }

    pub(super) fn leave(&mut self, who: HandleId) {
        self.levels.remove(&who);
        self.leave_memory(who);
    }
}

/// The index of a write-ahead log, which connections share as memory. Its regions do not move while
/// a connection holds it.
#[derive(Debug, Default)]
pub(super) struct SharedMemory(Mutex<Vec<Arc<[AtomicU64]>>>);

impl SharedMemory {
    /// Returns where a region of that many bytes begins; none if it does not exist and shall not be
    /// made. SQLite reads and writes it under SQLite's locks and barriers; no code here reads it.
    pub(super) fn region(
        &self,
        number: usize,
        size: usize,
        make: bool,
    ) -> Option<*const AtomicU64> {
        let mut regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while make && regions.len() <= number {
            regions.push((0..size.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
        }
        regions.get(number).map(|region| region.as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_exclusive_lock_refuses_new_readers_and_waits_for_present_ones() {
        let mut locks = Locks::default();
        locks.raise(1, SHARED).unwrap();
        locks.raise(2, SHARED).unwrap();
        locks.raise(1, RESERVED).unwrap();
        assert!(locks.is_reserved());
        locks.raise(2, RESERVED).unwrap_err();
        locks.raise(1, EXCLUSIVE).unwrap_err();
        locks.raise(3, SHARED).unwrap_err();
        locks.leave(2);
        locks.raise(1, EXCLUSIVE).unwrap();
        locks.raise(3, SHARED).unwrap_err();
        locks.lower(1, SHARED);
        locks.raise(3, SHARED).unwrap();
    }

    #[test]
    fn a_slot_is_held_by_many_readers_or_by_one_writer() {
        let (lock, unlock) = (ffi::SQLITE_SHM_LOCK, ffi::SQLITE_SHM_UNLOCK);
        let (shared, exclusive) = (ffi::SQLITE_SHM_SHARED, ffi::SQLITE_SHM_EXCLUSIVE);
        let mut locks = Locks::default();
        locks.slots(1, 0b11, lock | shared).unwrap();
        locks.slots(2, 0b01, lock | shared).unwrap();
        locks.slots(2, 0b10, lock | exclusive).unwrap_err();
        locks.slots(1, 0b10, unlock | shared).unwrap();
        locks.slots(2, 0b10, lock | exclusive).unwrap();
        locks.slots(1, 0b10, lock | shared).unwrap_err();
        locks.leave(2);
        locks.slots(1, 0b10, lock | shared).unwrap();
    }
}
