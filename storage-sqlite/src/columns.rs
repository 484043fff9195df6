//! Values in columns: numbers, names, document states, and blobs in the codec's form.

use bytes::Bytes;
use rusqlite::Row;
use rusqlite::types::ValueRef;
use sync_core::codec::{Codec, Reader};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{Body, Collection, DocumentId, DocumentState, ReplicaId, Revision, Stamp};

use crate::error::damaged;

/// The first byte of the blobs that this version writes.
const FORMAT: u8 = 1;

/// Returns a value as a blob.
pub(crate) fn to_blob(value: &impl Codec) -> Vec<u8> {
    let mut blob = vec![FORMAT];
    value.encode(&mut blob);
    blob
}

/// Returns the value that a blob holds.
pub(crate) fn from_blob<T: Codec>(blob: &[u8]) -> Result<T> {
    read_blob(blob, |input| {
        let value = T::decode(input)?;
        input.finish()?;
        Ok(value)
    })
}

fn read_blob<T>(blob: &[u8], read: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
    let mut input = Reader::new(Bytes::copy_from_slice(blob));
    let formed = || {
        let format = input.byte()?;
        if format != FORMAT {
            return Err(damaged(format!("a row has the unknown form {format}")));
        }
        read(&mut input)
    };
    formed().map_err(|e| match e.kind() {
        ErrorKind::Incompatible => e,
        _ => damaged("a row is damaged").because(e),
    })
}

/// Returns a number as SQLite stores it.
///
/// # Errors
/// `Storage` beyond 63 bits: no server that counts from 1 reaches them.
pub(crate) fn number(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(|_| {
        Error::new(ErrorKind::Storage, "a position does not fit into 63 bits")
            .retrying(Retry::Never)
            .with("position", n)
    })
}

/// Returns a number to compare stored ones with: larger numbers than can be stored become the
/// largest.
pub(crate) fn bound(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Returns the size of a page as a number.
pub(crate) fn page(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn value<'r>(row: &'r Row<'_>, column: usize) -> Result<ValueRef<'r>> {
    row.get_ref(column).map_err(|e| damaged("a row lacks a column").because(e))
}

fn unexpected(column: usize) -> Error {
    damaged(format!("a row is damaged: column {column} is of another type than it should be"))
}

pub(crate) fn optional_integer(row: &Row<'_>, column: usize) -> Result<Option<i64>> {
    match value(row, column)? {
        ValueRef::Integer(n) => Ok(Some(n)),
        ValueRef::Null => Ok(None),
        _ => Err(unexpected(column)),
    }
}

pub(crate) fn integer(row: &Row<'_>, column: usize) -> Result<i64> {
    optional_integer(row, column)?.ok_or_else(|| unexpected(column))
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    u64::try_from(integer(row, column)?).map_err(|_| unexpected(column))
}

pub(crate) fn optional_text<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r str>> {
    match value(row, column)? {
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(e) => Err(unexpected(column).because(e)),
        },
        ValueRef::Null => Ok(None),
        _ => Err(unexpected(column)),
    }
}

pub(crate) fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str> {
    optional_text(row, column)?.ok_or_else(|| unexpected(column))
}

pub(crate) fn optional_blob<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r [u8]>> {
    match value(row, column)? {
        ValueRef::Blob(bytes) => Ok(Some(bytes)),
        ValueRef::Null => Ok(None),
        _ => Err(unexpected(column)),
    }
}

/// Returns a value in a blob that must not be null.
pub(crate) fn decoded<T: Codec>(row: &Row<'_>, column: usize) -> Result<T> {
    from_blob(optional_blob(row, column)?.ok_or_else(|| unexpected(column))?)
}

/// Returns the value at the beginning of a blob that must not be null. The rest is not read.
pub(crate) fn begins_with<T: Codec>(row: &Row<'_>, column: usize) -> Result<T> {
    let blob = optional_blob(row, column)?.ok_or_else(|| unexpected(column))?;
    read_blob(&blob[..blob.len().min(64)], T::decode)
}

/// Returns a value in a blob that may be null.
pub(crate) fn optional_decoded<T: Codec>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    optional_blob(row, column)?.map(from_blob).transpose()
}

