//! The frames that were sent.

use sync_core::protocol::HEADER_BYTES;
use xxhash_rust::xxh3::xxh3_64;

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameDirection {
    /// Sent by the replica.
    ToServer,
    /// Sent by the server.
    ToClient,
}

/// A frame as it was sent, before any fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TracedFrame {
    /// The time in milliseconds since the beginning.
    pub at: u64,
    /// The replica whose link carried it.
    pub client: usize,
    /// The number of that link among the replica's links, from 0.
    pub link: usize,
    /// Its direction.
    pub direction: FrameDirection,
    /// The number of the message's kind in PROTOCOL.md; 0 for a frame without a message.
    pub kind: u8,
    /// Its length in bytes.
    pub bytes: usize,
    /// A checksum of its bytes.
    pub checksum: u64,
}

impl TracedFrame {
    pub(super) fn of(
        at: u64,
        client: usize,
        link: usize,
        direction: FrameDirection,
        bytes: &[u8],
    ) -> Self {
        let kind = bytes.get(HEADER_BYTES).copied().unwrap_or_default();
        Self { at, client, link, direction, kind, bytes: bytes.len(), checksum: xxh3_64(bytes) }
    }

    /// Returns whether it is a `Ping` or a `Pong`.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        matches!(self.kind, 32 | 33)
    }
}
