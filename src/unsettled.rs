//! What is not synced: conflicts that wait for the app, edits that the server refused, and why a document is not synced.

use std::time::SystemTime;

use sync_core::error::Result;
use sync_core::model::{
    Body, Collection as Name, DocumentId, DocumentKey, DocumentState, Limits, Rejection,
};
use sync_core::replica::{Decision, Unsettled, UnsettledAfter, UnsettledEntry};
use sync_core::resolver::Resolution;

use crate::Replica;
use crate::document::time_of;

/// Where a page goes on: opaque, from the page before it.
#[derive(Clone, Debug)]
pub struct NextPage(UnsettledAfter);

/// A bounded part of a list of what is not synced.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnsettledPage<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page begins, if more follow.
    pub next: Option<NextPage>,
}

/// A conflict that waits for the app: both versions, and what they were made on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitingConflict {
    /// The document.
    pub key: DocumentKey,
    /// The settled body that the local edit was made on; none for an insert.
    pub base: Option<Body>,
    /// The local edit; none if it deletes.
    pub local: Option<Body>,
    /// What the server has; none if it was deleted there.
    pub remote: Option<Body>,
    /// When the local edit was made.
    pub since: SystemTime,
}

impl WaitingConflict {
    fn of(entry: UnsettledEntry) -> Self {
        let body = |state: Option<DocumentState>| state.and_then(|s| s.body);
        Self {
            since: time_of(entry.local.author.stamp),
            key: entry.key,
            base: body(entry.base.map(|b| b.state)),
            local: entry.local.body,
            remote: body(entry.remote),
        }
    }
}

/// An edit that the server refused for good.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuarantinedEdit {
    /// The document.
    pub key: DocumentKey,
    /// The edit; none if it deletes.
    pub body: Option<Body>,
    /// Why it was refused.
    pub rejection: Rejection,
    /// When it was refused.
    pub at: SystemTime,
}

impl QuarantinedEdit {
    fn of(entry: UnsettledEntry) -> Option<Self> {
        let (rejection, at, _) = entry.refused?;
        Some(Self { key: entry.key, body: entry.local.body, rejection, at: time_of(at) })
    }
}

/// The conflicts of a replica that wait for the app: made by [`Replica::conflicts`].
///
/// A document whose conflict waits shows the local edit, and can be edited on; the rest syncs on.
#[derive(Clone, Debug)]
pub struct Conflicts(Replica);

/// The edits of a replica that the server refused: made by [`Replica::quarantine`].
///
/// They block nobody, and the document shows the settled state. A refused edit is kept until somebody decides.
#[derive(Clone, Debug)]
pub struct Quarantine(Replica);

/// Why a document is or is not synced.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SyncState {
    /// Its collection never leaves this device: see [`ReplicaBuilder::local_only`](crate::ReplicaBuilder::local_only).
    LocalOnly,
    /// Nothing of it is unsettled.
    Synced,
    /// Its edit waits for a batch.
    Pending {
        /// When it was written.
        since: SystemTime,
    },
    /// Its edit waits, because the replica does not sync its collection: see
    /// [`ReplicaBuilder::collections`](crate::ReplicaBuilder::collections).
    NotChosen {
        /// When it was written.
        since: SystemTime,
    },
    /// Its edit is in the batch that is being pushed.
    InFlight {
        /// When it was written.
        since: SystemTime,
    },
    /// Its conflict waits for the app.
    Conflict(Box<WaitingConflict>),
    /// Its newest edits were refused by the server; the oldest first.
    Quarantined(Vec<QuarantinedEdit>),
}

impl SyncState {
    /// The word for it: `local_only`, `synced`, `pending`, `not_chosen`, `in_flight`, `conflict` or `quarantined`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::LocalOnly => "local_only",
            Self::Synced => "synced",
            Self::Pending { .. } => "pending",
            Self::NotChosen { .. } => "not_chosen",
            Self::InFlight { .. } => "in_flight",
            Self::Conflict(_) => "conflict",
            Self::Quarantined(_) => "quarantined",
        }
    }
}

impl Replica {
    /// The conflicts that wait for the app.
    #[must_use]
    pub fn conflicts(&self) -> Conflicts {
        Conflicts(self.clone())
    }

    /// The edits that the server refused.
    #[must_use]
    pub fn quarantine(&self) -> Quarantine {
        Quarantine(self.clone())
    }

