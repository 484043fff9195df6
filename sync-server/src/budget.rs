//! The memory of a server for chunks (those that are cached for the listeners of a scope, and those
//! that are being sent to a reader), and for pushes that were received.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::hooks::Principal;
use sync_core::error::{Error, ErrorKind, Result, Retry};

/// Chunks and batches up to this size are not counted: there is at most one of them for each open
/// stream and request, both of which are bounded. So a reader that is up to date is served even if
/// many others read nothing, and a small push is served too.
pub(super) const FREE: usize = 64 << 10;

/// How long a reader waits for room. Others hold it until their sockets have accepted what they
/// were sent, and the serving task ends a connection that accepts nothing.
const WAIT: Duration = Duration::from_secs(10);

/// The delay after which a reader without room should retry.
const COME_BACK: Duration = Duration::from_secs(5);

/// A number of bytes that several holders share.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    /// The most that one principal may hold of it.
    of_one: usize,
    used: Mutex<Used>,
    freed: Notify,
}

/// The principal whose reader a chunk is for; none for chunks that are cached for all listeners.
type Holder = Option<String>;

#[derive(Debug, Default)]
struct Used {
    all: usize,
    by_holder: BTreeMap<Holder, usize>,
}

/// A part of a budget, until this is dropped.
#[derive(Debug)]
pub(super) struct Grant {
    budget: Arc<Budget>,
    bytes: usize,
    holder: Holder,
}

impl Budget {
    /// A principal may hold half of it, or all if there is only one. Cached chunks may also take
    /// half of it.
    pub(super) fn new(limit: usize, has_one_principal: bool) -> Arc<Self> {
        let of_one = if has_one_principal { limit } else { limit / 2 };
        Arc::new(Self { limit, of_one, used: Mutex::default(), freed: Notify::new() })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how much of it is held.
    pub(super) fn held(&self) -> usize {
        self.used().all
    }

    /// Returns the most that a chunk should weigh, so that others find room as well.
    pub(super) fn advice(&self) -> usize {
        (self.limit.saturating_sub(self.used().all) / 4).max(FREE)
    }

    /// Takes a part, for a reader of that principal or for the tails; none if there is not enough
    /// left. A reader gets what it requests if nothing is held at all: one document may be larger
    /// than the budget.
    pub(super) fn try_take(
        self: &Arc<Self>,
        bytes: usize,
        principal: Option<&Principal>,
    ) -> Option<Grant> {
        let mut used = self.used();
        let holder = principal.map(|p| p.name.clone());
        let own = used.by_holder.get(&holder).copied().unwrap_or(0);
        let most = if holder.is_some() { self.of_one } else { self.limit / 2 };
        let fits =
            used.all.saturating_add(bytes) <= self.limit && own.saturating_add(bytes) <= most;
        if !fits && (used.all > 0 || holder.is_none()) {
            return None;
        }
        used.all += bytes;
        *used.by_holder.entry(holder.clone()).or_default() += bytes;
        Some(Grant { budget: Arc::clone(self), bytes, holder })
    }

    /// Waits for a part, and takes it as soon as there is enough left.
    ///
    /// # Errors
    /// `Overloaded`, with advice to retry later, if there is none for a while.
    pub(super) async fn take(
        self: &Arc<Self>,
        bytes: usize,
        principal: &Principal,
    ) -> Result<Grant> {
        let taken = async {
            loop {
                let mut freed = std::pin::pin!(self.freed.notified());
                // Memory that is freed from here on wakes it.
                freed.as_mut().enable();
                if let Some(grant) = self.try_take(bytes, Some(principal)) {
                    return grant;
                }
                freed.await;
            }
        };
        let full = |_| full("the server holds as much as it may for readers that are slow");
        timeout(WAIT, taken).await.map_err(full)
    }
}

/// Makes the error for a request that finds no room.
pub(super) fn full(message: &'static str) -> Error {
    Error::new(ErrorKind::Overloaded, message).retrying(Retry::Later(Some(COME_BACK)))
}

impl Grant {
    /// Returns its size.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut used = self.budget.used();
        used.all -= self.bytes;
        if let Some(own) = used.by_holder.get_mut(&self.holder) {
            *own -= self.bytes;
            if *own == 0 {
                used.by_holder.remove(&self.holder);
            }
        }
        drop(used);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Principal {
        Principal { name: name.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_awaited_and_is_free_again_when_it_is_dropped() {
        let budget = Budget::new(100, true);
        let ann = named("ann");
        let one = budget.try_take(70, Some(&ann)).unwrap();
        assert!(budget.try_take(40, Some(&ann)).is_none());
        let (waiting, ()) = tokio::join!(budget.take(40, &ann), async {
            tokio::task::yield_now().await;
            drop(one);
        });
        assert_eq!(budget.held(), 40);
        drop(waiting.unwrap());
        assert_eq!((budget.held(), budget.used().by_holder.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_advice_to_retry() {
        let budget = Budget::new(100, true);
        let ann = named("ann");
        let _stuck = budget.try_take(100, Some(&ann)).unwrap();
        let error = budget.take(1, &ann).await.unwrap_err();
        let later = Retry::Later(Some(COME_BACK));
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, later));
    }

    #[test]
    fn a_principal_leaves_half_to_the_others() {
        let budget = Budget::new(100, false);
        let (ann, ben) = (named("ann"), named("ben"));
        let _one = budget.try_take(40, Some(&ann)).unwrap();
        assert!(budget.try_take(20, Some(&ann)).is_none());
        let _two = budget.try_take(50, Some(&ben)).unwrap();
        assert!(budget.try_take(20, None).is_none());
        assert!(budget.try_take(10, None).is_some());
        let idle = Budget::new(100, false);
        assert!(idle.try_take(60, None).is_none(), "what is kept leaves half to readers");
    }

    #[test]
    fn more_than_the_whole_budget_is_granted_to_a_single_reader() {
        let budget = Budget::new(100, false);
        assert!(budget.try_take(1_000, None).is_none(), "it need not be kept");
        let alone = budget.try_take(1_000, Some(&named("ann")));
        assert!(alone.is_some() && budget.try_take(1, Some(&named("ben"))).is_none());
        assert_eq!(budget.advice(), FREE);
    }
}
