//! Twotide over WebSocket: one frame is one binary message.
//!
//! A replica connects with `WsTransport` (feature `client`). A server passes its links to a
//! `LinkHandler` (feature `server`), through an axum `router` that is served alone or merged into
//! the app's router. The feature `tls` adds `wss://` on both sides, and `zstd` a compression.
//!
//! Requests, credits and the heartbeat are in [`transport_kit::framed`]; this crate only carries
//! frames.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod client;
#[cfg(any(feature = "client", feature = "server"))]
mod config;
#[cfg(any(feature = "client", feature = "server"))]
mod error;
#[cfg(feature = "server")]
mod messages;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(feature = "client")]
pub use client::WsTransport;
#[cfg(feature = "client")]
pub use config::WsConfig;
#[cfg(feature = "server")]
pub use config::WsServerConfig;
#[cfg(feature = "server")]
pub use server::{LinkHandler, PeerInfo, router, router_with};
#[cfg(feature = "tls")]
pub use transport_kit::tls;
#[cfg(feature = "zstd")]
pub use zstd::Zstd;

/// The path on which a server accepts connections.
pub const PATH: &str = "/v1/sync";

/// The WebSocket subprotocol that a client requests, and that a server confirms. Servers accept
/// clients that request none.
pub const SUBPROTOCOL: &str = "twotide.v1";
