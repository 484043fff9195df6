//! Checks with which this project verifies itself. They are not published; authors of backends use
//! the `testkit`.
//!
//! - [`search`]: random plans over replicas and a server without a network, judged by oracles.
//! - `model` (feature `model`): every order of all events of two replicas, within bounds.
//! - [`drive`]: the real driver, codec and server on paused time, with links that fail.
//! - [`fuzz`]: promises of every decoder and of sequences of messages, as functions of bytes.
//! - `vfs` (feature `vfs`): a disk in memory under real SQLite, which loses power, fails and is
//!   full.
//! - `planted` (feature `planted`): which oracle detects which planted fault. It compiles only in
//!   the copy of the workspace that `verification/planted/make` makes.
//!
//! ```
//! use testkit::cores::MemoryCores;
//! use verification::search::{Mix, explore};
//!
//! explore(|| MemoryCores, 0..20, Mix::All, 40);
//! ```

#![cfg_attr(not(feature = "vfs"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub mod drive;
pub mod fuzz;
#[cfg(feature = "model")]
pub mod model;
#[cfg(feature = "planted")]
pub mod planted;
pub mod search;
#[cfg(feature = "vfs")]
pub mod vfs;
