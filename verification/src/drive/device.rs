//! One replica with its driver, and an app that writes.

use std::sync::Arc;
use std::time::Duration;

use storage_kit::kv::{MemoryKv, open_replica};
use sync_core::driver::{Driver, DriverOptions, DriverStatus, Observer, Parts};
use sync_core::engine::{Event, Goal};
use sync_core::environment::Environment;
use sync_core::error::ErrorKind;
use sync_core::model::{Body, Collection, DocumentId, ReplicaId, Stamp};
use sync_core::replica::{Committed, LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;
use tokio::time::sleep_until;
use transport_kit::framed::{FramedOptions, FramedTransport};

use testkit::cores::must;
use testkit::random::SplitMix64;

use super::fault_schedule::{Fault, ScheduledFault};
use super::link::Network;
use super::{Drive, Own, Shared, inline, scope};

/// A replica.
pub(super) struct Device {
    pub(super) number: usize,
    pub(super) storage: Arc<dyn Storage>,
    drive: Drive,
    network: Network,
    environment: Arc<dyn Environment>,
    driver: Option<Driver>,
}

/// A step of a device, with its time.
enum Step {
    Write,
    Stop,
    Start,
}

/// Records errors that must not occur.
#[derive(Debug)]
struct Watch(Arc<Shared>, usize);

impl Observer for Watch {
    fn committed(&self, _: &Committed) {}
    fn event(&self, _: &Event) {}

    fn status(&self, status: &DriverStatus) {
        let Some(error) = &status.last_error else { return };
        // A caller that waits for a task that panicked gets one of these errors.
        let is_a_bug = error.kind() == ErrorKind::Internal
            || error.to_string().contains("the task of the connection is gone");
        if is_a_bug || status.progress.refused.is_some() {
            self.0.note(format!("replica {} met {error}", self.1));
        }
    }
}

impl Device {
    pub(super) fn new(drive: Drive, number: usize, network: Network) -> Self {
        let id = ReplicaId([number as u8 + 1; 16]);
        let storage = open_replica(Arc::new(MemoryKv::default()), id, inline());
        let storage = Arc::new(must(storage, "a replica's storage in memory"));
        let environment = Own::of(&network.shared, drive.seed, 300 + number as u64);
        Self { number, storage, drive, network, environment, driver: None }
    }

    /// Follows the server and writes until the run ends.
    pub(super) async fn live(mut self) -> Self {
        self.start().await;
        let mut random = SplitMix64::of(self.drive.seed, 200 + self.number as u64);
        let shared = Arc::clone(&self.network.shared);
        let mut written = 0;
        for (at, step) in self.steps(&mut random) {
            sleep_until(shared.started + Duration::from_millis(at)).await;
            match step {
                Step::Write => {
                    self.write(&mut random, written).await;
                    written += 1;
                }
                Step::Stop => {
                    shared.fault("stopped");
                    self.stop_driver().await;
                }
                Step::Start => self.start().await,
            }
        }
        self.start().await;
        self
    }

    fn steps(&self, random: &mut SplitMix64) -> Vec<(u64, Step)> {
        let mut steps = Vec::new();
        let mut at = 0;
        loop {
            at += 1 + random.next_u64() % self.drive.pause.max(1);
            if at >= self.drive.millis {
                break;
            }
            steps.push((at, Step::Write));
        }
        let scheduled_faults = self.network.shared.fault_schedule.of(self.number);
        for ScheduledFault { from, until, .. } in
            scheduled_faults.filter(|s| s.fault == Fault::Stopped)
        {
            steps.push((from, Step::Stop));
            steps.push((until, Step::Start));
        }
        steps.sort_by_key(|(at, _)| *at);
        steps
    }

    async fn start(&mut self) {
        if self.driver.is_some() {
            return;
        }
        let shared = &self.network.shared;
        let transport =
            FramedTransport::new(self.network.of(self.number), FramedOptions::default());
        let parts = Parts {
            storage: Arc::clone(&self.storage),
            transport: Arc::new(transport),
            environment: Arc::clone(&self.environment),
            observer: Arc::new(Watch(Arc::clone(shared), self.number)),
        };
        match Driver::start(parts, DriverOptions::default()).await {
            Ok(driver) => {
                if let Err(error) = driver.run(Goal::default()).await {
                    shared.note(format!("replica {} does not run: {error}", self.number));
                }
                self.driver = Some(driver);
            }
            Err(error) => shared.note(format!("replica {} does not start: {error}", self.number)),
        }
    }

    async fn stop_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.stop().await;
        }
    }

    pub(super) async fn stop(mut self) {
        self.stop_driver().await;
    }

    /// Returns whether the driver's task still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.status().has_changed().is_ok())
    }

    /// Writes one transaction of one or two documents.
    async fn write(&self, random: &mut SplitMix64, count: u64) {
        let shared = &self.network.shared;
        let mut writes = Vec::new();
        for _ in 0..=random.below(2) {
            let (document, deletes) = (random.below(self.drive.documents), random.percent(10));
            let names = (Collection::new("notes"), DocumentId::new(document.to_string()));
            let (Ok(collection), Ok(id)) = names else { continue };
            // A body names the replica that wrote it, and is sometimes longer than the largest
            // uncompressed payload.
            let text = "x".repeat(random.below(40) * random.below(40));
            let body = Body::from_value(&(self.number, count, text));
            let operation = match (deletes, body) {
                (false, Ok(body)) => WriteOperation::Put(body),
                _ => WriteOperation::Delete,
            };
            writes.push(LocalWrite { collection, id, operation });
        }
        let transaction = LocalTransaction { scope: scope(), writes };
        match self.storage.write(self.environment.now(), transaction).await {
            Ok(committed) => self.acknowledged(&committed),
            // There was nothing to delete.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                shared.note(format!("a write of replica {} failed: {error}", self.number))
            }
        }
    }

    fn acknowledged(&self, committed: &Committed) {
        let now = self.environment.now();
        let ahead = |stamp: Stamp| stamp.millis() > now.0;
        let stamps = committed.changes.iter().filter_map(|change| change.document.as_ref());
        for state in stamps.filter(|d| ahead(d.revision.stamp) || ahead(d.author.stamp)) {
            // All clocks are right here, so no replica may conclude otherwise, whatever the network
            // does.
            self.network
                .shared
                .note(format!("replica {} is ahead of time: {state:?}", self.number));
        }
        let mut log = self.network.shared.log();
        for change in &committed.changes {
            if let Some(document) = &change.document {
                log.writes += 1;
                let written = (document.author, document.is_deleted());
                let newest = log.newest.entry(change.key.clone()).or_insert(written);
                *newest = (*newest).max(written);
            } else if let Some(gone) = &change.previous
                && let Some((revision, deletes)) = log.newest.get_mut(&change.key)
            {
                // A document that was written and deleted before it was pushed leaves nothing
                // behind.
                *deletes |= *revision == gone.author;
            }
        }
    }
}
