//! The real driver, codec and server, over faulty links in memory, on paused time.
//!
//! ```text
//!   writes ──► storage ◄── Driver ──► FramedTransport ══ link: late, cut, deaf, flipped … ══► Server::serve_link ──► storage
//! ```
//!
//! [`sim`](testkit::sim) runs the pure machines in a separate event loop, to find broken rules.
//! This module tests the code between them: a future that is dropped too early, a message that is
//! sent twice, a task that waits forever. Nothing here is a thread, so with a paused clock a run is
//! a function of its seed, frame by frame ([`DriveOutcome::trace`]):
//!
//! ```
//! # let mut runtime = tokio::runtime::Builder::new_current_thread();
//! # runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
//! use verification::drive::Drive;
//! // In a test of your own: `#[tokio::test(start_paused = true)]`, and some more time.
//! let outcome = Drive { clients: 2, millis: 20, quiet: 10, faults: false, ..Drive::new(7) }.run().await;
//! assert_eq!(outcome.broken, Vec::<String>::new());
//! # });
//! ```

mod data;
mod device;
mod fault_schedule;
mod link;
mod oracles;
mod trace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage_kit::kv::KvOptions;
use sync_core::clock::Now;
use sync_core::environment::Environment;
use sync_core::model::{DocumentKey, Revision, Scope};
use sync_server::ServerStorage;
use sync_server::{Server, ServerOptions};
use tokio::task::JoinSet;
use tokio::time::Instant;

use testkit::random::SplitMix64;

use data::{ServerData, restart};
use device::Device;
use fault_schedule::FaultSchedule;
use link::Network;
pub use trace::{FrameDirection, TracedFrame};

/// The server's heartbeat. A link that delivers nothing is detected after three of them.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The time in which all replicas must converge after the faults: several times the longest pause
/// before a retry.
const AGREEMENT: Duration = Duration::from_secs(10 * 60);
/// The true time at the beginning, in Unix milliseconds.
const BEGINNING: u64 = 1_800_000_000_000;

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The seed of all randomness.
    pub seed: u64,
    /// The number of replicas. At least one.
    pub clients: usize,
    /// How long they write while the links have faults, in milliseconds. Default 60,000.
    pub millis: u64,
    /// How long only heartbeats may be sent at the end, in milliseconds. Default 60,000.
    pub quiet: u64,
    /// The number of documents that they write to. At least one. Default 12.
    pub documents: usize,
    /// The longest pause between two writes of a replica, in milliseconds. Default 2,000.
    pub pause: u64,
    /// Whether links have faults, the server restarts, and replicas stop and start. Default yes.
    pub faults: bool,
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveOutcome {
    /// The violations, in words; empty if there are none.
    pub broken: Vec<String>,
    /// Every frame that was sent, ordered by time and then by link.
    pub trace: Vec<TracedFrame>,
    /// The number of acknowledged writes.
    pub writes: usize,
    /// How often each fault occurred.
    pub faults: BTreeMap<&'static str, usize>,
    /// The duration in milliseconds of virtual time.
    pub millis: u64,
}

impl Drive {
    /// Makes a run of a minute with three to five replicas and a quiet minute at the end.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let clients = 3 + SplitMix64::of(seed, 0).below(3);
        Self {
            seed,
            clients,
            millis: 60_000,
            quiet: 60_000,
            documents: 12,
            pause: 2_000,
            faults: true,
        }
    }

    /// Runs it. Without a paused clock it takes real time.
    ///
    /// # Panics
    /// If there is no runtime of tokio with time.
    pub async fn run(self) -> DriveOutcome {
        let started = Instant::now();
        let shared = Arc::new(Shared {
            started,
            fault_schedule: FaultSchedule::new(&self),
            log: Mutex::default(),
        });
        let data = Arc::new(ServerData::new());
        let environment = Own::of(&shared, self.seed, 1);
        let network = Network::new(Arc::clone(&shared), server(&environment, &data.storage()));
        let restarts = tokio::spawn(restart(network.clone(), environment, Arc::clone(&data)));
        let mut running = JoinSet::new();
        for number in 0..self.clients.max(1) {
            running.spawn(Device::new(self, number, network.clone()).live());
        }
        let mut devices = Vec::new();
        while let Some(lived) = running.join_next().await {
            match lived {
                Ok(device) => devices.push(device),
                Err(error) => shared.note(format!("a replica's app panicked: {error}")),
            }
        }
        devices.sort_by_key(|device| device.number);
        if let Err(error) = restarts.await {
            shared.note(format!("starting the server anew panicked: {error}"));
        }
        oracles::judge(&self, &shared, &data.storage(), &devices).await;
        for device in devices {
            device.stop().await;
        }
        let mut log = shared.log();
        log.trace.sort_by_key(|f| (f.at, f.client, f.link, f.direction));
        DriveOutcome {
            broken: std::mem::take(&mut log.broken),
            trace: std::mem::take(&mut log.trace),
            writes: log.writes,
            faults: std::mem::take(&mut log.faults),
            millis: shared.millis(),
        }
    }
}

/// Returns options for storages without threads, because paused time does not wait for threads.
fn inline() -> KvOptions {
    let mut options = KvOptions::default();
    options.threads.inline = true;
    options
}

fn server(environment: &Arc<dyn Environment>, storage: &Arc<dyn ServerStorage>) -> Server {
    let mut options = ServerOptions::default();
    options.heartbeat = HEARTBEAT;
    Server::builder(Arc::clone(storage))
        .options(options)
        .environment(Arc::clone(environment))
        .build()
}

/// The state that all parts of a run share.
#[derive(Debug)]
struct Shared {
    started: Instant,
    fault_schedule: FaultSchedule,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    broken: Vec<String>,
    trace: Vec<TracedFrame>,
    writes: usize,
    /// The newest acknowledged write of each document, by its stamp, and whether it is a deletion.
    newest: BTreeMap<DocumentKey, (Revision, bool)>,
    faults: BTreeMap<&'static str, usize>,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a violation.
    fn note(&self, what: String) {
        let at = self.millis();
        self.log().broken.push(format!("at {at} ms: {what}"));
    }

    fn fault(&self, what: &'static str) {
        *self.log().faults.entry(what).or_default() += 1;
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The time of the run, and a separate random generator: the order in which tasks draw at one time
/// must not change what another task draws.
#[derive(Debug)]
struct Own {
    shared: Arc<Shared>,
    random: Mutex<SplitMix64>,
}

impl Own {
    fn of(shared: &Arc<Shared>, seed: u64, entity: u64) -> Arc<dyn Environment> {
        let random = Mutex::new(SplitMix64::of(seed, entity));
        Arc::new(Self { shared: Arc::clone(shared), random })
    }
}

impl Environment for Own {
    fn now(&self) -> Now {
        Now(BEGINNING + self.shared.millis())
    }

    fn random(&self, buffer: &mut [u8]) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        for part in buffer.chunks_mut(8) {
            let bytes = random.next_u64().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }
}

fn scope() -> Scope {
    Scope::default()
}
