//! Watches: the current value first, and then every change of it.
//!
//! A watch has no task and no queue of its own. What it keeps is bounded, whatever the number of
//! changes: it is woken by the storage's counter of commits, which carries no data, and reads the
//! newest state when it is asked. So a slow reader skips states in between, and never the last one;
//! and what other processes write into the same file counts as well.

mod collection;
mod shown;
#[cfg(test)]
mod tests;
mod unsettled;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use serde::de::DeserializeOwned;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{DocumentKey, LocalSeq, Revision};
use sync_core::replica::Stored;
use sync_core::storage::Storage;
use tokio::sync::watch;

pub use collection::{CollectionWatch, WatchEvent};
pub use unsettled::{InboxEvent, InboxWatch};

use crate::versions::Versions;
use crate::{Collection, Document};

impl<T: DeserializeOwned> Collection<T> {
    /// Watches one document: its current state first, then its newest state whenever that is
    /// another one.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// let mut watch = counts.watch("visits")?;
    /// assert!(watch.next().await?.is_none(), "it is not there yet");
    /// for n in 1..=100 {
    ///     counts.put("visits", &n).await?;
    /// }
    /// // A watch that was not polled meanwhile yields the newest state only.
    /// assert_eq!(watch.next().await?.unwrap().into_value(), 100);
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a bad id.
    pub fn watch(&self, id: impl AsRef<str>) -> Result<DocumentWatch<T>> {
        Ok(DocumentWatch::new(self, self.key(id)?))
    }

    /// Watches every document of the collection: those that are there first, then what changes.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// use std::collections::BTreeMap;
    ///
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// counts.put("a", &1).await?;
    /// counts.put("b", &2).await?;
    /// let mut watch = counts.watch_all();
    /// let mut shown = BTreeMap::new();
    /// loop {
    ///     match watch.next().await? {
    ///         WatchEvent::Current(d) | WatchEvent::Changed(d) => {
    ///             shown.insert(d.id().to_owned(), d.into_value());
    ///         }
    ///         WatchEvent::Removed(id) => {
    ///             shown.remove(&id);
    ///         }
    ///         WatchEvent::Resync => shown.clear(),
    ///         // An app would draw its first picture here, and go on for as long as it runs.
    ///         WatchEvent::Complete => break,
    ///         _ => {}
    ///     }
    /// }
    /// assert_eq!(shown.len(), 2);
    /// # replica.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn watch_all(&self) -> CollectionWatch<T> {
        self.watch_collection(None)
    }

    /// Watches the documents of the collection that a filter accepts. One that it does not accept
    /// any more is told as [`Removed`](WatchEvent::Removed). The filter is called for every
    /// document that is there and for every change, on the task that asks for the next event: it
    /// must be quick.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// let mut large = counts.watch_where(|count| *count.value() >= 10);
    /// counts.put("a", &9).await?;
    /// assert!(matches!(large.next().await?, WatchEvent::Complete));
    /// counts.put("a", &10).await?;
    /// assert!(matches!(large.next().await?, WatchEvent::Changed(a) if *a.value() == 10));
    /// counts.put("a", &3).await?;
    /// assert!(matches!(large.next().await?, WatchEvent::Removed(id) if id == "a"));
    /// # replica.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn watch_where(
        &self,
        filter: impl Fn(&Document<T>) -> bool + Send + Sync + 'static,
    ) -> CollectionWatch<T> {
        self.watch_collection(Some(Box::new(filter)))
    }

    fn watch_collection(&self, filter: Option<collection::Filter<T>>) -> CollectionWatch<T> {
        CollectionWatch::new(self, filter)
    }
}

/// What tells two states of a document apart as they are shown.
type Look = (LocalSeq, Revision, bool);

/// Watches one document: made by [`Collection::watch`].
///
/// It keeps no more than what tells the state that it gave last from another one. Like every
/// handle, it keeps the storage open until it is dropped or the replica is closed.
pub struct DocumentWatch<T> {
    storage: Arc<dyn Storage>,
    commits: watch::Receiver<u64>,
    key: DocumentKey,
    versions: Option<Versions>,
    /// What was given last, if anything was.
    given: Option<Option<Look>>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for DocumentWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentWatch").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> DocumentWatch<T> {
    fn new(collection: &Collection<T>, key: DocumentKey) -> Self {
        let storage = Arc::clone(collection.replica().storage());
        let (commits, versions) = (storage.commits(), collection.versions().cloned());
        Self { storage, commits, key, versions, given: None, of: PhantomData }
    }

    /// The document: at once when it is asked for the first time, then as soon as its newest state
    /// is not the one that was given last. None means that it is not there. That an edit was
    /// settled by the server is another state, too, by [`Document::is_synced`]. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// `InvalidInput` if the document is not of type `T`, `Incompatible` if it is of a newer
    /// [version](Collection::versioned) of it: told once for each such state, and the watch goes
    /// on. `Closed` when the replica is closed: the watch has ended. Else as the storage, and the
    /// next call tries again.
    pub async fn next(&mut self) -> Result<Option<Document<T>>> {
        loop {
            // Noted before the read, so that nothing falls between the read and the wait.
            self.commits.borrow_and_update();
            let found = self.storage.get(vec![self.key.clone()]).await?;
            let found = found.into_iter().next().flatten();
            let look = found.as_ref().map(|s: &Stored| (s.changed, s.state.revision, s.dirty));
            if self.given != Some(look) {
                self.given = Some(look);
                let versions = self.versions.as_ref();
                return found.as_ref().map_or(Ok(None), |found| Document::of(found, versions));
            }
            self.commits.changed().await.map_err(|_| closed())?;
        }
    }

    /// The watch as a stream. It ends after the error that says `Closed`.
    pub fn into_stream(self) -> BoxStream<'static, Result<Option<Document<T>>>>
    where
        T: Send + 'static,
    {
        let step = async |watch: Option<Self>| {
            let mut watch = watch?;
            let next = watch.next().await;
            let rest = goes_on(&next).then_some(watch);
            Some((next, rest))
        };
        unfold(Some(self), step).boxed()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the replica is closed")
}

fn goes_on<T>(next: &Result<T>) -> bool {
    !matches!(next, Err(error) if error.kind() == ErrorKind::Closed)
}
