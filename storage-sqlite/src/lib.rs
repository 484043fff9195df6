//! SQLite as the storage of a replica or of a server.
//!
//! ```text
//!   SqliteStorage  = ThreadedStorage< SqliteReplicaWriter, SqliteReplicaReader >      (threads: storage-kit)
//!   SqliteServerStorage = ThreadedServerStorage< SqliteServerWriter, SqliteServerReader >
//!                                              │
//!                      Core<kind, access>: one connection, one transaction or snapshot at a time
//!                      ├── replica/   rows of a replica ─┐
//!                      ├── server/    rows of a server ──┴─► SQL over native tables (schema)
//!                      └── transaction, names, columns, lease, version, commit_watcher, purge_erased
//! ```
//!
//! [`open_replica`] and [`open_server`] open a file and start its threads. The cores can be used
//! alone as well, without threads and without a file: they are synchronous, and the simulation
//! calls them inline.
//!
//! # Tables and views
//!
//! A replica's documents are rows of one table, bodies as JSON text, so that an app can query them
//! in SQL. The view `documents(scope, collection, id, revision, created_ms, updated_ms, body)`
//! shows the live documents, and stays the same when the tables below it change:
//!
//! ```
//! use rusqlite::Connection;
//! use storage_sqlite::{SqliteConfig, open_replica};
//! use sync_core::model::ReplicaId;
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("app.db");
//! let storage = open_replica(&SqliteConfig::new(&path), ReplicaId([7; 16]))?;
//! // ... the app writes through its replica, and queries on a separate connection:
//! let app = Connection::open(&path)?;
//! let urgent: i64 = app.query_row(
//!     "SELECT count(*) FROM documents WHERE collection = 'tasks' AND json_extract(body, '$.urgent')",
//!     [],
//!     |row| row.get(0),
//! )?;
//! # assert_eq!(urgent, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Such a connection must only read. `created_ms` and `updated_ms` are Unix milliseconds,
//! `updated_ms` those of the edit that the body comes from; `revision` is the text of the revision.
//!
//! # Guarantees
//!
//! - What a storage must make durable is committed with [`SqliteConfig::synchronous`]; everything
//!   else with `NORMAL`, which survives a crash of the process but perhaps not a power failure.
//! - Several processes may share one replica file. One of them runs the engine: it holds a lock on
//!   `<file>-lease`, which the operating system releases when it crashes. The commits of the others
//!   are detected within some 25 ms.
//! - A file of another program, of the other kind (a server's as a replica's) or of a newer version
//!   is refused with [`Incompatible`](sync_core::error::ErrorKind::Incompatible) and not changed.
//! - A file that is deleted, moved, replaced, or overwritten by a copy while it is open fails every
//!   transaction from then on ([`Storage`](sync_core::error::ErrorKind::Storage) or `Incompatible`,
//!   with the advice not to retry), and is not changed.
//! - No byte of erased data is left in the file, `-wal` and `-shm` after
//!   [`purge_erased`](sync_core::storage::Storage::purge_erased), or after it was closed: bodies,
//!   earlier versions of them, edits that were in flight, refused or deferred. Most of it is
//!   removed at once, the log as soon as the writer has nothing else to do. The whole file is then
//!   rewritten, which needs as much space again for a moment; nothing is done if nothing was
//!   erased. Copies of old blocks in a file system, a disk or a backup are outside SQLite's
//!   control.
//! - The first pull of an empty replica is loaded without the index by which a document is found,
//!   from [`SqliteConfig::load_from`] documents on. After a killed process the load continues, and
//!   no checkpoint marks a pull as complete while the index is missing.
//! - A commit that does not fit on the disk fails with
//!   [`Storage`](sync_core::error::ErrorKind::Storage). Earlier commits stay, and the same commit
//!   succeeds once there is space.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod access;
mod binding;
mod columns;
mod commit_watcher;
mod config;
mod core;
mod error;
mod header;
mod lease;
mod moved;
mod names;
mod place;
mod purge_erased;
mod replica;
mod schema;
#[cfg(feature = "server")]
mod server;
mod transaction;
mod version;
mod wal;

pub use config::{SqliteConfig, Synchronous};
pub use core::{Core, Reading, Writing};
pub use replica::{SqliteReplicaReader, SqliteReplicaWriter, SqliteStorage, open_replica};
pub use schema::{Kind, Replica};
#[cfg(feature = "server")]
pub use server::{
    Server, SqliteServerReader, SqliteServerStorage, SqliteServerWriter, open_server,
};
