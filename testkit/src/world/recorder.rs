//! Records of a run: acknowledged writes and calls of resolvers.

use std::sync::{Arc, Mutex, PoisonError};

use sync_core::error::Result;
use sync_core::model::{DocumentKey, DocumentState, LocalSeq, Revision};
use sync_core::resolver::{Conflict, ConflictResolver, Resolution};

/// A local write that a replica acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The replica.
    pub replica: usize,
    /// The document.
    pub key: DocumentKey,
    /// The state that the app read before; none if there was no document.
    pub before: Option<DocumentState>,
    /// The state that the write made; none if it removed a document that no other replica can have
    /// received.
    pub after: Option<DocumentState>,
    /// The local transaction: writes with the same number were made together.
    pub transaction: LocalSeq,
    /// Whether the write ended a deferred conflict: it equals the state that the server holds,
    /// which is shown.
    pub ends_conflict: bool,
}

/// A call of a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverCall {
    /// Whether the server called it.
    pub on_server: bool,
    /// The document.
    pub key: DocumentKey,
    /// The revision that the local edit was made on, if any.
    pub base: Option<Revision>,
    /// The replica's edit.
    pub local: DocumentState,
    /// The server's state; none for an absent document.
    pub remote: Option<DocumentState>,
    /// Its decision; none if it failed.
    pub resolution: Option<Resolution>,
}

impl ResolverCall {
    /// Returns the effective decision. A result that equals what the server holds (a merge with
    /// that body, or a deletion of a deleted document) takes the server's state, and nothing is
    /// left to push.
    #[must_use]
    pub fn effect(&self) -> Option<Resolution> {
        let held = self.remote.as_ref().and_then(|state| state.body.as_ref());
        match self.resolution.clone()? {
            Resolution::Merge(body) if Some(&body) == held => Some(Resolution::Remote),
            Resolution::Delete if held.is_none() => Some(Resolution::Remote),
            resolution => Some(resolution),
        }
    }
}

/// The calls of the resolvers of one world. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Vec<ResolverCall>>>);

impl Calls {
    /// Returns the number of calls.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns the calls after the first `from`.
    #[must_use]
    pub fn since(&self, from: usize) -> Vec<ResolverCall> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(from..).unwrap_or_default().to_vec()
    }

    /// Copies the list.
    pub(super) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.since(0))))
    }

    fn push(&self, call: ResolverCall) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// A resolver that records its calls and results.
#[derive(Clone, Debug)]
pub struct Recording {
    inner: Arc<dyn ConflictResolver>,
    calls: Calls,
    on_server: bool,
}

impl Recording {
    /// Records the calls of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ConflictResolver>, calls: Calls, on_server: bool) -> Self {
        Self { inner, calls, on_server }
    }
}

impl ConflictResolver for Recording {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn needs_base(&self) -> bool {
        self.inner.needs_base()
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let resolution = self.inner.resolve(conflict);
        self.calls.push(ResolverCall {
            on_server: self.on_server,
            key: conflict.key.clone(),
            base: conflict.base.map(|b| b.revision),
            local: conflict.local.clone(),
            remote: conflict.remote.cloned(),
            resolution: resolution.as_ref().ok().cloned(),
        });
        resolution
    }
}
