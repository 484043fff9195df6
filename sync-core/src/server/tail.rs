//! The newest chunks of a scope in memory, encoded once for everybody who listens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::record::ServerScope;
use crate::framed::{self, Compression};
use crate::model::{Chunk, Cursor, Epoch, Scope, Seq};
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

/// For how long a tail is handed out without a look at the log, after it was compared with it: another process may have
/// erased what it holds, or the log may have been restored. All that an append wakes are served within it.
const TRUSTED: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Tail {
    chunks: VecDeque<Arc<SharedChunk>>,
    bytes: usize,
    /// How many appends had erased something when the chunks were appended.
    erasures: u64,
    /// When the log was compared last.
    compared: Instant,
}

impl Tail {
    fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }
}

/// What a tail has for a cursor.
#[derive(Debug)]
pub(super) enum Kept {
    /// The chunk that follows on it.
    Chunk(Arc<SharedChunk>),
    /// There may be one, after the tail was [compared](Hub::compare) with the log.
    Unchecked,
    /// Nothing: the log has to be read.
    Nothing,
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

    /// The chunk that follows on a cursor, if it is here: it begins exactly at the cursor, and the tail's own mark shows that
    /// the cursor is of this log.
    pub(super) fn after(&self, epoch: Epoch, cursor: &Cursor) -> Kept {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(at) = tail.chunks.binary_search_by_key(&cursor.after, |c| c.chunk.after) else {
            return Kept::Nothing;
        };
        let newest = tail.chunks.back().and_then(|c| c.chunk.mark.as_ref());
        let is_confirmed =
            newest.zip(cursor.mark.as_ref()).is_some_and(|(newest, mark)| newest.confirms(mark));
        match tail.chunks.get(at).filter(|c| c.chunk.epoch == epoch && is_confirmed) {
            None => Kept::Nothing,
            Some(_) if tail.compared.elapsed() > TRUSTED => Kept::Unchecked,
            Some(chunk) => Kept::Chunk(Arc::clone(chunk)),
        }
    }

    /// Compares the tail with the newest row of its scope, and lets go of all chunks if something was erased since, or if the
    /// log does not reach as far as they do.
    pub(super) fn compare(&self, row: &ServerScope) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let end = tail.chunks.back().map(|c| (c.chunk.epoch, c.chunk.next));
        let reaches = end.is_none_or(|(epoch, next)| epoch == row.epoch && next <= row.head);
        if !reaches || tail.erasures != row.erasures {
            tail.clear();
            tail.erasures = row.erasures;
        }
        tail.compared = Instant::now();
    }

    /// Adds what an append wrote, after which so many appends had erased something. Appends may be told out of their order: the
    /// tail then starts over, for it must not have holes. It starts over as well if something was erased since the chunk before.
    pub(super) fn append(&self, chunk: Chunk, erasures: u64) {
        let (epoch, head, weight) = (chunk.epoch, chunk.next, chunk.weight());
        {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            let last = tail.chunks.back().map(|c| (c.chunk.epoch, c.chunk.next));
            if last != Some((epoch, chunk.after)) {
                if last.is_some_and(|(e, next)| e == epoch && next > chunk.after) {
                    return; // Older than what is here already.
                }
                tail.clear();
            }
            if tail.erasures != erasures {
                tail.clear();
            }
            tail.erasures = erasures;
            tail.compared = Instant::now();
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
            tail: Mutex::new(Tail {
                chunks: VecDeque::new(),
                bytes: 0,
                erasures: 0,
                compared: Instant::now(),
            }),
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
    use crate::model::{LogKey, LogMark, LogRun, Term};

    const EPOCH: Epoch = Epoch([1; 16]);

    fn mark(term: u64, last: u64) -> Option<LogMark> {
        let run = LogRun { term: Term(term), first: Seq(1), last: Seq(last) };
        Some(LogMark::sign(EPOCH, vec![run], &LogKey([7; 16])))
    }

    fn chunk(after: u64, next: u64) -> Chunk {
        Chunk {
            scope: Scope::default(),
            epoch: EPOCH,
            after: Seq(after),
            next: Seq(next),
            head: Seq(next),
            horizon: Seq(0),
            mark: mark(1, next),
            covers: None,
            entries: Vec::new(),
            left_out: Default::default(),
            bookmarks: None,
        }
    }

    fn cursor(at: u64, term: u64) -> Cursor {
        let (after, position) = (Seq(at), Seq(at));
        Cursor { epoch: Some(EPOCH), after, position, mark: mark(term, at), ..Cursor::default() }
    }

    fn found(kept: Kept) -> Option<Seq> {
        match kept {
            Kept::Chunk(chunk) => Some(chunk.chunk().next),
            Kept::Unchecked => panic!("it was compared a moment ago"),
            Kept::Nothing => None,
        }
    }

    fn row(head: u64, erasures: u64) -> ServerScope {
        ServerScope { head: Seq(head), erasures, ..ServerScope::new(EPOCH) }
    }

    fn hub() -> Arc<Hub> {
        let hub = Hubs::new(1 << 20).open(&Scope::default());
        hub.append(chunk(1, 2), 0);
        hub.append(chunk(2, 3), 0);
        hub
    }

    #[tokio::test(start_paused = true)]
    async fn the_tail_has_what_follows_on_a_chunk_for_cursors_of_the_same_log() {
        let hub = hub();
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 1))), Some(Seq(3)));
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), None);
        assert_eq!(found(hub.after(Epoch([2; 16]), &cursor(2, 1))), None);
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 9))), None, "another start wrote that");
        let unmarked = Cursor { mark: None, ..cursor(2, 1) };
        assert_eq!(found(hub.after(EPOCH, &unmarked)), None, "the log has to be asked");
        assert_eq!(*hub.head().borrow(), (EPOCH, Seq(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_erased_is_not_handed_out() {
        let hub = hub();
        // Here.
        hub.append(chunk(3, 4), 1);
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 1))), None);
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), Some(Seq(4)));
        // By another process, which the log knows.
        tokio::time::advance(TRUSTED * 2).await;
        assert!(matches!(hub.after(EPOCH, &cursor(3, 1)), Kept::Unchecked));
        hub.compare(&row(4, 1));
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), Some(Seq(4)));
        hub.compare(&row(5, 2));
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_was_restored_under_the_tail_empties_it() {
        let hub = hub();
        hub.compare(&row(2, 0));
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 1))), None);
    }
}
