//! The arguments and results of a replica's storage.

use std::collections::BTreeSet;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::failures::Failures;
use super::rules::Decided;
use crate::clock::Now;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Body, Checkpoint, Collection, Digest, DocumentId, DocumentKey, DocumentState, FencingToken,
    Limits, LocalSeq, PushId, Rejection, ReplicaId, Revision, Scope, Seq, Settled, Stamp,
    VerdictKind,
};
use crate::resolver::{Resolution, Resolvers};

/// The context of a call to a replica's storage: the time, the resolvers, and the lease under which
/// the caller runs.
#[derive(Clone, Debug)]
pub struct Context {
    /// This machine's time.
    pub now: Now,
    /// The resolvers that decide conflicts.
    pub resolvers: Resolvers,
    /// The engine lease that the caller holds; if it is not the newest, nothing happens.
    pub lease: FencingToken,
}

/// One write of a local transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWrite {
    /// The collection.
    pub collection: Collection,
    /// The id.
    pub id: DocumentId,
    /// The operation.
    pub operation: WriteOperation,
}

impl LocalWrite {
    /// Creates the write of a document.
    #[must_use]
    pub fn new(collection: Collection, id: DocumentId, operation: WriteOperation) -> Self {
        Self { collection, id, operation }
    }
}

/// The operation of a local write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOperation {
    /// Creates a document; fails with `AlreadyExists` if a live one exists.
    Insert(Body),
    /// Replaces a document; fails with `NotFound` if no live one exists.
    Update(Body),
    /// Makes or replaces a document.
    Put(Body),
    /// Replaces a document if it is at that revision; fails with `NotFound` if no live one is
    /// there, and with `Superseded` if it is at another revision.
    Replace(Revision, Body),
    /// Deletes a document; fails with `NotFound` if no live one exists.
    Delete,
    /// Erases a document, deleted or not: no body of it stays, here at once, and elsewhere as soon
    /// as it is synced. Fails with `NotFound` if there is no trace of it.
    Erase,
}

/// Writes that become visible, durable and pushed together. All belong to one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTransaction {
    /// The scope.
    pub scope: Scope,
    /// The writes, in order; a later write to a document observes the earlier one.
    pub writes: Vec<LocalWrite>,
}

/// The operation of a change, as the app sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// There was no document, and now there is one.
    Insert,
    /// It has another state.
    Update,
    /// It was deleted.
    Delete,
}

/// Where a change came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From this replica's app.
    Local,
    /// From the server.
    Remote,
}

/// A change for the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentChange {
    /// The document.
    pub key: DocumentKey,
    /// The operation on the document.
    pub operation: Operation,
    /// Its new state; none if it was removed, a tombstone if it was deleted.
    pub document: Option<DocumentState>,
    /// The live state before, if it is known.
    pub previous: Option<DocumentState>,
    /// Its place in the replica's change feed.
    pub at: LocalSeq,
    /// The origin of the state.
    pub origin: Origin,
}

impl DocumentChange {
    /// Removes the bodies of both states, because the document was erased.
    pub fn drop_bodies(&mut self) {
        self.previous = None;
        if let Some(document) = self.document.as_mut() {
            document.body = None;
        }
    }

    /// Returns the stamp of the write that led to it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.document.as_ref().or(self.previous.as_ref()).map_or(Stamp::ZERO, |d| d.author.stamp)
    }
}

/// A conflict and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictReport {
    /// The document.
    pub key: DocumentKey,
    /// The result.
    pub decided: Decided,
}

/// The effect of a committed transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The changes for the app, in order.
    pub changes: Vec<DocumentChange>,
    /// The conflicts.
    pub conflicts: Vec<ConflictReport>,
    /// Edits that moved into the quarantine.
    pub refused: Vec<(DocumentKey, Rejection)>,
    /// Documents that were erased: their bodies were removed.
    pub erased: Vec<DocumentKey>,
    /// Entries or verdicts that were applied.
    pub applied: usize,
    /// How many edits advanced by their verdicts: settled, refused, left to the app, or on a newer
    /// base than before.
    pub progressed: usize,
    /// An edit that its verdict left unchanged, free to be pushed again, and the verdict on it.
    pub unmoved: Option<(DocumentKey, VerdictKind)>,
    /// Collections whose position was discarded: they are pulled from the beginning.
    pub backfilled: Vec<Collection>,
}

/// The result of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether the chunk began at the replica's position, and was applied. If not, nothing happened
    /// at all.
    pub moved: bool,
    /// The replica's position now.
    pub checkpoint: Checkpoint,
    /// The effect of the transaction.
    pub committed: Committed,
}

impl Deref for Applied {
    type Target = Committed;
    fn deref(&self) -> &Committed {
        &self.committed
    }
}

/// A summary of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// The id of the replica.
    pub replica: ReplicaId,
    /// The newest batch it ever formed.
    pub last_push: PushId,
    /// The newest place in its change feed.
    pub last_local: LocalSeq,
    /// A number that moves with every change of a conflict inbox or a quarantine.
    pub inbox: u64,
    /// The newest engine lease, and the name of its holder.
    pub lease: (FencingToken, String),
    /// The collections that were declared local-only.
    pub local_only: BTreeSet<Collection>,
    /// Its scopes, in order of their names; with [`Scope::local`] once something was written there.
    pub scopes: Vec<ScopeSummary>,
}

