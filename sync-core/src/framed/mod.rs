//! The second door of transport: whoever has a link that carries frames needs nothing else.
//!
//! [`Wire`] turns messages into frames and back, on both sides. [`Compression`] is what the two sides may agree on.

mod compression;
mod wire;

pub use compression::{Compression, pick};
pub use wire::{COMPRESS_OVER, MAX_PAYLOAD, Wire, payload};

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;

    use super::Compression;
    use crate::codec::malformed;
    use crate::error::Result;

    /// Writes two equal halves of each pair once: "abab" is "ab".
    #[derive(Debug)]
    pub(crate) struct Doubled;

    impl Compression for Doubled {
        fn name(&self) -> &'static str {
            "doubled"
        }

        fn compress(&self, bytes: &[u8]) -> Option<Bytes> {
            // The tag and the length of a message come first, and are kept apart.
            let (head, tail) = bytes.split_at(3);
            let (left, right) = tail.split_at(tail.len() / 2);
            (left == right).then(|| [head, left].concat().into())
        }

        fn decompress(&self, bytes: &[u8], max: usize) -> Result<Bytes> {
            if bytes.len() < 3 || bytes.len() * 2 - 3 > max {
                return Err(malformed("not doubled, or too much"));
            }
            let (head, half) = bytes.split_at(3);
            Ok([head, half, half].concat().into())
        }
    }
}
