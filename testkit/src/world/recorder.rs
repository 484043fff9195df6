//! Records of a run: acknowledged writes and calls of resolvers.

use std::sync::{Arc, Mutex, PoisonError};

use sync_core::error::Result;
use sync_core::model::{DocumentKey, DocumentState, LocalSeq, Revision};
use sync_core::resolver::{Conflict, ConflictResolver, Resolution};

/// A local write that a replica acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// On which replica.
    pub replica: usize,
    /// Which document.
    pub key: DocumentKey,
    /// The state that the app saw before; none if there was nothing.
    pub before: Option<DocumentState>,
    /// The state that the write made; none if it undid a document that no other replica can have
    /// received.
    pub after: Option<DocumentState>,
    /// The local transaction: writes that share it were made together.
    pub transaction: LocalSeq,
    /// Whether a conflict that waited has ended by it: what was written is what the server holds,
    /// whose state is shown.
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
    /// What it decided; none if it failed.
    pub resolution: Option<Resolution>,
}

impl ResolverCall {
    /// What the decision comes to. A resolver that makes what the server holds already, a merge
    /// with that body, or a deletion of what is deleted, takes the server's state: nothing is left
    /// to push.
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
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Those after the first `from`.
    #[must_use]
    pub fn since(&self, from: usize) -> Vec<ResolverCall> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(from..).unwrap_or_default().to_vec()
    }

    /// A list of its own with the same calls.
    #[cfg(feature = "model")]
    pub(super) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.since(0))))
    }

    fn push(&self, call: ResolverCall) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// A resolver that writes down what it is asked and what it says.
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
