//! Twotide over WebSocket: one frame is one binary message.
//!
//! A replica connects with `WsTransport` (feature `client`). A server gives its links to a
//! `LinkHandler` (feature `server`), through an axum `router` that stands alone or beside the app's
//! own routes. `wss://` on both sides comes with the feature `tls`, a compression with `zstd`.
//!
//! Everything about requests, credits and the heartbeat is in [`transport_kit::framed`]; here is
//! only what carries frames.

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

/// Where a server takes connections.
pub const PATH: &str = "/v1/sync";

/// The WebSocket subprotocol that a client names, and that a server confirms. Servers take clients
/// that name none.
pub const SUBPROTOCOL: &str = "twotide.v1";
