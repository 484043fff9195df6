//! The protocol between replica and server. PROTOCOL.md is the specification; the golden vectors
//! in `spec/vectors` hold every message in its exact bytes.

mod frame;
mod message;
mod table;

pub use frame::{Frame, FrameReader, FrameWriter, HEADER_BYTES, Payload};
pub use message::{
    Ack, Goodbye, Greeting, Hello, Message, Pull, Push, ScopeWelcome, Welcome, WireError,
};

pub use table::{MessageType, Role, Sender};

/// The versions of the protocol that this build speaks.
pub const VERSIONS: &[u32] = &[1];
