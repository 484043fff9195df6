//! The data that a storage backend stores for a server, as typed rows inside one transaction.
//!
//! The logic ([`ops`](super::ops)) is written once over these rows.

#[cfg(test)]
pub(crate) mod memory;

use super::record::{Acknowledged, PushRecord, ServerRow, ServerScope};
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentId, LogRun, ReplicaId, Scope, Seq};

/// A row of the log: a document at its newest position.
pub type LogRow = (Collection, DocumentId, ServerRow);

/// Reads of one consistent snapshot.
pub trait ServerReads {
    /// Returns one scope.
    ///
    /// # Errors
    /// `Storage` if reading failed, `Incompatible` if the stored data is damaged. The same holds
    /// for all others.
    fn scope(&self, scope: &Scope) -> Result<Option<ServerScope>>;

    /// Returns scopes in order of their names, those after `after`; fewer than `limit` are the
    /// last.
    ///
    /// # Errors
    /// As [`Self::scope`].
    fn scopes(&self, after: Option<&Scope>, limit: usize) -> Result<Vec<Scope>>;

    /// Returns one document.
    ///
    /// # Errors
    /// As [`Self::scope`].
    fn row(
        &self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
    ) -> Result<Option<ServerRow>>;

    /// Visits documents by their newest position, those above `after`, until the visitor returns
    /// `false`.
    ///
    /// # Errors
    /// As [`Self::scope`], or the error of the visitor.
    fn log(
        &self,
        scope: &Scope,
        after: Seq,
        visit: &mut dyn FnMut(LogRow) -> Result<bool>,
    ) -> Result<()>;

    /// Returns the run to which a position belongs: of all runs of the scope the one with the
    /// highest first position at or below it.
    ///
    /// # Errors
    /// As [`Self::scope`].
    fn run_at(&self, scope: &Scope, position: Seq) -> Result<Option<LogRun>>;

    /// Returns the last push of a replica to the scope.
    ///
    /// # Errors
    /// As [`Self::scope`].
    fn push_record(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<PushRecord>>;

    /// Returns the acknowledged position of a replica.
    ///
    /// # Errors
    /// As [`Self::scope`].
    fn acknowledged(&self, scope: &Scope, replica: ReplicaId) -> Result<Option<Acknowledged>>;
}

/// Reads and writes of one transaction. Reads observe its writes; nothing else observes them before
/// it commits.
pub trait ServerRows: ServerReads {
    /// Writes a scope.
    ///
    /// # Errors
    /// `Storage` if writing failed (the transaction then has no effect). The same holds for all
    /// others.
    fn put_scope(&mut self, scope: &Scope, row: &ServerScope) -> Result<()>;

    /// Writes a run of the scope; one with the same first position is replaced.
    ///
    /// # Errors
    /// As [`Self::put_scope`].
    fn put_run(&mut self, scope: &Scope, run: &LogRun) -> Result<()>;

    /// Writes a document: its one row moves to the new position. `old` is what
    /// [`row`](ServerReads::row) returned in this transaction.
    ///
    /// # Errors
    /// As [`Self::put_scope`].
    fn put_row(
        &mut self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
        old: Option<&ServerRow>,
        new: &ServerRow,
    ) -> Result<()>;

    /// Records that the transaction replaces bodies of which nothing may stay. A backend that
    /// can remove them stores this together with the transaction, and removes them when it is
    /// purged (`Transactional::purge_erased` of `storage-kit`).
    ///
    /// # Errors
    /// As [`Self::put_scope`].
    fn note_erasure(&mut self) -> Result<()> {
        Ok(())
    }

    /// Removes a document.
    ///
    /// # Errors
    /// As [`Self::put_scope`].
    fn remove_row(
        &mut self,
        scope: &Scope,
        collection: &Collection,
        id: &DocumentId,
        old: &ServerRow,
    ) -> Result<()>;

    /// Writes the last push of a replica.
    ///
    /// # Errors
    /// As [`Self::put_scope`].
    fn put_push_record(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        record: &PushRecord,
    ) -> Result<()>;

    /// Writes the acknowledged position of a replica.
    ///
    /// # Errors
    /// As [`Self::put_scope`].
    fn put_acknowledged(
        &mut self,
        scope: &Scope,
        replica: ReplicaId,
        at: &Acknowledged,
    ) -> Result<()>;
}
