//! The binary codec: messages, the model, and what key-value stores keep.

use std::fmt::Debug;

use bytes::Bytes;
use sync_core::codec::Codec;
use sync_core::error::ErrorKind;
use sync_core::model::{
    Bookmark, Change, Checkpoint, Chunk, Collection, Cursor, Digest, DocumentId, DocumentKey,
    DocumentState, PushBatch, Reset, Revision, Scope, Stamp, Verdicts,
};
use sync_core::protocol::Message;
use sync_core::replica::record::{BatchRow, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_server::record::{Acknowledged, PushRecord, ServerRow, ServerScope};

/// Reads a value; bytes that are not one must fail with `Protocol`.
fn read<T: Codec>(bytes: &[u8]) -> Option<T> {
    match T::from_bytes(Bytes::copy_from_slice(bytes)) {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            None
        }
    }
}

/// One value has one form: bytes that are a value are exactly what it is written as.
fn has_one_form<T: Codec + Debug + PartialEq>(bytes: &[u8]) {
    if let Some(value) = read::<T>(bytes) {
        assert_eq!(value.to_bytes(), bytes, "{value:?} has another form");
    }
}

/// What was read and is written is read as the same value.
fn survives<T: Codec + Debug + PartialEq>(bytes: &[u8]) {
    if let Some(value) = read::<T>(bytes) {
        let again = T::from_bytes(value.to_bytes());
        assert_eq!(again.ok().as_ref(), Some(&value), "written and read again");
    }
}

/// A message, as the payload of a frame.
///
/// # Panics
/// If a message has two forms, or does not survive being written. Only a failure of a kind that
/// this version does not know is read as another one.
pub fn message(bytes: &[u8]) {
    match read::<Message>(bytes) {
        Some(Message::Failed(_)) => survives::<Message>(bytes),
        Some(_) => has_one_form::<Message>(bytes),
        None => {}
    }
}

/// Takes the first byte as the choice of a type, and the rest as a value of it.
macro_rules! one_of {
    ($bytes:ident, $check:ident: $($type:ty),+ $(,)?) => {{
        let checks: &[fn(&[u8])] = &[$($check::<$type>),+];
        if let Some((choice, rest)) = $bytes.split_first() {
            checks[usize::from(*choice) % checks.len()](rest);
        }
    }};
}

/// A value of the model: the first byte says which type (in the order of the list, counted around),
/// the rest is the value.
///
/// # Panics
/// If a value has two forms.
pub fn model(bytes: &[u8]) {
    one_of!(bytes, has_one_form:
        Cursor, Checkpoint, Chunk, PushBatch, Verdicts, DocumentState, Change, Reset, Revision, Stamp,
        Digest, Scope, Collection, DocumentId, DocumentKey, Bookmark, u64, i64, Option<String>,
        Vec<Bytes>,
    );
}

/// A row of a store: the first byte says which (in the order of the list, counted around), the rest
/// is its value.
///
/// # Panics
/// If a row does not survive being written. Rows that have grown may have been written in an
/// earlier form.
pub fn row(bytes: &[u8]) {
    one_of!(bytes, survives:
        ReplicaMeta, ScopeRow, Record, BatchRow, QuarantineRow, ServerScope, ServerRow, PushRecord,
        Acknowledged,
    );
}
