//! The terms of the framework as types: ids, revisions, documents, changes, chunks, checkpoints,
//! limits.

/// Implements `Serialize` and `Deserialize` by the text of a type.
macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let text: std::borrow::Cow<'de, str> = serde::Deserialize::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

mod body;
mod bookmark;
mod change;
mod checkpoint;
mod chunk;
mod delivery;
mod document;
mod ids;
mod limits;
mod mark;
mod portable;
mod revision;
mod text;

pub use body::Body;
pub use bookmark::{Bookmark, Bookmarks};
pub use change::{
    BaseRef, Change, PushBatch, Rejection, RejectionCode, Verdict, VerdictKind, Verdicts,
};
pub(crate) use change::{digest_of, digest_of_state};
pub use checkpoint::{Checkpoint, Cursor, FullPull};
pub use chunk::{Chunk, LogEntry, OWN_BODY_BYTES, Reset, ResetReason};
pub use delivery::Delivery;
pub use document::{Digest, DocumentState, ServerState, Settled};
pub use ids::{
    Collection, DocumentId, DocumentKey, Epoch, FencingToken, LocalSeq, PushId, ReplicaId, Scope,
    Seq, ServerStart,
};
pub use limits::{Limits, WriteLimits};
pub use mark::{LogKey, LogMark, LogRun, NewLog, StartRecord};
pub use revision::{Revision, Stamp};
