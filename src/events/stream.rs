//! Events as a stream, through a filter.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use sync_core::error::Result;
use sync_core::model::Collection as Name;

use super::queue::{EventReceiver, EventSender, queue};
use super::{EventKind, SyncEvent};
use crate::Replica;

/// The events that a stream yields. All by default.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    kinds: Option<Vec<EventKind>>,
    collections: Option<Vec<Name>>,
}

impl EventFilter {
    /// Returns a filter that accepts all events.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Accepts only events of these kinds; replaces kinds that were set before.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// Accepts events about documents only of this collection; further calls add collections.
    /// Events about the sync as a whole are not affected.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name.
    pub fn collection(mut self, name: impl AsRef<str>) -> Result<Self> {
        self.collections.get_or_insert_default().push(Name::new(name)?);
        Ok(self)
    }

    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    pub(crate) fn accepts(&self, event: &SyncEvent) -> bool {
        let collections = || match (&self.collections, event.document()) {
            (Some(names), Some(key)) => names.contains(&key.collection),
            _ => true,
        };
        self.wants(event.kind()) && collections()
    }
}

/// The events of the sync from the call on: created by [`Replica::event_stream`].
///
/// A [`Stream`], which ends when the replica is closed. None of its items is an error today. They
/// are `Result`s as in every other stream of a replica, so that an app can merge them.
///
/// At most 1,024 events wait in it, or 4,096 if it accepts
/// [`ChangeApplied`](SyncEvent::ChangeApplied). When more arrive, the oldest are dropped, and
/// [`Lagged`](SyncEvent::Lagged) has their number. It does not keep the replica open.
pub struct EventStream(EventReceiver);

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("waiting", &self.0.len()).finish()
    }
}

impl EventStream {
    pub(crate) fn new(bound: usize) -> (EventSender, Self) {
        let (sender, receiver) = queue(bound);
        (sender, Self(receiver))
    }

    /// Returns the next event; none when the replica was closed and every event was yielded.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<SyncEvent>> {
        poll_fn(|cx| self.0.poll_next(cx)).await.map(Ok)
    }

    /// Returns the next event that is already available. None also means that the replica was
    /// closed: [`next`](Self::next) distinguishes the two. For synchronous code, such as a user
    /// interface that polls once per frame.
    pub fn next_ready(&mut self) -> Option<SyncEvent> {
        self.0.next_ready()
    }
}

impl Stream for EventStream {
    type Item = Result<SyncEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx).map(|next| next.map(Ok))
    }
}

impl Replica {
    /// Returns the events of the sync from now on that the filter accepts. Any number of streams
    /// may be open; a slow one delays neither the sync nor another stream.
    ///
    /// Only the process that syncs receives them. Changes that another process makes to the file
    /// are in [`Replica::changes`] and in the watches.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let filter = EventFilter::all()
    ///     .kinds([EventKind::ConflictDeferred, EventKind::Rejected, EventKind::TokenNeeded])
    ///     .collection("notes")?;
    /// let mut events = replica.event_stream(filter);
    /// let listener = tokio::spawn(async move {
    ///     while let Some(event) = events.next().await {
    ///         match event? {
    ///             SyncEvent::TokenNeeded => println!("please log in"),
    ///             SyncEvent::Lagged(missed) => println!("{missed} events were dropped"),
    ///             other => println!("look at {:?}", other.document()),
    ///         }
    ///     }
    ///     Ok::<_, Error>(())
    /// });
    /// replica.close().await?;
    /// listener.await.expect("it ends with the replica")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn event_stream(&self, filter: EventFilter) -> EventStream {
        self.listeners().subscribe(filter)
    }
}
