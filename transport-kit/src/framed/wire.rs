//! Converts messages to frames and back: one side of one connection.

use std::sync::Arc;

use bytes::Bytes;

use super::Compression;
use sync_core::codec::{Codec, malformed};
use sync_core::error::Result;
use sync_core::model::Chunk;
use sync_core::protocol::{FrameReader, FrameWriter, Message, Payload};

/// The default limit of payloads: 16 MiB. The default limits of chunks and batches are far below
/// it.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// Payloads up to this size are sent uncompressed: compressing them costs more than it saves.
pub const COMPRESS_OVER: usize = 1 << 10;

/// Returns a message in its encoded form, compressed if that was agreed on and is worth it.
///
/// A server encodes it once for all connections with one compression, and sends it with
/// [`Wire::encode_payload`].
#[must_use]
pub fn payload(message: &Message, compression: Option<&dyn Compression>) -> Payload {
    let mut bytes = Vec::with_capacity(room(message));
    message.encode(&mut bytes);
    packed(bytes.into(), compression)
}

fn packed(bytes: Bytes, compression: Option<&dyn Compression>) -> Payload {
    match compression.filter(|_| bytes.len() > COMPRESS_OVER).and_then(|c| c.compress(&bytes)) {
        Some(small) if small.len() < bytes.len() => Payload::of(small, true),
        _ => Payload::of(bytes, false),
    }
}

/// As [`payload`], for a borrowed chunk.
#[must_use]
pub fn chunk_payload(chunk: &Chunk, compression: Option<&dyn Compression>) -> Payload {
    let mut bytes = Vec::with_capacity(chunk.weight());
    Message::encode_chunk(chunk, &mut bytes);
    packed(bytes.into(), compression)
}

/// Returns the approximate size of a message, so that a large one is not copied while it grows.
fn room(message: &Message) -> usize {
    match message {
        Message::Chunk(chunk) => chunk.weight(),
        Message::Push(push) => 64 + push.batch.weight(),
        _ => 64,
    }
}

/// Converts messages to the frames of one connection, and frames to messages.
///
/// ```
/// use transport_kit::framed::Wire;
/// use sync_core::protocol::Message;
/// let (mut client, mut server) = (Wire::new(1 << 20), Wire::new(1 << 20));
/// let frame = client.encode(0, &Message::Ping(7));
/// assert_eq!(server.decode(frame).unwrap(), (0, Message::Ping(7)));
/// ```
#[derive(Clone, Debug)]
pub struct Wire {
    writer: FrameWriter,
    reader: FrameReader,
    max_payload: usize,
    compression: Option<Arc<dyn Compression>>,
}

impl Wire {
    /// Creates a wire, which accepts payloads up to that size, before and after decompression.
    #[must_use]
    pub fn new(max_payload: usize) -> Self {
        let reader = FrameReader::new(max_payload);
        Self { writer: FrameWriter::default(), reader, max_payload, compression: None }
    }

    /// Sets the compression from here on, in both directions: for a server after it has encoded its
    /// `Welcome`, for a client after it has decoded that.
    pub fn set_compression(&mut self, compression: Option<Arc<dyn Compression>>) {
        self.compression = compression;
    }

    /// Returns the agreed compression.
    #[must_use]
    pub fn compression(&self) -> Option<&Arc<dyn Compression>> {
        self.compression.as_ref()
    }

    /// Returns the next frame, with that message.
    #[must_use]
    pub fn encode(&mut self, stream: u32, message: &Message) -> Bytes {
        let payload = payload(message, self.compression.as_deref());
        self.encode_payload(stream, &payload)
    }

    /// Returns the next frame, with a payload that was encoded with this connection's compression
    /// or with none.
    #[must_use]
    pub fn encode_payload(&mut self, stream: u32, payload: &Payload) -> Bytes {
        self.writer.frame(stream, payload)
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// `Protocol` if the frame is damaged, out of order or too long, or if its payload is not a
    /// message. The link can then not be used any more.
    pub fn decode(&mut self, frame: Bytes) -> Result<(u32, Message)> {
        let frame = self.reader.frame(frame)?;
        let bytes = match (&self.compression, frame.compressed) {
            (_, false) => frame.payload,
            (Some(compression), true) => {
                let bytes = compression.decompress(&frame.payload, self.max_payload)?;
                // Checked again here: the limit must hold even if an implementation of
                // `Compression` ignores it.
                if bytes.len() > self.max_payload {
                    return Err(malformed("a payload decompresses to more than the limit"));
                }
                bytes
            }
            (None, true) => return Err(malformed("a payload is compressed, which was not agreed")),
        };
        let message = Message::from_bytes(bytes)?;
        Ok((frame.stream, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framed::tests::Doubled;
    use sync_core::error::{ErrorKind, Retry};

    fn long() -> Message {
        Message::Auth("ab".repeat(2_000))
    }

    fn agreed() -> (Wire, Wire) {
        let (mut one, mut two) = (Wire::new(8_000), Wire::new(8_000));
        one.set_compression(Some(Arc::new(Doubled)));
        two.set_compression(Some(Arc::new(Doubled)));
        (one, two)
    }

    #[test]
    fn long_payloads_are_compressed_and_short_ones_are_not() {
        let (mut one, mut two) = agreed();
        let frame = one.encode(3, &long());
        assert!(frame.len() < 2_200, "{}", frame.len());
        assert_eq!(two.decode(frame).unwrap(), (3, long()));
        let short = one.encode(3, &Message::Auth("ab".repeat(100)));
        assert!(short.len() > 200);
        assert!(two.decode(short).is_ok());
    }

    #[test]
    fn a_borrowed_chunk_has_the_same_bytes() {
        let chunk = sync_core::model::Chunk {
            next: sync_core::model::Seq(2),
            head: sync_core::model::Seq(3),
            horizon: sync_core::model::Seq(0),
            ..sync_core::model::Chunk::empty(
                sync_core::model::Scope::default(),
                sync_core::model::Epoch([1; 16]),
                sync_core::model::Seq(1),
            )
        };
        assert_eq!(chunk_payload(&chunk, None), payload(&Message::Chunk(chunk), None));
    }

    #[test]
    fn incompressible_payloads_are_sent_uncompressed() {
        let (mut one, mut two) = agreed();
        let odd = Message::Auth("abc".repeat(1_001));
        let frame = one.encode(1, &odd);
        assert!(frame.len() > 3_000);
        assert_eq!(two.decode(frame).unwrap().1, odd);
    }

    #[test]
    fn a_bomb_is_refused() {
        let (mut one, _) = agreed();
        let mut two = Wire::new(3_000);
        two.set_compression(Some(Arc::new(Doubled)));
        let error = two.decode(one.encode(3, &long())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn compression_that_was_not_agreed_is_refused() {
        let (mut one, _) = agreed();
        assert!(Wire::new(8_000).decode(one.encode(3, &long())).is_err());
    }

    #[test]
    fn an_invalid_name_breaks_the_protocol() {
        // A pull whose scope is empty.
        let bytes = Bytes::from_static(&[3, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        let frame = FrameWriter::default().frame(1, &Payload::of(bytes, false));
        let error = Wire::new(100).decode(frame).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Reconnect));
    }
}
