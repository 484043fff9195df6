//! Typed collections.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Body, Collection as Name, DocumentId, DocumentKey, Limits, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, Scan, WriteOperation};

use crate::{Document, Replica};

/// A collection whose documents are of type `T`. Cheap to clone.
///
/// With `T =` [`Body`] the documents are raw JSON, kept byte for byte.
pub struct Collection<T = Body> {
    replica: Replica,
    scope: Scope,
    name: Name,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self::new(self.replica.clone(), self.scope.clone(), self.name.clone())
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collection({}/{})", self.scope, self.name)
    }
}

/// A bounded part of a collection, in order of the ids.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// The documents.
    pub documents: Vec<Document<T>>,
    /// Where the next page begins, if more follow: pass it to [`Collection::scan`].
    pub next: Option<String>,
}

impl<T> Collection<T> {
    pub(crate) fn new(replica: Replica, scope: Scope, name: Name) -> Self {
        Self { replica, scope, name, of: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn name_of(&self) -> &Name {
        &self.name
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.replica
    }

    pub(crate) fn write_of(&self, id: &str, operation: WriteOperation) -> Result<LocalWrite> {
        Ok(LocalWrite { collection: self.name.clone(), id: DocumentId::new(id)?, operation })
    }

    pub(crate) fn key(&self, id: &str) -> Result<DocumentKey> {
        Ok(DocumentKey::new(self.scope.clone(), self.name.clone(), DocumentId::new(id)?))
    }
}

impl<T: Serialize + DeserializeOwned> Collection<T> {
    /// Makes a document under a fresh time-ordered id.
    ///
    /// # Errors
    /// `InvalidInput` if the value has no JSON form or is over the limit; else as the storage.
    pub async fn insert(&self, value: &T) -> Result<Document<T>> {
        let id = self.replica.environment().document_id();
        self.insert_with_id(id.as_str(), value).await
    }

    /// Makes a document under an id of your own.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one; `InvalidInput` for a bad id, or a value that has no JSON form or is over the
    /// limit; else as the storage.
    pub async fn insert_with_id(&self, id: &str, value: &T) -> Result<Document<T>> {
        self.write(id, WriteOperation::Insert(Body::from_value(value)?)).await
    }

    /// Replaces a document.
    ///
    /// # Errors
    /// `NotFound` if there is none; else as [`Self::insert_with_id`].
    pub async fn update(&self, id: &str, value: &T) -> Result<Document<T>> {
        self.write(id, WriteOperation::Update(Body::from_value(value)?)).await
    }

    /// Makes or replaces a document.
    ///
    /// # Errors
    /// As [`Self::insert_with_id`], but for `AlreadyExists`.
    pub async fn put(&self, id: &str, value: &T) -> Result<Document<T>> {
        self.write(id, WriteOperation::Put(Body::from_value(value)?)).await
    }

    async fn write(&self, id: &str, operation: WriteOperation) -> Result<Document<T>> {
        let write = self.write_of(id, operation)?;
        let transaction = LocalTransaction { scope: self.scope.clone(), writes: vec![write] };
        let committed = self.replica.write(transaction).await?;
        let state = committed.changes.into_iter().next_back().and_then(|c| c.document);
        let written = state.as_ref().and_then(|s| s.body.as_ref().map(|b| (s, b)));
        let (state, body) = written
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a write left no document behind"))?;
        Document::read(id.to_owned(), state, body, false)
    }

    /// Deletes a document.
    ///
    /// # Errors
    /// `NotFound` if there is none; else as the storage.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let writes = vec![self.write_of(id, WriteOperation::Delete)?];
        let transaction = LocalTransaction { scope: self.scope.clone(), writes };
        self.replica.write(transaction).await.map(drop)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// `InvalidInput` if the document is not of type `T`; else as the storage.
    pub async fn get(&self, id: &str) -> Result<Option<Document<T>>> {
        let found = self.replica.storage().get(vec![self.key(id)?]).await?;
        match found.into_iter().next().flatten() {
            Some(stored) => Document::of(&stored),
            None => Ok(None),
        }
    }

    /// Reads a page of documents in order of their ids: those after `after`, at most `limit`. A page also ends when it
    /// has gathered 4 MiB.
    ///
    /// # Errors
    /// `InvalidInput` if a document is not of type `T`; else as the storage.
    pub async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Page<T>> {
        let after = match after {
            Some(id) => Some((self.name.clone(), DocumentId::new(id)?)),
            None => None,
        };
        let limits = Limits { documents: limit.max(1), bytes: Limits::CHUNK.bytes };
        let (scope, collection) = (self.scope.clone(), Some(self.name.clone()));
        let page = self.replica.storage().scan(Scan { scope, collection, after, limits }).await?;
        let last = page.items.last().map(|s| s.key.id.as_str().to_owned());
        let mut documents = Vec::with_capacity(page.items.len());
        for stored in &page.items {
            documents.extend(Document::of(stored)?);
        }
        Ok(Page { documents, next: last.filter(|_| page.more) })
    }
}
