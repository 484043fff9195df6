//! A bounded number of places on a server, of which one client may hold only a part.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number of places, and a limit of those that one key (an address, a principal) may hold at a
/// time. Clones share them.
///
/// ```
/// let places = transport_kit::Places::new(3, 2);
/// let (first, second) = (places.try_take("ann"), places.try_take("ann"));
/// assert!(first.is_some() && second.is_some());
/// assert!(places.try_take("ann").is_none(), "ann holds as many as one may");
/// let third = places.try_take("bob");
/// assert!(third.is_some() && places.try_take("carol").is_none(), "no place is left");
/// drop(first);
/// assert!(places.try_take("carol").is_some());
/// ```
#[derive(Clone, Debug)]
pub struct Places<K: Eq + Hash>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    most: usize,
    most_per_key: usize,
    taken: Mutex<Taken<K>>,
}

/// Keys without places are removed, so there are never more keys than places.
#[derive(Debug)]
struct Taken<K> {
    all: usize,
    by_key: HashMap<K, usize>,
}

impl<K> Inner<K> {
    fn taken(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Debug + Eq + Hash> Places<K> {
    /// Creates places: `most` in all, and at most `most_per_key` for each key.
    #[must_use]
    pub fn new(most: usize, most_per_key: usize) -> Self {
        let taken = Mutex::new(Taken { all: 0, by_key: HashMap::new() });
        Self(Arc::new(Inner { most, most_per_key, taken }))
    }

    /// Takes a place for that key, if one is free and within the key's limit.
    #[must_use]
    pub fn try_take(&self, key: K) -> Option<Place<K>> {
        self.try_take_many(key, 1)
    }

    /// Takes that many places for that key, if as many are free and within the key's limit.
    #[must_use]
    pub fn try_take_many(&self, key: K, count: usize) -> Option<Place<K>> {
        let mut taken = self.0.taken();
        let own = taken.by_key.get(&key).copied().unwrap_or(0);
        let (all, own) = (taken.all.saturating_add(count), own.saturating_add(count));
        if all > self.0.most || own > self.0.most_per_key {
            return None;
        }
        taken.all = all;
        taken.by_key.insert(key.clone(), own);
        drop(taken);
        Some(Place { places: Arc::clone(&self.0), key, count })
    }
}

/// One or several places, which are released when this is dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    places: Arc<Inner<K>>,
    key: K,
    count: usize,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= self.count;
        let is_last = taken.by_key.get_mut(&self.key).is_some_and(|own| {
            *own -= self.count;
            *own == 0
        });
        if is_last {
            taken.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_a_place_are_removed() {
        let places = Places::new(2, 1);
        for n in 0..1_000 {
            assert!(places.try_take(n).is_some());
        }
        let held = places.try_take(7);
        assert!(places.try_take(7).is_none());
        assert_eq!(places.0.taken().by_key.len(), 1);
        assert!(places.try_take_many(8, 2).is_none(), "one may have one");
        drop(held);
        let wide = Places::new(5, 4);
        let three = wide.try_take_many("ann", 3).unwrap();
        assert!(wide.try_take_many("ann", 2).is_none());
        assert!(wide.try_take_many("ben", 3).is_none());
        let two = wide.try_take_many("ben", 2);
        drop((three, two));
        assert_eq!(wide.0.taken().all, 0);
        let taken = places.0.taken();
        assert_eq!((taken.all, taken.by_key.len()), (0, 0));
    }
}
