//! The writes of one transaction that the store does not have yet.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Batch, Key};

type Value = Option<Bytes>;

/// The writes of a transaction, by key; `None` removes what is stored.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// Written first and at once, in order: most writes of a catch-up need no tree.
    bulk: Batch,
    /// Later writes, which take precedence over those in bulk.
    tree: BTreeMap<Key, Value>,
    /// The values in the tree before each write since the last mark; none if nothing at all was
    /// written at the mark, as in most transactions, which are one job.
    undo: Option<Vec<(Key, Option<Value>)>>,
}

impl Overlay {
    pub(super) fn len(&self) -> usize {
        self.bulk.len() + self.tree.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the write under a key, if there is one.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Value> {
        let in_bulk = || {
            let at = self.bulk.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
            Some(&self.bulk[at].1)
        };
        self.tree.get(key).or_else(in_bulk)
    }

    pub(super) fn put(&mut self, key: Key, value: Value) {
        match &mut self.undo {
            None => drop(self.tree.insert(key, value)),
            Some(undo) => {
                let before = self.tree.insert(key.clone(), value);
                undo.push((key, before));
            }
        }
    }

    /// Writes many keys, in order and each of them once.
    pub(super) fn put_all(&mut self, puts: Batch) {
        if self.is_empty() && self.undo.is_none() {
            self.bulk = puts;
        } else {
            puts.into_iter().for_each(|(key, value)| self.put(key, value));
        }
    }

    /// Returns the writes from `start` on and before `end`, which is not below it, in order.
    pub(super) fn range(&self, start: &[u8], end: &[u8]) -> impl Iterator<Item = (&Key, &Value)> {
        let at = |place: &[u8]| self.bulk.partition_point(|(key, _)| &**key < place);
        let mut bulk = self.bulk[at(start)..at(end)].iter().peekable();
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let mut tree = self.tree.range::<[u8], _>(bounds).peekable();
        std::iter::from_fn(move || {
            let next = tree.peek().map(|(key, _)| *key);
            if let Some((key, value)) = bulk.next_if(|(key, _)| next.is_none_or(|next| key < next))
            {
                return Some((key, value));
            }
            bulk.next_if(|(key, _)| Some(key) == next);
            tree.next()
        })
    }

    /// Marks the state to which [`undo`](Self::undo) returns.
    pub(super) fn mark(&mut self) {
        self.undo = (!self.is_empty()).then(Vec::new);
    }

    pub(super) fn undo(&mut self) {
        let Some(undo) = &mut self.undo else {
            self.clear();
            return;
        };
        for (key, before) in undo.drain(..).rev() {
            match before {
                Some(value) => self.tree.insert(key, value),
                None => self.tree.remove(&key),
            };
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns all writes, in order, and leaves none.
    pub(super) fn take(&mut self) -> Batch {
        let Self { mut bulk, tree, .. } = std::mem::take(self);
        let is_later =
            bulk.last().is_some_and(|(last, _)| tree.keys().next().is_some_and(|k| k <= last));
        bulk.extend(tree);
        if is_later {
            // Two sorted parts, of which the second takes precedence.
            bulk.sort_by(|(one, _), (other, _)| one.cmp(other));
            bulk.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    std::mem::swap(later, earlier);
                }
                is_same
            });
        }
        bulk
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A step of a transaction: keys are single letters.
    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, Option<u8>),
        PutAll(Vec<u8>),
        Mark,
        Undo,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..12_u8, any::<Option<u8>>()).prop_map(|(key, value)| Step::Put(key, value)),
            3 => prop::collection::btree_set(0..12_u8, 0..8)
                .prop_map(|keys| Step::PutAll(keys.into_iter().collect())),
            2 => Just(Step::Mark),
            1 => Just(Step::Undo),
        ]
    }

    fn key(n: u8) -> Key {
        Key::from(&[n][..])
    }

    fn value(n: Option<u8>) -> Value {
        n.map(|n| Bytes::from(vec![n]))
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map_that_can_be_undone_to_its_last_mark(
            first in prop::collection::btree_set(0..12_u8, 0..8),
            steps in prop::collection::vec(any_step(), 0..30),
            bounds in (0..12_u8, 0..12_u8),
        ) {
            let (mut overlay, mut model) = (Overlay::default(), BTreeMap::new());
            overlay.mark();
            let mut marked = model.clone();
            let first = Step::PutAll(first.into_iter().collect());
            for step in std::iter::once(first).chain(steps) {
                match step {
                    Step::Put(n, v) => {
                        overlay.put(key(n), value(v));
                        model.insert(key(n), value(v));
                    }
                    Step::PutAll(keys) => {
                        let puts = keys.into_iter().map(|n| (key(n), value(Some(n))));
                        overlay.put_all(puts.clone().collect());
                        model.extend(puts);
                    }
                    Step::Mark => {
                        overlay.mark();
                        marked = model.clone();
                    }
                    Step::Undo => {
                        overlay.undo();
                        model = marked.clone();
                    }
                }
                for n in 0..12 {
                    prop_assert_eq!(overlay.get(&[n]), model.get(&key(n)));
                }
                let (start, end) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
                let found: Vec<_> = overlay.range(&[start], &[end]).collect();
                prop_assert_eq!(found, model.range(key(start)..key(end)).collect::<Vec<_>>());
                prop_assert_eq!(overlay.is_empty(), model.is_empty());
            }
            prop_assert_eq!(overlay.take(), model.into_iter().collect::<Batch>());
            prop_assert!(overlay.is_empty());
        }
    }
}
