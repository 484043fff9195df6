//! The replica: the type through which an app reads, writes and syncs.

mod syncing;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::driver::{Driver, DriverOptions};
use sync_core::engine::Direction;
use sync_core::environment::Environment;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Body, Collection as Name, LocalSeq, Scope};
use sync_core::replica::{Committed, LocalTransaction, ReplicaState};
use sync_core::storage::Storage;
use sync_core::transport::Transport;
use tokio::sync::Mutex;

use crate::builder::Made;
use crate::listeners::{Listeners, follow};
use crate::versions::AllVersions;
use crate::{Changes, Collection, ReplicaBuilder, Transaction};

/// One copy of the data on one device. Cheap to clone.
///
/// Writes are local and immediate; they are pushed while the replica is [started](Self::start), or
/// by [`sync_now`](Self::sync_now).
#[derive(Clone)]
pub struct Replica(Arc<Inner>);

struct Inner {
    storage: Arc<dyn Storage>,
    transport: Option<Arc<dyn Transport>>,
    environment: Arc<dyn Environment>,
    options: DriverOptions,
    /// The collections that were declared local-only when this was opened.
    local_only: BTreeSet<Name>,
    /// The collections that the app allows, if it named them.
    allowed: Option<BTreeSet<Name>>,
    /// The versions of collections' types.
    versions: AllVersions,
    direction: Direction,
    /// The token that the next driver begins with.
    token: std::sync::Mutex<Option<String>>,
    driver: Mutex<Option<Running>>,
    /// One-shot syncs take turns.
    turn: Mutex<()>,
    listeners: Arc<Listeners>,
}

struct Running {
    driver: Driver,
    /// Whether it runs until it is stopped.
    stays: bool,
    /// The number of runs: reports of an earlier run are stale.
    runs: u64,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("scope", self.scope()).finish_non_exhaustive()
    }
}

impl Replica {
    /// Returns a builder that opens a replica.
    pub fn builder() -> ReplicaBuilder {
        ReplicaBuilder::new()
    }

