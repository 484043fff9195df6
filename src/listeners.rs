//! Who is told of what the sync does.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::driver::{DriverStatus, Observer};
use sync_core::engine::{Direction, Event};
use sync_core::error::ErrorKind;
use sync_core::model::Scope;
use sync_core::replica::Committed;
use sync_core::storage::Storage;
use tokio::sync::{broadcast, watch};

use crate::{Statistics, Status};

/// Who is told of what the driver does.
pub(crate) struct Listeners {
    direction: Direction,
    pub(crate) driver: watch::Sender<DriverStatus>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) statistics: watch::Sender<Statistics>,
    /// What the drivers before this one did.
    pub(crate) before: Mutex<Statistics>,
    pub(crate) events: broadcast::Sender<Event>,
    /// Failures in a row.
    pub(crate) failures: AtomicU32,
}

/// Events that wait for a slow listener before the oldest is dropped.
const EVENTS: usize = 1_024;

impl Listeners {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            driver: watch::Sender::new(DriverStatus::default()),
            status: watch::Sender::new(Status { direction, ..Status::default() }),
            statistics: watch::Sender::new(Statistics::default()),
            before: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            failures: AtomicU32::new(0),
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

impl Observer for Listeners {
    fn committed(&self, _: &Committed) {}

    fn event(&self, event: &Event) {
        match event {
            Event::Disconnected(_) | Event::Stalled(..) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            Event::CheckpointMoved { .. } | Event::InSync => {
                self.failures.store(0, Ordering::Relaxed)
            }
            _ => {}
        }
        // Nobody may be listening.
        let _ = self.events.send(event.clone());
    }

    fn status(&self, status: &DriverStatus) {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        self.statistics.send_replace(Statistics::of(&before, status));
        self.driver.send_replace(status.clone());
    }
}

/// Keeps the status up to date: it is made of what the driver says and of what the storage holds.
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
        match state {
            Ok(state) => {
                let status =
                    Status::of(&driver.borrow_and_update(), state.outbox(&scope), held.direction);
                held.status.send_if_modified(|old| {
                    let changed = !old.shows_the_same(&status);
                    if changed {
                        *old = status;
                    }
                    changed
                });
            }
            Err(error) if error.kind() == ErrorKind::Closed => return,
            // The next commit looks again.
            Err(error) => tracing::warn!(%error, "the status cannot be read"),
        }
        drop(held);
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            changed = driver.changed() => if changed.is_err() { return },
        }
    }
}
