//! The layout of entries: a small value is stored whole, a larger one in pieces.
//!
//! sled puts a page that does not fit well into its log into a separate file, which it never syncs:
//! such a value may be lost in a power failure although the flush that followed it succeeded. A
//! page has some twenty entries, so no large value is passed to sled.
//! | Key | Value |
//! |---|---|
//! | `e` key | `0`, the value |
//! | `e` key | `1`, how many pieces there are (4 bytes, big-endian) |
//! | `p` key, number (4 bytes, big-endian) | the piece |

use smallvec::SmallVec;
use sync_core::error::Result;

use crate::error::damaged;

const ENTRY: u8 = b'e';
const PIECE: u8 = b'p';
const WHOLE: u8 = 0;
const IN_PIECES: u8 = 1;

/// The beginning of the key of every piece.
pub(crate) const ALL_PIECES: &[u8] = &[PIECE];

/// The most bytes of a value that are stored under one key.
pub(crate) const PIECE_BYTES: usize = 16 << 10;

/// The size of the segments of sled's file. A page larger than a quarter of it becomes a separate
/// file. 24 entries of [`PIECE_BYTES`] are smaller, and so is an index of 300 of our longest keys.
pub(crate) const SEGMENT_BYTES: usize = 2 << 20;

/// Returns the key of an entry in sled.
pub(crate) fn entry_key(key: &[u8]) -> SmallVec<[u8; 64]> {
    let mut place = SmallVec::with_capacity(1 + key.len());
    place.push(ENTRY);
    place.extend_from_slice(key);
    place
}

/// Returns the key of a piece of an entry in sled.
pub(crate) fn piece_key(key: &[u8], number: u32) -> Vec<u8> {
    [&[PIECE], key, &number.to_be_bytes()].concat()
}

/// Returns the key of an entry from its key in sled.
pub(crate) fn key_of(place: &[u8]) -> Result<&[u8]> {
    place.strip_prefix(&[ENTRY]).ok_or_else(|| damaged("an entry is not where entries are"))
}

/// A stored entry.
pub(crate) enum Stored<'a> {
    Whole(&'a [u8]),
    Pieces(u32),
}

pub(crate) fn parse(stored: &[u8]) -> Result<Stored<'_>> {
    match stored.split_first() {
        Some((&WHOLE, value)) => Ok(Stored::Whole(value)),
        Some((&IN_PIECES, count)) => match count.try_into() {
            Ok(count) => Ok(Stored::Pieces(u32::from_be_bytes(count))),
            Err(_) => Err(damaged("the number of pieces cannot be read")),
        },
        _ => Err(damaged("an entry cannot be read")),
    }
}

/// Returns the pieces of a value, and writes the stored entry into `head`, which is reused.
pub(crate) fn cut<'a>(value: &'a [u8], head: &mut Vec<u8>) -> Vec<&'a [u8]> {
    head.clear();
    if value.len() <= PIECE_BYTES {
        head.push(WHOLE);
        head.extend_from_slice(value);
        return Vec::new();
    }
    let pieces: Vec<_> = value.chunks(PIECE_BYTES).collect();
    head.push(IN_PIECES);
    // 2^32 pieces would be 64 TiB.
    head.extend_from_slice(&u32::try_from(pieces.len()).unwrap_or(u32::MAX).to_be_bytes());
    pieces
}
