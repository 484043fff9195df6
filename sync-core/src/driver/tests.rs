//! The driver with a storage in memory and a server that the test plays, on paused time.

mod connecting;
mod lifecycle;
mod peer;
mod status;
mod storage;
mod support;
