//! The server: its data, what each transaction does, its sessions, and the service that ties them
//! together.

#[cfg(feature = "runtime")]
mod budget;
#[cfg(feature = "runtime")]
mod follow;
#[cfg(feature = "runtime")]
mod hooks;
#[cfg(feature = "runtime")]
mod in_process;
pub mod ops;
#[cfg(feature = "runtime")]
mod own_task;
#[cfg(feature = "runtime")]
mod peer;
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
mod tail;
mod visible;

#[cfg(feature = "runtime")]
pub use follow::Follower;
#[cfg(feature = "runtime")]
pub use hooks::{Access, Authenticate, Authorise, Hooks, Open, Principal, StaticTokens, Validate};
#[cfg(feature = "runtime")]
pub use in_process::InProcess;
#[cfg(feature = "runtime")]
pub use peer::Peer;
#[cfg(feature = "runtime")]
pub use read::Served;
#[cfg(feature = "runtime")]
pub use service::{OpenSession, Server, ServerOptions};
#[cfg(feature = "runtime")]
pub use shared_chunk::SharedChunk;
pub use visible::Visible;
