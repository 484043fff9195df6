//! Watches: the current value first, and then every change of it.
//!
//! A watch needs no task and no queue. What it keeps is bounded, whatever the number of changes: it
//! is woken by the storage's counter of commits, which carries no data, and reads the newest state
//! when it is polled. So a slow reader skips states in between, and never the last one; changes by
//! other processes to the same file are included.

mod collection;
mod document;
mod shown;
#[cfg(test)]
mod tests;
mod unsettled;

use serde::de::DeserializeOwned;
use sync_core::error::Result;

pub use collection::{CollectionWatch, WatchEvent};
pub use document::DocumentWatch;
pub use unsettled::{InboxEvent, InboxWatch};

use crate::{Collection, Document};

impl<T: DeserializeOwned> Collection<T> {
    /// Watches one document: yields its current state first, then its newest state whenever that
    /// differs.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// let mut watch = counts.watch("visits")?;
    /// assert!(watch.next().await.unwrap()?.is_none(), "it is not there yet");
    /// for n in 1..=100 {
    ///     counts.put("visits", &n).await?;
    /// }
    /// // A watch that was not polled meanwhile yields the newest state only.
    /// assert_eq!(watch.next().await.unwrap()?.unwrap().into_value(), 100);
    /// replica.close().await?;
    /// assert!(watch.next().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a bad id.
    pub fn watch(&self, id: impl AsRef<str>) -> Result<DocumentWatch<T>> {
        Ok(DocumentWatch::new(self, self.key(id)?))
    }

    /// Watches every document of the collection: yields the existing ones first, then changes.
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
    /// // A watch is a `Stream`, and ends when the replica is closed.
    /// while let Some(event) = watch.next().await {
    ///     match event? {
    ///         WatchEvent::Current(d) | WatchEvent::Changed(d) => {
    ///             shown.insert(d.id().to_owned(), d.into_value());
    ///         }
    ///         WatchEvent::Removed(id) => {
    ///             shown.remove(&id);
    ///         }
    ///         WatchEvent::Resync => shown.clear(),
    ///         // An app would draw its first frame here, and continue as long as it runs.
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
    /// any more is yielded as [`Removed`](WatchEvent::Removed). The filter is called for every
    /// existing document and for every change, on the task that polls the watch: it must be fast.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// let mut large = counts.watch_where(|count| *count.value() >= 10);
    /// counts.put("a", &9).await?;
    /// assert!(matches!(large.next().await.unwrap()?, WatchEvent::Complete));
    /// counts.put("a", &10).await?;
    /// assert!(matches!(large.next().await.unwrap()?, WatchEvent::Changed(a) if *a.value() == 10));
    /// counts.put("a", &3).await?;
    /// assert!(matches!(large.next().await.unwrap()?, WatchEvent::Removed(id) if id == "a"));
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
