//! Replicas in a separate process, which report how much memory they used.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use storage_sqlite::{SqliteConfig, open_replica};
use sync_core::model::{Body, DocumentId, ReplicaId, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;
use tokio::time::timeout;

use crate::documents::{Order, body, collection, id};
use crate::server::{Way, transport};
use crate::setup::CHUNK;
use crate::setup::{environment, replica_over};
use crate::{Outcome, meter};

/// The documents of a long outbox that a round pushes.
const PUSHED: usize = 20_000;

fn open(file: &Path) -> Outcome<Arc<dyn Storage>> {
    Ok(Arc::new(open_replica(&SqliteConfig::new(file), ReplicaId([8; 16]))?))
}

/// Pulls everything. Prints by how many bytes the peak is above the start.
pub(super) async fn pull(address: SocketAddr, file: &Path) -> Outcome {
    let start = meter::resident()?;
    let transport = transport(address, Way::WebSocket)?;
    let replica = replica_over(transport, open(file)?, &Scope::default(), CHUNK).await?;
    replica.sync_now().await?;
    println!("{}", meter::peak()?.saturating_sub(start));
    Ok(replica.close().await?)
}

/// Writes documents into the outbox. Prints the same.
pub(super) async fn write(file: &Path, count: usize) -> Outcome {
    let start = meter::resident()?;
    let (storage, collection) = (open(file)?, collection()?);
    for from in (0..count).step_by(CHUNK) {
        let write = |n| -> Outcome<LocalWrite> {
            let operation = WriteOperation::Insert(Body::parse(body(n))?);
            let id = DocumentId::new(id(Order::Ordered, n))?;
            Ok(LocalWrite { collection: collection.clone(), id, operation })
        };
        let writes = (from..count.min(from + CHUNK)).map(write).collect::<Outcome<_>>()?;
        let transaction = LocalTransaction { scope: Scope::default(), writes };
        storage.write(environment().now(), transaction).await?;
    }
    println!("{}", meter::peak()?.saturating_sub(start));
    Ok(storage.close().await?)
}

/// Pushes the first [`PUSHED`] documents of an outbox. Prints the same.
pub(super) async fn push(address: SocketAddr, file: &Path) -> Outcome {
    let start = meter::resident()?;
    let transport = transport(address, Way::WebSocket)?;
    let replica = replica_over(transport, open(file)?, &Scope::default(), CHUNK).await?;
    let mut statistics = replica.statistics();
    replica.start().await?;
    let pushed = statistics.wait_for(|s| s.pushed >= PUSHED as u64);
    timeout(std::time::Duration::from_secs(300), pushed)
        .await
        .map_err(|_| "nothing is pushed")??;
    println!("{}", meter::peak()?.saturating_sub(start));
    replica.stop().await;
    Ok(replica.close().await?)
}
