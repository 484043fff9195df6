//! Frames carry messages over a link. They detect when the link corrupts, drops, duplicates or
//! reorders them.
//!
//! A frame is a header of 28 bytes and a payload. The header belongs to the connection, the payload
//! may be shared by all its receivers. Numbers are little-endian.
//!
//! | bytes  | what |
//! |--------|------|
//! | 0      | 1, the version of this layout |
//! | 1      | flags; bit 0: the payload is compressed |
//! | 2..4   | 0 |
//! | 4..8   | length of the payload |
//! | 8..12  | stream: which request the message belongs to; 0 for the connection itself |
//! | 12..20 | sequence number: 0, 1, 2 … in each direction |
//! | 20..24 | checksum of the payload as sent: the low 32 bits of its XXH3-64 |
//! | 24..28 | checksum of bytes 0..24, likewise |

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::Message;
use crate::codec::{Codec, malformed};
use crate::error::Result;

/// The length of a header.
pub const HEADER_BYTES: usize = 28;
const LAYOUT: u8 = 1;
const COMPRESSED: u8 = 1;

/// An encoded message with its checksum: made once, sent to many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Bytes,
    checksum: u32,
    compressed: bool,
}

impl Payload {
    /// Encodes a message without compression.
    #[must_use]
    pub fn plain(message: &Message) -> Self {
        Self::of(message.to_bytes(), false)
    }

    /// Makes a payload of bytes that are a message, or a compressed one.
    #[must_use]
    pub fn of(bytes: Bytes, compressed: bool) -> Self {
        let checksum = checksum(&bytes);
        Self { bytes, checksum, compressed }
    }

    /// Returns the same payload with bytes that have another owner.
    #[cfg(feature = "runtime")]
    #[doc(hidden)]
    #[must_use]
    pub fn map_bytes(self, owned: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self { bytes: owned(self.bytes), ..self }
    }

    /// Returns the bytes as they are sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

/// A frame that was received whole and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The request that it belongs to.
    pub stream: u32,
    /// Whether the payload is compressed.
    pub compressed: bool,
    /// The payload.
    pub payload: Bytes,
}

/// The sending side of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameWriter {
    next: u64,
}

impl FrameWriter {
    /// Returns the bytes of the next frame.
    #[must_use]
    pub fn frame(&mut self, stream: u32, payload: &Payload) -> Bytes {
        let mut frame = Vec::with_capacity(HEADER_BYTES + payload.bytes.len());
        self.write_header(stream, payload, &mut frame);
        frame.extend_from_slice(&payload.bytes);
        frame.into()
    }

    /// Returns the next frame in two parts, for callers that send them separately: the payload is
    /// not copied.
    #[must_use]
    pub fn parts(&mut self, stream: u32, payload: &Payload) -> [Bytes; 2] {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        self.write_header(stream, payload, &mut header);
        [header.into(), payload.bytes.clone()]
    }

    fn write_header(&mut self, stream: u32, payload: &Payload, frame: &mut Vec<u8>) {
        frame.extend_from_slice(&[LAYOUT, u8::from(payload.compressed) * COMPRESSED, 0, 0]);
        frame.extend_from_slice(&(payload.bytes.len() as u32).to_le_bytes());
        frame.extend_from_slice(&stream.to_le_bytes());
        frame.extend_from_slice(&self.next.to_le_bytes());
        frame.extend_from_slice(&payload.checksum.to_le_bytes());
        let header = checksum(frame);
        frame.extend_from_slice(&header.to_le_bytes());
        self.next += 1;
    }
}

/// The receiving side of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrameReader {
    next: u64,
    max_payload: usize,
}

impl FrameReader {
    /// Makes a reader that accepts payloads up to that many bytes.
    #[must_use]
    pub fn new(max_payload: usize) -> Self {
        Self { next: 0, max_payload }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// `Protocol` if it is not whole, out of order, too long, or was changed on the way. The link
    /// is then unusable.
    pub fn frame(&mut self, mut bytes: Bytes) -> Result<Frame> {
        if bytes.len() < HEADER_BYTES {
            return Err(malformed(format!(
                "a frame of {} bytes is shorter than its header",
                bytes.len()
            )));
        }
        let header = bytes.split_to(HEADER_BYTES);
        let u32_at =
            |at: usize| header[at..at + 4].iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b));
        if u32_at(24) != checksum(&header[..24]) {
            return Err(malformed("a frame's header was changed on the way"));
        }
        let (length, stream) = (u32_at(4) as usize, u32_at(8));
        if header[0] != LAYOUT || header[1] & !COMPRESSED != 0 || header[2] != 0 || header[3] != 0 {
            return Err(malformed(format!(
                "a frame of layout {} with flags {:#x}",
                header[0], header[1]
            )));
        }
        if length > self.max_payload {
            return Err(malformed(format!(
                "a frame of {length} bytes is over the limit of {}",
                self.max_payload
            )));
        }
        if length != bytes.len() {
            return Err(malformed(format!("a frame of {length} bytes came with {}", bytes.len())));
        }
        let sequence = u64::from(u32_at(16)) << 32 | u64::from(u32_at(12));
        if sequence != self.next {
            return Err(malformed(format!("frame {sequence} came where {} was due", self.next)));
        }
        if u32_at(20) != checksum(&bytes) {
            return Err(malformed("a frame's payload was changed on the way"));
        }
        self.next += 1;
        Ok(Frame { stream, compressed: header[1] & COMPRESSED != 0, payload: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ping() -> Payload {
        Payload::plain(&Message::Ping(7))
    }

    #[test]
    fn frames_arrive_in_order_and_once() {
        let (mut writer, mut reader) = (FrameWriter::default(), FrameReader::new(100));
        let (first, second) = (writer.frame(3, &ping()), writer.frame(4, &ping()));
        let frame = reader.frame(first.clone()).unwrap();
        assert_eq!(frame.stream, 3);
        assert_eq!(Message::from_bytes(frame.payload).unwrap(), Message::Ping(7));
        assert!(
            reader.frame(first).unwrap_err().to_string().contains("frame 0 came where 1 was due")
        );
        assert_eq!(reader.frame(second).unwrap().stream, 4);
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let frame = FrameWriter::default().frame(3, &ping());
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameReader::new(100).frame(flipped.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_over_the_limit_or_cut_is_refused() {
        let payload = Payload::of(Bytes::from(vec![0; 101]), false);
        let frame = FrameWriter::default().frame(0, &payload);
        assert!(FrameReader::new(100).frame(frame.clone()).is_err());
        assert!(FrameReader::new(101).frame(frame.clone()).is_ok());
        assert!(FrameReader::new(101).frame(frame.slice(..frame.len() - 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = FrameReader::new(100).frame(bytes.clone());
            let _ = Message::from_bytes(bytes);
        }
    }
}
