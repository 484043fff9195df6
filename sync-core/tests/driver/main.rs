//! The driver with a storage in memory and a server that the test plays, on paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod acknowledging;
mod connecting;
mod errors;
mod lifecycle;
mod noting;
mod peer;
mod pulling;
mod pushing;
mod renewing;
mod status;
mod storage;
mod support;
mod tokens;
