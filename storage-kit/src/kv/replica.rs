//! A replica's rows over a key-value store.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::access::{KvReader, KvReads, KvWriter};
use super::keys::{Key, decode, document, names, read, tail};
use super::{OrderedKv, feed};
use crate::{CommitVersion, Durability, ReplicaWriter, Snapshot, Transactional};
use sync_core::codec::Codec;
use sync_core::error::Result;
use sync_core::model::{Collection, DocumentKey, LocalSeq, Scope};
use sync_core::replica::record::{BatchRow, QuarantineRow, Record, ReplicaMeta, ScopeRow};
use sync_core::replica::rows::{After, OutboxPlace, ReplicaReads, ReplicaRows};

const META: u8 = b'm';
const SCOPE: u8 = b's';
const DOCUMENT: u8 = b'd';
const OUTBOX: u8 = b'o';
const DEFERRED: u8 = b'x';
const BATCH: u8 = b'b';
const QUARANTINE: u8 = b'q';

/// A replica's rows over a [`KvWriter`] or a [`KvReader`].
#[derive(Debug)]
pub struct ReplicaKv<T>(pub T);

fn document_key(table: u8, key: &DocumentKey) -> Key {
    let (scope, collection, id) =
        (key.scope.as_bytes(), key.collection.as_bytes(), key.id.as_bytes());
    Key::table(table).name(scope).name(collection).name(id)
}

/// Returns a record in exactly as many bytes as it needs: the spare capacity of a buffer would be
/// kept with it, and cost another allocation.
fn encoded(record: &Record, buffer: &mut Vec<u8>) -> Bytes {
    buffer.clear();
    record.encode(buffer);
    Bytes::copy_from_slice(buffer)
}

/// Returns keys in order, each with its place in the list; of equal ones, the first in the list
/// comes first. Most keys share a long prefix, so the eight bytes after it are compared first.
fn in_order(mut keys: Vec<Key>) -> impl Iterator<Item = (Key, usize)> {
    let first: &[u8] = keys.first().map_or(&[], |key| key);
    let shared = keys.iter().fold(first.len(), |shared, key| {
        first[..shared].iter().zip(key.iter()).take_while(|(one, other)| one == other).count()
    });
    let differing = |key: &Key| {
        let (rest, mut number) = (&key[shared..], [0; 8]);
        let length = rest.len().min(8);
        number[..length].copy_from_slice(&rest[..length]);
        u64::from_be_bytes(number)
    };
    let mut places: Vec<(u64, usize)> = keys.iter().map(differing).zip(0..).collect();
    places.sort_unstable_by(|(n, one), (m, other)| {
        n.cmp(m).then_with(|| keys[*one].cmp(&keys[*other])).then_with(|| one.cmp(other))
    });
    places.into_iter().map(move |(_, at)| (std::mem::take(&mut keys[at]), at))
}

/// Returns the place of a document in the feed, if it has one.
fn place(record: &Record) -> Option<LocalSeq> {
    Some(record.changed).filter(|place| *place > LocalSeq(0))
}

fn outbox_key(key: &DocumentKey, transaction: LocalSeq) -> Key {
    let start = Key::table(OUTBOX).name(key.scope.as_bytes()).number(transaction.0);
    start.name(key.collection.as_bytes()).name(key.id.as_bytes())
}

impl<T: KvReads> ReplicaKv<T> {
    /// Returns the documents that an index names, each with its record.
    fn indexed(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
        key_of: impl Fn(&[u8]) -> Result<DocumentKey>,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let mut keys = Vec::new();
        self.0.range(start, end, &mut |key, _| {
            if keys.len() < limit {
                keys.push(key_of(key)?);
            }
            Ok(if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        self.existing(keys)
    }

    /// Returns those of the documents that exist, each with its record.
    fn existing(&self, keys: Vec<DocumentKey>) -> Result<Vec<(DocumentKey, Record)>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(record) = self.record(&key)? {
                found.push((key, record));
            }
        }
        Ok(found)
    }
}

impl<T: KvReads> ReplicaReads for ReplicaKv<T> {
    fn meta(&self) -> Result<Option<ReplicaMeta>> {
        read(&self.0, Key::table(META))
    }

    fn scope(&self, scope: &Scope) -> Result<Option<ScopeRow>> {
        read(&self.0, Key::table(SCOPE).name(scope.as_bytes()))
    }

