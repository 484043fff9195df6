//! Typed collections.

mod changing;
mod documents;

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Body, Collection as Name, DocumentId, DocumentKey, Limits, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, Scan, WriteOperation};

pub use documents::Documents;

use crate::versions::Versions;
use crate::{Change, Document, Replica};

/// A collection whose documents are of type `T`. Cheap to clone.
///
/// With `T =` [`Body`] the documents are raw JSON, kept byte for byte.
pub struct Collection<T = Body> {
    replica: Replica,
    scope: Scope,
    name: Name,
    versions: Option<Versions>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        let Self { replica, scope, name, versions, .. } = self;
        Self::new(replica.clone(), scope.clone(), name.clone(), versions.clone())
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collection({}/{})", self.scope, self.name)
    }
}

/// A bounded part of a collection, in order of the ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// The documents.
    pub documents: Vec<Document<T>>,
    /// Those that cannot be read as the type of the collection.
    pub unreadable: Vec<UnreadableDocument>,
    /// Where the next page begins, if more follow: pass it to [`Collection::scan`].
    pub next: Option<String>,
}

/// A document of a [`Page`] that cannot be read as the type of the collection. Its body can be read
/// through [`Replica::raw`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnreadableDocument {
    /// The id.
    pub id: String,
    /// `InvalidInput` for a body that is not of the type, `Incompatible` for one of a newer version
    /// of it.
    pub error: Error,
}

impl<T> Collection<T> {
    pub(crate) fn new(
        replica: Replica,
        scope: Scope,
        name: Name,
        versions: Option<Versions>,
    ) -> Self {
        Self { replica, scope, name, versions, of: PhantomData }
    }

    pub(crate) fn versions(&self) -> Option<&Versions> {
        self.versions.as_ref()
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the scope in which its documents live: the replica's, or [`Scope::local`] if it is
    /// local-only.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn name_of(&self) -> &Name {
        &self.name
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.replica
    }

    pub(crate) fn write_of(
        &self,
        id: impl AsRef<str>,
        operation: WriteOperation,
    ) -> Result<LocalWrite> {
        Ok(LocalWrite { collection: self.name.clone(), id: DocumentId::new(id)?, operation })
    }

    pub(crate) fn key(&self, id: impl AsRef<str>) -> Result<DocumentKey> {
        Ok(DocumentKey::new(self.scope.clone(), self.name.clone(), DocumentId::new(id)?))
    }
}

impl<T: Serialize> Collection<T> {
    /// Returns a value as the collection stores it: as JSON, with its version if there are
    /// [versions](crate::ReplicaBuilder::versioned). For bodies that an app passes on, such as
    /// [`Resolution::Merge`](crate::resolver::Resolution::Merge).
    ///
    /// # Errors
    /// `InvalidInput` if the value has no JSON form, or is no JSON object and there are versions.
    pub fn encode(&self, value: &T) -> Result<Body> {
        let body = Body::from_value(value)?;
        match &self.versions {
            Some(versions) => versions.mark(&body),
            None => Ok(body),
        }
    }
}

impl<T: DeserializeOwned> Collection<T> {
    /// Reads a body of this collection, upgraded if there are
    /// [versions](crate::ReplicaBuilder::versioned). For bodies that an app received elsewhere,
    /// such as those of a [`WaitingConflict`](crate::WaitingConflict).
    ///
    /// # Errors
    /// `InvalidInput` if it is not of type `T`, `Incompatible` if it is of a newer version of it.
    pub fn decode(&self, body: &Body) -> Result<T> {
        match self.versions() {
            Some(versions) => versions.upgraded(body)?.to(),
            None => body.to(),
        }
    }

    /// Returns the document of a change; none if it was deleted.
    ///
    /// # Errors
    /// `InvalidInput` if it is not of type `T`, or belongs to another collection; `Incompatible` if
    /// it is of a newer [version](crate::ReplicaBuilder::versioned) of it.
    pub fn document_of(&self, change: &Change) -> Result<Option<Document<T>>> {
        let key = change.key();
        if key.collection != self.name || key.scope != self.scope {
            let message = "the change is of another collection";
            return Err(Error::new(ErrorKind::InvalidInput, message).with("document", key));
        }
        change.raw().map(|d| d.decode(self.versions())).transpose()
    }
}

impl<T: Serialize + DeserializeOwned> Collection<T> {
    /// Inserts a document under a new time-ordered id.
    ///
    /// # Errors
    /// `InvalidInput` if the value has no JSON form or is over the limit; else as the storage.
    pub async fn insert(&self, value: &T) -> Result<Document<T>> {
        let id = self.replica.environment().document_id();
        self.insert_with_id(id.as_str(), value).await
    }

    /// Inserts a document under a given id.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one; `InvalidInput` for a bad id, or a value that has no JSON
    /// form or is over the limit; else as the storage.
    pub async fn insert_with_id(&self, id: impl AsRef<str>, value: &T) -> Result<Document<T>> {
        self.write(id, WriteOperation::Insert(self.encode(value)?)).await
    }

    /// Replaces a document.
    ///
    /// # Errors
    /// `NotFound` if there is none; else as [`Self::insert_with_id`].
    pub async fn update(&self, id: impl AsRef<str>, value: &T) -> Result<Document<T>> {
        self.write(id, WriteOperation::Update(self.encode(value)?)).await
    }

