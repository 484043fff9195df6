//! What a reader of a log receives.

use super::{Chunk, Reset};

/// The answer to a read of a log after a position: what follows, or that the position is not valid.
///
/// `C` is the form of the chunk and `R` that of the reason: the engine keeps what it needs of a
/// chunk, and a server shares one chunk among its readers.
///
/// ```
/// use sync_core::model::{Delivery, Epoch, Reset, ResetReason};
///
/// let counted: Delivery<usize> = Delivery::<&str>::Chunk("five!").map(str::len);
/// assert_eq!(counted, Delivery::Chunk(5));
/// ```
#[allow(clippy::large_enum_variant, reason = "a chunk is the usual answer")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Delivery<C = Chunk, R = Reset> {
    /// What follows the position.
    Chunk(C),
    /// The position is not valid in this log.
    Reset(R),
}

impl<C, R> Delivery<C, R> {
    /// Converts the chunk.
    pub fn map<D>(self, form: impl FnOnce(C) -> D) -> Delivery<D, R> {
        match self {
            Self::Chunk(chunk) => Delivery::Chunk(form(chunk)),
            Self::Reset(reset) => Delivery::Reset(reset),
        }
    }
}
