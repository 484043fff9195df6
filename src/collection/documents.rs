//! Many documents at a time.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::error::{ErrorKind, Result};
use sync_core::model::{Collection as Name, DocumentId, Limits, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, Scan, Stored, WriteOperation};
use sync_core::storage::Storage;

use super::Collection;
use crate::Document;

/// The limits of one read, and of one transaction of [`Collection::insert_many`].
const PAGE: Limits = Limits { documents: 256, bytes: 1 << 20 };
const CHUNK: Limits = Limits { documents: 256, bytes: 64 << 10 };

/// All documents of a collection: created by [`Collection::documents`].
pub struct Documents<T>(BoxStream<'static, Result<Document<T>>>);

impl<T> fmt::Debug for Documents<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl<T> Documents<T> {
    /// Returns the next document; none after the last one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `InvalidInput`, naming the document, if one is not of type `T`, and `Incompatible` if it is
    /// of a newer version of it: the stream continues with the next document. Else as the storage,
    /// and the stream ends.
    pub async fn next(&mut self) -> Option<Result<Document<T>>> {
        self.0.next().await
    }
}

impl<T> Stream for Documents<T> {
    type Item = Result<Document<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// A walk through a collection, page by page.
struct Walk {
    storage: Arc<dyn Storage>,
    scope: Scope,
    collection: Name,
    page: VecDeque<Stored>,
    after: Option<DocumentId>,
    more: bool,
}

impl Walk {
    fn new<T>(collection: &Collection<T>) -> Self {
        Self {
            storage: Arc::clone(collection.replica().storage()),
            scope: collection.scope().clone(),
            collection: collection.name_of().clone(),
            page: VecDeque::new(),
            after: None,
            more: true,
        }
    }

    /// Reads the next page; `false` if there is none.
    async fn turn(&mut self) -> Result<bool> {
        if !std::mem::take(&mut self.more) {
            return Ok(false);
        }
        let after = self.after.take().map(|id| (self.collection.clone(), id));
        let (scope, collection) = (self.scope.clone(), Some(self.collection.clone()));
        let read = self.storage.scan(Scan { scope, collection, after, limits: PAGE }).await?;
        self.after = read.items.last().map(|last| last.key.id.clone());
        // A page without documents would be requested again and again.
        self.more = read.more && !read.items.is_empty();
        self.page = read.items.into();
        Ok(true)
    }

    async fn next(&mut self) -> Result<Option<Stored>> {
        loop {
            if let Some(stored) = self.page.pop_front() {
                return Ok(Some(stored));
            }
            if !self.turn().await? {
                return Ok(None);
            }
        }
    }
}

impl<T> Collection<T> {
    /// Returns the number of documents; deleted ones do not count. It reads the whole collection, a
    /// page of at most 256 documents and 1 MiB at a time.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let notes = replica.collection::<String>("notes")?;
    /// let ids = notes.insert_many(["milk".to_owned(), "tea".to_owned()]).await?;
    /// notes.delete(&ids[0]).await?;
    /// assert_eq!(notes.count().await?, 1);
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As the storage.
    pub async fn count(&self) -> Result<u64> {
        let (mut walk, mut count) = (Walk::new(self), 0);
        while walk.turn().await? {
            count += walk.page.len() as u64;
        }
        Ok(count)
    }
}

impl<T: DeserializeOwned + Send + 'static> Collection<T> {
    /// Returns all documents, in order of their ids, as a [`Stream`]. It holds a page of at most
    /// 256 documents and 1 MiB, or one larger document. A document that is written while the stream
    /// is read is yielded in the state in which its page was read, at most once.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// use futures_util::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// counts.insert_many(1..=1_000).await?;
    /// let sum = counts.documents().try_fold(0, async |sum, count| Ok(sum + count.value())).await?;
    /// assert_eq!(sum, 500_500);
    /// # replica.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn documents(&self) -> Documents<T> {
        let versions = self.versions().cloned();
        let step = move |mut walk: Walk| {
            let versions = versions.clone();
            async move {
                let next = match walk.next().await {
                    // The storage returns live documents only.
                    Ok(Some(stored)) => Document::of(&stored, versions.as_ref()).transpose()?,
                    Ok(None) => return None,
                    Err(error) => Err(error),
                };
                Some((next, walk))
            }
        };
        Documents(unfold(Walk::new(self), step).fuse().boxed())
    }
}

