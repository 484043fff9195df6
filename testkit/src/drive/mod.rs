//! The real driver, the real codec and the real server, over links in memory that misbehave, on
//! time that stands still until nothing is left to do.
//!
//! ```text
//!   writes ──► storage ◄── Driver ──► FramedTransport ══ link: late, cut, deaf, flipped … ══► Server::serve_link ──► storage
//! ```
//!
//! [`sim`](crate::sim) runs the pure machines in an event loop of its own and is the place to look
//! for broken rules. This is the place to look for what is between them: a future that is dropped
//! too early, a message that is told twice, a task that waits for ever. Nothing here is a thread,
//! so with a paused clock a run is a function of its seed, frame by frame ([`Outcome::trace`]):
//!
//! ```
//! # let mut runtime = tokio::runtime::Builder::new_current_thread();
//! # runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
//! use testkit::drive::Drive;
//! // In a test of your own: `#[tokio::test(start_paused = true)]`, and some more time.
//! let outcome = Drive { clients: 2, millis: 20, quiet: 10, faults: false, ..Drive::new(7) }.run().await;
//! assert_eq!(outcome.broken, Vec::<String>::new());
//! # });
//! ```

mod data;
mod device;
mod link;
mod oracles;
mod trace;
mod weather;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage_kit::kv::KvOptions;
use sync_core::clock::Now;
use sync_core::environment::Environment;
use sync_core::model::{DocumentKey, Revision, Scope};
use sync_server::ServerStorage;
use sync_server::{Hooks, Server, ServerOptions};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::search::SplitMix64;

use data::{ServerData, restart};
use device::Device;
use link::Network;
pub use trace::{Direction, Frame};
use weather::Weather;

/// The server's heartbeat: a link that is deaf is noticed after three of them.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long all may take to agree once the faults are over: longer than the longest pause before a
/// retry, several times.
const AGREEMENT: Duration = Duration::from_secs(10 * 60);
/// The true time at the beginning, in Unix milliseconds.
const BEGINNING: u64 = 1_800_000_000_000;

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drive {
    /// What everything random is derived from.
    pub seed: u64,
    /// Replicas. At least one.
    pub clients: usize,
    /// How long they write while the links misbehave, in milliseconds. Default 60,000.
    pub millis: u64,
    /// For how long nothing but heartbeats may be heard in the end, in milliseconds. Default
    /// 60,000.
    pub quiet: u64,
    /// Documents that they write to. At least one. Default 12.
    pub documents: usize,
    /// The longest pause between two writes of a replica, in milliseconds. Default 2,000.
    pub pause: u64,
    /// Whether the links misbehave, the server starts anew, and replicas stop and start. Default
    /// yes.
    pub faults: bool,
}

/// What a run brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What did not hold, in words; nothing if all did.
    pub broken: Vec<String>,
    /// Every frame that was sent, by time, and in one millisecond by link.
    pub trace: Vec<Frame>,
    /// Writes that replicas acknowledged.
    pub writes: usize,
    /// How often each fault took place.
    pub faults: BTreeMap<&'static str, usize>,
    /// How long it took, in milliseconds of the run's own time.
    pub millis: u64,
}

impl Drive {
    /// A minute of three to five replicas, and a quiet one.
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

    /// Runs it. Without a paused clock it takes as long as it says.
    ///
    /// # Panics
    /// If there is no runtime of tokio with time.
    pub async fn run(self) -> Outcome {
        let started = Instant::now();
        let shared =
            Arc::new(Shared { started, weather: Weather::new(&self), log: Mutex::default() });
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
        Outcome {
            broken: std::mem::take(&mut log.broken),
            trace: std::mem::take(&mut log.trace),
            writes: log.writes,
            faults: std::mem::take(&mut log.faults),
            millis: shared.millis(),
        }
    }
}

/// Storages whose jobs are done where they are asked for: paused time does not wait for threads.
fn inline() -> KvOptions {
    let mut options = KvOptions::default();
    options.threads.inline = true;
    options
}

fn server(environment: &Arc<dyn Environment>, storage: &Arc<dyn ServerStorage>) -> Server {
    let mut options = ServerOptions::default();
    options.heartbeat = HEARTBEAT;
    Server::new(Arc::clone(storage), Hooks::default(), options, Arc::clone(environment))
}

/// What all that takes part in a run shares.
#[derive(Debug)]
struct Shared {
    started: Instant,
    weather: Weather,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    broken: Vec<String>,
    trace: Vec<Frame>,
    writes: usize,
    /// The newest acknowledged write of each document, by its stamp, and whether it is a deletion.
    newest: BTreeMap<DocumentKey, (Revision, bool)>,
    faults: BTreeMap<&'static str, usize>,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something does not hold.
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

/// The time of the run, and a random generator of its own: the order in which tasks draw in one
/// moment must not change what another task draws.
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
