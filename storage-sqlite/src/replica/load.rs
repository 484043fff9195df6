//! Loading: the first pull of an empty replica, without the index that each document would have to
//! be inserted into.
//!
//! Ids come in any order, so with a million documents nearly every row of the index would be on
//! another page. Without the index documents are only appended, and it is built at the end by
//! sorting, which is several times cheaper.
//!
//! ```text
//!   no documents ──begin_load, many to come──► loading ──end_load: the index is built──► as ever
//!                                                 │  ▲
//!                                                 └──┘ load_records; a crash; opening the file
//! ```
//!
//! The state is a row in the file and changes in transactions, together with the documents and the
//! checkpoint: after a crash the load continues where the last chunk left it, and no checkpoint
//! marks a pull as complete while the index is missing. Any other write ends the load first. Reads
//! keep working, but find a document by a scan of the table; the first such read is recorded, and
//! the next chunk ends the load.

use std::sync::atomic::Ordering;

use sync_core::error::Result;

use crate::core::Core;
use crate::replica::SqliteReplicaWriter;
use crate::schema::Replica;

pub(crate) const IS_LOADING: &str = "SELECT 1 FROM loading WHERE id = 1";
const HAS_FAILED: &str = "SELECT 1 FROM loading WHERE id = 2";
const HOLDS_DOCUMENTS: &str = "SELECT 1 FROM document LIMIT 1";
const BEGIN: &str = "DROP INDEX document_key; INSERT INTO loading (id) VALUES (1)";
const BUILD: &str = "CREATE UNIQUE INDEX document_key ON document (collection_id, id)";
const LOADED: &str = "DELETE FROM loading WHERE id = 1";
/// The memory for sorting the index, the least that SQLite uses. More is hardly faster.
const SORTED_KIB: i64 = 1_024;
/// Only loaded documents exist.
const GIVE_UP: &str =
    "DELETE FROM document; DELETE FROM loading; INSERT INTO loading (id) VALUES (2)";

impl<A> Core<Replica, A> {
    /// Records that documents are about to be looked up by their names.
    pub(super) fn note_lookup(&self) {
        if self.loading.get() {
            self.wants_index.store(true, Ordering::Relaxed);
        }
    }
}

impl SqliteReplicaWriter {
    /// Returns whether the index is missing now.
    fn is_loading(&self) -> Result<bool> {
        if let Some(known) = self.names.borrow().loading {
            return Ok(known);
        }
        let found = self.one(IS_LOADING, [], |_| Ok(()))?.is_some();
        self.names.borrow_mut().loading = Some(found);
        Ok(found)
    }

    fn set_loading(&self, loading: bool, statements: &'static str) -> Result<()> {
        self.names.borrow_mut().loading = None;
        self.connection.execute_batch(statements).map_err(|e| self.failed("write", e))?;
        self.names.borrow_mut().loading = Some(loading);
        Ok(())
    }

    /// Returns whether documents can be loaded now. If `to_come`, the number of those that are left
    /// to pull, is large and there is no document yet, a load begins.
    pub(super) fn may_load(&self, to_come: u64) -> Result<bool> {
        if self.is_loading()? {
            return Ok(!self.wants_index.load(Ordering::Relaxed));
        }
        if to_come < self.access.load_from
            || self.one(HOLDS_DOCUMENTS, [], |_| Ok(()))?.is_some()
            || self.one(HAS_FAILED, [], |_| Ok(()))?.is_some()
        {
            return Ok(false);
        }
        self.set_loading(true, BEGIN)?;
        Ok(true)
    }

    pub(super) fn finish_load(&self) -> Result<bool> {
        if !self.is_loading()? {
            return Ok(true);
        }
        self.wants_index.store(false, Ordering::Relaxed);
        match self.build()? {
            Ok(()) => self.set_loading(false, LOADED).map(|()| true),
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                // One name occurred twice. The index prevents that from here on.
                self.set_loading(false, GIVE_UP)?;
                self.connection.execute_batch(BUILD).map_err(|e| self.failed("write", e))?;
                Ok(false)
            }
            Err(e) => Err(self.failed("write", e)),
        }
    }

    /// Builds the index. SQLite sorts with as much memory as the page cache may use, in addition to
    /// it.
    fn build(&self) -> Result<rusqlite::Result<()>> {
        let pages = self.connection.pragma_query_value(None, "cache_size", |row| row.get(0));
        let usual: i64 = pages.map_err(|e| self.failed("read", e))?;
        let is_small = (-SORTED_KIB..0).contains(&usual);
        self.pragma("cache_size", if is_small { usual } else { -SORTED_KIB })?;
        let built = self.connection.execute_batch(BUILD);
        self.pragma("cache_size", usual)?;
        Ok(built)
    }
}
