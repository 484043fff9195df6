//! The capabilities of the harnesses of both kinds of storage.

use async_trait::async_trait;
use sync_core::error::{Error, ErrorKind, Result};

use super::Capabilities;

/// A fresh place for a storage. A [`StorageHarness`](super::storage::StorageHarness) opens it as a
/// replica's, a [`ServerStorageHarness`](super::server::ServerStorageHarness) as a server's.
///
/// A harness that can only open has an empty implementation.
#[async_trait]
pub trait Place: Send + Sync + 'static {
    /// Returns the capabilities of the harness.
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    /// Leaves in the place what a process that is killed now would leave. The next opening finds
    /// that. No call to the storage runs meanwhile. For files a copy of them is enough: the old
    /// storage continues beside the copy, and is ignored.
    async fn crash(&self) -> Result<()> {
        Err(cannot("crash"))
    }

    /// Fills the disk for the storages that are opened from now on. Some small commits may still
    /// fit.
    async fn fill_disk(&self) -> Result<()> {
        Err(cannot("fill the disk"))
    }

    /// Frees the disk for the storages that are opened from now on.
    async fn free_disk(&self) -> Result<()> {
        Err(cannot("free the disk"))
    }

    /// Returns every byte of the place, of all its files one after the other. No call to the
    /// storage runs meanwhile.
    async fn bytes(&self) -> Result<Vec<u8>> {
        Err(cannot("read the files"))
    }
}

fn cannot(what: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "the harness says that it can, and does not").during(what)
}
