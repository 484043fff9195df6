//! The newest chunks of a scope in memory, encoded once for everybody who listens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::watch;

use crate::framed::{self, Compression};
use crate::model::{Chunk, Epoch, Scope, Seq};
use crate::protocol::Payload;

/// A chunk that many sessions send: it is encoded when the first one does.
#[derive(Debug)]
pub struct SharedChunk {
    chunk: Chunk,
    plain: OnceLock<Payload>,
    /// In the compression that was asked for first; others are made each time.
    compressed: OnceLock<(&'static str, Payload)>,
}

impl SharedChunk {
    pub(super) fn new(chunk: Chunk) -> Arc<Self> {
        Arc::new(Self { chunk, plain: OnceLock::new(), compressed: OnceLock::new() })
    }

    /// The chunk.
    #[must_use]
    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// The chunk as it travels, encoded once for all who ask.
    pub fn payload(&self, compression: Option<&dyn Compression>) -> Payload {
        let encode = || framed::chunk_payload(&self.chunk, compression);
        let Some(name) = compression.map(Compression::name) else {
            return self.plain.get_or_init(encode).clone();
        };
        match self.compressed.get_or_init(|| (name, encode())) {
            (first, payload) if *first == name => payload.clone(),
            _ => encode(),
        }
    }
}

/// Bounds of a tail.
const CHUNKS: usize = 256;

#[derive(Debug, Default)]
struct Tail {
    chunks: VecDeque<Arc<SharedChunk>>,
    bytes: usize,
}

/// What the sessions of one scope share.
#[derive(Debug)]
pub(super) struct Hub {
    head: watch::Sender<(Epoch, Seq)>,
    tail: Mutex<Tail>,
    tail_bytes: usize,
}

impl Hub {
    /// Wakes when the head moves; a wake-up carries no data that anybody relies on.
    pub(super) fn head(&self) -> watch::Receiver<(Epoch, Seq)> {
        self.head.subscribe()
    }

    /// The chunk that begins exactly at that position, if it is still here.
    pub(super) fn after(&self, epoch: Epoch, after: Seq) -> Option<Arc<SharedChunk>> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tail.chunks.binary_search_by_key(&after, |c| c.chunk.after).ok()?;
        tail.chunks.get(at).filter(|c| c.chunk.epoch == epoch).cloned()
    }

    /// Lets go of all chunks: one of them may hold what was erased. Who stood at one of them reads the storage.
    pub(super) fn forget(&self) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.chunks.clear();
        tail.bytes = 0;
    }

    /// Takes in what an append wrote. Appends may be told out of their order: the tail then starts over, for it must
    /// not have holes.
    pub(super) fn append(&self, chunk: Chunk) {
        let (epoch, head, weight) = (chunk.epoch, chunk.next, chunk.weight());
        {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            let last = tail.chunks.back().map(|c| (c.chunk.epoch, c.chunk.next));
            if last != Some((epoch, chunk.after)) {
                if last.is_some_and(|(e, next)| e == epoch && next > chunk.after) {
                    return; // Older than what is here already.
                }
                tail.chunks.clear();
                tail.bytes = 0;
            }
            tail.chunks.push_back(SharedChunk::new(chunk));
            tail.bytes += weight;
            while tail.bytes > self.tail_bytes || tail.chunks.len() > CHUNKS {
                let Some(first) = tail.chunks.pop_front() else { break };
                tail.bytes -= first.chunk.weight();
            }
        }
        self.move_head(epoch, head);
    }

    pub(super) fn move_head(&self, epoch: Epoch, head: Seq) {
        self.head.send_if_modified(|at| {
            let moved = at.0 != epoch || at.1 < head;
            if moved {
                *at = (epoch, head);
            }
            moved
        });
    }
}

/// The hubs of the scopes that somebody listens to.
#[derive(Debug)]
pub(super) struct Hubs {
    by_scope: Mutex<BTreeMap<Scope, Weak<Hub>>>,
    tail_bytes: usize,
}

impl Hubs {
    pub(super) fn new(tail_bytes: usize) -> Self {
        Self { by_scope: Mutex::default(), tail_bytes }
    }

    /// The hub of a scope, for somebody who listens.
    pub(super) fn open(&self, scope: &Scope) -> Arc<Hub> {
        let mut hubs = self.by_scope.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(scope).and_then(Weak::upgrade) {
            return hub;
        }
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let hub = Arc::new(Hub {
            head: watch::Sender::new((Epoch([0; 16]), Seq(0))),
            tail: Mutex::default(),
            tail_bytes: self.tail_bytes,
        });
        hubs.insert(scope.clone(), Arc::downgrade(&hub));
        hub
    }

    /// The hub of a scope, if anybody listens.
    pub(super) fn find(&self, scope: &Scope) -> Option<Arc<Hub>> {
        self.by_scope
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(scope)
            .and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(after: u64, next: u64) -> Chunk {
        Chunk {
            scope: Scope::default(),
            epoch: Epoch([1; 16]),
            after: Seq(after),
            next: Seq(next),
            head: Seq(next),
            horizon: Seq(0),
            terms: Vec::new(),
            entries: Vec::new(),
            bookmarks: None,
        }
    }

    #[test]
    fn what_follows_on_a_chunk_is_in_the_tail_until_all_of_it_is_let_go() {
        let hub = Hubs::new(1 << 20).open(&Scope::default());
        let (epoch, other) = (Epoch([1; 16]), Epoch([2; 16]));
        hub.append(chunk(0, 2));
        hub.append(chunk(2, 3));
        assert_eq!(hub.after(epoch, Seq(2)).unwrap().chunk().next, Seq(3));
        assert!(hub.after(other, Seq(2)).is_none() && hub.after(epoch, Seq(3)).is_none());
        hub.forget();
        assert!(hub.after(epoch, Seq(2)).is_none());
        assert_eq!(*hub.head().borrow(), (epoch, Seq(3)));
    }
}
