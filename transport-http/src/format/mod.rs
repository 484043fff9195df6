//! The two formats of messages over HTTP: a frame of the protocol, or JSON.
//!
//! [`Format`] converts every body of a request or an answer ([`Content`]) to bytes and back. The
//! events of a stream are written by [`EventWriter`] and read by [`EventReader`], cursors in
//! addresses by [`write_cursor`] and [`read_cursor`], and errors are converted to statuses and back
//! by [`status_of`] and [`error_of`].
//!
//! Decoders never panic: invalid bytes give an error that names the problem and its place.

mod content;
mod cursor;
mod event;
mod json;
#[cfg(feature = "server")]
mod shared;
mod status;

use bytes::Bytes;
use sync_core::codec::Codec;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::Scope;
use sync_core::protocol::{FrameReader, FrameWriter, Message, Payload};

use crate::api;

pub use content::{Changes, Content, Continued, Glance};
pub use cursor::{entity_tag, has_entity_tag, read_cursor, write_cursor};
pub use event::{EventReader, EventWriter, Pieces, StreamEvent};
#[cfg(feature = "server")]
pub use shared::{Parts, chunk_body, chunk_event};
pub use status::{error_of, retry_after, status_of};

/// The format of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One frame of the protocol, on stream 0.
    Frame,
    /// JSON, for people and for programs without a codec of the protocol.
    Json,
}

impl Format {
    /// Returns its type of content.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Frame => api::FRAME,
            Self::Json => api::JSON,
        }
    }

    /// Returns the format of a `Content-Type`, whatever its parameters are.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Frame, Self::Json]
            .into_iter()
            .find(|f| f.content_type().eq_ignore_ascii_case(essence))
    }

    /// Returns the bytes of a whole body.
    ///
    /// # Errors
    /// `Internal` if a document's body is not JSON, which a storage should never contain.
    pub fn encode<T: Content>(self, content: T) -> Result<Bytes> {
        match self {
            Self::Frame => Ok(frame(&Payload::plain(&content.into_message()))),
            Self::Json => content.into_json().map(Bytes::from),
        }
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// `InvalidInput` for invalid JSON in a request, with the place; `Protocol` for an answer, or
    /// for a frame that was changed on the way or has another content.
    pub fn decode<T: Content>(self, bytes: Bytes) -> Result<T> {
        self.read(bytes, None)
    }

    /// Decodes a request to that scope: JSON may omit the scope, but not name another one.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and `InvalidInput` for another scope.
    pub fn decode_for<T: Content>(self, bytes: Bytes, scope: &Scope) -> Result<T> {
        let content: T = self.read(bytes, Some(scope))?;
        match content.scope() {
            Some(own) if own != scope => {
                let message = format!("the body is about the scope {own:?}, the address is not");
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            _ => Ok(content),
        }
    }

    fn read<T: Content>(self, bytes: Bytes, scope: Option<&Scope>) -> Result<T> {
        match self {
            Self::Frame => T::from_message(read_frame(&mut FrameReader::new(bytes.len()), bytes)?)
                .ok_or_else(|| Error::new(ErrorKind::Protocol, "the frame holds another message")),
            Self::Json => T::from_json(&bytes, scope),
        }
    }
}

/// Returns the one frame of a message that is already encoded.
#[must_use]
pub fn frame(payload: &Payload) -> Bytes {
    FrameWriter::default().frame(0, payload)
}

fn read_frame(reader: &mut FrameReader, bytes: Bytes) -> Result<Message> {
    let frame = reader.frame(bytes)?;
    if frame.stream != 0 || frame.compressed {
        let message = "a frame over HTTP is on stream 0 and not compressed inside";
        return Err(Error::new(ErrorKind::Protocol, message));
    }
    Message::from_bytes(frame.payload)
}
