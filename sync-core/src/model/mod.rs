//! The terms of the framework as types: ids, revisions, documents, changes, chunks, checkpoints,
//! limits.

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