impl<T: DeserializeOwned> Collection<T> {
    /// Reads documents by their ids. Returns one result for each id, in their order, and `None` for
    /// a document that does not exist. An id may occur twice. Ids are looked up 256 at a time; all
    /// documents that are found are in memory together.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// counts.put("b", &2).await?;
    /// let found = counts.get_many(["a", "b"]).await?;
    /// assert!(found[0].is_none());
    /// assert_eq!(found[1].as_ref().map(|d| *d.value()), Some(2));
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a bad id, and if a document is not of type `T`; `Incompatible` as
    /// [`get`](Self::get); else as the storage.
    pub async fn get_many(
        &self,
        ids: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Vec<Option<Document<T>>>> {
        let keys = ids.into_iter().map(|id| self.key(id)).collect::<Result<Vec<_>>>()?;
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PAGE.documents) {
            for stored in self.replica().storage().get(keys.to_vec()).await? {
                let read = stored.map(|stored| Document::of(&stored, self.versions()));
                found.push(read.transpose()?.flatten());
            }
        }
        Ok(found)
    }
}

impl<T: Serialize> Collection<T> {
    /// Inserts many documents under new ids, which are returned in the order of the values. Each
    /// transaction has at most 256 documents and 64 KiB, or one larger document, and fewer if the
    /// server accepts less at once. Use [`Replica::transaction`](crate::Replica::transaction) for
    /// documents that belong together.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let notes = replica.collection::<String>("notes")?;
    /// let lines = "milk\ntea\nbread".lines().map(str::to_owned);
    /// let ids = notes.insert_many(lines).await?;
    /// assert_eq!(notes.get(&ids[1]).await?.unwrap().value(), "tea");
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and with the number of values that were inserted before it as
    /// `inserted`: those stay.
    pub async fn insert_many(
        &self,
        values: impl IntoIterator<Item: Borrow<T>>,
    ) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        for value in values {
            let write =
                self.insertion(value.borrow()).map_err(|e| e.with("inserted", ids.len()))?;
            bytes += size(&write);
            if !chunk.is_empty() && (chunk.len() == CHUNK.documents || bytes > CHUNK.bytes) {
                self.insert_chunk(std::mem::take(&mut chunk), &mut ids).await?;
                bytes = size(&write);
            }
            chunk.push(write);
        }
        self.insert_chunk(chunk, &mut ids).await?;
        Ok(ids)
    }

    fn insertion(&self, value: &T) -> Result<LocalWrite> {
        let id = self.replica().environment().document_id();
        self.write_of(id, WriteOperation::Insert(self.encode(value)?))
    }

    /// Writes a chunk, in halves if it is over the limits: the server may accept less at once.
    async fn insert_chunk(&self, chunk: Vec<LocalWrite>, ids: &mut Vec<String>) -> Result<()> {
        let mut left = vec![chunk];
        while let Some(mut writes) = left.pop() {
            if writes.is_empty() {
                continue;
            }
            let transaction =
                LocalTransaction { scope: self.scope().clone(), writes: writes.clone() };
            match self.replica().write(transaction).await {
                Ok(_) => ids.extend(writes.iter().map(|write| write.id.as_str().to_owned())),
                Err(error) if error.kind() == ErrorKind::InvalidInput && writes.len() > 1 => {
                    let second = writes.split_off(writes.len() / 2);
                    left.extend([second, writes]);
                }
                Err(error) => return Err(error.with("inserted", ids.len())),
            }
        }
        Ok(())
    }
}

fn size(write: &LocalWrite) -> usize {
    match &write.operation {
        WriteOperation::Insert(body) => body.len(),
        _ => 0,
    }
}
