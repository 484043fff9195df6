//! A pull by an empty replica, and an insertion of the same rows by rusqlite alone.

use std::sync::Arc;

use sync_core::model::Scope;
use sync_core::storage::Storage;
use sync_core::transport::Transport;

use crate::meter::{Cost, Meter};
use crate::raw::{RawDocument, RawSqlite, Sync};
use crate::setup::{CHUNK, replica_over};
use crate::{Outcome, measure::Bench};

/// Measures a pull of everything by an empty replica with that storage.
pub(super) async fn pull(
    transport: Arc<dyn Transport>,
    storage: Arc<dyn Storage>,
    documents: usize,
) -> Outcome<Cost> {
    let replica = replica_over(transport, storage, &Scope::default(), CHUNK).await?;
    let meter = Meter::start();
    replica.sync_now().await?;
    let cost = meter.cost();
    let pulled = replica.statistics().borrow().pulled;
    if pulled != documents as u64 {
        return Err(format!("{pulled} documents came instead of {documents}").into());
    }
    replica.close().await?;
    Ok(cost)
}

/// Measures an insertion of the same rows by rusqlite, a chunk to a transaction.
pub(super) fn insert(bench: &mut Bench, rows: &[RawDocument]) -> Outcome<Cost> {
    let path = bench.path(".raw.db");
    let mut raw = RawSqlite::open(&path, Sync::Normal)?;
    let meter = Meter::start();
    for chunk in rows.chunks(CHUNK) {
        raw.insert(chunk)?;
    }
    let cost = meter.cost();
    drop(raw);
    std::fs::remove_file(path)?;
    Ok(cost)
}
