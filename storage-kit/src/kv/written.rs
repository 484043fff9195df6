//! The keys that were written to a store that was empty when it was opened.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use super::Batch;

/// The most keys that are kept. At nine bytes for each slot, of which an eighth is free, they take
/// 2.4 MB.
const MOST: usize = (1 << 18) / 8 * 7;

/// The hashes of all keys that were ever written to a store: a key whose hash is not among them
/// does not exist. Hash collisions do no harm, because a key that may exist is looked up.
///
/// A first catch-up looks up every document, and none of them exists.
#[derive(Debug, Default)]
pub(super) struct Written(HashSet<u64, BuildHasherDefault<AsItIs>>);

impl Written {
    /// Adds the keys that a batch puts; `false` if they would be too many.
    pub(super) fn add(&mut self, batch: &Batch) -> bool {
        let puts = batch.iter().filter(|(_, value)| value.is_some());
        self.0.extend(puts.map(|(key, _)| xxh3_64(key)));
        self.0.len() <= MOST
    }

    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        self.0.contains(&xxh3_64(key))
    }
}

/// A hasher for values that are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kv::Key;

    fn batch(keys: std::ops::Range<usize>, value: Option<Bytes>) -> Batch {
        keys.map(|n| (Key::from(&n.to_be_bytes()[..]), value.clone())).collect()
    }

    #[test]
    fn written_keys_may_exist_and_others_do_not() {
        let mut written = Written::default();
        assert!(written.add(&batch(0..100, Some(Bytes::new()))));
        assert!(written.add(&batch(50..200, None)));
        assert!((0..100_usize).all(|n| written.may_have(&n.to_be_bytes())));
        assert!(!(100..200_usize).any(|n| written.may_have(&n.to_be_bytes())));
    }

    #[test]
    fn it_refuses_more_keys_than_its_bound() {
        let mut written = Written::default();
        assert!(written.add(&batch(0..MOST, Some(Bytes::new()))));
        assert!(written.0.capacity() <= MOST, "{}", written.0.capacity());
        assert!(!written.add(&batch(MOST..MOST + 1, Some(Bytes::new()))));
    }
}