fn name<T>(of: Result<T>) -> Result<T> {
    of.map_err(|e| damaged("a row is damaged: it has no valid name").because(e))
}

pub(crate) fn scope(row: &Row<'_>, column: usize) -> Result<sync_core::model::Scope> {
    name(sync_core::model::Scope::new(text(row, column)?))
}

pub(crate) fn collection(row: &Row<'_>, column: usize) -> Result<Collection> {
    name(Collection::new(text(row, column)?))
}

pub(crate) fn document_id(row: &Row<'_>, column: usize) -> Result<DocumentId> {
    name(DocumentId::new(text(row, column)?))
}

/// The columns of a document's state, in the order in which [`state`] reads them.
macro_rules! state_columns {
    () => {
        "d.stamp, d.replica, d.author_stamp, d.author_replica, d.created, d.body, d.erased"
    };
}
pub(crate) use state_columns;

/// A document's state as columns. Without a state all are null; without a body it is a tombstone;
/// the author is null if it equals the revision.
#[derive(Default)]
pub(crate) struct StateColumns<'a> {
    pub(crate) stamp: Option<i64>,
    pub(crate) replica: Option<&'a [u8]>,
    pub(crate) author_stamp: Option<i64>,
    pub(crate) author_replica: Option<&'a [u8]>,
    pub(crate) created: Option<i64>,
    pub(crate) body: Option<&'a str>,
    pub(crate) erased: Option<Vec<u8>>,
}

impl<'a> StateColumns<'a> {
    pub(crate) fn of(state: Option<&'a DocumentState>) -> Self {
        let Some(state) = state else { return Self::default() };
        let author = (state.author != state.revision).then_some(&state.author);
        Self {
            stamp: Some(bits(state.revision.stamp)),
            replica: Some(&state.revision.replica.0),
            author_stamp: author.map(|a| bits(a.stamp)),
            author_replica: author.map(|a| &a.replica.0[..]),
            created: Some(bits(state.created)),
            body: state.body.as_ref().map(Body::as_str),
            erased: state.erased.as_ref().map(to_blob),
        }
    }
}

/// Returns all 64 bits of a stamp: the sign has no meaning, and nothing is ordered by it.
fn bits(stamp: Stamp) -> i64 {
    stamp.to_bits().cast_signed()
}

fn stamp(n: i64) -> Stamp {
    Stamp::from_bits(n.cast_unsigned())
}

fn revision(row: &Row<'_>, column: usize) -> Result<Option<Revision>> {
    let Some(n) = optional_integer(row, column)? else { return Ok(None) };
    let replica = optional_blob(row, column + 1)?.and_then(|b| <[u8; 16]>::try_from(b).ok());
    let replica = ReplicaId(replica.ok_or_else(|| unexpected(column + 1))?);
    Ok(Some(Revision { stamp: stamp(n), replica }))
}

/// How many columns a state has.
pub(crate) const STATE_COLUMNS: usize = 7;

/// Returns the state in the first columns of a row, if there is one.
pub(crate) fn state(row: &Row<'_>) -> Result<Option<DocumentState>> {
    let Some(own) = revision(row, 0)? else { return Ok(None) };
    let author = revision(row, 2)?.unwrap_or(own);
    let created = stamp(integer(row, 4)?);
    let body = match optional_text(row, 5)? {
        None => None,
        Some(text) => Some(
            Body::trusted(Bytes::copy_from_slice(text.as_bytes()))
                .map_err(|e| unexpected(5).because(e))?,
        ),
    };
    let erased = optional_decoded(row, 6)?;
    Ok(Some(DocumentState { revision: own, author, created, body, erased }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_of_another_format_or_with_missing_bytes_is_incompatible() {
        let blob = to_blob(&7u64);
        assert_eq!(from_blob::<u64>(&blob).unwrap(), 7);
        for bad in [&[][..], &[FORMAT], &[FORMAT + 1, 7], &[FORMAT, 7, 7], &[FORMAT, 0x80]] {
            let error = from_blob::<u64>(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{bad:?}");
        }
    }
}
