//! Twotide over HTTP.

#![forbid(unsafe_code)]

pub mod api;
#[cfg(any(feature = "client", feature = "server"))]
pub mod format;
#[cfg(feature = "server")]
pub mod openapi;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "server")]
pub use server::{HttpServerConfig, router, router_with};
