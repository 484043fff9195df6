//! The change feed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use sync_core::error::Result;
use sync_core::model::{DocumentKey, DocumentState, Limits, LocalSeq, Revision};
use sync_core::replica::{DocumentChange, Operation, Origin};
use sync_core::storage::Storage;
use tokio::sync::watch;

use crate::Document;
use crate::document::time_of;
use crate::versions::AllVersions;
use crate::yielding::{Source, Yielding, more, stream};

/// A change of a document, as the app observes it.
///
/// Serialized: `{"key":{"scope":…,"collection":…,"id":…},"operation":"update","origin":"remote",
/// "local_seq":7,"updated":1800000000000,"revision":"…","body":…}`; the revision and the body are
/// null where there is none.
#[derive(Clone, Debug)]
pub struct Change(DocumentChange, AllVersions);

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut change = to.serialize_struct("Change", 7)?;
        change.serialize_field("key", self.key())?;
        change.serialize_field("operation", &self.operation())?;
        change.serialize_field("origin", &self.origin())?;
        change.serialize_field("local_seq", &self.local_seq())?;
        change.serialize_field("updated", &self.0.stamp().millis())?;
        change.serialize_field("revision", &self.revision())?;
        let body = self.0.document.as_ref().and_then(|state| state.body.as_ref());
        change.serialize_field("body", &body)?;
        change.end()
    }
}

impl Change {
    /// Returns the document.
    #[must_use]
    pub fn key(&self) -> &DocumentKey {
        &self.0.key
    }

    /// Returns the operation on the document.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// Returns whether it comes from this replica's app or from the server.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// Returns its place in the replica's feed: pass it to
    /// [`Replica::changes_after`](crate::Replica::changes_after) to continue from here later.
    #[must_use]
    pub fn local_seq(&self) -> u64 {
        self.0.at.0
    }

    /// Returns when the state was written, by the writer's clock.
    #[must_use]
    pub fn updated(&self) -> SystemTime {
        time_of(self.0.stamp())
    }

    /// Returns the revision of the new state; none if nothing is left of the document.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.0.document.as_ref().map(|d| d.revision)
    }

    /// Returns the document as it is now; none if it was deleted.
    ///
    /// # Errors
    /// `InvalidInput` if it is not of type `T`, `Incompatible` if it is of a newer
    /// [version](crate::ReplicaBuilder::versioned) of it.
    pub fn document<T: serde::de::DeserializeOwned>(&self) -> Result<Option<Document<T>>> {
        self.read(self.0.document.as_ref())
    }

    /// Returns the document as it was before, if this process has it. That state is not kept for
    /// changes of other processes and for old changes.
    ///
    /// # Errors
    /// `InvalidInput` if it is not of type `T`, `Incompatible` if it is of a newer
    /// [version](crate::ReplicaBuilder::versioned) of it.
    pub fn previous<T: serde::de::DeserializeOwned>(&self) -> Result<Option<Document<T>>> {
        self.read(self.0.previous.as_ref())
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        state: Option<&DocumentState>,
    ) -> Result<Option<Document<T>>> {
        let versions = self.1.of(&self.0.key.collection);
        self.body_of(state).map(|document| document.decode(versions)).transpose()
    }

    /// Returns the document as it is now, without an upgrade.
    pub(crate) fn raw(&self) -> Option<Document> {
        self.body_of(self.0.document.as_ref())
    }

    fn body_of(&self, state: Option<&DocumentState>) -> Option<Document> {
        let state = state?;
        let (id, is_synced) = (self.0.key.id.as_str(), self.0.origin == Origin::Remote);
        Some(Document::new(id.to_owned(), state, state.body.as_ref()?, is_synced))
    }
}

/// The changes of a replica after a place in its feed, in order, from all processes.
///
/// A [`Stream`](futures_util::Stream), which ends when the replica is closed. A slow reader loses
/// nothing: changes that are no longer in memory are read from the storage, each document once, in
/// its newest state.
///
/// ```
/// # use twotide::prelude::*;
/// use futures_util::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let replica = Replica::builder().memory().open().await?;
/// let counts = replica.collection("counts")?;
/// let mut changes = replica.changes().await?;
/// counts.put("visits", &1).await?;
/// counts.delete("visits").await?;
/// replica.close().await?;
/// while let Some(change) = changes.try_next().await? {
///     println!("{:?} of {}", change.operation(), change.key());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Changes(Yielding<Feed, Change>);

stream!(Changes, [], Change);

/// The feed after a place.
#[derive(Debug)]
struct Feed {
    storage: Arc<dyn Storage>,
    versions: AllVersions,
    commits: watch::Receiver<u64>,
    after: LocalSeq,
    ready: VecDeque<DocumentChange>,
}

impl Changes {
    pub(crate) fn new(storage: Arc<dyn Storage>, versions: AllVersions, after: LocalSeq) -> Self {
        Self(Yielding::new(Feed::new(storage, versions, after)))
    }

    /// Returns the changes from now on, and begins to keep them in memory.
    pub(crate) async fn from_now(storage: Arc<dyn Storage>, versions: AllVersions) -> Result<Self> {
        let now = storage.state().await?.last_local;
        let mut feed = Feed::new(storage, versions, now);
        // From the first read on, every operation is kept.
        feed.read_ahead().await?;
        Ok(Self(Yielding::new(feed)))
    }

    /// Returns the next change, as soon as there is one; none when the replica was closed. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// As the storage; the next call retries.
    pub async fn next(&mut self) -> Option<Result<Change>> {
        self.0.next().await
    }

    /// Returns the next change that is already available. None also means that the replica was
    /// closed.
    ///
    /// # Errors
    /// As the storage.
    pub async fn next_ready(&mut self) -> Result<Option<Change>> {
        self.0.next_ready().await
    }
}

impl Feed {
    fn new(storage: Arc<dyn Storage>, versions: AllVersions, after: LocalSeq) -> Self {
        let commits = storage.commits();
        Self { storage, versions, commits, after, ready: VecDeque::new() }
    }

    /// Reads ahead, if nothing is left of what was read before.
    async fn read_ahead(&mut self) -> Result<()> {
        if self.ready.is_empty() {
            // Marked as observed before the read, so that the wait misses no commit.
            self.commits.borrow_and_update();
            let limits = Limits { documents: 256, bytes: 1 << 20 };
            self.ready = self.storage.feed(self.after, limits).await?.changes.into();
        }
        Ok(())
    }
}

impl Source for Feed {
    type Item = Change;

    async fn look(&mut self) -> Result<Option<Change>> {
        self.read_ahead().await?;
        let next = self.ready.pop_front();
        if let Some(change) = &next {
            self.after = change.at;
        }
        Ok(next.map(|change| Change(change, self.versions.clone())))
    }

    fn wait(&self) -> impl Future<Output = bool> + Send + 'static {
        more(&self.commits)
    }
}
