//! The second extension point of transports: a link that carries frames is enough.
//!
//! [`FramedTransport`] makes a [`Transport`](sync_core::transport::Transport) from anything that
//! [dials](Dial) a [`FrameLink`](sync_core::transport::FrameLink). [`Wire`] converts messages to
//! frames and back, on both sides, and [`Compression`] is what the two sides may agree on.
//! [`memory_link`] is a link for tests and for one process.

mod compression;
mod connection;
mod fused;
mod link;
mod live;
mod transport;
mod wire;

pub use compression::{Compression, pick};
pub use connection::FramedConnection;
pub use fused::Fused;
pub use link::{Dial, memory_link};
pub use transport::{FramedOptions, FramedTransport};
pub use wire::{COMPRESS_OVER, MAX_PAYLOAD, Wire, chunk_payload, payload};

#[cfg(test)]
mod tests;