    /// Why a document is or is not synced. What the sync as a whole is at, with its attempts and its last error, is in
    /// [`status`](Self::status): a pending edit travels when that is not offline.
    ///
    /// A document that was edited again after an edit of it was refused is told by its newest edit.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name; else as the storage.
    pub async fn sync_state(&self, collection: &str, id: &str) -> Result<SyncState> {
        let key = self.key(collection, id)?;
        if key.scope.is_local() {
            return Ok(SyncState::LocalOnly);
        }
        let entries = self.storage().unsettled_of(key).await?;
        let mut refused = Vec::new();
        for (which, entry) in entries {
            let since = time_of(entry.local.author.stamp);
            match which {
                Unsettled::Pending if self.syncs(&entry.key.collection).await? => {
                    return Ok(SyncState::Pending { since });
                }
                Unsettled::Pending => return Ok(SyncState::NotChosen { since }),
                Unsettled::InFlight => return Ok(SyncState::InFlight { since }),
                Unsettled::Deferred => {
                    return Ok(SyncState::Conflict(Box::new(WaitingConflict::of(entry))));
                }
                Unsettled::Quarantine => refused.extend(QuarantinedEdit::of(entry)),
            }
        }
        Ok(if refused.is_empty() { SyncState::Synced } else { SyncState::Quarantined(refused) })
    }

    /// Whether a collection is synced: as this replica was opened, or else as it was synced last.
    async fn syncs(&self, collection: &Name) -> Result<bool> {
        match self.chosen() {
            Some(chosen) => Ok(chosen.contains(collection)),
            None => Ok(self.state().await?.checkpoint(self.scope()).includes(collection)),
        }
    }

    fn key(&self, collection: &str, id: &str) -> Result<DocumentKey> {
        let collection = Name::new(collection)?;
        Ok(DocumentKey::new(self.scope_of(&collection), collection, DocumentId::new(id)?))
    }

    async fn decide(&self, collection: &str, id: &str, decision: Decision) -> Result<()> {
        let (now, key) = (self.environment().now(), self.key(collection, id)?);
        self.storage().decide(now, key, decision).await.map(drop)
    }

    async fn unsettled<T>(
        &self,
        which: Unsettled,
        after: Option<&NextPage>,
        limit: usize,
        read: impl Fn(UnsettledEntry) -> Option<T>,
    ) -> Result<UnsettledPage<T>> {
        let after = after.map_or(UnsettledAfter::Start, |next| next.0.clone());
        let limits = Limits { documents: limit.max(1), bytes: Limits::CHUNK.bytes };
        let scope = self.scope().clone();
        let page = self.storage().unsettled(scope, which, after, limits).await?;
        let last = page.items.last().filter(|_| page.more).map(|entry| {
            let ticket = entry.refused.as_ref().map_or(0, |(_, _, ticket)| *ticket);
            let (transaction, key) = (entry.transaction, entry.key.clone());
            NextPage(UnsettledAfter::Entry { transaction, key, ticket })
        });
        Ok(UnsettledPage { entries: page.items.into_iter().filter_map(read).collect(), next: last })
    }
}

impl Conflicts {
    /// A page of them, in order of collection and id; at most `limit`, and 4 MiB.
    ///
    /// # Errors
    /// As the storage.
    pub async fn list(
        &self,
        after: Option<&NextPage>,
        limit: usize,
    ) -> Result<UnsettledPage<WaitingConflict>> {
        let read = |entry| Some(WaitingConflict::of(entry));
        self.0.unsettled(Unsettled::Deferred, after, limit, read).await
    }

    /// The conflict of one document, if one waits.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name; else as the storage.
    pub async fn get(&self, collection: &str, id: &str) -> Result<Option<WaitingConflict>> {
        Ok(match self.0.sync_state(collection, id).await? {
            SyncState::Conflict(conflict) => Some(*conflict),
            _ => None,
        })
    }

    /// Ends a conflict: the local edit or a merged body is pushed, or the server's state stands. Survives a power failure
    /// when it returns; it travels like any edit.
    ///
    /// # Errors
    /// `NotFound` if no conflict of that document waits, `InvalidInput` for [`Resolution::Defer`] or a bad name; else as
    /// the storage.
    pub async fn resolve(&self, collection: &str, id: &str, resolution: Resolution) -> Result<()> {
        self.0.decide(collection, id, Decision::Resolve(resolution)).await
    }
}

impl Quarantine {
    /// A page of them, the oldest first; at most `limit`, and 4 MiB.
    ///
    /// # Errors
    /// As the storage.
    pub async fn list(
        &self,
        after: Option<&NextPage>,
        limit: usize,
    ) -> Result<UnsettledPage<QuarantinedEdit>> {
        self.0.unsettled(Unsettled::Quarantine, after, limit, QuarantinedEdit::of).await
    }

    /// Writes the refused edits of a document again, the oldest first: they are pushed once more.
    ///
    /// # Errors
    /// `NotFound` if there are none, `InvalidInput` for a bad name; else as the storage.
    pub async fn retry(&self, collection: &str, id: &str) -> Result<()> {
        self.0.decide(collection, id, Decision::Retry).await
    }

    /// Drops the refused edits of a document for good.
    ///
    /// # Errors
    /// As [`Self::retry`].
    pub async fn discard(&self, collection: &str, id: &str) -> Result<()> {
        self.0.decide(collection, id, Decision::Discard).await
    }
}
