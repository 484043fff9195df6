//! Why a document is or is not synced.

use std::time::SystemTime;

use serde::Serialize;
use sync_core::error::{ErrorKind, Result};
use sync_core::model::{Collection as Name, Stamp};
use sync_core::replica::{Failed, Unsettled, UnsettledEntry};

use crate::document::time_of;
use crate::{QuarantinedEdit, Replica, WaitingConflict, unix_millis};

/// Why a document is or is not synced: created by [`Replica::sync_state`].
///
/// Serialized, it is its [name](Self::as_str) and its content, with times as milliseconds since
/// 1970: `{"state":"pending","detail":{"since":…,"attempts":0,…}}`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncState {
    /// Its collection never leaves this device: see
    /// [`ReplicaBuilder::local_only`](crate::ReplicaBuilder::local_only).
    LocalOnly,
    /// It has no unsettled edit.
    Synced,
    /// Its edit waits for a batch.
    Pending(WaitingEdit),
    /// Its edit waits, because the replica does not sync its collection: see
    /// [`ReplicaBuilder::collections`](crate::ReplicaBuilder::collections).
    NotChosen(WaitingEdit),
    /// Its edit is in the batch that is being pushed.
    InFlight(WaitingEdit),
    /// Its conflict waits for the app.
    Conflict(Box<WaitingConflict>),
    /// Its newest edits were refused by the server; the oldest first.
    Quarantined(Vec<QuarantinedEdit>),
}

impl SyncState {
    /// Returns its name: `local_only`, `synced`, `pending`, `not_chosen`, `in_flight`, `conflict`
    /// or `quarantined`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::LocalOnly => "local_only",
            Self::Synced => "synced",
            Self::Pending(_) => "pending",
            Self::NotChosen(_) => "not_chosen",
            Self::InFlight(_) => "in_flight",
            Self::Conflict(_) => "conflict",
            Self::Quarantined(_) => "quarantined",
        }
    }
}

/// An edit that the server has not settled, and the failed attempts to sync.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WaitingEdit {
    /// When it was written.
    #[serde(serialize_with = "unix_millis::time")]
    pub since: SystemTime,
    /// How often its batch was read for a push; 0 while it is in none.
    pub attempts: u32,
    /// How many attempts to sync failed since the last settled push, or since everything was last
    /// in sync. Failures with other causes than this edit count, too, such as a missing network.
    pub failures: u64,
    /// The last of them, at most four, the oldest first.
    pub errors: Vec<FailedAttempt>,
}

/// An attempt to sync that failed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The message, at most 512 bytes.
    pub message: String,
    /// When it failed, by this machine's clock.
    #[serde(serialize_with = "unix_millis::time")]
    pub at: SystemTime,
    /// When the next attempt is planned; none if no retry can succeed before the cause is removed.
    /// A time long past means that no process runs the sync.
    #[serde(serialize_with = "unix_millis::maybe")]
    pub retry_at: Option<SystemTime>,
}

impl FailedAttempt {
    fn of(failed: Failed) -> Self {
        let time = |millis| time_of(Stamp::new(millis, 0));
        let (at, retry_at) = (time(failed.at.0), failed.retry_at.map(|at| time(at.0)));
        Self { kind: failed.kind, message: failed.message, at, retry_at }
    }
}

impl Replica {
    /// Returns why a document is or is not synced.
    ///
    /// All of it is read from the storage, where the engine records its attempts: the result is the
    /// same in a process that syncs, in another one, and when none syncs. It survives a crash of
    /// the process; a power failure may lose the last failures. The state of the sync as a whole in
    /// this process is in [`status`](Self::status).
    ///
    /// For a document that was edited again after a refused edit, the result is about the newest
    /// edit.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # use twotide::SyncState;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// replica.collection("counts")?.put("visits", &1).await?;
    /// match replica.sync_state("counts", "visits").await? {
    ///     SyncState::Pending(edit) => assert_eq!((edit.attempts, edit.errors.len()), (0, 0)),
    ///     other => unreachable!("{other:?}"),
    /// }
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a bad name; else as the storage.
    pub async fn sync_state(
        &self,
        collection: impl AsRef<str>,
        id: impl AsRef<str>,
    ) -> Result<SyncState> {
        let key = self.key(collection, id)?;
        if key.scope.is_local() {
            return Ok(SyncState::LocalOnly);
        }
        let entries = self.storage().unsettled_of(key).await?;
        let mut refused = Vec::new();
        for (which, entry) in entries {
            match which {
                Unsettled::Pending => {
                    let is_synced = self.syncs(&entry.key.collection).await?;
                    let edit = self.waiting(&entry).await?;
                    let state = if is_synced { SyncState::Pending } else { SyncState::NotChosen };
                    return Ok(state(edit));
                }
                Unsettled::InFlight => {
                    return Ok(SyncState::InFlight(self.waiting(&entry).await?));
                }
                Unsettled::Deferred => {
                    return Ok(SyncState::Conflict(Box::new(WaitingConflict::of(entry))));
                }
                Unsettled::Quarantine => refused.extend(QuarantinedEdit::of(entry)),
            }
        }
        Ok(if refused.is_empty() { SyncState::Synced } else { SyncState::Quarantined(refused) })
    }

    /// Returns whether a collection is synced, by this replica or else by the last sync.
    async fn syncs(&self, collection: &Name) -> Result<bool> {
        match self.chosen() {
            Some(chosen) => Ok(chosen.contains(collection)),
            None => Ok(self.state().await?.checkpoint(self.scope()).includes(collection)),
        }
    }

    async fn waiting(&self, entry: &UnsettledEntry) -> Result<WaitingEdit> {
        let state = self.storage().state().await?;
        let failures = state.scope(self.scope()).map(|s| s.failures.clone()).unwrap_or_default();
        Ok(WaitingEdit {
            since: time_of(entry.local.author.stamp),
            attempts: entry.attempts,
            failures: failures.count,
            errors: failures.last.into_iter().map(FailedAttempt::of).collect(),
        })
    }
}
