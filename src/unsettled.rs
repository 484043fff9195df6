//! Unsettled edits: conflicts that wait for the app, and edits that the server refused.

use std::time::SystemTime;

use serde::Serialize;
use sync_core::error::Result;
use sync_core::model::{
    Body, Collection as Name, DocumentId, DocumentKey, DocumentState, Limits, Rejection,
};
use sync_core::replica::{Decision, Unsettled, UnsettledAfter, UnsettledEntry};
use sync_core::resolver::Resolution;

use crate::document::time_of;
use crate::{InboxWatch, Replica, SyncState, unix_millis};

/// Where the next page begins: opaque, from the page before it.
#[derive(Clone, Debug)]
pub struct NextPage(UnsettledAfter);

/// A bounded part of a list of conflicts or refused edits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnsettledPage<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page begins, if more follow.
    pub next: Option<NextPage>,
}

/// A conflict that waits for the app: both versions, and their base. Serialized, its time is
/// milliseconds since 1970.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WaitingConflict {
    /// The document.
    pub key: DocumentKey,
    /// The settled body that the local edit was made on; none for an insert.
    pub base: Option<Body>,
    /// The local edit; none if it deletes.
    pub local: Option<Body>,
    /// The server's value; none if it was deleted there.
    pub remote: Option<Body>,
    /// When the local edit was made.
    #[serde(serialize_with = "unix_millis::time")]
    pub since: SystemTime,
}

impl WaitingConflict {
    pub(crate) fn of(entry: UnsettledEntry) -> Self {
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

/// An edit that the server refused permanently. Serialized, its time is milliseconds since 1970.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct QuarantinedEdit {
    /// The document.
    pub key: DocumentKey,
    /// The edit; none if it deletes.
    pub body: Option<Body>,
    /// The reason of the refusal.
    pub rejection: Rejection,
    /// When it was refused.
    #[serde(serialize_with = "unix_millis::time")]
    pub at: SystemTime,
}

impl QuarantinedEdit {
    pub(crate) fn of(entry: UnsettledEntry) -> Option<Self> {
        let (rejection, at, _) = entry.refused?;
        Some(Self { key: entry.key, body: entry.local.body, rejection, at: time_of(at) })
    }
}

/// The conflicts of a replica that wait for the app: created by [`Replica::conflicts`].
///
/// A document whose conflict waits shows the local edit, and can be edited further; the rest
/// continues to sync.
#[derive(Clone, Debug)]
pub struct Conflicts(Replica);

/// The edits of a replica that the server refused: created by [`Replica::quarantine`].
///
/// They do not block the sync, and the document shows the settled state. A refused edit is kept
/// until the app decides about it.
#[derive(Clone, Debug)]
pub struct Quarantine(Replica);

impl Replica {
    /// Returns the conflicts that wait for the app.
    #[must_use]
    pub fn conflicts(&self) -> Conflicts {
        Conflicts(self.clone())
    }

    /// Returns the edits that the server refused.
    #[must_use]
    pub fn quarantine(&self) -> Quarantine {
        Quarantine(self.clone())
    }

    pub(crate) fn key(
        &self,
        collection: impl AsRef<str>,
        id: impl AsRef<str>,
    ) -> Result<DocumentKey> {
        let collection = Name::new(collection)?;
        Ok(DocumentKey::new(self.scope_of(&collection), collection, DocumentId::new(id)?))
    }

    async fn decide(
        &self,
        collection: impl AsRef<str>,
        id: impl AsRef<str>,
        decision: Decision,
    ) -> Result<()> {
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
    /// Returns a page of conflicts, in order of collection and id; at most `limit`, and 4 MiB.
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

    /// Watches the list: yields its entries first, then every change of it, in its newest state.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// use twotide::InboxEvent;
    ///
    /// let replica = Replica::builder().memory().open().await?;
    /// let mut watch = replica.conflicts().watch();
    /// while let Some(event) = watch.next().await {
    ///     match event? {
    ///         InboxEvent::Current(c) | InboxEvent::Changed(c) => println!("please decide: {}", c.key),
    ///         InboxEvent::Removed(key) => println!("decided: {key}"),
    ///         // An app would draw its first frame here, and continue as long as it runs.
    ///         InboxEvent::Complete => break,
    ///         _ => {}
    ///     }
    /// }
    /// # replica.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn watch(&self) -> InboxWatch<WaitingConflict> {
        InboxWatch::new(&self.0, Unsettled::Deferred, |entry| Some(WaitingConflict::of(entry)))
    }

    /// Returns the conflict of one document, if one waits.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name; else as the storage.
    pub async fn get(
        &self,
        collection: impl AsRef<str>,
        id: impl AsRef<str>,
    ) -> Result<Option<WaitingConflict>> {
        Ok(match self.0.sync_state(collection, id).await? {
            SyncState::Conflict(conflict) => Some(*conflict),
            _ => None,
        })
    }

    /// Resolves a conflict: the local edit or a merged body is pushed, or the server's state wins.
    /// The result survives a power failure when this returns, and is pushed like any edit. A merged
    /// body without a version, in a collection with [versions](crate::ReplicaBuilder::versioned),
    /// is of the current one.
    ///
    /// # Errors
    /// `NotFound` if no conflict of that document waits, `InvalidInput` for [`Resolution::Defer`]
    /// or a bad name; else as the storage.
    pub async fn resolve(
        &self,
        collection: impl AsRef<str>,
        id: impl AsRef<str>,
        resolution: Resolution,
    ) -> Result<()> {
        let collection = Name::new(collection)?;
        let resolution = match (resolution, self.0.versions().of(&collection)) {
            (Resolution::Merge(body), Some(versions)) => Resolution::Merge(versions.marked(body)?),
            (resolution, _) => resolution,
        };
        self.0.decide(&collection, id, Decision::Resolve(resolution)).await
    }
}

impl Quarantine {
    /// Returns a page of refused edits, the oldest first; at most `limit`, and 4 MiB.
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

    /// Watches the list: yields its entries first, then every change of it. A refused edit does not
    /// change; retrying and discarding remove all refused edits of a document.
    #[must_use]
    pub fn watch(&self) -> InboxWatch<QuarantinedEdit> {
        InboxWatch::new(&self.0, Unsettled::Quarantine, QuarantinedEdit::of)
    }

    /// Writes the refused edits of a document again, the oldest first: they are pushed once more.
    ///
    /// # Errors
    /// `NotFound` if there are none, `InvalidInput` for a bad name; else as the storage.
    pub async fn retry(&self, collection: impl AsRef<str>, id: impl AsRef<str>) -> Result<()> {
        self.0.decide(collection, id, Decision::Retry).await
    }

    /// Drops the refused edits of a document permanently.
    ///
    /// # Errors
    /// As [`Self::retry`].
    pub async fn discard(&self, collection: impl AsRef<str>, id: impl AsRef<str>) -> Result<()> {
        self.0.decide(collection, id, Decision::Discard).await
    }
}
