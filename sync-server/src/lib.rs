//! The server of Twotide: an ordered log of changes per scope, served to any number of replicas.
//!
//! The main types:
//!
//! - [`Server`] serves a storage over connections: it authenticates clients, appends their pushes,
//!   and sends chunks of the log and new changes.
//! - [`ServerStorage`] is the contract of a server's storage. The crates `storage-sqlite` and
//!   `storage-sled` implement it, and `storage-kit` has one in memory.
//! - [`Hooks`] are the app's own decisions: which clients may connect, what each may see and write,
//!   and whether a change is valid.
//!
//! ```
//! use std::sync::Arc;
//!
//! use storage_kit::kv::{KvOptions, MemoryKv, open_server};
//! use sync_server::{InProcess, Server};
//!
//! # fn main() -> sync_core::error::Result<()> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # let _in = runtime.enter();
//! let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default())?;
//! let server = Server::builder(Arc::new(storage)).build();
//! // A transport for replicas of the same process; over a network, `transport-ws` and
//! // `transport-http` have routes for axum.
//! let transport = InProcess::new(server);
//! # let _ = transport;
//! # Ok(())
//! # }
//! ```
//!
//! Below [`Server`] everything is pure: [`ops`] holds the rules of the log as functions over
//! [`rows`], [`session`] is the protocol of one connection as a state machine, and [`record`]
//! is what is stored. Without the feature `runtime` the crate holds only these.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "runtime")]
mod budget;
#[cfg(feature = "runtime")]
mod builder;
#[cfg(feature = "runtime")]
mod client;
#[cfg(feature = "runtime")]
mod follow;
#[cfg(feature = "runtime")]
mod greeting;
#[cfg(feature = "runtime")]
mod hooks;
#[cfg(feature = "runtime")]
mod in_process;
pub mod ops;
#[cfg(feature = "runtime")]
mod own_task;
#[cfg(feature = "runtime")]
mod read;
pub mod record;
pub mod rows;
#[cfg(feature = "runtime")]
mod serve;
#[cfg(feature = "runtime")]
mod service;
pub mod session;
#[cfg(feature = "runtime")]
mod shared_chunk;
#[cfg(feature = "runtime")]
mod storage;
#[cfg(feature = "runtime")]
mod tail;
mod visible;

#[cfg(feature = "runtime")]
pub use builder::ServerBuilder;
#[cfg(feature = "runtime")]
pub use client::AuthenticatedClient;
#[cfg(feature = "runtime")]
pub use follow::Follower;
#[cfg(feature = "runtime")]
pub use hooks::{Access, Authenticate, Authorise, Hooks, Open, Principal, StaticTokens, Validate};
#[cfg(feature = "runtime")]
pub use in_process::InProcess;
#[cfg(feature = "runtime")]
pub use read::Served;
#[cfg(feature = "runtime")]
pub use service::{OpenSession, Server, ServerMemory, ServerOptions};
#[cfg(feature = "runtime")]
pub use shared_chunk::SharedChunk;
#[cfg(feature = "runtime")]
pub use storage::ServerStorage;
pub use visible::Visible;
