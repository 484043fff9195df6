//! Conflict resolvers: they decide which edit wins when two were made without knowledge of each
//! other.
//!
//! # Why resolvers terminate
//!
//! A resolver is called only for a replica's own unsettled edit. Its result replaces that edit, is
//! based on the server's state, and is pushed like any other edit. A replica without an unsettled
//! edit applies what the server sends, a merge like any other state, and calls no resolver. So only
//! a local write (or the app's decision, or a reset that makes what the server lost unsettled
//! again) ever makes a document unsettled, and a resolver's result never does.
//!
//! Let `n` replicas hold unsettled edits of one document. A push of it is accepted, or the server
//! settles it: then one edit fewer is unsettled. Or it is in conflict with a state that some other
//! push made since. Each accepted push makes one state, against which each of the other edits is
//! resolved at most once. So there are at most `n (n - 1) / 2` conflicts until all are settled,
//! even if the resolver makes a new body each time, and every replica has a different resolver.
//! Each is reported by the transaction that resolves it, and counted in the statistics. There is no
//! bound for an app that writes whenever it reads a change: those are local writes.

mod custom;
mod deletes;
mod fields;
mod strategies;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::Result;
use crate::model::{Body, Change, Collection, DocumentKey, DocumentState, Scope};

pub use custom::{
    FnResolver, TypedConflict, TypedResolution, TypedResolver, resolve_typed, resolve_with,
};
pub use deletes::{OnDelete, WithOnDelete};
pub use fields::{FieldMerge, FieldRule};
pub use strategies::{ClientWins, LastWriteWins, ServerWins};

/// Two edits of one document, each made without knowledge of the other.
///
/// Equal bodies, and two deletions, are never passed to a resolver: they are no conflict.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Conflict<'a> {
    /// The document.
    pub key: &'a DocumentKey,
    /// The settled state that the local edit was made on; none if it was an insert.
    pub base: Option<&'a DocumentState>,
    /// The replica's edit.
    pub local: &'a DocumentState,
    /// The server's state; none if the server has no trace of the document any more.
    pub remote: Option<&'a DocumentState>,
}

impl<'a> Conflict<'a> {
    /// Makes a conflict of the two sides and their base.
    #[must_use]
    pub fn new(
        key: &'a DocumentKey,
        base: Option<&'a DocumentState>,
        local: &'a DocumentState,
        remote: Option<&'a DocumentState>,
    ) -> Self {
        Self { key, base, local, remote }
    }

    /// Returns whether the local edit was written later than the server's state, by hybrid logical
    /// clock, then by replica id. It is later than a state of which there is no trace.
    #[must_use]
    pub fn local_is_later(&self) -> bool {
        self.remote.is_none_or(|remote| self.local.author > remote.author)
    }
}

/// The decision of a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The server's state wins, the local edit is dropped.
    Remote,
    /// The local edit wins: it is made again on the server's state, and pushed.
    Local,
    /// This body, merged from both, is pushed.
    Merge(Body),
    /// The document is deleted.
    Delete,
    /// The app decides later: both versions are kept in the conflict inbox, the rest is synced.
    Defer,
}

/// Decides conflicts.
///
/// It must be deterministic: the same conflict, the same answer, on every replica. It reads no
/// clock and draws no randomness. It is called inside a storage transaction, on the storage's
/// thread, so it must be quick and must not call back into the replica. If it returns an error or
/// panics, the conflict is [deferred](Resolution::Defer).
///
/// ```
/// use sync_core::resolver::{Conflict, ConflictResolver, Resolution};
///
/// /// The longer text wins.
/// #[derive(Debug)]
/// struct Longest;
///
/// impl ConflictResolver for Longest {
///     fn name(&self) -> &str {
///         "longest"
///     }
///     fn resolve(&self, conflict: &Conflict<'_>) -> sync_core::error::Result<Resolution> {
///         let length = |s: &sync_core::model::DocumentState| s.body.as_ref().map_or(0, |b| b.len());
///         let remote = conflict.remote.map_or(0, length);
///         Ok(if length(conflict.local) > remote { Resolution::Local } else { Resolution::Remote })
///     }
/// }
/// ```
pub trait ConflictResolver: Send + Sync + fmt::Debug + 'static {
    /// Returns its name, for logs and reports.
    fn name(&self) -> &str;

    /// Returns whether it reads [`Conflict::base`]. Only then is a base body sent to a server that
    /// resolves.
    fn needs_base(&self) -> bool {
        false
    }

    /// Decides one conflict.
    ///
    /// # Errors
    /// Any error that keeps it from deciding; the conflict is then deferred.
    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution>;

    /// Returns the same resolver for two edits, with that policy for a deletion against an edit.
    ///
    /// ```
    /// use sync_core::resolver::{ConflictResolver, LastWriteWins, OnDelete};
    /// let resolver = LastWriteWins.on_delete(OnDelete::KeepEdit);
    /// # let _ = resolver;
    /// ```
    fn on_delete(self, policy: OnDelete) -> WithOnDelete<Self>
    where
        Self: Sized,
    {
        WithOnDelete { resolver: self, policy }
    }
}