    fn scopes(&self) -> Result<Vec<(Scope, ScopeRow)>> {
        let mut found = Vec::new();
        self.0.range(&[SCOPE], &[SCOPE + 1], &mut |key, value| {
            let [name] = names(tail(key, 1)?)?;
            found.push((Scope::new(name)?, decode(Bytes::copy_from_slice(value))?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    fn record(&self, key: &DocumentKey) -> Result<Option<Record>> {
        read(&self.0, document_key(DOCUMENT, key))
    }

    fn records(
        &self,
        scope: &Scope,
        collection: Option<&Collection>,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let of_scope = || Key::table(DOCUMENT).name(scope.as_bytes());
        let prefix = || match collection {
            Some(collection) => of_scope().name(collection.as_bytes()),
            None => of_scope(),
        };
        let start = match after {
            Some((c, id)) => of_scope().name(c.as_bytes()).name(id.as_bytes()).just_after(),
            None => prefix(),
        };
        let skip = of_scope().len();
        let mut found = Vec::new();
        self.0.range(&start.max(prefix()), &prefix().end(), &mut |key, value| {
            let (collection, id) = document(tail(key, skip)?)?;
            let record = decode(Bytes::copy_from_slice(value))?;
            found.push((DocumentKey::new(scope.clone(), collection, id), record));
            Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    fn changed(&self, after: LocalSeq, limit: usize) -> Result<Vec<(DocumentKey, Record)>> {
        self.existing(feed::after(&self.0, after, limit)?)
    }

    fn outbox(
        &self,
        scope: &Scope,
        after: Option<&OutboxPlace>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let prefix = || Key::table(OUTBOX).name(scope.as_bytes());
        let start = match after {
            Some((transaction, collection, id)) => {
                let key = DocumentKey::new(scope.clone(), collection.clone(), id.clone());
                outbox_key(&key, *transaction).just_after()
            }
            None => prefix(),
        };
        let skip = prefix().len() + 8;
        self.indexed(&start, &prefix().end(), limit, |key| {
            let (collection, id) = document(tail(key, skip)?)?;
            Ok(DocumentKey::new(scope.clone(), collection, id))
        })
    }

    fn deferred(
        &self,
        scope: &Scope,
        after: After<'_>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Record)>> {
        let prefix = || Key::table(DEFERRED).name(scope.as_bytes());
        let start = match after {
            Some((c, id)) => prefix().name(c.as_bytes()).name(id.as_bytes()).just_after(),
            None => prefix(),
        };
        let skip = prefix().len();
        self.indexed(&start, &prefix().end(), limit, |key| {
            let (collection, id) = document(tail(key, skip)?)?;
            Ok(DocumentKey::new(scope.clone(), collection, id))
        })
    }

    fn batch(&self, scope: &Scope) -> Result<Option<BatchRow>> {
        read(&self.0, Key::table(BATCH).name(scope.as_bytes()))
    }

    fn quarantine(
        &self,
        scope: &Scope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, QuarantineRow)>> {
        let prefix = || Key::table(QUARANTINE).name(scope.as_bytes());
        let skip = prefix().len();
        let mut found = Vec::new();
        let start = prefix().number(after.saturating_add(1));
        self.0.range(&start, &prefix().end(), &mut |key, value| {
            let mut ticket = [0; 8];
            ticket.copy_from_slice(tail(key, skip)?.get(..8).unwrap_or(&[0; 8]));
            found.push((u64::from_be_bytes(ticket), decode(Bytes::copy_from_slice(value))?));
            Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }
}

impl<K: OrderedKv> ReplicaKv<KvWriter<K>> {
    /// Moves an index entry from the key of the old record to that of the new one.
    fn reindex(&mut self, old: Option<Key>, new: Option<Key>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.0.put(old, None);
        }
        if let Some(new) = new {
            self.0.put(new, Some(Bytes::new()));
        }
    }

    /// Moves the index entries of an unsettled document.
    fn reindex_unsettled(&mut self, key: &DocumentKey, old: Option<&Record>, new: Option<&Record>) {
        let outbox = |r: &Record| r.pushable().map(|t| outbox_key(key, t));
        self.reindex(old.and_then(outbox), new.and_then(outbox));
        let deferred = |r: &Record| r.is_deferred().then(|| document_key(DEFERRED, key));
        self.reindex(old.and_then(deferred), new.and_then(deferred));
    }

    fn reindex_all(
        &mut self,
        key: &DocumentKey,
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<()> {
        let (left, taken) = (old.and_then(place), new.and_then(place));
        if left != taken {
            left.map_or(Ok(()), |place| feed::remove(&mut self.0, place))?;
            feed::add(&mut self.0, taken.map(|place| (place, key)).into_iter())?;
        }
        self.reindex_unsettled(key, old, new);
        Ok(())
    }
}

impl<K: OrderedKv> ReplicaRows for ReplicaKv<KvWriter<K>> {
    fn put_meta(&mut self, meta: &ReplicaMeta) -> Result<()> {
        self.0.put(Key::table(META), Some(meta.to_bytes()));
        Ok(())
    }

    fn put_scope(&mut self, scope: &Scope, row: &ScopeRow) -> Result<()> {
        self.0.put(Key::table(SCOPE).name(scope.as_bytes()), Some(row.to_bytes()));
        Ok(())
    }

    fn remove_scope(&mut self, scope: &Scope) -> Result<()> {
        self.0.put(Key::table(SCOPE).name(scope.as_bytes()), None);
        Ok(())
    }

    fn put_record(&mut self, key: &DocumentKey, old: Option<&Record>, new: &Record) -> Result<()> {
        self.reindex_all(key, old, Some(new))?;
        self.0.put(document_key(DOCUMENT, key), Some(encoded(new, &mut Vec::with_capacity(512))));
        Ok(())
    }

    fn insert_records(&mut self, new: &[(DocumentKey, Record)]) -> Result<Vec<usize>> {
        let (mut puts, mut there) = (Vec::with_capacity(new.len()), Vec::new());
        let mut buffer = Vec::new();
        for (name, at) in in_order(new.iter().map(|(key, _)| document_key(DOCUMENT, key)).collect())
        {
            let is_twice = puts.last().is_some_and(|(last, _)| *last == name);
            if is_twice || self.0.get(&name)?.is_some() {
                there.push(at);
            } else {
                puts.push((name, Some(encoded(&new[at].1, &mut buffer))));
            }
        }
        self.0.put_all(puts);
        there.sort_unstable();
        let written =
            || (0..new.len()).filter(|at| there.binary_search(at).is_err()).map(|at| &new[at]);
        for (key, record) in written() {
            self.reindex_unsettled(key, None, Some(record));
        }
        feed::add(&mut self.0, written().filter_map(|(key, record)| Some((place(record)?, key))))?;
        Ok(there)
    }

    fn remove_record(&mut self, key: &DocumentKey, old: &Record) -> Result<()> {
        self.reindex_all(key, Some(old), None)?;
        self.0.put(document_key(DOCUMENT, key), None);
        Ok(())
    }

    fn put_batch(&mut self, scope: &Scope, batch: Option<&BatchRow>) -> Result<()> {
        self.0.put(Key::table(BATCH).name(scope.as_bytes()), batch.map(Codec::to_bytes));
        Ok(())
    }

    fn put_quarantine(
        &mut self,
        scope: &Scope,
        ticket: u64,
        row: Option<&QuarantineRow>,
    ) -> Result<()> {
        let key = Key::table(QUARANTINE).name(scope.as_bytes()).number(ticket);
        self.0.put(key, row.map(Codec::to_bytes));
        Ok(())
    }
}

impl<K: OrderedKv> ReplicaWriter for ReplicaKv<KvWriter<K>> {}

macro_rules! pass_through {
    ($name:ident) => {
        impl<K: OrderedKv> Transactional for $name<KvWriter<K>> {
            fn begin(&mut self, durability: Durability) -> Result<()> {
                self.0.begin(durability)
            }
            fn mark(&mut self) -> Result<()> {
                self.0.mark()
            }
            fn undo(&mut self) -> Result<()> {
                self.0.undo()
            }
            fn commit(&mut self) -> Result<bool> {
                self.0.commit()
            }
            fn rollback(&mut self) {
                self.0.rollback();
            }
            fn purge_erased(&mut self) -> Result<bool> {
                self.0.purge_erased()
            }
        }

        impl<K: OrderedKv> Snapshot for $name<KvReader<K>> {
            fn open(&mut self) -> Result<()> {
                self.0.open()
            }
            fn release(&mut self) {
                self.0.release();
            }
            fn probe(&self) -> Result<Option<Box<dyn CommitVersion>>> {
                self.0.probe()
            }
        }
    };
}

#[cfg(feature = "server")]
pub(super) use pass_through;

pass_through!(ReplicaKv);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_sorted_stably(
            start in "[ab]{0,3}",
            rest in prop::collection::vec("[ab\\x00]{0,12}", 0..20),
        ) {
            let key = |rest: String| Key::from([start.as_bytes(), rest.as_bytes()].concat().as_slice());
            let keys: Vec<_> = rest.into_iter().map(key).collect();
            let mut expected: Vec<_> = keys.iter().cloned().zip(0..).collect();
            expected.sort();
            prop_assert_eq!(in_order(keys).collect::<Vec<_>>(), expected);
        }
    }
}
