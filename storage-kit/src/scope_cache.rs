//! A cache of the newest rows of a server's scopes, which answers without a thread.
//!
//! Most requests to a server check for news, and mostly there is none. A scope's cached row is
//! valid as long as nothing is committed, and detecting a commit costs less than waking a thread
//! that reads. So the row is cached with the number that the [`CommitVersion`] returned before it
//! was read.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::CommitVersion;
use super::writer::contained;
use sync_core::model::Scope;
use sync_server::record::ServerScope;

/// The most scopes that are cached; one more clears the cache.
const SCOPES: usize = 1_024;

/// The newest rows of the scopes that were requested.
pub(super) struct ScopeCache(Mutex<State>);

struct State {
    /// None once it is closed.
    probe: Option<Box<dyn CommitVersion>>,
    /// The number of the probe for which the rows are the newest.
    version: u64,
    rows: HashMap<Scope, Arc<ServerScope>>,
}

/// The number of the probe before a row is read that is to be cached.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheGeneration(u64);

/// The result of a look-up of a scope's row.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The cached row, which is the newest.
    Fresh(Arc<ServerScope>),
    /// The row has to be read; the result may be cached, if there is a generation for it.
    Unread(Option<CacheGeneration>),
}

impl fmt::Debug for ScopeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeCache").finish_non_exhaustive()
    }
}

impl ScopeCache {
    /// Creates a cache. Without a probe it never returns a row.
    pub(super) fn new(probe: Option<Box<dyn CommitVersion>>) -> Self {
        Self(Mutex::new(State { probe, version: 0, rows: HashMap::new() }))
    }

    /// Returns the state unless it is locked: a caller that finds it locked continues without it
    /// and never waits.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        match self.0.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Returns the newest row of a scope, if it is known.
    pub(super) fn look(&self, scope: &Scope) -> Lookup {
        let Some(mut state) = self.state() else { return Lookup::Unread(None) };
        let told = state.probe.as_mut().map(|probe| contained(|| Ok(probe.version())));
        let Some(Ok(Some(version))) = told else { return Lookup::Unread(None) };
        if version != state.version {
            state.version = version;
            state.rows.clear();
        }
        state.rows.get(scope).map_or(Lookup::Unread(Some(CacheGeneration(version))), |row| {
            Lookup::Fresh(Arc::clone(row))
        })
    }

    /// Drops the probe, which may hold a file, and returns nothing from then on.
    pub(super) fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.probe = None;
        state.rows.clear();
    }

    /// Caches a row that was read after that number.
    pub(super) fn remember(
        &self,
        moment: Option<CacheGeneration>,
        scope: Scope,
        row: &ServerScope,
    ) {
        let Some((CacheGeneration(version), mut state)) = moment.zip(self.state()) else { return };
        if state.version != version {
            return; // Something was committed, perhaps before it was read, perhaps after.
        }
        if state.rows.len() >= SCOPES {
            state.rows.clear();
        }
        state.rows.insert(scope, Arc::new(row.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use sync_core::model::{Epoch, Seq};

    /// Returns a number that the test sets; 0 for none.
    struct Told(Arc<AtomicU64>);

    impl CommitVersion for Told {
        fn version(&mut self) -> Option<u64> {
            Some(self.0.load(Ordering::Relaxed)).filter(|n| *n > 0)
        }
    }

    fn newest() -> (ScopeCache, Arc<AtomicU64>) {
        let told = Arc::new(AtomicU64::new(7));
        (ScopeCache::new(Some(Box::new(Told(Arc::clone(&told))))), told)
    }

    fn row(head: u64) -> ServerScope {
        ServerScope { head: Seq(head), ..ServerScope::new(Epoch([1; 16])) }
    }

    fn moment(newest: &ScopeCache, scope: &Scope) -> Option<CacheGeneration> {
        match newest.look(scope) {
            Lookup::Unread(moment) => moment,
            Lookup::Fresh(row) => panic!("{row:?} is known"),
        }
    }

    fn head(newest: &ScopeCache, scope: &Scope) -> Option<Seq> {
        match newest.look(scope) {
            Lookup::Unread(_) => None,
            Lookup::Fresh(row) => Some(row.head),
        }
    }

    #[test]
    fn a_row_is_the_newest_until_something_is_committed() {
        let (newest, told) = newest();
        let scope = Scope::default();
        newest.remember(moment(&newest, &scope), scope.clone(), &row(3));
        assert_eq!(head(&newest, &scope), Some(Seq(3)));
        assert_eq!(head(&newest, &Scope::new("other").unwrap()), None, "it was not read");
        told.store(8, Ordering::Relaxed);
        assert_eq!(head(&newest, &scope), None);
        told.store(7, Ordering::Relaxed);
        assert_eq!(head(&newest, &scope), None, "an old number does not bring an old row back");
    }

    #[test]
    fn a_row_that_was_read_during_a_commit_is_not_cached() {
        let (newest, told) = newest();
        let scope = Scope::default();
        let before = moment(&newest, &scope);
        told.store(8, Ordering::Relaxed);
        // Another caller detects the commit first.
        moment(&newest, &scope);
        newest.remember(before, scope.clone(), &row(3));
        assert_eq!(head(&newest, &scope), None);
    }

    #[test]
    fn a_row_read_before_a_commit_was_detected_is_not_returned_after_it() {
        let (newest, told) = newest();
        let scope = Scope::default();
        let before = moment(&newest, &scope);
        told.store(8, Ordering::Relaxed);
        newest.remember(before, scope.clone(), &row(3));
        assert_eq!(head(&newest, &scope), None);
    }

    #[test]
    fn nothing_is_cached_while_the_probe_returns_nothing_or_is_dropped() {
        let (newest, told) = newest();
        let scope = Scope::default();
        newest.remember(moment(&newest, &scope), scope.clone(), &row(3));
        told.store(0, Ordering::Relaxed);
        assert!(moment(&newest, &scope).is_none());
        told.store(7, Ordering::Relaxed);
        assert_eq!(head(&newest, &scope), Some(Seq(3)));
        newest.close();
        assert!(moment(&newest, &scope).is_none());
        assert_eq!(Arc::strong_count(&told), 1, "the probe is let go");
    }

    #[test]
    fn memory_is_bounded() {
        let (newest, _) = newest();
        for n in 0..=SCOPES {
            let scope = Scope::new(format!("s{n}")).unwrap();
            newest.remember(moment(&newest, &scope), scope, &row(3));
        }
        assert_eq!(newest.0.lock().unwrap().rows.len(), 1);
    }
}
