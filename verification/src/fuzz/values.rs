//! Checks of the binary codec: messages, the model, and the rows of key-value stores.

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

/// Reads a value; other bytes must fail with `Protocol`.
fn read<T: Codec>(bytes: &[u8]) -> Option<T> {
    match T::from_bytes(Bytes::copy_from_slice(bytes)) {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            None
        }
    }
}

/// Checks that bytes that decode are exactly those that the value encodes to.
fn has_one_form<T: Codec + Debug + PartialEq>(bytes: &[u8]) {
    if let Some(value) = read::<T>(bytes) {
        assert_eq!(value.to_bytes(), bytes, "{value:?} has another form");
    }
}

/// Checks that a value that was read and written is read as the same value.
fn survives<T: Codec + Debug + PartialEq>(bytes: &[u8]) {
    if let Some(value) = read::<T>(bytes) {
        let again = T::from_bytes(value.to_bytes());
        assert_eq!(again.ok().as_ref(), Some(&value), "written and read again");
    }
}

/// Checks a message, as the payload of a frame.
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

/// Reads the first byte as the choice of a type, and the rest as a value of it.
macro_rules! one_of {
    ($bytes:ident, $check:ident: $($type:ty),+ $(,)?) => {{
        let checks: &[fn(&[u8])] = &[$($check::<$type>),+];
        if let Some((choice, rest)) = $bytes.split_first() {
            checks[usize::from(*choice) % checks.len()](rest);
        }
    }};
}

/// Checks a value of the model: the first byte selects the type (in the order of the list, wrapping
/// around), the rest is the value.
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

/// Checks a row of a store: the first byte selects the type (in the order of the list, wrapping
/// around), the rest is its value.
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