    pub(crate) fn new(made: Made) -> Self {
        let Made {
            storage,
            transport,
            environment,
            mut options,
            local_only,
            allowed_collections: allowed,
            versions,
            max_failures,
            status,
        } = made;
        let direction = status.direction;
        let listeners = Arc::new(Listeners::new(status, max_failures));
        let scope = options.scopes[0].clone();
        tokio::spawn(follow(scope, Arc::clone(&storage), Arc::downgrade(&listeners)));
        let token = options.token.take().into();
        let (driver, turn) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner {
            storage,
            transport,
            environment,
            options,
            local_only,
            allowed,
            versions,
            direction,
            token,
            driver,
            turn,
            listeners,
        }))
    }

    /// Returns the scope that it syncs.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        // The builder names exactly one.
        &self.0.options.scopes[0]
    }

    /// Returns the direction of the sync.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.0.direction
    }

    /// Returns the storage that it uses.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.0.storage
    }

    pub(crate) fn environment(&self) -> &dyn Environment {
        &*self.0.environment
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.0.listeners
    }

    pub(crate) async fn write(&self, transaction: LocalTransaction) -> Result<Committed> {
        self.0.storage.write(self.0.environment.now(), transaction).await
    }

    /// Returns a collection of documents of type `T`.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name, and for one that is not
    /// [allowed](crate::ReplicaBuilder::allowed_collections).
    pub fn collection<T: Serialize + DeserializeOwned>(
        &self,
        name: impl AsRef<str>,
    ) -> Result<Collection<T>> {
        let name = Name::new(name)?;
        self.check_allowed(&name)?;
        let versions = self.0.versions.of(&name).cloned();
        Ok(Collection::new(self.clone(), self.scope_of(&name), name, versions))
    }

    pub(crate) fn versions(&self) -> &AllVersions {
        &self.0.versions
    }

    fn check_allowed(&self, name: &Name) -> Result<()> {
        let Some(allowed) = &self.0.allowed else { return Ok(()) };
        let named = [Some(allowed), Some(&self.0.local_only), self.chosen()];
        let named: BTreeSet<&Name> = named.into_iter().flatten().flatten().collect();
        if named.contains(name) {
            return Ok(());
        }
        let names = named.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the collection `{name}` is not known here: there are {names}; name it in `allowed_collections` if it is meant"
            ),
        ))
    }

    /// Returns the collections that it syncs, if it was opened with some.
    pub(crate) fn chosen(&self) -> Option<&BTreeSet<Name>> {
        self.0.options.collections.as_ref()
    }

    /// Returns where the documents of a collection live.
    pub(crate) fn scope_of(&self, collection: &Name) -> Scope {
        match self.0.local_only.contains(collection) {
            true => Scope::local(),
            false => self.scope().clone(),
        }
    }

    /// Returns a collection of raw JSON, kept byte for byte: bodies are read as stored, also where
    /// the type of the collection has [versions](ReplicaBuilder::versioned). A body that is written
    /// through it must then name its version itself.
    ///
    /// # Errors
    /// As [`Self::collection`].
    pub fn raw(&self, name: impl AsRef<str>) -> Result<Collection<Body>> {
        let name = Name::new(name)?;
        self.check_allowed(&name)?;
        Ok(Collection::new(self.clone(), self.scope_of(&name), name, None))
    }

    /// Begins a transaction over several documents.
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// Returns the changes from now on.
    ///
    /// # Errors
    /// As the storage.
    pub async fn changes(&self) -> Result<Changes> {
        Changes::from_now(Arc::clone(&self.0.storage), self.0.versions.clone()).await
    }

    /// Returns the changes after a place in the feed:
    /// [`Change::local_seq`](crate::Change::local_seq).
    #[must_use]
    pub fn changes_after(&self, local_seq: u64) -> Changes {
        Changes::new(Arc::clone(&self.0.storage), self.0.versions.clone(), LocalSeq(local_seq))
    }

    /// Returns the state of the replica: identity, scopes, counts and digests.
    ///
    /// # Errors
    /// As the storage.
    pub async fn state(&self) -> Result<ReplicaState> {
        self.0.storage.state().await
    }

    /// Sets the token, whether the replica is started yet or not. A replica that is connected sends
    /// it to the server at once, without reconnecting; one that was refused connects at once. With
    /// a [provider](ReplicaBuilder::token_provider) the token is used for the open connection, or
    /// if there is none for the next one.
    ///
    /// If the server refuses the token, the connection ends as if connecting was refused: the
    /// status reports it, and nothing is retried until another token is set, or, with a provider,
    /// until the provider was called once more. `None`, for no token, takes effect with the next
    /// connection.
    #[doc(alias = "set_auth_token")]
    pub async fn set_token(&self, token: Option<String>) {
        let driver = self.0.driver.lock().await;
        let for_one = driver.is_some() && self.0.options.token_provider.is_some();
        if !for_one {
            self.token().clone_from(&token);
        }
        if let Some(running) = &*driver {
            running.driver.set_token(token);
        }
    }

    fn token(&self) -> MutexGuard<'_, Option<String>> {
        self.0.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes all bytes of [erased](Collection::erase) documents from the storage's files,
    /// including documents that were erased elsewhere. `true` means that no byte sequence of them
    /// is left; `false` that the storage cannot guarantee it, because its files keep old values
    /// until it overwrites them (sled). Closing the replica does the same. It takes as long as
    /// writing all data once, and writes wait meanwhile; if nothing was erased since the last time
    /// it does nothing.
    ///
    /// # Errors
    /// `Busy` if another process uses the file; else as the storage.
    pub async fn purge_erased(&self) -> Result<bool> {
        self.0.storage.purge_erased().await
    }

    /// Stops syncing, finishes the calls under way, and closes the storage.
    ///
    /// # Errors
    /// As the storage.
    pub async fn close(&self) -> Result<()> {
        self.stop().await;
        self.0.listeners.end();
        self.0.storage.close().await
    }
}
