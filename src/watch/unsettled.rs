//! Watches of the conflict inbox and of the quarantine.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use sync_core::error::Result;
use sync_core::model::{DocumentKey, Limits, Revision, Scope};
use sync_core::replica::{Unsettled, UnsettledAfter, UnsettledEntry};
use sync_core::storage::Storage;
use tokio::sync::watch;

use crate::Replica;
use crate::yielding::{Source, Yielding, more, stream};

/// The limits of one read of the storage.
const PAGE: Limits = Limits { documents: 256, bytes: 1 << 20 };

/// The most entries for which the watch keeps what was yielded.
const MOST: usize = 4_096;

/// An event of a watch of the conflict inbox or of the quarantine.
///
/// An app that keeps a list inserts what is [`Current`](Self::Current) or
/// [`Changed`](Self::Changed), removes what is [`Removed`](Self::Removed) and clears the list at
/// [`Resync`](Self::Resync). The list then equals the entries whenever the watch has no further
/// event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum InboxEvent<T> {
    /// An existing entry, before [`Complete`](Self::Complete). In the order of the list.
    Current(T),
    /// Every existing entry has been yielded; changes follow.
    Complete,
    /// An entry that is new, or a conflict with a changed side, as it is now.
    Changed(T),
    /// No entry of this document that was yielded before exists any more: it was decided, or the
    /// document left the device.
    Removed(DocumentKey),
    /// All entries are yielded again, up to the next [`Complete`](Self::Complete): there was a
    /// change, and with more than 4,096 entries the watch does not know which.
    Resync,
}

/// Where an entry is in its list: in the conflict inbox all tickets are 0.
type Place = (u64, DocumentKey);

/// Distinguishes two states of an entry: the local side, the server's, and the base.
type Look = (Revision, Option<Revision>, Option<Revision>);

fn place(entry: &UnsettledEntry) -> Place {
    (entry.refused.as_ref().map_or(0, |(_, _, ticket)| *ticket), entry.key.clone())
}

fn look(entry: &UnsettledEntry) -> Look {
    let remote = entry.remote.as_ref().map(|s| s.revision);
    (entry.local.revision, remote, entry.base.as_ref().map(|b| b.state.revision))
}

/// One pass through the list, from its beginning to its end.
#[derive(Debug)]
struct Pass {
    /// The counter that grows with every change, as it was when the pass began.
    inbox: u64,
    /// Whether everything is yielded, and not only differences.
    is_first: bool,
    after: UnsettledAfter,
    /// The last entry that it reached.
    last: Option<Place>,
}

/// Watches the conflict inbox or the quarantine: created by
/// [`Conflicts::watch`](crate::Conflicts::watch) and
/// [`Quarantine::watch`](crate::Quarantine::watch).
///
/// A [`Stream`](futures_util::Stream), which ends when the replica is closed.
///
/// It needs no task and no queue. When it is polled after a change, it reads the list by pages and
/// yields the differences. A slow reader skips states in between, and never the last one; other
/// processes' changes are included. It keeps at most a page (256 entries, 1 MiB or one larger
/// entry) and what distinguishes 4,096 entries. Like every handle, it keeps the storage open until
/// it is dropped or the replica is closed.
pub struct InboxWatch<T>(Yielding<Inbox<T>, InboxEvent<T>>);

stream!(InboxWatch<T>, [T: Send + Unpin + 'static], InboxEvent<T>);

/// The list, and what was yielded of it.
struct Inbox<T> {
    storage: Arc<dyn Storage>,
    commits: watch::Receiver<u64>,
    scope: Scope,
    which: Unsettled,
    read: fn(UnsettledEntry) -> Option<T>,
    /// The entries that were yielded and not removed since; none if they are too many to keep.
    told: Option<BTreeMap<Place, Look>>,
    /// The counter that grows with every change, as it was when the list was yielded the last time.
    listed: Option<u64>,
    pass: Option<Pass>,
    ready: VecDeque<InboxEvent<T>>,
}

impl<T> fmt::Debug for InboxWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InboxWatch").field(&self.0).finish()
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("scope", &self.scope)
            .field("which", &self.which)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Unpin + 'static> InboxWatch<T> {
    pub(crate) fn new(
        replica: &Replica,
        which: Unsettled,
        read: fn(UnsettledEntry) -> Option<T>,
    ) -> Self {
        let storage = Arc::clone(replica.storage());
        Self(Yielding::new(Inbox {
            commits: storage.commits(),
            storage,
            scope: replica.scope().clone(),
            which,
            read,
            told: Some(BTreeMap::new()),
            listed: None,
            pass: None,
            ready: VecDeque::new(),
        }))
    }

    /// Returns the next event, as soon as there is one; none when the replica was closed. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// As the storage; the next call retries.
    pub async fn next(&mut self) -> Option<Result<InboxEvent<T>>> {
        self.0.next().await
    }

    /// Returns the next event that is already available; none if everything was yielded, or the
    /// replica was closed.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_ready(&mut self) -> Result<Option<InboxEvent<T>>> {
        self.0.next_ready().await
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        self.0.source().map(Inbox::kept).unwrap_or_default()
    }
}

