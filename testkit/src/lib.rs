//! Tests for backends, resolvers and apps of Twotide, and for the rules that all backends share.
//!
//! ```text
//!   traces ── one test a rule ──┐
//!   your own test ──────────────┼─► World ── Cores ── a backend's cores, run inline
//!                               │     └── history: writes, resolver calls
//!   simulation: plans ──────────┴─► the real engine and sessions, on virtual time
//! ```
//!
//! - [`conformance`]: one named case for each promise of a contract, over any implementation with
//!   its threads and files; and faults that show that the cases detect them.
//! - [`traces`]: one function for each rule; [`rule_traces!`] makes them named tests of any
//!   backend.
//! - [`world`]: replicas and a server without network and without threads. Every message is a value
//!   that the test may lose, deliver twice, or deliver late.
//! - [`sim`]: many clients under faults on virtual time, judged by oracles; failing plans are
//!   shrunk.
//! - [`delta_debugging`]: finds the few items of a failing list that its failure needs.
//! - [`proxy`]: a TCP proxy that injects faults, for tests over real sockets.
//! - [`killed`]: processes that are killed while they write.
//!
//! A backend runs the traces by implementing [`Cores`](cores::Cores), which makes its cores, and
//! the conformance suites with a harness that opens it. An app simulates its own resolver:
//!
//! ```
//! use testkit::sim::{Faults, Simulation};
//!
//! let report = Simulation::builder().clients(3).seeds(0..2).faults(Faults::swarm()).run();
//! assert!(report.failures.is_empty());
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actors;
pub mod conformance;
pub mod cores;
pub mod delta_debugging;
pub mod killed;
pub mod proxy;
#[doc(hidden)]
pub mod quietly;
pub mod random;
pub mod resolvers;
pub mod sim;
pub mod traces;
mod watched_server_storage;
pub mod world;

pub use watched_server_storage::WatchedServerStorage;
