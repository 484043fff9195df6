//! A disk in memory on which real SQLite runs, and which a test can make lose power, fail and fill
//! up.
//!
//! ```text
//!   storage-sqlite ── SQLite ── VFS (ffi) ──► Handle ──► SimDisk: what is seen, what is synced, what is between
//!                                                          ├── faults: the n-th operation fails, no room, syncs that lie
//!                                                          ├── lose_power(salt): what was not synced is kept, lost or torn
//!                                                          └── DiskRecording: the same at every change of a run
//! ```
//!
//! A [`SimDisk`] holds the files of one database. SQLite opens it through the VFS of the name
//! [`VFS`] and under the paths that [`SimDisk::path`] returns:
//!
//! ```
//! use rusqlite::{Connection, OpenFlags};
//! use verification::vfs::{SimDisk, VFS};
//!
//! let disk = SimDisk::new();
//! let open = || Connection::open_with_flags_and_vfs(disk.path("app.db"), OpenFlags::default(), VFS);
//! let connection = open()?;
//! connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n); INSERT INTO t VALUES (1);")?;
//! let loss = disk.lose_power(1);
//! assert!(connection.execute_batch("INSERT INTO t VALUES (2)").is_err()); // this process is dead
//! let rows: i64 = open()?.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
//! assert_eq!((rows, loss.torn), (1, 0));
//! # Ok::<(), rusqlite::Error>(())
//! ```
//!
//! # What the disk does
//!
//! A write is visible at once and survives the end of a process. It survives a power failure only
//! after a sync of that file; the names of files only after a sync of their folder, which SQLite
//! requests when it deletes, and which belongs to the first sync of a journal or log, as on Unix.
//! Of unsynced writes each sector is kept, lost or torn independently, whatever the order of the
//! writes. Bytes beside a write are never damaged (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`, which SQLite
//! assumes everywhere by default).
//!
//! It is meant for one process: locks and shared memory are those of the connections in it.

mod contents;
mod disk;
mod disks;
mod faults;
#[allow(
    unsafe_code,
    reason = "SQLite calls a VFS through pointers; each block says why it is sound"
)]
mod ffi;
mod handle;
mod locks;
mod recording;

pub use contents::Loss;
pub use disk::SimDisk;
pub use disks::{SqliteFiles, VfsDisks};
pub use ffi::VFS;
pub use recording::{DiskRecording, PowerCut};

/// One of SQLite's result codes.
type Code = std::ffi::c_int;
