//! The data that a storage backend stores for a replica, as typed rows inside one transaction.
//!
//! The logic of a replica ([`ops`](super::ops)) is written once over these rows. A key-value
//! backend gets them from the crate `storage-kit`, a database implements them natively.

use super::record::{BatchRow, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use crate::error::Result;
use crate::model::{Collection, DocumentId, DocumentKey, LocalSeq, PushId, Scope};

/// A place in the order (collection, id) within a scope, after which a page begins.
pub type After<'a> = Option<(&'a Collection, &'a DocumentId)>;

/// A place in the order of an outbox: (transaction, collection, id).
pub type OutboxPlace = (LocalSeq, Collection, DocumentId);

/// Reads of one consistent snapshot.
///
/// Pages are bounded by a number of rows; a page that is shorter than requested is the last one.
pub trait ReplicaReads {
    /// Returns the row of which there is one; none in a storage that was just created.
    ///
    /// # Errors
    /// `Storage` if reading failed, `Incompatible` if the stored data is damaged. The same holds
    /// for all others.
    fn meta(&self) -> Result<Option<ReplicaMeta>>;

    /// Returns one scope.
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn scope(&self, scope: &Scope) -> Result<Option<ScopeRow>>;

    /// Returns all scopes, in order of their names.
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn scopes(&self) -> Result<Vec<(Scope, ScopeRow)>>;

    /// Returns one document.
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn record(&self, key: &DocumentKey) -> Result<Option<Record>>;

    /// Returns documents of a scope, or of one collection of it, in order of (collection, id).
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn records(
        &self,
        scope: &Scope,
        collection: Option<&Collection>,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>>;

    /// Returns documents of all scopes by [`Record::changed`], those above `after`. No two
    /// documents in the feed have the same place.
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn changed(&self, after: LocalSeq, limit: usize) -> Result<Vec<(DocumentKey, Record)>>;

    /// Returns documents of a scope that are [pushable](Record::pushable), in order of
    /// (transaction, collection, id).
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn outbox(
        &self,
        scope: &Scope,
        after: Option<&OutboxPlace>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>>;

    /// Returns documents of a scope that are [deferred](Record::is_deferred), in order of
    /// (collection, id).
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn deferred(
        &self,
        scope: &Scope,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>>;

    /// Returns the batch in flight of a scope.
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn batch(&self, scope: &Scope) -> Result<Option<BatchRow>>;

    /// Returns the name of the batch in flight of a scope. An implementation may read it without
    /// the rest of the batch, which has as many keys as there are documents in it.
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn batch_id(&self, scope: &Scope) -> Result<Option<PushId>> {
        Ok(self.batch(scope)?.map(|batch| batch.id))
    }

    /// Returns the quarantine of a scope by ticket, rows above `after`.
    ///
    /// # Errors
    /// As [`Self::meta`].
    fn quarantine(
        &self,
        scope: &Scope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, QuarantineRow)>>;
}

/// Reads and writes of one transaction. Reads observe its writes; nothing else observes them before
/// it commits.
pub trait ReplicaRows: ReplicaReads {
    /// Writes the row of which there is one.
    ///
    /// # Errors
    /// `Storage` if writing failed (the transaction then has no effect). The same holds for all
    /// others.
    fn put_meta(&mut self, meta: &ReplicaMeta) -> Result<()>;

    /// Writes a scope.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn put_scope(&mut self, scope: &Scope, row: &ScopeRow) -> Result<()>;

    /// Removes the row of a scope; its documents are removed one by one.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn remove_scope(&mut self, scope: &Scope) -> Result<()>;

    /// Writes a document. `old` is what [`record`](ReplicaReads::record) returned in this
    /// transaction.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn put_record(&mut self, key: &DocumentKey, old: Option<&Record>, new: &Record) -> Result<()>;

    /// Writes documents of which each is most likely new. Returns the places in the list of those
    /// that exist already, or that are repeated in the list, for which nothing is written. A
    /// backend may do this in one step for each, or for all, and in any order: a first
    /// catch-up consists of these calls.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn insert_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<Vec<usize>> {
        let mut there = Vec::new();
        for (at, (key, record)) in new.iter().enumerate() {
            match self.record(key)? {
                Some(_) => there.push(at),
                None => self.put_record(key, None, record)?,
            }
        }
        Ok(there)
    }

    /// Returns whether documents are written by [`load_records`](Self::load_records) from now on,
    /// in a way that is cheap for many: the transaction begins a load, or continues one. Loaded
    /// documents are clean, of a pull that began when the scope held nothing that the server knew,
    /// and each document is loaded once; about `to_come` are still to come. A backend may do
    /// without an index meanwhile, for example, until [`end_load`](Self::end_load) is called.
    ///
    /// A backend that supports this begins only while it holds no document at all, and a crash
    /// undoes the load like everything else.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn begin_load(&mut self, _to_come: u64) -> Result<bool> {
        Ok(false)
    }

    /// Writes documents after [`begin_load`](Self::begin_load) has returned `true` in this
    /// transaction.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn load_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<()> {
        self.insert_records(new).map(drop)
    }

    /// Ends the load that [`begin_load`](Self::begin_load) began, if there is one; called before
    /// documents are written or looked up in any other way. Returns `false` if one document was
    /// loaded twice: then all loaded documents are removed, and none is ever loaded again.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn end_load(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// Removes a document. `old` is what [`record`](ReplicaReads::record) returned in this
    /// transaction.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn remove_record(&mut self, key: &DocumentKey, old: &Record) -> Result<()>;

    /// Records that the transaction removes or replaces bodies of which nothing may stay. A
    /// backend that can remove them stores this together with the transaction, and removes them
    /// when it is purged (`Transactional::purge_erased` of `storage-kit`).
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn note_erasure(&mut self) -> Result<()> {
        Ok(())
    }

    /// Writes, or with none removes, the batch in flight of a scope.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn put_batch(&mut self, scope: &Scope, batch: Option<&BatchRow>) -> Result<()>;

    /// Writes, or with none removes, a row of a scope's quarantine.
    ///
    /// # Errors
    /// As [`Self::put_meta`].
    fn put_quarantine(
        &mut self,
        scope: &Scope,
        ticket: u64,
        row: Option<&QuarantineRow>,
    ) -> Result<()>;
}
