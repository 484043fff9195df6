//! The baselines: the databases and sockets below Twotide, used as directly as possible.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::Outcome;
use crate::documents::{AUTHOR, Order, body, id, revision};

/// The table of documents: the columns of a replica's table, and an index to find a document.
const TABLE: &str = "CREATE TABLE document (
    pk INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL, id TEXT NOT NULL, stamp INTEGER, replica BLOB,
    author_stamp INTEGER, author_replica BLOB, created INTEGER, known INTEGER NOT NULL, changed INTEGER,
    changed_here INTEGER NOT NULL, delivered INTEGER NOT NULL, body TEXT, erased BLOB,
    UNIQUE (collection_id, id)) STRICT;";

const INSERT: &str = "INSERT INTO document (collection_id, id, stamp, replica, author_stamp, \
     author_replica, created, known, changed, changed_here, delivered, body, erased) \
     VALUES (1, ?1, ?2, ?3, NULL, NULL, ?2, ?4, ?4, 0, 0, ?5, NULL)";

/// A document as a row.
#[derive(Clone, Debug)]
pub struct RawDocument {
    /// The id.
    pub id: String,
    /// The stamp's bits.
    pub stamp: i64,
    /// A sequential number.
    pub position: i64,
    /// The body.
    pub body: String,
}

/// Returns the first documents as rows.
#[must_use]
pub fn rows(order: Order, documents: usize) -> Vec<RawDocument> {
    let row = |n| RawDocument {
        id: id(order, n),
        stamp: revision(n).stamp.to_bits().cast_signed(),
        position: n as i64 + 1,
        body: body(n),
    };
    (0..documents).map(row).collect()
}

/// When commits are synced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Only when the log is moved into the file.
    Normal,
    /// With every commit.
    Full,
}

/// A SQLite file with the pragmas of a replica, and rusqlite alone.
#[derive(Debug)]
pub struct RawSqlite {
    connection: Connection,
}

impl RawSqlite {
    /// Creates the file.
    ///
    /// # Errors
    /// As SQLite.
    pub fn open(path: &Path, sync: Sync) -> Outcome<Self> {
        let connection = Connection::open(path)?;
        let level = if sync == Sync::Full { 2 } else { 1 };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {level}; PRAGMA secure_delete = 1; \
             PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 4000; \
             PRAGMA journal_size_limit = 32768000; {TABLE}"
        ))?;
        Ok(Self { connection })
    }

    /// Inserts rows in one transaction.
    ///
    /// # Errors
    /// As SQLite.
    pub fn insert(&mut self, rows: &[RawDocument]) -> Outcome {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        {
            let mut insert = self.connection.prepare_cached(INSERT)?;
            for row in rows {
                insert.execute(params![
                    row.id,
                    row.stamp,
                    &AUTHOR.0[..],
                    row.position,
                    row.body
                ])?;
            }
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Runs statements that are not measured.
    ///
    /// # Errors
    /// As SQLite.
    pub fn batch(&self, sql: &str) -> Outcome {
        Ok(self.connection.execute_batch(sql)?)
    }

    /// Returns the connection, for other statements.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Returns a message of that many bytes as a server's WebSocket frame, encoded once for all.
#[must_use]
pub fn frame(bytes: usize) -> bytes::Bytes {
    let mut frame = vec![0x82];
    match u16::try_from(bytes) {
        Ok(short @ 0..126) => frame.push(short as u8),
        Ok(length) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
    frame.resize(frame.len() + bytes, b'x');
    frame.into()
}
