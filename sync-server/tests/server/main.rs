//! The server over a storage in memory, on time that only the test moves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod follow;
mod peer;
mod read;
mod serve;
mod service;