impl<T: Send + Unpin + 'static> Source for Inbox<T> {
    type Item = InboxEvent<T>;

    async fn look(&mut self) -> Result<Option<InboxEvent<T>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.pass.is_some() {
                self.go_on().await?;
            } else if !self.begin().await? {
                return Ok(None);
            }
        }
    }

    fn wait(&self) -> impl Future<Output = bool> + Send + 'static {
        more(&self.commits)
    }
}

impl<T> Inbox<T> {
    /// Returns how many events wait, and how many yielded entries the watch keeps.
    #[cfg(test)]
    fn kept(&self) -> (usize, usize) {
        (self.ready.len(), self.told.as_ref().map_or(0, BTreeMap::len))
    }

    /// Begins a pass through the list, if it has changed.
    async fn begin(&mut self) -> Result<bool> {
        // Marked as observed before the read, so that the wait misses no commit.
        self.commits.borrow_and_update();
        let inbox = self.storage.state().await?.inbox;
        if self.listed == Some(inbox) {
            return Ok(false);
        }
        let mut is_first = self.listed.is_none();
        if self.told.is_none() {
            self.told = Some(BTreeMap::new());
            self.ready.push_back(InboxEvent::Resync);
            is_first = true;
        }
        let after = UnsettledAfter::Start;
        self.pass = Some(Pass { inbox, is_first, after, last: None });
        Ok(true)
    }

    /// Reads the next page, and queues the differences.
    async fn go_on(&mut self) -> Result<()> {
        let Some(mut pass) = self.pass.take() else { return Ok(()) };
        // A change during the pass is read by it, or moves the counter, and another pass follows.
        let after = pass.after.clone();
        let page = self.storage.unsettled(self.scope.clone(), self.which, after, PAGE).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                self.pass = Some(pass);
                return Err(error);
            }
        };
        for entry in page.items {
            let place = place(&entry);
            let (transaction, key) = (entry.transaction, entry.key.clone());
            pass.after = UnsettledAfter::Entry { transaction, key, ticket: place.0 };
            self.take_back(pass.last.as_ref(), Some(&place));
            self.tell(entry, &place, pass.is_first);
            pass.last = Some(place);
        }
        if page.more {
            self.pass = Some(pass);
            return Ok(());
        }
        self.take_back(pass.last.as_ref(), None);
        if pass.is_first {
            self.ready.push_back(InboxEvent::Complete);
        }
        // If the bound was reached on the way, some entries may or may not have been yielded: read
        // the list again from the beginning.
        let is_whole = pass.is_first || self.told.is_some();
        self.listed = is_whole.then_some(pass.inbox);
        Ok(())
    }

    /// Yields the removal of entries between these two that were yielded and do not exist any more.
    fn take_back(&mut self, after: Option<&Place>, before: Option<&Place>) {
        let Some(told) = &mut self.told else { return };
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let upper = before.map_or(Bound::Unbounded, Bound::Excluded);
        let gone: Vec<Place> =
            told.range::<Place, _>((lower, upper)).map(|(place, _)| place.clone()).collect();
        for place in gone {
            told.remove(&place);
            self.ready.push_back(InboxEvent::Removed(place.1));
        }
    }

    fn tell(&mut self, entry: UnsettledEntry, place: &Place, is_first: bool) {
        let look = look(&entry);
        if let Some(told) = &mut self.told {
            if told.insert(place.clone(), look) == Some(look) {
                return;
            }
            if told.len() > MOST {
                self.told = None;
            }
        }
        let tell = if is_first { InboxEvent::Current } else { InboxEvent::Changed };
        self.ready.extend((self.read)(entry).map(tell));
    }
}
