//! The newest chunks of a scope in memory, encoded once for all listeners.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::{Budget, Grant};
use super::record::ServerScope;
use super::shared_chunk::{Recent, SharedChunk};
use sync_core::model::{Body, Chunk, Cursor, Epoch, Scope, Seq};

/// The most chunks of a tail.
const CHUNKS: usize = 256;

/// How long a tail is used without a read of the log, after it was compared with the log: another
/// process may have erased what it holds, or the log may have been restored. All readers that an
/// append wakes are served within this time.
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

/// The answer of the tail for a cursor.
#[derive(Debug)]
pub(super) enum Kept {
    /// The chunk that follows the cursor.
    Chunk(Arc<SharedChunk>),
    /// There may be one, once the tail was [compared](Hub::compare) with the log.
    Unchecked,
    /// Nothing: the log has to be read.
    Nothing,
}

/// Returns whether a reader that was sent everything up to the cursor has been sent everything.
pub(super) fn is_all(cursor: &Cursor, epoch: Epoch, head: Seq) -> bool {
    let is_there = cursor.epoch == Some(epoch) && cursor.after == head && head > Seq(0);
    // A full pull needs the exact head, and a back-fill needs older changes.
    is_there && cursor.floor.is_none() && cursor.backfills.is_empty()
}

/// The state that the sessions of one scope share.
#[derive(Debug)]
pub(super) struct Hub {
    head: watch::Sender<(Epoch, Seq)>,
    tail: Mutex<Tail>,
    /// Chunks that were read for readers behind the tail, and are still being sent.
    recent: Recent,
    tail_bytes: usize,
}

impl Hub {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the chunks that were read recently.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Returns a receiver that wakes when the head moves; correctness does not depend on the value.
    pub(super) fn head(&self) -> watch::Receiver<(Epoch, Seq)> {
        self.head.subscribe()
    }

    /// Returns the chunk that follows a cursor, if the tail has it: it begins exactly at the
    /// cursor, and the tail's mark shows that the cursor is of this log.
    pub(super) fn after(&self, epoch: Epoch, cursor: &Cursor) -> Kept {
        let tail = self.tail();
        let Ok(at) = tail.chunks.binary_search_by_key(&cursor.after, |c| c.chunk().after) else {
            return Kept::Nothing;
        };
        let newest = tail.chunks.back().and_then(|c| c.chunk().mark.as_ref());
        let is_confirmed =
            newest.zip(cursor.mark.as_ref()).is_some_and(|(newest, mark)| newest.confirms(mark));
        match tail.chunks.get(at).filter(|c| c.chunk().epoch == epoch && is_confirmed) {
            None => Kept::Nothing,
            Some(_) if tail.compared.elapsed() > TRUSTED => Kept::Unchecked,
            Some(chunk) => Kept::Chunk(Arc::clone(chunk)),
        }
    }

    /// Compares the tail with the newest row of its scope, and drops all chunks if something was
    /// erased since, or if the log does not reach as far as they do.
    pub(super) fn compare(&self, row: &ServerScope) {
        let mut tail = self.tail();
        let end = tail.chunks.back().map(|c| (c.chunk().epoch, c.chunk().next));
        let reaches = end.is_none_or(|(epoch, next)| epoch == row.epoch && next <= row.head);
        if !reaches || tail.erasures != row.erasures {
            tail.clear();
            tail.erasures = row.erasures;
        }
        tail.compared = Instant::now();
    }

