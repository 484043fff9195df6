//! The status and the statistics of a replica.

use std::time::SystemTime;

use serde::Serialize;
use sync_core::clock::Now;
use sync_core::driver::DriverStatus;
use sync_core::engine::{Direction, Phase};
use sync_core::error::Error;
use sync_core::model::Stamp;
use sync_core::replica::OutboxCounts;

use crate::document::time_of;
use crate::{Replica, StatusWatch, unix_millis};

/// The activity of the sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activity {
    /// Nothing is to be done: in sync, or never started.
    #[default]
    Idle,
    /// Something is left to push or pull.
    Syncing,
    /// There is no connection; another attempt follows by itself, and not many failed in a row so
    /// far.
    Offline,
    /// It was refused, or its storage failed permanently, or as many attempts in a row failed as
    /// the option [`max_failures`](crate::ReplicaConfig::max_failures) allows. [`Status::retries`]
    /// is whether another attempt follows by itself.
    Error,
}

impl Activity {
    /// Returns its name: `idle`, `syncing`, `offline` or `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Syncing => "syncing",
            Self::Offline => "offline",
            Self::Error => "error",
        }
    }
}

/// The state of a replica's sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The activity.
    pub activity: Activity,
    /// Documents pulled since the sync was started.
    pub pulled: u64,
    /// Positions of the server's log that are left to pull: at least as many as documents.
    pub remaining: u64,
    /// Counts of unsettled documents.
    pub outbox: OutboxCounts,
    /// The last failure, unless everything is in sync since.
    pub error: Option<Error>,
    /// How many attempts failed in a row: to connect, or to push or pull on a connection that
    /// works.
    pub failures: u32,
    /// Whether it retries by itself: it is started, and was not refused.
    pub retries: bool,
    /// Whether the replica is connected, everything is pulled, and nothing waits to be pushed, as
    /// far as its direction includes it. On a replica that only pulls, edits may wait in the outbox
    /// all the same.
    pub in_sync: bool,
    /// The direction of the sync.
    pub direction: Direction,
}

impl Status {
    /// Returns the status for a driver's, where `is_failing` is whether so many attempts failed in
    /// a row that it is an error.
    pub(crate) fn of(
        driver: &DriverStatus,
        outbox: OutboxCounts,
        direction: Direction,
        is_failing: bool,
    ) -> Self {
        let progress = &driver.progress;
        let waits = direction.pushes() && outbox.pending + outbox.in_flight > 0;
        let in_sync = progress.phase == Phase::InSync && !waits;
        let retries = progress.phase != Phase::Stopped && progress.refused.is_none();
        let activity = match progress.phase {
            _ if progress.refused.is_some() => Activity::Error,
            Phase::Stopped => Activity::Idle,
            _ if is_failing && !in_sync => Activity::Error,
            Phase::Connecting | Phase::Syncing => Activity::Syncing,
            Phase::Offline => Activity::Offline,
            Phase::InSync if waits => Activity::Syncing,
            Phase::InSync => Activity::Idle,
        };
        Self {
            activity,
            pulled: progress.scopes.iter().map(|(_, p)| p.pulled).sum(),
            remaining: progress.scopes.iter().map(|(_, p)| p.remaining()).sum(),
            outbox,
            error: driver.last_error.clone(),
            failures: driver.failures,
            retries,
            in_sync,
            direction,
        }
    }

    /// Marks the storage as failed permanently: nothing is in sync, and no retry can succeed.
    pub(crate) fn with_broken_storage(self, error: Error) -> Self {
        let (activity, error) = (Activity::Error, Some(error));
        Self { activity, error, retries: false, in_sync: false, ..self }
    }
}

/// Statistics of a replica's sync since the replica was opened. Serialized, its time is
/// milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Statistics {
    /// Changes that the server gave a verdict on.
    pub pushed: u64,
    /// Documents pulled.
    pub pulled: u64,
    /// Conflicts that were found.
    pub conflicts: u64,
    /// When everything was in sync last.
    #[serde(serialize_with = "unix_millis::maybe")]
    pub last_sync: Option<SystemTime>,
    /// The last failure, also if everything is in sync since.
    pub last_error: Option<Error>,
}

impl Statistics {
    /// Adds the statistics of one driver to `before`, the sum of earlier ones.
    pub(crate) fn of(before: &Self, driver: &DriverStatus) -> Self {
        let pulled: u64 = driver.progress.scopes.iter().map(|(_, p)| p.pulled).sum();
        let last_sync = driver.last_sync.map(|Now(millis)| time_of(Stamp::new(millis, 0)));
        Self {
            pushed: before.pushed + driver.pushed,
            pulled: before.pulled + pulled,
            conflicts: before.conflicts + driver.conflicts,
            last_sync: last_sync.or(before.last_sync),
            last_error: driver.last_error.clone().or_else(|| before.last_error.clone()),
        }
    }
}

impl Replica {
    /// Returns the status, now and as it changes. [`borrow`](StatusWatch::borrow) needs no `await`;
    /// for a single read use [`status_now`](Self::status_now).
    #[must_use]
    pub fn status(&self) -> StatusWatch {
        self.listeners().status.watch()
    }

    /// Returns the statistics, now and as they change.
    #[must_use]
    pub fn statistics(&self) -> StatusWatch<Statistics> {
        self.listeners().statistics.watch()
    }

    /// Returns the status at this moment, without waiting: for synchronous code such as a user
    /// interface. It is cheap enough for every frame: it reads memory, and neither the storage nor
    /// the network.
    ///
    /// A write that has just returned is counted in the outbox a moment later, when the storage's
    /// state was read.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// fn draw(replica: &Replica) -> String {
    ///     let status = replica.status_now();
    ///     format!("{}, {} unsynced", status.activity.as_str(), status.outbox.pending)
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// assert_eq!(draw(&replica), "idle, 0 unsynced");
    /// # replica.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn status_now(&self) -> Status {
        self.listeners().status.borrow().clone()
    }

    /// Returns the statistics at this moment, without waiting, as [`Self::status_now`].
    #[must_use]
    pub fn statistics_now(&self) -> Statistics {
        self.listeners().statistics.borrow().clone()
    }
}
