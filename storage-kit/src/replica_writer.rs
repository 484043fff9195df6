//! The trait of a core that writes a replica's rows.

use sync_core::error::Result;
use sync_core::replica::rows::ReplicaRows;

use crate::transactional::Transactional;

/// A core that writes a replica's rows.
pub trait ReplicaWriter: ReplicaRows + Transactional {
    /// Ensures that no other living process runs the engine, before a lease is taken. Backends that
    /// allow one process have nothing to do.
    ///
    /// # Errors
    /// `Busy`, naming the holder.
    fn lock_engine(&mut self) -> Result<()> {
        Ok(())
    }

    /// Allows other processes to run the engine.
    fn unlock_engine(&mut self) {}
}
