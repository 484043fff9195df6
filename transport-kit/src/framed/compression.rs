//! Compression of payloads, as both sides of a link may agree on it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use sync_core::error::Result;

/// A way to make payloads smaller.
///
/// It compresses each payload on its own and keeps no state between them: one compressed payload is
/// shared by all its receivers.
pub trait Compression: Send + Sync + fmt::Debug + 'static {
    /// Its name in the greeting.
    fn name(&self) -> &'static str;

    /// The bytes in their compressed form; none if that is not worth it.
    fn compress(&self, bytes: &[u8]) -> Option<Bytes>;

    /// Decompresses bytes. Allocates no more than about `max`, whatever size the input declares.
    ///
    /// # Errors
    /// `Protocol` if the input is not what `compress` makes, or if more than `max` bytes come out.
    fn decompress(&self, bytes: &[u8], max: usize) -> Result<Bytes>;
}

/// The compression to use: the first of the other side's names, most wanted first, that is among
/// ours.
#[must_use]
pub fn pick(ours: &[Arc<dyn Compression>], wanted: &[String]) -> Option<Arc<dyn Compression>> {
    wanted.iter().find_map(|name| ours.iter().find(|c| c.name() == name)).cloned()
}
