//! The server's data, its backup, and the processes that start with one of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage_kit::kv::{MemoryKv, open_server};
use sync_core::environment::Environment;
use sync_core::error::Result;
use sync_server::ServerStorage;
use tokio::time::sleep_until;

use testkit::cores::must;

use super::fault_schedule::Data;
use super::link::Network;
use super::{inline, scope, server};

/// The data that the server's processes use, one after the other.
#[derive(Debug)]
pub(super) struct ServerData(Mutex<Held>);

#[derive(Debug)]
struct Held {
    kv: Arc<MemoryKv>,
    storage: Arc<dyn ServerStorage>,
    backup: MemoryKv,
}

fn open(kv: &Arc<MemoryKv>) -> Arc<dyn ServerStorage> {
    Arc::new(must(open_server(Arc::clone(kv), inline()), "a server's storage in memory"))
}

impl ServerData {
    /// Makes an empty storage, and the first backup of it.
    pub(super) fn new() -> Self {
        let kv = Arc::new(MemoryKv::default());
        let (storage, backup) = (open(&kv), kv.copy());
        Self(Mutex::new(Held { kv, storage, backup }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the storage of the running process.
    pub(super) fn storage(&self) -> Arc<dyn ServerStorage> {
        Arc::clone(&self.held().storage)
    }

    fn back_up(&self) {
        let mut held = self.held();
        held.backup = held.kv.copy();
    }

    /// Replaces the data by the newest backup.
    async fn restore(&self, environment: &dyn Environment, announced: bool) -> Result<()> {
        let storage = {
            let mut held = self.held();
            held.kv = Arc::new(held.backup.copy());
            held.storage = open(&held.kv);
            Arc::clone(&held.storage)
        };
        if announced && let Some(row) = storage.find_scope(scope()).await? {
            storage.begin_epoch(scope(), row.epoch, row.head, environment.epoch()).await?;
        }
        Ok(())
    }
}

/// Ends the server's process and starts another one, at the times of the fault schedule.
pub(super) async fn restart(
    network: Network,
    environment: Arc<dyn Environment>,
    data: Arc<ServerData>,
) {
    let shared = Arc::clone(&network.shared);
    for restart in shared.fault_schedule.restarts() {
        sleep_until(shared.started + Duration::from_millis(restart.at)).await;
        shared.fault("the server starts anew");
        match restart.with {
            Data::AsLeft => {}
            Data::BackedUp => {
                data.back_up();
                shared.fault("backup");
            }
            Data::Restored { announced } => {
                if let Err(error) = data.restore(&*environment, announced).await {
                    shared.note(format!("a restore failed: {error}"));
                }
                shared.fault(if announced { "restored" } else { "restored in silence" });
            }
        }
        network.replace(server(&environment, &data.storage()));
    }
}
