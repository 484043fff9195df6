//! Removes the bytes of erased data from a file.
//!
//! With `secure_delete` SQLite overwrites removed data with zeros. Copies remain in two places: the
//! write-ahead log, which holds earlier versions of pages, and pages whose rows were moved to
//! others when the tree was balanced. Truncating the log is cheap, and done when the writer has
//! nothing else to do. Only rewriting the whole file (`VACUUM`) removes the other copies; they are
//! rare, and their places are not known.
//!
//! The pending work is a row in the file, written by the transaction that erases, so that a crash
//! in between does not lose it.

use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result, Retry};

use crate::columns;
use crate::core::{Core, Writing};
use crate::schema::Kind;

const NOTE: &str = "INSERT INTO untidy (id) VALUES (1) ON CONFLICT (id) DO NOTHING";
const IS_UNTIDY: &str = "SELECT 1 FROM untidy WHERE id = 1";
const TIDIED: &str = "DELETE FROM untidy WHERE id = 1";

impl<K: Kind> Core<K, Writing> {
    /// Records that the transaction erases data.
    pub(crate) fn note_untidy(&mut self) -> Result<()> {
        self.access.log_is_untidy = true;
        self.run(NOTE, []).map(drop)
    }

    /// Rewrites the file and truncates the log, if data was erased since the last time.
    pub(crate) fn make_tidy(&mut self) -> Result<()> {
        if self.file().is_none() || self.one(IS_UNTIDY, [], |_| Ok(()))?.is_none() {
            return Ok(());
        }
        self.run("VACUUM", [])?;
        if !self.cut_log()? {
            return Err(self.on(Error::new(
                ErrorKind::Busy,
                "another connection reads the file as it was before the erasure",
            )
            .retrying(Retry::Later(None))
            .during("purge erased data")));
        }
        self.access.log_is_untidy = false;
        self.run(TIDIED, []).map(drop)
    }

    /// Truncates the log, if data was erased and no reader blocks it now. After a failure it is
    /// done when the file is purged.
    pub(crate) fn cut_log_if_free(&mut self, patience: Duration) {
        if !self.access.log_is_untidy || self.file().is_none() {
            return;
        }
        // The busy handler would let writes wait.
        if self.connection.busy_timeout(Duration::ZERO).is_ok() {
            self.access.log_is_untidy = !self.cut_log().unwrap_or(false);
            let _ = self.connection.busy_timeout(patience);
        }
    }

    /// Moves the log into the file and empties it; `false` if a reader still uses it.
    fn cut_log(&mut self) -> Result<bool> {
        self.number_move();
        let busy =
            self.one("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| columns::integer(row, 0))?;
        self.note_moved();
        Ok(busy == Some(0))
    }
}
