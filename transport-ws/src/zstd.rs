//! Zstandard (RFC 8878).

use bytes::Bytes;
use sync_core::error::{Error, ErrorKind, Result};
use transport_kit::framed::Compression;

/// The compression `zstd`, at its fastest useful level.
///
/// ```
/// use transport_kit::framed::Compression;
/// let text = "four times smaller, ".repeat(100);
/// let small = transport_ws::Zstd.compress(text.as_bytes()).unwrap();
/// assert!(small.len() < text.len() / 4);
/// assert_eq!(transport_ws::Zstd.decompress(&small, text.len()).unwrap(), text);
/// assert!(transport_ws::Zstd.decompress(&small, text.len() - 1).is_err());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Zstd;

const LEVEL: i32 = 1;

fn bad(what: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, what).during("decompress")
}

impl Compression for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn compress(&self, bytes: &[u8]) -> Option<Bytes> {
        // If it fails, or saves hardly anything, the bytes are sent uncompressed.
        let small = zstd::bulk::compress(bytes, LEVEL).ok()?;
        (small.len() < bytes.len() - bytes.len() / 16).then(|| small.into())
    }

    /// Requires that the frame declares the length of its content, and is the only one.
    fn decompress(&self, bytes: &[u8], max: usize) -> Result<Bytes> {
        let length = zstd::zstd_safe::get_frame_content_size(bytes);
        let length = length.map_err(|_| bad("not a zstd frame"))?;
        let length = length.ok_or_else(|| bad("a zstd frame does not say how long it is"))?;
        let length = usize::try_from(length).ok().filter(|l| *l <= max);
        let length = length.ok_or_else(|| bad("a zstd frame is over the limit"))?;
        match zstd::bulk::decompress(bytes, length) {
            Ok(all) if all.len() == length => Ok(all.into()),
            Ok(_) => Err(bad("a zstd frame is shorter than it says")),
            Err(e) => Err(bad("a zstd frame is damaged").because(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_not_compressed() {
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(4_000)
        .collect();
        assert!(Zstd.compress(&noise).is_none());
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_decompressed() {
        let bomb = Zstd.compress(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 10_000);
        let error = Zstd.decompress(&bomb, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn damaged_input_does_not_panic() {
        let small = Zstd.compress(&[7; 1_000]).unwrap();
        for i in 0..small.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = small.to_vec();
                damaged[i] ^= flip;
                let _ = Zstd.decompress(&damaged, 2_000);
            }
            assert!(Zstd.decompress(&small[..i], 2_000).is_err());
        }
        let two = [&small[..], &small[..]].concat();
        assert!(Zstd.decompress(&two, 2_000).is_err());
    }
}
