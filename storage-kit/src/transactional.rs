//! What a storage's threads run: cores that write in transactions, and cores that read snapshots.

use super::CommitVersion;
use sync_core::error::Result;

/// The durability of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// It survives a crash of the process. A power failure may undo it, together with everything
    /// after it.
    Process,
    /// It survives a power failure too.
    Power,
}

/// A core that writes: one transaction at a time, made of jobs that each happen whole or not at
/// all.
///
/// The order of calls is `begin`, then for every job `mark` and, if the job failed, `undo`, then
/// `commit`.
pub trait Transactional: Send + 'static {
    /// Begins a transaction.
    ///
    /// # Errors
    /// `Storage` if it cannot be begun; then nothing is open.
    fn begin(&mut self, durability: Durability) -> Result<()>;

    /// Marks the state to which `undo` returns.
    ///
    /// # Errors
    /// `Storage`.
    fn mark(&mut self) -> Result<()>;

    /// Undoes everything since the last `mark`.
    ///
    /// # Errors
    /// `Storage`; the transaction is then rolled back.
    fn undo(&mut self) -> Result<()>;

    /// Commits, and returns whether anything was written. When it returns, the durability of
    /// `begin` holds, and readers observe the transaction.
    ///
    /// # Errors
    /// `Storage`; then nothing of the transaction happened, and none is open.
    fn commit(&mut self) -> Result<bool>;

    /// Rolls the transaction back.
    fn rollback(&mut self);

    /// Removes what was erased and committed from the files; no transaction is open. Returns
    /// whether nothing of it is left: `false` for a core whose files keep old values until it
    /// writes over them.
    ///
    /// # Errors
    /// `Busy` if a reader or another process prevents it, else `Storage`; the work then remains to
    /// be done.
    fn purge_erased(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Called when nothing waits, for the cheap part of [`purge_erased`](Self::purge_erased) that
    /// need not be done at once.
    fn rest(&mut self) {}
}

/// A core that reads: all reads between `open` and `release` observe one state of the data.
pub trait Snapshot: Send + 'static {
    /// Opens a snapshot of the newest committed state.
    ///
    /// # Errors
    /// `Storage`.
    fn open(&mut self) -> Result<()>;

    /// Releases the snapshot.
    fn release(&mut self);

    /// Returns a [`CommitVersion`], which detects without a thread whether anything was committed;
    /// none, by default, for a core that cannot. A server's storage calls it on one of its cores
    /// when it starts, before the core is moved to its thread.
    ///
    /// # Errors
    /// `Storage` if it cannot be made.
    fn probe(&self) -> Result<Option<Box<dyn CommitVersion>>> {
        Ok(None)
    }
}