    /// Adds the chunk of an append, after which so many appends had erased something. Appends may
    /// arrive out of order: the tail then starts over, because it must not have gaps. It also
    /// starts over if something was erased since the chunk before, or if the budget has no room for
    /// the chunk.
    fn append(&self, chunk: Chunk, erasures: u64, grant: Option<Grant>) {
        let (epoch, head, weight) = (chunk.epoch, chunk.next, chunk.weight());
        {
            let mut tail = self.tail();
            let last = tail.chunks.back().map(|c| (c.chunk().epoch, c.chunk().next));
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
            if grant.is_some() {
                tail.chunks.push_back(SharedChunk::new(chunk, grant, None));
                tail.bytes += weight;
            } else {
                tail.clear();
            }
            while tail.bytes > self.tail_bytes || tail.chunks.len() > CHUNKS {
                let Some(first) = tail.chunks.pop_front() else { break };
                tail.bytes -= first.chunk().weight();
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

/// The hubs of the scopes that have listeners.
#[derive(Debug)]
pub(super) struct Hubs {
    by_scope: Mutex<BTreeMap<Scope, Weak<Hub>>>,
    tail_bytes: usize,
    budget: Arc<Budget>,
}

impl Hubs {
    pub(super) fn new(tail_bytes: usize, budget: Arc<Budget>) -> Self {
        Self { by_scope: Mutex::default(), tail_bytes, budget }
    }

    /// Adds the chunk of an append to the tail of its scope, if it has listeners. If the budget has
    /// no room, the least recently used tails are evicted.
    pub(super) fn append(&self, mut chunk: Chunk, erasures: u64) {
        let Some(hub) = self.find(&chunk.scope) else { return };
        for entry in &mut chunk.entries {
            entry.state.body = entry.state.body.as_ref().map(Body::detached);
        }
        let take = || self.budget.try_take(SharedChunk::room_for(&chunk), None);
        let grant = take().or_else(|| {
            self.let_go_of_tails(&hub);
            take()
        });
        hub.append(chunk, erasures, grant);
    }

    /// Evicts the older half of the other tails.
    fn let_go_of_tails(&self, but: &Arc<Hub>) {
        let hubs: Vec<_> = self.by_scope().values().filter_map(Weak::upgrade).collect();
        let compared = |hub: Arc<Hub>| {
            let tail = hub.tail();
            let at = (!tail.chunks.is_empty()).then_some(tail.compared);
            drop(tail);
            Some((at?, hub))
        };
        let mut kept: Vec<_> =
            hubs.into_iter().filter(|hub| !Arc::ptr_eq(hub, but)).filter_map(compared).collect();
        kept.sort_unstable_by_key(|(at, _)| *at);
        for (_, hub) in &kept[..kept.len().div_ceil(2)] {
            hub.tail().clear();
        }
    }

    fn by_scope(&self) -> MutexGuard<'_, BTreeMap<Scope, Weak<Hub>>> {
        self.by_scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the hub of a scope, for a listener.
    pub(super) fn open(&self, scope: &Scope) -> Arc<Hub> {
        let mut hubs = self.by_scope();
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
            recent: Recent::default(),
            tail_bytes: self.tail_bytes,
        });
        hubs.insert(scope.clone(), Arc::downgrade(&hub));
        hub
    }

    /// Returns the hub of a scope, if it has listeners.
    pub(super) fn find(&self, scope: &Scope) -> Option<Arc<Hub>> {
        self.by_scope().get(scope).and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::model::{LogKey, LogMark, LogRun, ServerStart};

    const EPOCH: Epoch = Epoch([1; 16]);

    fn mark(start: u64, last: u64) -> Option<LogMark> {
        let run = LogRun { start: ServerStart(start), first: Seq(1), last: Seq(last) };
        Some(LogMark::sign(EPOCH, vec![run], &LogKey([7; 16])))
    }

    fn chunk(after: u64, next: u64) -> Chunk {
        Chunk {
            next: Seq(next),
            head: Seq(next),
            mark: mark(1, next),
            ..Chunk::empty(Scope::default(), EPOCH, Seq(after))
        }
    }

    fn cursor(at: u64, start: u64) -> Cursor {
        let (after, position) = (Seq(at), Seq(at));
        Cursor { epoch: Some(EPOCH), after, position, mark: mark(start, at), ..Cursor::default() }
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

    /// Returns the hubs of a server, and that of a scope to which was appended twice.
    fn hubs() -> (Hubs, Arc<Hub>) {
        let hubs = Hubs::new(1 << 20, Budget::new(1 << 20, true));
        let hub = hubs.open(&Scope::default());
        hubs.append(chunk(1, 2), 0);
        hubs.append(chunk(2, 3), 0);
        (hubs, hub)
    }

    #[tokio::test(start_paused = true)]
    async fn the_tail_has_the_following_chunk_for_cursors_of_the_same_log() {
        let (_hubs, hub) = hubs();
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 1))), Some(Seq(3)));
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), None);
        assert_eq!(found(hub.after(Epoch([2; 16]), &cursor(2, 1))), None);
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 9))), None, "another start wrote that");
        let unmarked = Cursor { mark: None, ..cursor(2, 1) };
        assert_eq!(found(hub.after(EPOCH, &unmarked)), None, "the log has to be asked");
        assert_eq!(*hub.head().borrow(), (EPOCH, Seq(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn erased_data_is_not_sent() {
        let (hubs, hub) = hubs();
        // In this process.
        hubs.append(chunk(3, 4), 1);
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 1))), None);
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), Some(Seq(4)));
        // By another process; the log has it.
        tokio::time::advance(TRUSTED * 2).await;
        assert!(matches!(hub.after(EPOCH, &cursor(3, 1)), Kept::Unchecked));
        hub.compare(&row(4, 1));
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), Some(Seq(4)));
        hub.compare(&row(5, 2));
        assert_eq!(found(hub.after(EPOCH, &cursor(3, 1))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn tails_share_one_budget_and_the_least_recently_used_is_evicted_first() {
        let budget = Budget::new(4 * SharedChunk::room_for(&chunk(1, 2)), true);
        let hubs = Hubs::new(1 << 20, Arc::clone(&budget));
        let scopes = ["a", "b", "c"].map(|name| Scope::new(name).unwrap());
        let open = scopes.each_ref().map(|scope| hubs.open(scope));
        for (n, scope) in scopes.iter().enumerate() {
            tokio::time::advance(TRUSTED).await;
            hubs.append(Chunk { scope: scope.clone(), ..chunk(1, 2) }, 0);
            assert_eq!(budget.held(), SharedChunk::room_for(&chunk(1, 2)) * (n + 1).min(2));
        }
        let kept = open.each_ref().map(|hub| hub.tail().chunks.len());
        assert_eq!(kept, [0, 1, 1]);
        // A chunk larger than the whole budget is not cached, and its listeners are woken all the
        // same.
        let large = Budget::new(10, true);
        let hubs = Hubs::new(1 << 20, Arc::clone(&large));
        let hub = hubs.open(&Scope::default());
        hubs.append(chunk(1, 2), 0);
        assert_eq!(found(hub.after(EPOCH, &cursor(1, 1))), None);
        assert_eq!((*hub.head().borrow(), large.held()), ((EPOCH, Seq(2)), 0));
        drop(open);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_was_restored_under_the_tail_empties_it() {
        let (_hubs, hub) = hubs();
        hub.compare(&row(2, 0));
        assert_eq!(found(hub.after(EPOCH, &cursor(2, 1))), None);
    }
}
