//! Transactions and snapshots over a store that has neither.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::overlay::Overlay;
use super::written::Written;
use super::{Batch, Key, OrderedKv, Visit};
use crate::{CommitVersion, Durability, Snapshot, Transactional};
use sync_core::error::Result;

/// The reads that typed rows are built on.
pub trait KvReads {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// `Storage`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Visits `start <= key < end` in order.
    ///
    /// # Errors
    /// `Storage`, or the error of the visitor.
    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()>;
}

/// Separates commits and snapshots: a snapshot observes no commit that happens while it is open.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
    /// Attempted commits: after a failure it may be unknown whether the commit happened.
    commits: AtomicU64,
}

#[derive(Debug, Default)]
struct GateState {
    readers: usize,
    /// Whether a commit waits: snapshots that begin now wait for it.
    committing: bool,
}

impl Gate {
    fn enter(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.committing {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.readers += 1;
    }

    fn leave(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).readers -= 1;
        self.changed.notify_all();
    }

    /// Runs a commit while no snapshot is open; snapshots that begin meanwhile wait for it.
    fn alone<T>(&self, commit: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.committing = true;
        while state.readers > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let _over = Over { state, gate: self };
        commit()
    }
}

/// Ends a commit, also one that panics: the panic ends the writer's thread, and readers must not
/// wait for it.
struct Over<'a> {
    state: MutexGuard<'a, GateState>,
    gate: &'a Gate,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.state.committing = false;
        self.gate.commits.fetch_add(1, Ordering::Release);
        self.gate.changed.notify_all();
    }
}

pub(super) fn pair<K: OrderedKv>(kv: Arc<K>, readers: usize) -> (KvWriter<K>, Vec<KvReader<K>>) {
    let gate = Arc::new(Gate::default());
    let reader = || KvReader { kv: Arc::clone(&kv), gate: Arc::clone(&gate), open: false };
    let readers = (0..readers.max(1)).map(|_| reader()).collect();
    (KvWriter::gated(kv, gate), readers)
}

/// Reads a snapshot of a store.
pub struct KvReader<K> {
    kv: Arc<K>,
    gate: Arc<Gate>,
    open: bool,
}

impl<K> fmt::Debug for KvReader<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvReader").field("open", &self.open).finish_non_exhaustive()
    }
}

impl<K: OrderedKv> Snapshot for KvReader<K> {
    fn open(&mut self) -> Result<()> {
        self.gate.enter();
        self.open = true;
        Ok(())
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.open) {
            self.gate.leave();
        }
    }

    /// Returns the version of commits: there is one writer, so no other process commits.
    fn probe(&self) -> Result<Option<Box<dyn CommitVersion>>> {
        Ok(Some(Box::new(Commits(Arc::clone(&self.gate)))))
    }
}

/// Counts the commits of a store.
struct Commits(Arc<Gate>);

impl CommitVersion for Commits {
    fn version(&mut self) -> Option<u64> {
        Some(self.0.commits.load(Ordering::Acquire))
    }
}

impl<K> Drop for KvReader<K> {
    fn drop(&mut self) {
        if self.open {
            self.gate.leave();
        }
    }
}

impl<K: OrderedKv> KvReads for KvReader<K> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.kv.get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.kv.range(start, end, visit)
    }
}

/// Collects one transaction in memory and commits it to the store as a batch.
pub struct KvWriter<K> {
    kv: Arc<K>,
    gate: Arc<Gate>,
    durability: Durability,
    /// The writes of the transaction so far.
    overlay: Overlay,
    /// The keys that may be in the store, if they are known.
    written: Option<Written>,
}

impl<K> fmt::Debug for KvWriter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvWriter").field("written", &self.overlay.len()).finish_non_exhaustive()
    }
}

impl<K: OrderedKv> KvWriter<K> {
    /// Creates a writer that shares its store with no reader: for callers that run the core inline.
    #[must_use]
    pub fn new(kv: Arc<K>) -> Self {
        Self::gated(kv, Arc::default())
    }

