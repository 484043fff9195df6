//! Bounds of one chunk, batch or page.

use serde::{Deserialize, Serialize};

/// How much one chunk, push batch or page may hold: documents and bytes, whichever is reached
/// first.
///
/// One item always fits, however large. The largest document is bounded when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// The most documents.
    pub documents: usize,
    /// The most bytes, counted by weight: names, bodies and a fixed amount per document.
    pub bytes: usize,
}

impl Limits {
    /// For a push batch and a local transaction: 1,000 documents, 4 MiB.
    pub const PUSH: Self = Self { documents: 1_000, bytes: 4 << 20 };
    /// For a chunk: 1,000 documents, 4 MiB. Never below the push limits, or an append would not fit
    /// into a chunk.
    pub const CHUNK: Self = Self { documents: 1_000, bytes: 4 << 20 };
    /// Nothing at all: a request for a batch with these limits forms none, and recalls one in
    /// flight.
    pub const NONE: Self = Self { documents: 0, bytes: 0 };
    /// The largest body, in bytes: 1 MiB.
    pub const BODY_BYTES: usize = 1 << 20;

    /// Returns the smaller of both, field by field.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { documents: self.documents.min(other.documents), bytes: self.bytes.min(other.bytes) }
    }

    /// Returns the larger of both, field by field.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { documents: self.documents.max(other.documents), bytes: self.bytes.max(other.bytes) }
    }
}

/// Bounds of a local write, so that the result can be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WriteLimits {
    /// The largest body in bytes.
    pub body_bytes: usize,
    /// The most that one transaction may hold: it has to fit into one push batch.
    pub transaction: Limits,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self { body_bytes: Limits::BODY_BYTES, transaction: Limits::PUSH }
    }
}

impl WriteLimits {
    /// Returns the smaller of both, field by field.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        let body_bytes = self.body_bytes.min(other.body_bytes);
        Self { body_bytes, transaction: self.transaction.min(other.transaction) }
    }
}
