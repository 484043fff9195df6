//! Whether a file was written to, by whichever process.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use sync_core::error::Result;
use sync_core::storage::Probe;

use crate::core::Place;
use crate::error;

/// A connection of its own that asks SQLite's `data_version`. The question costs some microseconds: it reads memory that the
/// processes share, and waits for no lock of theirs.
#[derive(Debug)]
pub(crate) struct DataVersion(Connection);

impl DataVersion {
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let connection = place.connect(OpenFlags::empty())?;
        let set_up = connection.busy_timeout(Duration::ZERO);
        set_up.map_err(|e| error::convert("open", place.lockable(), e))?;
        Ok(Self(connection))
    }

    /// A number that each commit of another connection changes; none if it cannot be read now.
    pub(crate) fn get(&self) -> Option<i64> {
        let mut ask = self.0.prepare_cached("PRAGMA data_version").ok()?;
        ask.query_row([], |row| row.get(0)).ok()
    }
}

impl Probe for DataVersion {
    fn version(&mut self) -> Option<u64> {
        self.get().map(i64::cast_unsigned)
    }
}
