//! Twotide over HTTP.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod api;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod config;
#[cfg(feature = "client")]
mod error;
#[cfg(any(feature = "client", feature = "server"))]
pub mod format;
#[cfg(feature = "server")]
pub mod openapi;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "client")]
pub use client::HttpTransport;
#[cfg(feature = "client")]
pub use config::{Fallback, HttpConfig, LiveBy, ProxyBy};
#[cfg(feature = "server")]
pub use server::{HttpServerConfig, paths, router, router_with};
#[cfg(feature = "tls")]
pub use transport_kit::tls;
