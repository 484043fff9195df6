//! The commands.

pub(crate) mod data;
pub(crate) mod decide;
pub(crate) mod demo;
pub(crate) mod export;
mod health;
pub(crate) mod import;
mod leaving;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod sync;
mod told;
pub(crate) mod watch;

use twotide::core::model::Scope;
use twotide::{Replica, StorageUrl};

use crate::args::DbArgs;
use crate::failure::Failure;

/// Opens a replica to write to: it is made if it is not there.
async fn open(db: &DbArgs) -> Result<Replica, Failure> {
    Ok(Replica::builder().storage_at(db.db.clone()).scope(db.scope.as_str()).open().await?)
}

/// Opens a replica to look at: it has to be there.
async fn open_existing(storage: &StorageUrl, scope: &Scope) -> Result<Replica, Failure> {
    if storage.path().is_some_and(|path| !path.exists()) {
        return Err(Failure::failed(format!("there is no replica at {storage}")));
    }
    Ok(Replica::builder().storage_at(storage.clone()).scope(scope.as_str()).open().await?)
}

/// Returns when a signal asks the program to end.
async fn asked_to_end() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminate = tokio::signal::unix::signal(kind)?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
