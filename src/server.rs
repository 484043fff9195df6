//! The server that replicas sync with: its hooks, its options, and its storage.
//!
//! ```
//! use std::sync::Arc;
//! use twotide::StorageUrl;
//! use twotide::prelude::*;
//! use twotide::server::Server;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let storage = StorageUrl::memory().open_server().await?;
//! let server = Server::builder(storage).build();
//! // A replica in the same process; the feature `server` adds `routes`, which serve others.
//! let transport = Arc::new(server.in_process());
//! let replica = Replica::builder().memory().transport(transport).open().await?;
//! replica.sync_now().await?;
//! # replica.close().await
//! # }
//! ```

pub use sync_core::environment::{Environment, System};
pub use sync_server::ServerStorage;
pub use sync_server::{
    Access, Authenticate, AuthenticatedClient, Authorise, Follower, Hooks, InProcess, Open,
    OpenSession, Principal, Served, Server, ServerBuilder, ServerMemory, ServerOptions,
    SharedChunk, StaticTokens, Validate, Visible, ops, record, rows, session,
};
