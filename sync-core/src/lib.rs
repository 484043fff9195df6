//! The core of Twotide: the model, the rules of a replica, the pure sync engine, and the contracts
//! that storages and transports implement.
//!
//! ```text
//!   app ── Replica API ── Storage ◄── driver ──► Transport ── ~ network ~ ── the server
//!                                       │
//!                                     engine
//!                              (pure: events in, commands out)
//! ```
//!
//! Three types to know:
//!
//! - [`Storage`](storage::Storage) is the contract of a replica's storage: every method is one
//!   transaction.
//! - [`Transport`](transport::Transport) makes connections to a server.
//! - [`ConflictResolver`](resolver::ConflictResolver) decides between concurrent edits.
//!
//! ```
//! use sync_core::model::Body;
//! use sync_core::resolver::{ConflictResolver, Resolution, resolve_with};
//!
//! // The longer body wins.
//! let resolver = resolve_with("longest", |conflict| {
//!     let length = |body: Option<&Body>| body.map_or(0, |body| body.len());
//!     let remote = length(conflict.remote.and_then(|remote| remote.body.as_ref()));
//!     let is_longer = length(conflict.local.body.as_ref()) > remote;
//!     Ok(if is_longer { Resolution::Local } else { Resolution::Remote })
//! });
//! let resolver: Box<dyn ConflictResolver> = Box::new(resolver);
//! # let _ = resolver;
//! ```
//!
//! Read in this order: [`model`] for the terms, [`replica`] for the operations of a replica, and
//! then the contracts that backends implement. The server is the crate `sync-server`. The crate
//! `storage-kit` helps to write a storage, and `transport-kit` a transport.
//!
//! Without the feature `runtime` the crate is pure: no clock, no randomness, no tokio, no storage,
//! no socket.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod clock;
pub mod codec;
#[cfg(feature = "runtime")]
pub mod driver;
pub mod duration_text;
pub mod engine;
#[cfg(feature = "runtime")]
pub mod environment;
pub mod error;
pub mod model;
pub mod protocol;
pub mod replica;
pub mod resolver;
#[cfg(feature = "runtime")]
pub mod storage;
#[cfg(feature = "runtime")]
pub mod transport;
