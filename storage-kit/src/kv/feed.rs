//! The places of a replica's documents in its feed, stored in runs, so that a document needs no
//! separate entry.
//!
//! | Key | Value |
//! |---|---|
//! | `f` number of the run (8 bytes, big-endian) | its members, in order of their places |
//!
//! A run has [`RUN`] places. A member is a byte with its place in the run, with [`NAMED`] if its
//! scope and its collection follow (those of the member before it otherwise), and its id; names end
//! with a zero byte. A document that moves to another place, or is removed, is removed from its run
//! at once: no name stays behind.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use super::OrderedKv;
use super::access::{KvReads, KvWriter};
use super::keys::{Key, damaged, decode, names, tail};
use crate::{Durability, Transactional};
use sync_core::error::{Error, Result};
use sync_core::model::{Collection, DocumentId, DocumentKey, LocalSeq, Scope};

const FEED: u8 = b'f';

/// Places of a run. With more, a document that is written again rewrites more names; with fewer,
/// there are more entries.
const RUN: u64 = 32;

/// Set in the byte of a member's place if its scope and its collection follow.
const NAMED: u8 = 0x80;

/// In version 1 of the layout each place was an entry: `c` place, with the document's key.
const PLACE: u8 = b'c';

/// Places of version 1 that are migrated in one commit.
const GATHERED: usize = 4096;

fn run_key(place: LocalSeq) -> Key {
    Key::table(FEED).number(place.0 / RUN)
}

fn within(place: LocalSeq) -> u8 {
    (place.0 % RUN) as u8
}

/// A member, as it is stored.
struct Member<'a> {
    within: u8,
    /// The scope and the collection, each with its zero byte.
    names: &'a [u8],
    id: &'a [u8],
}

impl Member<'_> {
    fn key(&self) -> Result<DocumentKey> {
        let [scope, collection] = names(self.names)?;
        let id = std::str::from_utf8(self.id).map_err(|_| damaged("an id is not UTF-8"))?;
        let read = || {
            let collection = Collection::new(collection)?;
            Ok(DocumentKey::new(Scope::new(scope)?, collection, DocumentId::new(id)?))
        };
        read().map_err(|e: Error| damaged("a place in the feed names no document").because(e))
    }
}

/// The members of a run, one after another.
struct Members<'a> {
    run: &'a [u8],
    at: usize,
    /// The range of the scope and the collection of the last member.
    names: Range<usize>,
}

impl<'a> Members<'a> {
    fn of(run: &'a [u8]) -> Self {
        Self { run, at: 0, names: 0..0 }
    }

    /// The range of the next name, without its zero byte.
    fn name(&mut self) -> Result<Range<usize>> {
        let (start, left) = (self.at, self.run.get(self.at..).unwrap_or_default());
        let length = left.iter().position(|b| *b == 0);
        let end = start + length.ok_or_else(|| damaged("a run of the feed is too short"))?;
        self.at = end + 1;
        Ok(start..end)
    }

    fn read(&mut self, first: u8) -> Result<Member<'a>> {
        self.at += 1;
        if first & NAMED != 0 {
            self.names = self.name()?.start..self.name()?.end + 1;
        }
        let id = self.name()?;
        let run = self.run;
        Ok(Member { within: first & !NAMED, names: &run[self.names.clone()], id: &run[id] })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.run.get(self.at)?;
        let member = self.read(first);
        if member.is_err() {
            self.run = &[];
        }
        Some(member)
    }
}

/// A run that is being built.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    /// The range of the scope and the collection of the last member, each with its zero byte.
    names: Range<usize>,
}

impl Run {
    /// Reads a stored run that has room for more.
    fn read(stored: &[u8]) -> Result<Self> {
        let mut bytes = Vec::with_capacity(stored.len() + 256);
        bytes.extend_from_slice(stored);
        let mut members = Members::of(stored);
        for member in &mut members {
            member?;
        }
        Ok(Self { bytes, names: members.names })
    }