    /// Inserts or replaces a document.
    ///
    /// # Errors
    /// As [`Self::insert_with_id`], but for `AlreadyExists`.
    pub async fn put(&self, id: impl AsRef<str>, value: &T) -> Result<Document<T>> {
        self.write(id, WriteOperation::Put(self.encode(value)?)).await
    }

    async fn write(&self, id: impl AsRef<str>, operation: WriteOperation) -> Result<Document<T>> {
        let write = self.write_of(id, operation)?;
        let id = write.id.as_str().to_owned();
        let transaction = LocalTransaction { scope: self.scope.clone(), writes: vec![write] };
        let committed = self.replica.write(transaction).await?;
        let state = committed.changes.into_iter().next_back().and_then(|c| c.document);
        let written = state.as_ref().and_then(|s| s.body.as_ref().map(|b| (s, b)));
        let (state, body) =
            written.ok_or_else(|| Error::new(ErrorKind::Internal, "a write stored no document"))?;
        Document::new(id, state, body, false).decode(self.versions())
    }

    /// Deletes a document and leaves a tombstone, which syncs like an edit. To remove every copy of
    /// the body, use [`erase`](Self::erase).
    ///
    /// # Errors
    /// `NotFound` if there is none; else as the storage.
    pub async fn delete(&self, id: impl AsRef<str>) -> Result<()> {
        let writes = vec![self.write_of(id, WriteOperation::Delete)?];
        let transaction = LocalTransaction { scope: self.scope.clone(), writes };
        self.replica.write(transaction).await.map(drop)
    }

    /// Erases a document permanently, whether it was deleted before or not. A deletion keeps the
    /// body where it may still be needed (as the base of an edit, in refused edits, on other
    /// replicas); an erasure removes all of them.
    ///
    /// When it returns, no part of this replica returns the document's body any more: reads,
    /// conflicts, refused edits, edits that wait or are in flight. The erasure syncs like an edit.
    /// The server and every replica that receives it then keep nothing but an erased tombstone,
    /// which is purged like others. Edits that were made without knowledge of the erasure are
    /// discarded, and no resolver is called: the replica that made one reports
    /// [`SyncEvent::EditErased`](crate::SyncEvent::EditErased). A later write under the same id
    /// creates a new document.
    ///
    /// After [`Replica::purge_erased`] or [`Replica::close`] the bytes are gone from the storage's
    /// files, if the storage supports that. If the server refuses the erasure, it goes to the
    /// quarantine, and the document is pulled again.
    ///
    /// A document of a [local-only](crate::ReplicaBuilder::local_only) collection and its bytes are
    /// removed.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let notes = replica.collection::<String>("notes")?;
    /// notes.put("pin", &"1234".to_owned()).await?;
    /// notes.erase("pin").await?;
    /// assert!(notes.get("pin").await?.is_none());
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound` if there is no trace of it, not even a tombstone; `InvalidInput` for a bad id;
    /// else as the storage.
    #[doc(alias = "hard_delete")]
    pub async fn erase(&self, id: impl AsRef<str>) -> Result<()> {
        let writes = vec![self.write_of(id, WriteOperation::Erase)?];
        let transaction = LocalTransaction { scope: self.scope.clone(), writes };
        self.replica.write(transaction).await.map(drop)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// `InvalidInput` for a bad id, and if the document is not of type `T`; `Incompatible` if it is
    /// of a newer [version](crate::ReplicaBuilder::versioned) of it; else as the storage.
    pub async fn get(&self, id: impl AsRef<str>) -> Result<Option<Document<T>>> {
        let found = self.replica.storage().get(vec![self.key(id)?]).await?;
        match found.into_iter().next().flatten() {
            Some(stored) => Document::of(&stored, self.versions()),
            None => Ok(None),
        }
    }

    /// Reads a page of documents in order of their ids: those after `after`, at most `limit`. A
    /// page also ends when it has gathered 4 MiB. Documents that are not of type `T` are in
    /// [`Page::unreadable`], and do not hide the others.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// replica.collection::<String>("numbers")?.put("a", &"many".to_owned()).await?;
    /// let numbers = replica.collection::<u32>("numbers")?;
    /// numbers.put("b", &7).await?;
    /// let page = numbers.scan(None, 100).await?;
    /// assert_eq!(page.documents[0].value(), &7);
    /// assert_eq!(page.unreadable[0].id, "a");
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if `after` is no id; else as the storage.
    pub async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Page<T>> {
        let after = match after {
            Some(id) => Some((self.name.clone(), DocumentId::new(id)?)),
            None => None,
        };
        let limits = Limits { documents: limit.max(1), bytes: Limits::CHUNK.bytes };
        let (scope, collection) = (self.scope.clone(), Some(self.name.clone()));
        let page = self.replica.storage().scan(Scan { scope, collection, after, limits }).await?;
        let last = page.items.last().map(|s| s.key.id.as_str().to_owned());
        let (mut documents, mut unreadable) = (Vec::with_capacity(page.items.len()), Vec::new());
        for stored in &page.items {
            match Document::of(stored, self.versions()) {
                Ok(document) => documents.extend(document),
                Err(error) => {
                    let id = stored.key.id.as_str().to_owned();
                    unreadable.push(UnreadableDocument { id, error });
                }
            }
        }
        Ok(Page { documents, unreadable, next: last.filter(|_| page.more) })
    }
}
