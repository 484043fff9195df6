//! The events of a stream: their names, and the data of each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::protocol::{FrameReader, FrameWriter, Message, Payload, WireError};

use super::{Changes, Content, Format, read_frame};

/// The content of one event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// `chunk`, or `reset`, which is the last one.
    Changes(Changes),
    /// `gone`, the last one: the scope does not exist any more, or access was revoked.
    Gone(WireError),
    /// `failed`, the last one: the error that a request would have failed with.
    Failed(WireError),
}

impl StreamEvent {
    /// Returns the name of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Changes(Changes::Chunk(_)) => "chunk",
            Self::Changes(Changes::Reset(_)) => "reset",
            Self::Gone(_) => "gone",
            Self::Failed(_) => "failed",
        }
    }
}

/// Writes the data of a stream's events. Frames are numbered from 0 in each stream, so that a lost
/// or duplicated one is detected.
#[derive(Debug)]
pub struct EventWriter {
    format: Format,
    frames: FrameWriter,
}

impl EventWriter {
    /// Creates a writer for a new stream.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, frames: FrameWriter::default() }
    }

    /// Returns the format of the data.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the data of the next event. Line breaks in it must be split into several `data`
    /// fields.
    ///
    /// # Errors
    /// As [`Format::encode`].
    pub fn data(&mut self, event: StreamEvent) -> Result<String> {
        match self.format {
            Format::Frame => {
                let message = match event {
                    StreamEvent::Changes(changes) => changes.into_message(),
                    StreamEvent::Gone(error) | StreamEvent::Failed(error) => error.into_message(),
                };
                let payload = Payload::plain(&message);
                Ok(STANDARD.encode(self.frames.frame(0, &payload)))
            }
            Format::Json => {
                let json = match event {
                    StreamEvent::Changes(changes) => changes.into_json(),
                    StreamEvent::Gone(error) | StreamEvent::Failed(error) => error.into_json(),
                }?;
                String::from_utf8(json)
                    .map_err(|e| Error::new(ErrorKind::Internal, "JSON is not UTF-8").because(e))
            }
        }
    }

    /// Returns the data of the next event, as a frame with a message that is already encoded, piece
    /// by piece: so it uses little memory besides the message, which may be shared.
    #[must_use]
    pub fn pieces(&mut self, payload: &Payload) -> Pieces {
        let [header, payload] = self.frames.parts(0, payload);
        Pieces { header, payload }
    }
}

/// The base64 of a frame, in pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    header: Bytes,
    payload: Bytes,
}

/// The number of bytes of a frame in one piece. It is a multiple of three, except for the last one.
const PIECE: usize = 48 << 10;

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let header = std::mem::take(&mut self.header);
        let payload = self.payload.split_to(self.payload.len().min(PIECE - header.len()));
        if header.is_empty() && payload.is_empty() {
            return None;
        }
        let encoded = if header.is_empty() {
            STANDARD.encode(payload)
        } else {
            STANDARD.encode([header, payload].concat())
        };
        Some(encoded.into())
    }
}

/// Reads the data of a stream's events.
#[derive(Debug)]
pub struct EventReader {
    format: Format,
    frames: FrameReader,
}

impl EventReader {
    /// Creates a reader for a new stream. Payloads of frames may have up to that many bytes.
    #[must_use]
    pub fn new(format: Format, max_payload: usize) -> Self {
        Self { format, frames: FrameReader::new(max_payload) }
    }

    /// Reads the next event; none for an unknown name.
    ///
    /// # Errors
    /// `Protocol` if the data does not match the event's name, or if an event is missing before it.
    /// The stream is unusable after that.
    pub fn event(&mut self, name: &str, data: &str) -> Result<Option<StreamEvent>> {
        Ok(match name {
            "chunk" | "reset" => {
                let changes: Changes = self.content(data)?;
                let event = StreamEvent::Changes(changes);
                if event.name() != name {
                    let message = format!("an event is named {name} and holds a {}", event.name());
                    return Err(Error::new(ErrorKind::Protocol, message));
                }
                Some(event)
            }
            "gone" => Some(StreamEvent::Gone(self.content(data)?)),
            "failed" => Some(StreamEvent::Failed(self.content(data)?)),
            _ => None,
        })
    }

    fn content<T: Content>(&mut self, data: &str) -> Result<T> {
        match self.format {
            Format::Json => T::from_json(data.as_bytes(), None),
            Format::Frame => {
                let bytes = STANDARD.decode(data).map_err(|e| {
                    Error::new(ErrorKind::Protocol, "the data of an event is not base64").because(e)
                })?;
                let message: Message = read_frame(&mut self.frames, Bytes::from(bytes))?;
                T::from_message(message).ok_or_else(|| {
                    Error::new(ErrorKind::Protocol, "an event holds another message than its name")
                })
            }
        }
    }
}
