//! Local transactions over several documents.

use serde::Serialize;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::Scope;
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};

use crate::{Collection, Document, Replica};

/// Writes that become visible and durable together, and are pushed together unless a later edit
/// replaces one of their documents in the outbox. The server's verdicts are per document.
///
/// ```no_run
/// # use twotide::prelude::*;
/// # async fn example(replica: Replica) -> twotide::Result<()> {
/// let notes = replica.raw("notes")?;
/// let mut transaction = replica.transaction();
/// transaction.put(&notes, "a", &Body::parse(r#"{"text":"first"}"#)?)?;
/// transaction.delete(&notes, "b")?;
/// transaction.commit().await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is written before `commit`"]
pub struct Transaction {
    replica: Replica,
    scope: Option<Scope>,
    writes: Vec<LocalWrite>,
}

impl Transaction {
    pub(crate) fn new(replica: Replica) -> Self {
        Self { replica, scope: None, writes: Vec::new() }
    }

    /// Inserts a document under a new time-ordered id, and returns the id.
    ///
    /// # Errors
    /// `InvalidInput` if the value has no JSON form, or the collection is of another scope than the
    /// first one, or is [local-only](crate::ReplicaBuilder::local_only) and the first one is not,
    /// or the other way round.
    pub fn insert<T: Serialize>(
        &mut self,
        collection: &Collection<T>,
        value: &T,
    ) -> Result<String> {
        let id = self.replica.environment().document_id().as_str().to_owned();
        self.add(collection, &id, WriteOperation::Insert(collection.encode(value)?))?;
        Ok(id)
    }

    /// Inserts a document under a given id; the commit fails if there is one.
    ///
    /// # Errors
    /// As [`Self::insert`], and for a bad id.
    pub fn insert_with_id<T: Serialize>(
        &mut self,
        collection: &Collection<T>,
        id: impl AsRef<str>,
        value: &T,
    ) -> Result<()> {
        self.add(collection, id, WriteOperation::Insert(collection.encode(value)?))
    }

    /// Replaces a document; the commit fails if there is none.
    ///
    /// # Errors
    /// As [`Self::insert_with_id`].
    pub fn update<T: Serialize>(
        &mut self,
        collection: &Collection<T>,
        id: impl AsRef<str>,
        value: &T,
    ) -> Result<()> {
        self.add(collection, id, WriteOperation::Update(collection.encode(value)?))
    }

    /// Inserts or replaces a document.
    ///
    /// # Errors
    /// As [`Self::insert_with_id`].
    pub fn put<T: Serialize>(
        &mut self,
        collection: &Collection<T>,
        id: impl AsRef<str>,
        value: &T,
    ) -> Result<()> {
        self.add(collection, id, WriteOperation::Put(collection.encode(value)?))
    }

    /// Replaces a document if it is still at the revision that was read, as
    /// [`Collection::replace_if`] does; else the commit fails with `Superseded`.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn replace_if<T: Serialize>(
        &mut self,
        collection: &Collection<T>,
        document: &Document<T>,
        value: &T,
    ) -> Result<()> {
        let operation = WriteOperation::Replace(document.revision(), collection.encode(value)?);
        self.add(collection, document.id(), operation)
    }

    /// Deletes a document; the commit fails if there is none.
    ///
    /// # Errors
    /// As [`Self::insert_with_id`].
    pub fn delete<T>(&mut self, collection: &Collection<T>, id: impl AsRef<str>) -> Result<()> {
        self.add(collection, id, WriteOperation::Delete)
    }

    /// Erases a document permanently, as [`Collection::erase`] does; the commit fails if
    /// there is no trace of it.
    ///
    /// # Errors
    /// As [`Self::insert_with_id`].
    #[doc(alias = "hard_delete")]
    pub fn erase<T>(&mut self, collection: &Collection<T>, id: impl AsRef<str>) -> Result<()> {
        self.add(collection, id, WriteOperation::Erase)
    }

    fn add<T>(
        &mut self,
        collection: &Collection<T>,
        id: impl AsRef<str>,
        operation: WriteOperation,
    ) -> Result<()> {
        let scope = self.scope.get_or_insert_with(|| collection.scope().clone());
        if scope != collection.scope() {
            if scope.is_local() || collection.scope().is_local() {
                let message = "a transaction holds documents of local-only collections or of synced ones: write them in \
                               two transactions";
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .with("collection", collection.name()));
            }
            let message = "a transaction cannot span scopes: each scope has its own log";
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with("first", scope)
                .with("other", collection.scope()));
        }
        if let (Some(chosen), Some(first)) = (self.replica.chosen(), self.writes.first())
            && chosen.contains(&first.collection) != chosen.contains(collection.name_of())
            && !scope.is_local()
        {
            let message = "a transaction holds documents of collections that this replica syncs or of others, or a part of \
                           it would not travel: write them in two transactions";
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with("first", &first.collection)
                .with("other", collection.name()));
        }
        self.writes.push(collection.write_of(id, operation)?);
        Ok(())
    }

    /// Writes everything or nothing. When it returns, the writes survive a power failure.
    ///
    /// # Errors
    /// `InvalidInput` if the transaction is over the limits of a push batch, `AlreadyExists`,
    /// `NotFound` or `Superseded` as for single writes; else as the storage.
    pub async fn commit(self) -> Result<()> {
        let Some(scope) = self.scope else { return Ok(()) };
        self.replica.write(LocalTransaction { scope, writes: self.writes }).await.map(drop)
    }
}