/// Where the conflicts of a collection are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResolveOn {
    /// On the replica: the server answers with its state, the replica resolves and pushes again.
    /// The only way when bodies are encrypted.
    #[default]
    Replica,
    /// On the server, inside the transaction that appends. Replicas name the same resolver, to know
    /// whether the base has to be sent with an edit. If the server's resolver [reads the
    /// base](ConflictResolver::needs_base) and an edit is sent without it, the server decides
    /// nothing, and the conflict waits for the app in the replica's inbox.
    Server,
}

#[derive(Clone, Debug)]
struct Policy {
    resolver: Arc<dyn ConflictResolver>,
    on: ResolveOn,
}

/// The resolvers of all collections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolvers(Arc<Table>);

#[derive(Clone, Debug)]
struct Table {
    default: Policy,
    by_collection: BTreeMap<Collection, Policy>,
}

impl Default for Resolvers {
    /// Last write wins, on the replica.
    fn default() -> Self {
        Self::new(LastWriteWins)
    }
}

impl Resolvers {
    /// Uses one resolver for every collection, on the replica.
    #[must_use]
    pub fn new(default: impl ConflictResolver) -> Self {
        Self::shared(Arc::new(default), ResolveOn::Replica)
    }

    /// Uses one resolver for every collection, on the given side.
    #[must_use]
    pub fn shared(default: Arc<dyn ConflictResolver>, on: ResolveOn) -> Self {
        let default = Policy { resolver: default, on };
        Self(Arc::new(Table { default, by_collection: BTreeMap::new() }))
    }

    /// Sets another resolver for one collection.
    #[must_use]
    pub fn with(
        self,
        collection: Collection,
        resolver: Arc<dyn ConflictResolver>,
        on: ResolveOn,
    ) -> Self {
        let mut table = (*self.0).clone();
        table.by_collection.insert(collection, Policy { resolver, on });
        Self(Arc::new(table))
    }

    fn policy(&self, collection: &Collection) -> &Policy {
        self.0.by_collection.get(collection).unwrap_or(&self.0.default)
    }

    /// Returns where the conflicts of that collection are resolved.
    #[must_use]
    pub fn resolve_on(&self, collection: &Collection) -> ResolveOn {
        self.policy(collection).on
    }

    /// Returns whether pushes of that collection include the base's body.
    #[must_use]
    pub fn sends_base(&self, collection: &Collection) -> bool {
        let policy = self.policy(collection);
        policy.on == ResolveOn::Server && policy.resolver.needs_base()
    }

    /// Decides, on the server, a pushed change that is in conflict with the current state. Returns
    /// none if the decision is left to the replica: if the replica resolves, or if the resolver
    /// needs the body of the base and the change has none. A merge without the base would silently
    /// restore what was removed.
    #[must_use]
    pub fn decide_pushed(
        &self,
        scope: &Scope,
        change: &Change,
        current: Option<&DocumentState>,
    ) -> Option<Resolution> {
        let policy = self.policy(&change.collection);
        let lacks_base = change.base.is_some_and(|b| !b.tombstone) && change.base_body.is_none();
        if policy.on != ResolveOn::Server || lacks_base && policy.resolver.needs_base() {
            return None;
        }
        let key = DocumentKey::new(scope.clone(), change.collection.clone(), change.id.clone());
        let base = change.base_state();
        Some(self.decide(&Conflict::new(&key, base.as_ref(), &change.state, current)))
    }

    /// Decides a conflict with the resolver of its collection. If the resolver fails or panics, the
    /// result is [`Resolution::Defer`].
    #[must_use]
    pub fn decide(&self, conflict: &Conflict<'_>) -> Resolution {
        let resolver = &self.policy(&conflict.key.collection).resolver;
        match catch_unwind(AssertUnwindSafe(|| resolver.resolve(conflict))) {
            Ok(Ok(resolution)) => resolution,
            Ok(Err(_)) | Err(_) => Resolution::Defer,
        }
    }
}
