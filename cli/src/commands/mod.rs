//! The commands.

pub(crate) mod data;
pub(crate) mod decide;
pub(crate) mod demo;
pub(crate) mod export;
mod health;
pub(crate) mod import;
mod leaving;
pub(crate) mod serve;
mod signals;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod sync;
mod told;
pub(crate) mod watch;

use twotide::backend::model::Scope;
use twotide::{Replica, StorageUrl};

use crate::args::DbArgs;
use crate::failure::Failure;
use signals::Signals;

/// Opens a replica for writing, and creates it if it does not exist.
async fn open(db: &DbArgs) -> Result<Replica, Failure> {
    refuse_memory(&db.db)?;
    Ok(Replica::builder().storage_at(db.db.clone()).scope(db.scope.as_str()).open().await?)
}

/// Opens a replica for reading: it must exist.
async fn open_existing(storage: &StorageUrl, scope: &Scope) -> Result<Replica, Failure> {
    refuse_memory(storage)?;
    if storage.path().is_some_and(|path| !path.exists()) {
        return Err(Failure::failed(format!("there is no replica at {storage}")));
    }
    Ok(Replica::builder().storage_at(storage.clone()).scope(scope.as_str()).open().await?)
}

/// Refuses a replica in memory: it would be empty, and lost when the command ends.
fn refuse_memory(storage: &StorageUrl) -> Result<(), Failure> {
    if storage.path().is_some() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--db {storage} is gone when this command ends: give a file, such as --db notes.db"
    )))
}

/// Runs a command on a replica, and closes the replica whether the command succeeds or not: a
/// process that ends while its file is open leaves a part of the data in the log beside it.
async fn closing<T>(
    replica: Replica,
    run: impl AsyncFnOnce(&Replica) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let result = run(&replica).await;
    let closed = replica.close().await;
    let value = result?;
    closed?;
    Ok(value)
}
