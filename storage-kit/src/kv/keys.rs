//! Keys: a byte for the table, names ended by a zero byte (which no name contains), numbers
//! big-endian.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::OrderedKv;
use super::access::{KvReads, KvWriter};
use crate::{Durability, Transactional};
use sync_core::codec::Codec;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Collection, DocumentId};

/// The key of the kind of the store and the version of its layout.
const KIND: &[u8] = b"!kind";

/// The number of bytes that are stored in the key itself: enough for a document's key with an id as
/// the library generates it and names of usual length.
const INLINE: usize = 56;

/// A key of an [`OrderedKv`]: bytes, ordered as such.
///
/// Short keys are stored inline and not in a separate buffer, which makes comparing them cheaper.
///
/// ```
/// use storage_kit::kv::Key;
///
/// let key = Key::from(&b"notes"[..]);
/// assert_eq!(&*key, b"notes");
/// assert!(key < Key::from(&b"notes/1"[..]));
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmallVec<[u8; INLINE]>);

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A key is looked up by its bytes: they are compared and hashed.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Key {
    pub(super) fn table(table: u8) -> Self {
        Self(smallvec![table])
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

    #[cfg(feature = "server")]
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Returns the first key after this one.
    pub(super) fn just_after(mut self) -> Self {
        self.0.push(0);
        self
    }

    /// Returns the end of the range of all keys that begin with this one.
    pub(super) fn end(mut self) -> Self {
        while let Some(last) = self.0.last_mut() {
            if *last < u8::MAX {
                *last += 1;
                break;
            }
            self.0.pop();
        }
        self
    }
}

pub(super) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Incompatible, format!("the store is damaged: {what}"))
}

/// Returns the names at the end of a key.
pub(super) fn names<const N: usize>(key: &[u8]) -> Result<[&str; N]> {
    let mut names = [""; N];
    let mut parts = key.split(|b| *b == 0);
    for name in &mut names {
        let part = parts.next().ok_or_else(|| damaged("a key is too short"))?;
        *name = std::str::from_utf8(part).map_err(|_| damaged("a key is not UTF-8"))?;
    }
    Ok(names)
}

/// Returns the collection and the id at the end of a key.
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

pub(super) fn read<T: Codec>(kv: &impl KvReads, key: Key) -> Result<Option<T>> {
    kv.get(&key)?.map(decode).transpose()
}

/// Marks an empty store as a Twotide store, or checks that it is one. A store with entries and no
/// mark belongs to another program. A store with an older version of the layout is marked with the
/// newest version; the migration is the caller's task.
pub(super) fn check_kind<K: OrderedKv>(
    writer: &mut KvWriter<K>,
    kind: &'static [u8],
    version: u8,
) -> Result<()> {
    let mark = Bytes::from([kind, &[version]].concat());
    match writer.get(KIND)? {
        Some(found) if found == mark => return Ok(()),
        Some(found) => {
            let is_older = matches!(found.strip_prefix(kind), Some([older]) if *older < version);
            if !is_older {
                let found = String::from_utf8_lossy(&found).into_owned();
                return Err(Error::new(
                    ErrorKind::Incompatible,
                    "the store holds something else, or is from a newer version",
                )
                .with("found", format!("{found:?}")));
            }
        }
        None => {
            writer.range(&[], &[u8::MAX; 64], &mut |_, _| {
                let theirs = "the store holds entries of another program";
                Err(Error::new(ErrorKind::Incompatible, theirs).during("open"))
            })?;
            writer.begins_empty();
        }
    }
    writer.begin(Durability::Power)?;
    writer.put(KIND.into(), Some(mark));
    writer.commit().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_by_their_bytes_whether_they_are_short_or_long() {
        let long = |last: &[u8]| [&[b'k'; INLINE - 1], last].concat();
        let bytes = [
            b"".to_vec(),
            b"\0".to_vec(),
            b"a".to_vec(),
            b"a\0".to_vec(),
            b"a\xff".to_vec(),
            b"b".to_vec(),
            long(b""),
            long(b"a"),
            long(b"ab"),
            long(b"b"),
            vec![0xff; 800],
        ];
        for (one, left) in bytes.iter().enumerate() {
            for (other, right) in bytes.iter().enumerate() {
                let (left, right) = (Key::from(&left[..]), Key::from(&right[..]));
                assert_eq!(left.cmp(&right), one.cmp(&other), "{left:?} {right:?}");
            }
        }
    }
}
