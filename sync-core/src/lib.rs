//! The heart of Twotide: copies of an app's data that stay equal across devices and a server,
//! offline first.
//!
//! ```text
//!   app ── Replica API ── Storage ◄── driver ──► Transport ── ~ network ~ ── sessions ── ServerStorage
//!                                       │                                       │
//!                                     engine                              ops, hooks, tail
//!                              (pure: events in, commands out)
//! ```
//!
//! Read in this order: [`model`] for the words, [`replica`] for what a replica does with them,
//! [`server`] for what the server does, and then the contracts that backends implement.
//!
//! Without the feature `runtime` the crate is pure: no clock, no randomness, no tokio, no storage,
//! no socket.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

/// Whether a fault is built in here: never, without the feature `mutants`.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::is_active($crate::mutants::Mutant::$name)
    };
}
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

pub mod clock;
pub mod codec;
#[cfg(feature = "runtime")]
pub mod driver;
pub mod duration_text;
pub mod engine;
#[cfg(feature = "runtime")]
pub mod environment;
pub mod error;
#[cfg(feature = "runtime")]
pub mod foreign;
#[cfg(feature = "runtime")]
pub mod framed;
#[cfg(feature = "runtime")]
pub mod kv;
pub mod model;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod protocol;
pub mod replica;
pub mod resolver;
pub mod server;
#[cfg(feature = "runtime")]
pub mod storage;
#[cfg(feature = "runtime")]
pub mod transport;
