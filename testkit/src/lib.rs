//! Tests that prove a storage backend, and the rules that all backends share.
//!
//! ```text
//!   search ── actions as data ──┐
//!   traces ── one test a rule ──┼─► World ── Cores ── a backend's cores, run inline
//!   your own test ──────────────┘     └── history: writes, resolver calls
//! ```
//!
//! - [`world`]: replicas and a server without network and without threads. Every message is a value
//!   that the test may lose, deliver twice, or deliver late.
//! - [`traces`]: one function for each rule; [`rule_traces!`] makes them named tests of any
//!   backend.
//! - [`search`]: random plans, oracles that check them against the recorded history, and a
//!   shrinker.
//! - `model` (with the feature of that name): the model check, which makes every choice where the
//!   search draws one, over the rules alone and through the real engines, within bounds.
//! - [`conformance`]: one named case for each promise of a contract, over any implementation with
//!   its threads and files; and faults that show that the cases detect them.
//! - [`fuzz`]: what must hold of every decoder, and of sequences of frames, whatever the bytes are.
//! - [`drive`]: the real driver, codec and server over faulty links in memory, on paused time.
//! - [`proxy`]: a TCP proxy that injects faults, for tests over real sockets.
//! - `vfs` (with the feature of that name): a disk in memory under real SQLite, which loses power,
//!   fails and fills up.
//!
//! A backend runs the first three by implementing [`Cores`](cores::Cores), which makes its cores,
//! and the conformance suites with a harness that opens it.

// A VFS of SQLite is a table of functions that take pointers. Without the feature there is none.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actors;
pub mod conformance;
pub mod cores;
pub mod proxy;
#[doc(hidden)]
pub mod quietly;
pub mod random;
pub mod resolvers;
pub mod sim;
pub mod traces;
pub mod world;