    /// Returns the store, as it was after the last commit.
    #[must_use]
    pub fn store(&self) -> &Arc<K> {
        &self.kv
    }

    fn gated(kv: Arc<K>, gate: Arc<Gate>) -> Self {
        let durability = Durability::Power;
        Self { kv, gate, durability, overlay: Overlay::default(), written: None }
    }

    /// Declares the store empty: keys that were never written here are not looked up in it.
    pub(super) fn begins_empty(&mut self) {
        self.written = Some(Written::default());
    }

    pub(super) fn put(&mut self, key: Key, value: Option<Bytes>) {
        self.overlay.put(key, value);
    }

    /// Writes many keys, in order and each of them once, which costs less than one by one.
    pub(super) fn put_all(&mut self, puts: Batch) {
        self.overlay.put_all(puts);
    }
}

impl<K: OrderedKv> Transactional for KvWriter<K> {
    fn begin(&mut self, durability: Durability) -> Result<()> {
        self.rollback();
        self.durability = durability;
        Ok(())
    }

    fn mark(&mut self) -> Result<()> {
        self.overlay.mark();
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        self.overlay.undo();
        Ok(())
    }

    fn commit(&mut self) -> Result<bool> {
        let batch = self.overlay.take();
        if batch.is_empty() {
            return Ok(false);
        }
        // Before the store writes them: if it fails, they may be stored.
        if self.written.as_mut().is_some_and(|written| !written.add(&batch)) {
            self.written = None;
        }
        self.gate.alone(|| self.kv.commit(batch, self.durability))?;
        Ok(true)
    }

    fn rollback(&mut self) {
        self.overlay.clear();
    }

    fn purge_erased(&mut self) -> Result<bool> {
        self.gate.alone(|| self.kv.purge_erased())
    }
}

impl<K: OrderedKv> KvReads for KvWriter<K> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.overlay.get(key) {
            Some(value) => Ok(value.clone()),
            None if self.written.as_ref().is_some_and(|written| !written.may_have(key)) => Ok(None),
            None => self.kv.get(key),
        }
    }

    /// Merges what is stored with what the transaction wrote.
    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let mut written = self.overlay.range(start, end).peekable();
        let mut broke = false;
        self.kv.range(start, end, &mut |key, value| {
            while let Some((own, own_value)) = written.next_if(|(own, _)| &***own < key) {
                if let Some(own_value) = own_value
                    && visit(own, own_value)?.is_break()
                {
                    broke = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            let own = written.next_if(|(own, _)| &***own == key);
            let value = match own {
                Some((_, Some(own_value))) => own_value,
                Some((_, None)) => return Ok(ControlFlow::Continue(())),
                None => value,
            };
            let flow = visit(key, value)?;
            broke = flow.is_break();
            Ok(flow)
        })?;
        for (own, own_value) in written {
            if broke {
                break;
            }
            if let Some(own_value) = own_value {
                broke = visit(own, own_value)?.is_break();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::MemoryKv;
    use sync_core::error::{Error, ErrorKind};

    /// A store that fails each commit after it was written.
    #[derive(Debug, Default)]
    struct Doubtful(MemoryKv);

    impl OrderedKv for Doubtful {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
            self.0.get(key)
        }
        fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
            self.0.range(start, end, visit)
        }
        fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
            self.0.commit(batch, durability)?;
            Err(Error::new(ErrorKind::Storage, "the flush failed"))
        }
    }

    #[test]
    fn a_failed_commit_counts_because_it_may_have_happened() {
        let (mut writer, readers) = pair(Arc::<Doubtful>::default(), 1);
        let mut probe = readers[0].probe().unwrap().unwrap();
        let before = probe.version();
        assert_eq!(probe.version(), before);
        writer.begin(Durability::Power).unwrap();
        assert!(!writer.commit().unwrap(), "nothing was written");
        assert_eq!(probe.version(), before);
        writer.put(Key::from(&b"key"[..]), Some(Bytes::new()));
        assert!(writer.commit().is_err());
        assert_ne!(probe.version(), before);
    }
}
