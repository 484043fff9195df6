//! Keys: a byte for the table, names ended by a zero byte (which no name contains), numbers big-endian.

use bytes::Bytes;

use super::OrderedKv;
use super::access::{KvReads, KvWriter};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Collection, DocumentId};
use crate::storage::{Durability, Transactional};

/// What the store holds, and in which version of the layout.
const KIND: &[u8] = b"!kind";
const VERSION: u8 = 1;

/// A key that is being put together.
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn table(table: u8) -> Self {
        Self(vec![table])
    }

    /// For a key of which it is known how many bytes follow on the table.
    pub(super) fn with_room(table: u8, bytes: usize) -> Self {
        let mut key = Vec::with_capacity(1 + bytes);
        key.push(table);
        Self(key)
    }

    pub(super) fn name(mut self, name: &[u8]) -> Self {
        self.0.extend_from_slice(name);
        self.0.push(0);
        self
    }

    pub(super) fn number(mut self, n: u64) -> Self {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }

    /// The end of the range of all keys that begin with this one.
    pub(super) fn end(mut self) -> Vec<u8> {
        while let Some(last) = self.0.last_mut() {
            if *last < u8::MAX {
                *last += 1;
                break;
            }
            self.0.pop();
        }
        self.0
    }
}

pub(super) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Incompatible, format!("the store is damaged: {what}"))
}

/// The names at the end of a key.
pub(super) fn names<const N: usize>(key: &[u8]) -> Result<[&str; N]> {
    let mut names = [""; N];
    let mut parts = key.split(|b| *b == 0);
    for name in &mut names {
        let part = parts.next().ok_or_else(|| damaged("a key is too short"))?;
        *name = std::str::from_utf8(part).map_err(|_| damaged("a key is not UTF-8"))?;
    }
    Ok(names)
}

/// The collection and the id at the end of a key.
pub(super) fn document(key: &[u8]) -> Result<(Collection, DocumentId)> {
    let [collection, id] = names(key)?;
    let read = || Ok((Collection::new(collection)?, DocumentId::new(id)?));
    read().map_err(|e: Error| damaged("a key names no document").because(e))
}

pub(super) fn tail(key: &[u8], from: usize) -> Result<&[u8]> {
    key.get(from..).ok_or_else(|| damaged("a key is too short"))
}

pub(super) fn decode<T: Codec>(bytes: Bytes) -> Result<T> {
    T::from_bytes(bytes).map_err(|e| damaged("a value cannot be read").because(e))
}

pub(super) fn read<T: Codec>(kv: &impl KvReads, key: Vec<u8>) -> Result<Option<T>> {
    kv.get(&key)?.map(decode).transpose()
}

/// Marks an empty store as ours, or makes sure that it is. Whatever holds entries and no mark is somebody else's.
pub(super) fn check_kind<K: OrderedKv>(
    writer: &mut KvWriter<K>,
    kind: &'static [u8],
) -> Result<()> {
    let mut mark = kind.to_vec();
    mark.push(VERSION);
    match writer.get(KIND)? {
        Some(found) if found == mark => Ok(()),
        Some(found) => {
            let found = String::from_utf8_lossy(&found).into_owned();
            Err(Error::new(
                ErrorKind::Incompatible,
                "the store holds something else, or is from a newer version",
            )
            .with("found", format!("{found:?}")))
        }
        None => {
            writer.range(&[], &[u8::MAX; 64], &mut |_, _| {
                let theirs = "the store holds entries of another program";
                Err(Error::new(ErrorKind::Incompatible, theirs).during("open"))
            })?;
            writer.begin(Durability::Power)?;
            writer.put(KIND.to_vec(), Some(mark.into()));
            writer.commit().map(drop)
        }
    }
}
