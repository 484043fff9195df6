//! The store in memory: for tests, simulations and data that need not be kept.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::{Batch, Key, OrderedKv, Visit};
use crate::Durability;
use sync_core::error::Result;

/// An ordered map in memory. Its content is lost when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryKv {
    entries: RwLock<BTreeMap<Key, Bytes>>,
}

impl MemoryKv {
    /// Returns a copy of the current state: a backup, for tests that restore one.
    #[must_use]
    pub fn copy(&self) -> Self {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self { entries: RwLock::new(entries) }
    }
}

impl OrderedKv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        for (key, value) in entries.range::<[u8], _>(bounds) {
            if let ControlFlow::Break(()) = visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch, _: Durability) -> Result<()> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }

    fn purge_erased(&self) -> Result<bool> {
        // There are no files, and replaced values are freed.
        Ok(true)
    }
}
