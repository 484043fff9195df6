//! A watch of one document.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sync_core::error::Result;
use sync_core::model::{DocumentKey, LocalSeq, Revision};
use sync_core::replica::Stored;
use sync_core::storage::Storage;
use tokio::sync::watch;

use crate::versions::Versions;
use crate::yielding::{Source, Yielding, more, stream};
use crate::{Collection, Document};

/// Distinguishes two displayed states of a document.
type Look = (LocalSeq, Revision, bool);

/// Watches one document: created by [`Collection::watch`].
///
/// A [`Stream`](futures_util::Stream), which ends when the replica is closed. It keeps only what
/// distinguishes the state that it yielded last from another one. Like every handle, it keeps the
/// storage open until it is dropped or the replica is closed.
pub struct DocumentWatch<T>(Yielding<Watched<T>, Option<Document<T>>>);

stream!(DocumentWatch<T>, [T: DeserializeOwned + Send + 'static], Option<Document<T>>);

struct Watched<T> {
    storage: Arc<dyn Storage>,
    commits: watch::Receiver<u64>,
    key: DocumentKey,
    versions: Option<Versions>,
    /// The state that was yielded last, if any was.
    given: Option<Option<Look>>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for DocumentWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DocumentWatch").field(&self.0).finish()
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<T> DocumentWatch<T> {
    pub(super) fn new(collection: &Collection<T>, key: DocumentKey) -> Self {
        let storage = Arc::clone(collection.replica().storage());
        let (commits, versions) = (storage.commits(), collection.versions().cloned());
        let of = PhantomData;
        Self(Yielding::new(Watched { storage, commits, key, versions, given: None, of }))
    }
}

impl<T: DeserializeOwned + Send + 'static> DocumentWatch<T> {
    /// Returns the document: at once in the first call, then as soon as its newest state is not the
    /// one that was yielded last. `Some(Ok(None))` means that it does not exist, and `None` that
    /// the replica was closed. When the server settles an edit, that is another state, too:
    /// [`Document::is_synced`] changes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `InvalidInput` if the document is not of type `T`, `Incompatible` if it is of a newer
    /// [version](crate::ReplicaBuilder::versioned) of it: returned once for each such state, and
    /// the watch continues. Else as the storage, and the next call retries.
    pub async fn next(&mut self) -> Option<Result<Option<Document<T>>>> {
        self.0.next().await
    }
}

impl<T: DeserializeOwned + Send + 'static> Source for Watched<T> {
    type Item = Option<Document<T>>;

    async fn look(&mut self) -> Result<Option<Option<Document<T>>>> {
        // Marked as observed before the read, so that the wait misses no commit.
        self.commits.borrow_and_update();
        let found = self.storage.get(vec![self.key.clone()]).await?;
        let found = found.into_iter().next().flatten();
        let look = found.as_ref().map(|s: &Stored| (s.changed, s.state.revision, s.dirty));
        if self.given == Some(look) {
            return Ok(None);
        }
        self.given = Some(look);
        let versions = self.versions.as_ref();
        found.as_ref().map_or(Ok(None), |found| Document::of(found, versions)).map(Some)
    }

    fn wait(&self) -> impl Future<Output = bool> + Send + 'static {
        more(&self.commits)
    }
}
