//! The contents of request and answer bodies.

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{Chunk, Cursor, Digest, Epoch, PushBatch, Reset, Scope, Seq, Verdicts};
use sync_core::protocol::{Ack, Hello, Message, Pull, Push, Welcome, WireError};
use sync_core::transport::Delivery;
#[cfg(feature = "server")]
use sync_server::record::ServerScope;

use super::json;

/// A value that is sent as the body of a request or an answer, in both formats.
pub trait Content: Sized {
    /// Returns the message of a frame.
    fn into_message(self) -> Message;

    /// Returns the content of a frame, if it is of this type.
    fn from_message(message: Message) -> Option<Self>;

    /// Returns the JSON.
    ///
    /// # Errors
    /// `Internal` if a document's body is not JSON.
    fn into_json(self) -> Result<Vec<u8>>;

    /// Reads the JSON. A request need not name its scope if its address does.
    ///
    /// # Errors
    /// `InvalidInput` (requests) or `Protocol` (answers), with the reason and the place.
    fn from_json(bytes: &[u8], scope: Option<&Scope>) -> Result<Self>;

    /// Returns the scope that a request addresses, if it addresses one.
    fn scope(&self) -> Option<&Scope> {
        None
    }
}

/// A chunk and the cursor that follows it, for readers that store only the cursor. Frames do not
/// carry the cursor: a replica derives it from the chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// The chunk.
    pub chunk: Chunk,
    /// The cursor that follows it; none if it arrived in a frame.
    pub cursor: Option<Cursor>,
}

/// The answer to a read of the log.
pub type Changes = Delivery<Box<Continued>>;

/// A summary of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glance {
    /// The scope.
    pub scope: Scope,
    /// The epoch of its log.
    pub epoch: Epoch,
    /// Its newest position.
    pub head: Seq,
    /// The purge floor: tombstones below it are removed.
    pub horizon: Seq,
    /// The number of its documents.
    pub documents: u64,
    /// Their digest.
    #[serde(deserialize_with = "json::digest")]
    pub digest: Digest,
}

#[cfg(feature = "server")]
impl Glance {
    /// Creates the summary of a scope from its row.
    #[must_use]
    pub fn new(scope: Scope, row: &ServerScope) -> Self {
        let ServerScope { epoch, head, horizon, documents, digest, .. } = *row;
        Self { scope, epoch, head, horizon, documents, digest }
    }
}

macro_rules! content {
    ($($type:ident as $variant:ident $(of $scope:ident)?, $json:ident;)*) => {$(
        impl Content for $type {
            fn into_message(self) -> Message {
                Message::$variant(self)
            }
            fn from_message(message: Message) -> Option<Self> {
                if let Message::$variant(content) = message { Some(content) } else { None }
            }
            fn into_json(self) -> Result<Vec<u8>> {
                json::$json::write(self)
            }
            fn from_json(bytes: &[u8], scope: Option<&Scope>) -> Result<Self> {
                json::$json::read(bytes, scope)
            }
            $(fn scope(&self) -> Option<&Scope> {
                Some(&self.$scope)
            })?
        }
    )*};
}

content! {
    Hello as Hello, hello;
    Welcome as Welcome, welcome;
    Pull as Pull of scope, pull;
    Ack as Ack of scope, ack;
    Verdicts as Verdicts, verdicts;
    Reset as Reset, reset;
    WireError as Failed, error;
}

impl Content for PushBatch {
    fn into_message(self) -> Message {
        Message::Push(Push { batch: self })
    }
    fn from_message(message: Message) -> Option<Self> {
        if let Message::Push(Push { batch }) = message { Some(batch) } else { None }
    }
    fn into_json(self) -> Result<Vec<u8>> {
        json::push::write(self)
    }
    fn from_json(bytes: &[u8], scope: Option<&Scope>) -> Result<Self> {
        json::push::read(bytes, scope)
    }
    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }
}

impl Content for Changes {
    fn into_message(self) -> Message {
        match self {
            Self::Chunk(continued) => Message::Chunk(continued.chunk),
            Self::Reset(reset) => Message::Reset(reset),
        }
    }
    fn from_message(message: Message) -> Option<Self> {
        match message {
            Message::Chunk(chunk) => Some(Self::Chunk(Box::new(Continued { chunk, cursor: None }))),
            Message::Reset(reset) => Some(Self::Reset(reset)),
            _ => None,
        }
    }
    fn into_json(self) -> Result<Vec<u8>> {
        match self {
            Self::Chunk(continued) => json::chunk::write(&continued),
            Self::Reset(reset) => json::reset::write(reset),
        }
    }
    fn from_json(bytes: &[u8], scope: Option<&Scope>) -> Result<Self> {
        let error = match json::chunk::read(bytes) {
            Ok(continued) => return Ok(Self::Chunk(Box::new(continued))),
            Err(error) => error,
        };
        // If the value is neither, the error for the chunk is the more likely one.
        json::reset::read(bytes, scope).map(Self::Reset).map_err(|_| error)
    }
}
