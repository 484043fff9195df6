//! redb as an ordered key-value store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};
use storage_kit::Durability;
use storage_kit::kv::{Batch, OrderedKv, Visit};
use sync_core::error::Result;

use crate::error::convert;

/// The table with all data. redb orders keys of this type by their bytes. An app may have other
/// tables in the file.
const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("twotide");

/// A file of redb.
#[derive(Debug)]
pub struct RedbKv {
    database: Database,
    path: PathBuf,
}

impl RedbKv {
    /// Opens a file; one that is missing is created, its folder must exist. Blocks.
    ///
    /// # Errors
    /// `Busy` if it is open already, here or in another process. `Incompatible` if it is not a file
    /// of redb, or is damaged. `Storage` if it cannot be read or written.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || {
            let database = Database::create(path)?;
            // A table that was never written to does not exist, and cannot be read.
            let transaction = database.begin_write()?;
            drop(transaction.open_table(TABLE)?);
            transaction.commit()?;
            Ok(database)
        };
        let database = open().map_err(|e| convert("open", path, e))?;
        Ok(Self { database, path: path.to_owned() })
    }

    /// Returns the table as it was after the newest commit.
    fn table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, redb::Error> {
        Ok(self.database.begin_read()?.open_table(TABLE)?)
    }

    fn write(&self, batch: Batch) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(TABLE)?;
        for (key, value) in batch {
            match value {
                Some(value) => drop(table.insert(&*key, &*value)?),
                None => drop(table.remove(&*key)?),
            }
        }
        drop(table);
        // A transaction that is dropped before this leaves nothing behind.
        Ok(transaction.commit()?)
    }

    fn failed(&self, operation: &'static str) -> impl Fn(redb::Error) -> sync_core::error::Error {
        move |error| convert(operation, &self.path, error)
    }
}

impl OrderedKv for RedbKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let read =
            || Ok(self.table()?.get(key)?.map(|found| Bytes::copy_from_slice(found.value())));
        read().map_err(self.failed("read"))
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let failed = self.failed("read");
        let table = self.table().map_err(&failed)?;
        for entry in table.range(start..end).map_err(|e| failed(e.into()))? {
            let (key, value) = entry.map_err(|e| failed(e.into()))?;
            // The visitor's error is returned unchanged.
            if visit(key.value(), value.value())? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    /// Commits with one durability for both: redb loses unsynced commits also in a crash of the
    /// process.
    fn commit(&self, batch: Batch, _: Durability) -> Result<()> {
        self.write(batch).map_err(self.failed("write"))
    }
}