    /// Adds a member. Its names are given in consecutive parts.
    fn push(&mut self, within: u8, names: &[&[u8]], id: &[u8]) {
        let last = self.bytes.get(self.names.clone()).unwrap_or_default();
        let left = names.iter().try_fold(last, |left, part| left.strip_prefix(*part));
        if left.is_some_and(<[u8]>::is_empty) {
            self.bytes.push(within);
        } else {
            self.bytes.push(within | NAMED);
            let start = self.bytes.len();
            names.iter().for_each(|part| self.bytes.extend_from_slice(part));
            self.names = start..self.bytes.len();
        }
        self.bytes.extend_from_slice(id);
        self.bytes.push(0);
    }

    fn add(&mut self, place: LocalSeq, key: &DocumentKey) {
        let names = [key.scope.as_bytes(), &[0], key.collection.as_bytes(), &[0]];
        self.push(within(place), &names, key.id.as_bytes());
    }
}

/// Puts documents at consecutive free places.
///
/// # Errors
/// As the store.
pub(super) fn add<'a, K: OrderedKv>(
    kv: &mut KvWriter<K>,
    members: impl Iterator<Item = (LocalSeq, &'a DocumentKey)>,
) -> Result<()> {
    let mut members = members.peekable();
    while let Some((place, key)) = members.next() {
        let stored = run_key(place);
        let mut run = match kv.get(&stored)? {
            Some(run) => Run::read(&run)?,
            None => Run::default(),
        };
        run.add(place, key);
        while let Some((place, key)) = members.next_if(|(p, _)| p.0 / RUN == place.0 / RUN) {
            run.add(place, key);
        }
        kv.put(stored, Some(run.bytes.into()));
    }
    Ok(())
}

/// Frees a place.
///
/// # Errors
/// As the store.
pub(super) fn remove<K: OrderedKv>(kv: &mut KvWriter<K>, place: LocalSeq) -> Result<()> {
    let stored = run_key(place);
    let Some(run) = kv.get(&stored)? else { return Ok(()) };
    let mut left = Run::default();
    for member in Members::of(&run) {
        let Member { within: at, names, id } = member?;
        if at != within(place) {
            left.push(at, &[names], id);
        }
    }
    let left = (!left.bytes.is_empty()).then(|| left.bytes.into());
    kv.put(stored, left);
    Ok(())
}

/// Returns the documents at places above `place`, in order, at most `limit`.
///
/// # Errors
/// As the store; `Incompatible` if the stored run cannot be read.
pub(super) fn after(kv: &impl KvReads, place: LocalSeq, limit: usize) -> Result<Vec<DocumentKey>> {
    let first = place.next();
    let mut keys = Vec::new();
    kv.range(&run_key(first), &[FEED + 1], &mut |key, run| {
        let skip = if key == &*run_key(first) { within(first) } else { 0 };
        for member in Members::of(run) {
            let member = member?;
            if member.within >= skip && keys.len() < limit {
                keys.push(member.key()?);
            }
        }
        Ok(if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(keys)
}

/// Moves the places of a store of version 1 into runs, a bounded number in each commit; after an
/// interruption it continues when the store is opened again.
///
/// # Errors
/// As the store; `Incompatible` if the stored data cannot be read.
pub(super) fn gather_places<K: OrderedKv>(kv: &mut KvWriter<K>) -> Result<()> {
    loop {
        let mut places = Vec::new();
        kv.range(&[PLACE], &[PLACE + 1], &mut |key, value| {
            let number = tail(key, 1)?.try_into().map_err(|_| damaged("a place has no number"))?;
            let document: DocumentKey = decode(Bytes::copy_from_slice(value))?;
            places.push((LocalSeq(u64::from_be_bytes(number)), document));
            let is_full = places.len() == GATHERED;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if places.is_empty() {
            return Ok(());
        }
        kv.begin(Durability::Power)?;
        add(kv, places.iter().map(|(place, key)| (*place, key)))?;
        for (place, _) in &places {
            kv.put(Key::table(PLACE).number(place.0), None);
        }
        kv.commit()?;
    }
}

#[cfg(test)]
mod tests;
