//! Events as a stream, through a filter.

use std::fmt;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use sync_core::error::Result;
use sync_core::model::Collection as Name;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{EventKind, SyncEvent};
use crate::Replica;

/// Which events a stream gives. All by default.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    kinds: Option<Vec<EventKind>>,
    collections: Option<Vec<Name>>,
}

impl EventFilter {
    /// All events.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only events of these kinds; replaces kinds that were given before.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// Of the events about documents, only those about this collection, and others that are named
    /// so. Events about the sync as a whole are not touched by this.
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

/// What happens to the sync, from when it was asked for on: made by [`Replica::event_stream`].
///
/// At most 1,024 events wait in it, or 4,096 if it gives
/// [`ChangeApplied`](SyncEvent::ChangeApplied). When more come, the oldest are dropped, and
/// [`Lagged`](SyncEvent::Lagged) says how many. It does not keep the replica open.
pub struct EventStream(pub(crate) broadcast::Receiver<SyncEvent>);

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("waiting", &self.0.len()).finish()
    }
}

impl EventStream {
    /// The next event; none when the replica was closed and everything was given. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Option<SyncEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(SyncEvent::Lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event that is there already. None also means that the replica was closed:
    /// [`next`](Self::next) tells the difference. For synchronous code, such as a user interface
    /// that looks once per frame.
    pub fn try_next(&mut self) -> Option<SyncEvent> {
        match self.0.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Lagged(missed)) => Some(SyncEvent::Lagged(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// The events as a [`Stream`](futures_util::Stream), which ends when the replica is closed.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, SyncEvent> {
        let step = async |mut events: Self| events.next().await.map(|event| (event, events));
        unfold(self, step).boxed()
    }
}

impl Replica {
    /// What happens to the sync from now on, as far as the filter accepts it. Any number of streams
    /// may be open; a slow one holds up neither the sync nor another one.
    ///
    /// Only the process that syncs hears of it: what another process does to the file is in
    /// [`Replica::changes`] and in the watches.
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
    ///         match event {
    ///             SyncEvent::TokenNeeded => println!("please log in"),
    ///             SyncEvent::Lagged(missed) => println!("{missed} events were dropped"),
    ///             other => println!("look at {:?}", other.document()),
    ///         }
    ///     }
    /// });
    /// replica.close().await?;
    /// listener.await.expect("it ends with the replica");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn event_stream(&self, filter: EventFilter) -> EventStream {
        EventStream(self.listeners().subscribe(filter))
    }
}
