//! Client and server over real sockets on this machine. The server is a script over `Wire`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod addresses;
mod exchange;
mod limits;
mod refusals;
mod support;
