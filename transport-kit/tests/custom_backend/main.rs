//! A replica and a foreign service, step by step: the test controls every interleaving of fetches
//! and sends with the operations of the storage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

mod calls;
mod device;
mod listing;
mod random;
mod service;
mod settling;
mod unconditional;
