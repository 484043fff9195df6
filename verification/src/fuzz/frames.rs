//! Checks of frames and of compression.

use std::sync::Arc;

use bytes::Bytes;
use sync_core::codec::Codec;
use sync_core::error::ErrorKind;
use sync_core::protocol::{FrameReader, FrameWriter, Message, Payload};
use transport_kit::framed::{Compression, Wire};

/// The largest payload that the checks accept.
const MOST: usize = 1 << 16;

/// Checks a frame as it arrived from a link, and a good frame around the same bytes.
///
/// # Panics
/// If a frame is accepted that is over the limit or has another form, if the reader continues after
/// an error, or if a good frame is rejected.
pub fn frame(bytes: &[u8]) {
    let mut reader = FrameReader::new(MOST);
    match reader.frame(Bytes::copy_from_slice(bytes)) {
        Ok(frame) => {
            assert!(frame.payload.len() <= MOST, "a payload over the limit was taken");
            let payload = Payload::of(frame.payload, frame.compressed);
            assert_eq!(FrameWriter::default().frame(frame.stream, &payload), bytes);
            let again = reader.frame(Bytes::copy_from_slice(bytes));
            assert!(again.is_err(), "a frame was taken twice");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Protocol, "{error}"),
    }
    let (payload, stream) = (Bytes::copy_from_slice(bytes), bytes.len() as u32);
    let good = FrameWriter::default().frame(stream, &Payload::of(payload.clone(), false));
    let taken = FrameReader::new(MOST).frame(good.clone());
    assert_eq!(taken.is_ok(), payload.len() <= MOST, "{taken:?}");
    if let Ok(frame) = taken {
        assert_eq!((frame.stream, &frame.payload), (stream, &payload));
        let heard = Wire::new(MOST).decode(good);
        let message = Message::from_bytes(payload);
        assert_eq!(heard.ok(), message.ok().map(|message| (stream, message)));
    }
}

/// Checks bytes that claim to be compressed, and the same bytes compressed.
///
/// # Panics
/// If the output is over the limit or an error is of another kind than `Protocol`, if bytes do not
/// survive compression, or if they decompress although the limit is a byte too small.
pub fn compression(compression: &Arc<dyn Compression>, bytes: &[u8]) {
    match compression.decompress(bytes, MOST) {
        Ok(unfolded) => assert!(unfolded.len() <= MOST, "{} bytes came out", unfolded.len()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Protocol, "{error}"),
    }
    if let Some(small) = compression.compress(bytes) {
        assert_eq!(compression.decompress(&small, bytes.len()).ok().as_deref(), Some(bytes));
        if let Some(less) = bytes.len().checked_sub(1) {
            assert!(compression.decompress(&small, less).is_err(), "over the limit, and taken");
        }
    }
    let claimed = Payload::of(Bytes::copy_from_slice(bytes), true);
    let mut wire = Wire::new(MOST);
    wire.set_compression(Some(Arc::clone(compression)));
    if let Err(error) = wire.decode(FrameWriter::default().frame(1, &claimed)) {
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
}
