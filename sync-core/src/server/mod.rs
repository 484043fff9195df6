//! The server: its data, what each transaction does, its sessions, and the service that ties them together.

#[cfg(feature = "runtime")]
mod hooks;
pub mod ops;
pub mod record;
pub mod rows;
#[cfg(feature = "runtime")]
mod serve;
#[cfg(feature = "runtime")]
mod service;
pub mod session;
#[cfg(feature = "runtime")]
mod tail;

#[cfg(feature = "runtime")]
pub use hooks::{Access, Authenticate, Authorise, Hooks, Open, Principal, StaticTokens, Validate};
#[cfg(feature = "runtime")]
pub use service::{Peer, Served, Server, ServerOptions};
#[cfg(feature = "runtime")]
pub use tail::SharedChunk;
