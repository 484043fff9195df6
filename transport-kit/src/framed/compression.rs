//! Compression of payloads, which both sides of a link agree on.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use sync_core::error::Result;

/// A compression of payloads.
///
/// It compresses each payload separately and keeps no state between them: one compressed payload is
/// shared by all its receivers.
pub trait Compression: Send + Sync + fmt::Debug + 'static {
    /// Returns its name in the greeting.
    fn name(&self) -> &'static str;

    /// Returns the compressed bytes; none if compression is not worth it.
    fn compress(&self, bytes: &[u8]) -> Option<Bytes>;

    /// Decompresses bytes. Allocates no more than about `max`, whatever size the input declares.
    ///
    /// # Errors
    /// `Protocol` if the input is not output of `compress`, or if the result exceeds `max` bytes.
    fn decompress(&self, bytes: &[u8], max: usize) -> Result<Bytes>;
}

/// Returns the compression to use: the first of the other side's names, most wanted first, that is
/// among ours.
#[must_use]
pub fn pick(ours: &[Arc<dyn Compression>], wanted: &[String]) -> Option<Arc<dyn Compression>> {
    wanted.iter().find_map(|name| ours.iter().find(|c| c.name() == name)).cloned()
}
