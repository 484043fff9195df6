//! A replica and a service that knows nothing of us, step by step: every interleaving of fetches
//! and sends with what the storage does is in the hands of the test.

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
