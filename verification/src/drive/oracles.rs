//! Checks after the faults have ended.

use std::sync::Arc;
use std::time::Duration;

use sync_core::model::{DocumentKey, Epoch, Limits};
use sync_core::replica::{ReplicaState, Scan, Stored};
use sync_core::storage::Storage;
use sync_server::ServerStorage;
use sync_server::record::ServerScope;
use tokio::time::sleep;

use super::device::Device;
use super::{AGREEMENT, Drive, HEARTBEAT, Shared, scope};

/// How often convergence is checked.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until all replicas converge, and records what does not hold then.
pub(super) async fn judge(
    drive: &Drive,
    shared: &Arc<Shared>,
    server: &Arc<dyn ServerStorage>,
    devices: &[Device],
) {
    for device in devices {
        if !device.is_alive() {
            shared.note(format!("the driver of replica {} has ended", device.number));
        }
    }
    let began = tokio::time::Instant::now();
    while let Some(why) = disagreement(server, devices).await {
        if began.elapsed() > AGREEMENT {
            shared.note(format!("no agreement: {why}"));
            return;
        }
        sleep(LOOK).await;
    }
    nothing_acknowledged_is_lost(shared, devices).await;
    silence(drive, shared).await;
    if let Some(why) = disagreement(server, devices).await {
        shared.note(format!("agreement did not last: {why}"));
    }
}

/// Returns why a replica is not at the server's head with the server's documents and nothing
/// unsettled, if so.
async fn disagreement(server: &Arc<dyn ServerStorage>, devices: &[Device]) -> Option<String> {
    let row = match server.find_scope(scope()).await {
        // A scope begins with its first write: before that it is empty.
        Ok(row) => row.unwrap_or_else(|| ServerScope::new(Epoch([0; 16]))),
        Err(error) => return Some(format!("the server: {error}")),
    };
    for device in devices {
        let why = match device.storage.state().await {
            Ok(state) => differs(&row, &state),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            return Some(format!("replica {}: {why}", device.number));
        }
    }
    None
}

fn differs(server: &ServerScope, state: &ReplicaState) -> Option<String> {
    let Some(own) = state.scope(&scope()) else { return Some("it has no such scope".to_owned()) };
    let unsettled = own.outbox;
    if unsettled != sync_core::replica::OutboxCounts::default() {
        return Some(format!("unsettled are {unsettled:?}"));
    }
    if own.checkpoint.position != server.head {
        return Some(format!("it is at {} of {}", own.checkpoint.position, server.head));
    }
    let (theirs, ours) = ((server.documents, server.digest), (own.documents, own.digest));
    (theirs != ours).then(|| format!("its documents are {ours:?}, the server's {theirs:?}"))
}

/// Checks that of all acknowledged writes of a document the one with the newest stamp is shown,
/// because the last write wins.
async fn nothing_acknowledged_is_lost(shared: &Arc<Shared>, devices: &[Device]) {
    let Some(device) = devices.first() else { return };
    let documents = match documents(&device.storage).await {
        Ok(documents) => documents,
        Err(error) => return shared.note(format!("the documents cannot be read: {error}")),
    };
    let newest = shared.log().newest.clone();
    let find = |key: &DocumentKey| documents.iter().find(|d| d.key == *key);
    for (key, (revision, deletes)) in &newest {
        match find(key) {
            // A deletion may have met another one, or have removed a document that only its replica
            // knew. It implies no order then.
            Some(stored) if stored.state.author != *revision && !deletes => shared.note(format!(
                "{key} is as {} wrote it, and {revision} is newer",
                stored.state.author
            )),
            // Before the newest write there may be deletions that met each other.
            None if !deletes => shared.note(format!("{key} is gone, and {revision} wrote it")),
            Some(_) | None => {}
        }
    }
    for stored in &documents {
        if !newest.contains_key(&stored.key) {
            shared.note(format!("{} was written by nobody", stored.key));
        }
    }
}

async fn documents(storage: &Arc<dyn Storage>) -> sync_core::error::Result<Vec<Stored>> {
    let limits = Limits { documents: usize::MAX, bytes: usize::MAX };
    let scan = Scan { scope: scope(), collection: None, after: None, limits };
    Ok(storage.scan(scan).await?.items)
}

/// Checks that only heartbeats are sent after all replicas have converged.
async fn silence(drive: &Drive, shared: &Arc<Shared>) {
    // Frames in transit arrive and are acknowledged; a link that delivers nothing is detected.
    sleep(HEARTBEAT * 4).await;
    let before = shared.log().trace.len();
    sleep(Duration::from_millis(drive.quiet)).await;
    let said: Vec<_> =
        shared.log().trace[before..].iter().filter(|f| !f.is_heartbeat()).copied().collect();
    if let Some(first) = said.first() {
        shared.note(format!("{} frames in the silence, the first is {first:?}", said.len()));
    }
}
