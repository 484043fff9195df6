//! Twotide over HTTP.

#![forbid(unsafe_code)]

pub mod api;
#[cfg(any(feature = "client", feature = "server"))]
pub mod format;
