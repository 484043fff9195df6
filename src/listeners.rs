//! Passes the driver's reports on to the app's listeners.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::driver::{DriverStatus, Observer};
use sync_core::engine::{Direction, Event};
use sync_core::error::ErrorKind;
use sync_core::model::Scope;
use sync_core::replica::Committed;
use sync_core::storage::Storage;
use tokio::sync::watch;

use crate::events::EventSender;
use crate::status_watch::StatusSender;
use crate::{EventFilter, EventKind, EventStream, Statistics, Status, SyncEvent};

/// The channels on which the app receives the driver's reports.
pub(crate) struct Listeners {
    direction: Direction,
    pub(crate) driver: watch::Sender<DriverStatus>,
    pub(crate) status: StatusSender<Status>,
    pub(crate) statistics: StatusSender<Statistics>,
    /// The statistics of the drivers before this one.
    pub(crate) before: Mutex<Statistics>,
    /// The filtered event streams; none when the replica was closed.
    streams: Mutex<Option<Vec<Listening>>>,
    /// Whether the scope catches up.
    pub(crate) catches_up: AtomicBool,
    /// How many failures in a row are reported as an error.
    max_failures: u32,
}

/// Events that wait for a slow listener before the oldest is dropped.
const EVENTS: usize = 1_024;

/// The same for a stream of every changed document: a few chunks of them.
const CHANGES: usize = 4_096;

/// A stream of events, and its filter.
struct Listening {
    filter: EventFilter,
    sender: EventSender,
}

impl Listeners {
    pub(crate) fn new(status: Status, max_failures: u32) -> Self {
        Self {
            direction: status.direction,
            driver: watch::Sender::new(DriverStatus::default()),
            status: StatusSender::new(status),
            statistics: StatusSender::new(Statistics::default()),
            before: Mutex::default(),
            streams: Mutex::new(Some(Vec::new())),
            catches_up: AtomicBool::new(false),
            max_failures,
        }
    }

    /// Whether so many attempts failed in a row that it is an error.
    pub(crate) fn is_failing(&self, driver: &DriverStatus) -> bool {
        driver.failures >= self.max_failures
    }

    /// Returns a new stream of events; after [`Self::end`] it has ended already.
    pub(crate) fn subscribe(&self, filter: EventFilter) -> EventStream {
        let bound = if filter.wants(EventKind::ChangeApplied) { CHANGES } else { EVENTS };
        let (sender, stream) = EventStream::new(bound);
        if let Some(streams) = &mut *self.streams() {
            streams.retain(|listening| listening.sender.is_read());
            streams.push(Listening { filter, sender });
        }
        stream
    }

    /// Ends every stream of events and of the status, after the events that were sent already.
    pub(crate) fn end(&self) {
        *self.streams() = None;
        self.status.end();
        self.statistics.end();
    }

    fn streams(&self) -> MutexGuard<'_, Option<Vec<Listening>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends events to the streams that accept them, and removes streams whose receiver was
    /// dropped. Events are made only if there is a stream.
    fn tell(&self, events: impl IntoIterator<Item = SyncEvent>) {
        let mut streams = self.streams();
        let Some(streams) = streams.as_mut() else { return };
        streams.retain(|listening| listening.sender.is_read());
        if streams.is_empty() {
            return;
        }
        for event in events {
            for listening in streams.iter().filter(|l| l.filter.accepts(&event)) {
                listening.sender.send(event.clone());
            }
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

impl Observer for Listeners {
    fn committed(&self, committed: &Committed) {
        let changes = committed.changes.iter().map(SyncEvent::of_change);
        let conflicts = committed.conflicts.iter().map(SyncEvent::of_conflict);
        let refused = committed.refused.iter().map(|(key, rejection)| SyncEvent::Rejected {
            key: key.clone(),
            rejection: rejection.clone(),
        });
        self.tell(changes.chain(conflicts).chain(refused));
    }

    fn event(&self, event: &Event) {
        match event {
            Event::CatchUpStarted(_) => self.catches_up.store(true, Ordering::Relaxed),
            Event::CatchUpDone(_) => self.catches_up.store(false, Ordering::Relaxed),
            _ => {}
        }
        let progress = match event {
            Event::CheckpointMoved { scope, position, head }
                if self.catches_up.load(Ordering::Relaxed) =>
            {
                let (scope, position, head) = (scope.clone(), *position, *head);
                Some(SyncEvent::CatchUpProgress { scope, position, head })
            }
            _ => None,
        };
        self.tell(SyncEvent::of(event).into_iter().chain(progress));
    }

    fn status(&self, status: &DriverStatus) {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        self.statistics.set(Statistics::of(&before, status));
        let began = !self.is_failing(&self.driver.send_replace(status.clone()));
        if began && self.is_failing(status) && status.progress.refused.is_none() {
            self.tell([SyncEvent::Failing(status.failures)]);
        }
    }
}

/// Keeps the status current. It is derived from the driver's status and the storage's state.
pub(crate) async fn follow(
    scope: Scope,
    storage: Arc<dyn Storage>,
    listeners: std::sync::Weak<Listeners>,
) {
    let mut commits = storage.commits();
    let Some(mut driver) = listeners.upgrade().map(|l| l.driver.subscribe()) else { return };
    // Only a handle of the replica keeps its storage open.
    let storage = Arc::downgrade(&storage);
    loop {
        let Some(held) = storage.upgrade() else { return };
        let state = held.state().await;
        drop(held);
        let Some(held) = listeners.upgrade() else { return };
        let status = match state {
            Ok(state) => {
                let driver = driver.borrow_and_update();
                let is_failing = held.is_failing(&driver);
                Some(Status::of(&driver, state.outbox(&scope), held.direction, is_failing))
            }
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                tracing::warn!(error = %error.report(), "the status cannot be read");
                // A temporary error is not shown: the next commit reads again.
                let is_for_good = !error.is_retryable();
                is_for_good.then(|| held.status.borrow().clone().with_broken_storage(error))
            }
        };
        if let Some(status) = status {
            held.status.set(status);
        }
        drop(held);
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            changed = driver.changed() => if changed.is_err() { return },
        }
    }
}