impl ReplicaState {
    /// Creates the state of a replica without scopes, of which no process holds the lease.
    #[must_use]
    pub fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            last_push: PushId(0),
            last_local: LocalSeq(0),
            inbox: 0,
            lease: (FencingToken(0), String::new()),
            local_only: BTreeSet::new(),
            scopes: Vec::new(),
        }
    }

    /// One scope of it; none if it is not stored.
    #[must_use]
    pub fn scope(&self, scope: &Scope) -> Option<&ScopeSummary> {
        self.scopes.iter().find(|s| s.scope == *scope)
    }

    /// Returns the position of a scope; the beginning for one that is not stored.
    #[must_use]
    pub fn checkpoint(&self, scope: &Scope) -> Checkpoint {
        self.scope(scope).map(|s| s.checkpoint.clone()).unwrap_or_default()
    }

    /// Returns the counts of unsettled documents in a scope.
    #[must_use]
    pub fn outbox(&self, scope: &Scope) -> OutboxCounts {
        self.scope(scope).map(|s| s.outbox).unwrap_or_default()
    }
}

/// A scope of a replica at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSummary {
    /// The scope.
    pub scope: Scope,
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// Live documents.
    pub documents: u64,
    /// Their digest.
    pub digest: Digest,
    /// Counts of unsettled documents.
    pub outbox: OutboxCounts,
    /// The batch in flight.
    pub in_flight: Option<PushId>,
    /// The failures that keep it from syncing.
    pub failures: Failures,
    /// Whether the replica leaves out documents that the server has: its digest then differs
    /// rightly.
    pub is_partial: bool,
}

/// Sums over the live documents of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// How many there are.
    pub documents: u64,
    /// Their digest.
    pub digest: Digest,
}

/// A scope whose documents were counted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The scope.
    pub scope: Scope,
    /// The sums that the storage keeps, and that [`ReplicaState`] shows.
    pub kept: Sums,
    /// The sums of the stored documents.
    pub counted: Sums,
}

impl Checked {
    /// Returns whether the stored sums are those of the documents.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.kept == self.counted
    }
}

/// Counts of what is unsettled in a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OutboxCounts {
    /// Documents whose edit waits for a batch, of collections that the replica syncs.
    pub pending: u64,
    /// Documents in the batch in flight.
    pub in_flight: u64,
    /// Edits that the server refused permanently.
    pub quarantined: u64,
    /// Documents whose conflict waits for the app.
    pub deferred: u64,
    /// Documents whose edit waits because the replica does not sync their collection.
    pub not_chosen: u64,
}

impl OutboxCounts {
    /// Adds another scope's counts.
    pub fn add(&mut self, other: Self) {
        self.pending += other.pending;
        self.in_flight += other.in_flight;
        self.quarantined += other.quarantined;
        self.deferred += other.deferred;
        self.not_chosen += other.not_chosen;
    }
}

/// A document as a read returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: DocumentKey,
    /// Its live state.
    pub state: DocumentState,
    /// Its newest settled position; 0 if it was never settled.
    pub known: Seq,
    /// Whether a local edit of it is not settled.
    pub dirty: bool,
    /// Its place in the change feed.
    pub changed: LocalSeq,
}

/// The arguments of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The scope.
    pub scope: Scope,
    /// One collection, or all of them.
    pub collection: Option<Collection>,
    /// The page begins after this document.
    pub after: Option<(Collection, DocumentId)>,
    /// The page's bounds.
    pub limits: Limits,
}

/// A bounded part of a longer list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoragePage<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether more follow after the last item.
    pub more: bool,
}

/// The kind of unsettled entries that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsettled {
    /// Edits that wait for a batch, also those of collections that the replica does not sync.
    Pending,
    /// Edits in the batch in flight.
    InFlight,
    /// Edits that the server refused permanently.
    Quarantine,
    /// Conflicts that wait for the app.
    Deferred,
}

/// An unsettled entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsettledEntry {
    /// The document.
    pub key: DocumentKey,
    /// The local state.
    pub local: DocumentState,
    /// The settled state that the edit was made on.
    pub base: Option<Settled>,
    /// The pending remote state.
    pub remote: Option<DocumentState>,
    /// The local transaction it belongs to; 0 in the quarantine.
    pub transaction: LocalSeq,
    /// How often its batch was returned to be pushed; 0 if it is in none.
    pub attempts: u32,
    /// The reason of the refusal, its time, and its ticket: only in the quarantine.
    pub refused: Option<(Rejection, Stamp, u64)>,
}

/// Where a page of unsettled entries begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnsettledAfter {
    /// At the beginning.
    #[default]
    Start,
    /// After this entry.
    Entry {
        /// Its transaction.
        transaction: LocalSeq,
        /// Its document.
        key: DocumentKey,
        /// Its ticket, in the quarantine.
        ticket: u64,
    },
}

/// The app's decision on a quarantined edit or a deferred conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Writes the quarantined edit again.
    Retry,
    /// Drops the quarantined edit.
    Discard,
    /// Ends a deferred conflict.
    Resolve(Resolution),
}

/// The data that is removed from the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// A scope that was removed or revoked: the replica's unsynced bodies move to the quarantine,
    /// the rest is removed.
    Scope(Scope),
    /// One collection of a scope, likewise.
    Collection(Scope, Collection),
}

/// A page of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage {
    /// Changes by place; each document once, at its newest place.
    pub changes: Vec<DocumentChange>,
    /// Whether more follow.
    pub more: bool,
    /// Whether something was removed since the requested place: a watcher reads again.
    pub gap: bool,
}

pub(crate) fn not_found(key: &DocumentKey, what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no such {what}")).with("document", key)
}

pub(crate) fn check_lease(held: FencingToken, newest: FencingToken) -> Result<()> {
    if held == newest {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Superseded,
        "another process has taken over the engine of this replica",
    )
    .with("held", held)
    .with("newest", newest))
}

#[cfg(test)]
mod tests;
