//! The simulation: many clients, a server and a network under virtual time, with injected faults.
//!
//! ```text
//!   Plan (data) ──► Run: clients ── network ── server        every fact ──► oracles
//!     writes,         │  Engine     delays,    Session                        │
//!     faults          │  store      losses     store                  history of what is known
//!                     └──── one queue of events, one clock ────┘
//! ```
//!
//! The simulation runs the framework itself: the pure engine of each replica, the pure sessions of
//! the server, and the storage logic of both over stores on simulated disks. Only the executing
//! parts are replaced: time is a number, the seed decides what the network does to each message,
//! and a process can crash at any event. One seed is one run, to the byte.
//!
//! ```
//! use testkit::sim::{Faults, Simulation};
//!
//! let report = Simulation::builder()
//!     .clients(3)
//!     .seconds(60)
//!     .faults(Faults::swarm())
//!     .seeds(0..4)
//!     .run();
//! assert!(report.is_sound(), "{report}");
//! ```
//!
//! # Your resolver
//!
//! Give the simulation your resolver, the edits of your app, and your app's guarantees as an
//! [`Oracle`]:
//!
//! ```
//! use std::sync::Arc;
//! use sync_core::model::Body;
//! use sync_core::resolver::FieldMerge;
//! use testkit::sim::{FaultKind, Faults, Simulation};
//!
//! let report = Simulation::builder()
//!     .resolver(Arc::new(FieldMerge::new()))
//!     .edit(|shown, chance| match shown {
//!         None => Body::parse(r#"{"title": "new", "done": false}"#).unwrap(),
//!         Some(_) => Body::from_value(&serde_json::json!({"title": "old", "n": chance.below(9)})).unwrap(),
//!     })
//!     .faults(Faults::only([FaultKind::Cut, FaultKind::Crash]))
//!     .seconds(30)
//!     .seeds(0..2)
//!     .run();
//! report.assert_sound();
//! ```
//!
//! `examples/simulate_my_resolver.rs` of the library finds a subtle bug in this way, and shows it.
//!
//! A run that fails is shrunk to a [`Plan`] of a few actions, which is data: keep it as a file, and
//! [replay](crate::simtest!) it as a test. The report shows it as a diagram. An exact sequence of
//! events is written as a [`Scenario`].

mod act;
mod app;
mod appended;
mod bits;
mod builder;
mod client;
mod collections;
mod connection;
mod copies;
pub mod diagram;
mod directions;
mod disk;
mod fact;
mod faults;
mod heal;
mod health;
mod history;
mod kind_of;
mod kinds;
mod link_conditions;
mod live;
mod look;
mod network;
pub mod oracles;
mod outcome;
mod plan;
mod queue;
mod rates;
mod replay;
mod report;
mod requests;
mod run;
mod scenario;
mod seeds;
mod server;
mod shrink;
mod store;
mod story;
mod stranger;
mod trace;
mod units;
mod wire;

use std::collections::BTreeMap;

pub use builder::{Builder, Simulation};
pub use disk::{Disks, MemoryDisks, SimKv};
pub use fact::{Cause, Fact, Look};
pub use faults::{Faults, Workload};
pub use history::History;
pub use kinds::FaultKind;
pub use oracles::{Oracle, OracleResult};
pub use plan::{Action, Decider, Plan, Refusal, Setting, What};
pub use replay::{plans, replay_folder};
pub use report::{Failure, Report};
pub use run::{MakeEdit, Violation};
pub use scenario::{Scenario, ScenarioEnd};
pub use trace::{Difference, Mark, Trace, TraceEvent};

/// The phase that a client is in when a fault occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientPhase {
    /// A push waits for its answer.
    Push,
    /// A pull waits for its answer.
    Pull,
    /// The client follows live.
    Live,
    /// The client is behind and catches up.
    CatchUp,
    /// The client has nothing to do.
    Idle,
}

impl ClientPhase {
    /// All phases.
    pub const ALL: [Self; 5] = [Self::Push, Self::Pull, Self::Live, Self::CatchUp, Self::Idle];
}

/// Which faults met clients in which phases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<(FaultKind, ClientPhase), u64>,
}

impl Coverage {
    fn add(&mut self, kind: FaultKind, phase: ClientPhase) {
        *self.counts.entry((kind, phase)).or_default() += 1;
    }

    fn extend(&mut self, other: &Self) {
        for (pair, count) in &other.counts {
            *self.counts.entry(*pair).or_default() += count;
        }
    }

    /// Returns how often a fault met a client in a phase.
    #[must_use]
    pub fn count(&self, kind: FaultKind, phase: ClientPhase) -> u64 {
        self.counts.get(&(kind, phase)).copied().unwrap_or(0)
    }

    /// Returns the pairs of these faults with any phase that never occurred.
    #[must_use]
    pub fn missing(&self, kinds: &[FaultKind]) -> Vec<(FaultKind, ClientPhase)> {
        let pairs = kinds.iter().flat_map(|kind| ClientPhase::ALL.map(|phase| (*kind, phase)));
        pairs.filter(|(kind, phase)| self.count(*kind, *phase) == 0).collect()
    }
}

/// The totals of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of runs.
    pub runs: u64,
    /// The number of events.
    pub events: u64,
    /// The number of writes of apps.
    pub writes: u64,
    /// The number of states that the server wrote.
    pub appended: u64,
    /// The number of resolver calls.
    pub conflicts: u64,
    /// The number of faults.
    pub faults: u64,
    /// Simulated milliseconds, healing included.
    pub millis: u64,
    /// Runs that ended early because clones of a device had given one revision to two states, which
    /// no oracle can distinguish.
    pub collided: u64,
    /// Runs that were repeated with the same result.
    pub audited: u64,
    /// Which faults met clients in which phases.
    pub coverage: Coverage,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.writes += other.writes;
        self.appended += other.appended;
        self.conflicts += other.conflicts;
        self.faults += other.faults;
        self.millis += other.millis;
        self.collided += other.collided;
        self.audited += other.audited;
        self.coverage.extend(&other.coverage);
    }
}
