//! Opening a replica.

mod link;
mod open;
mod resolving;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sync_core::driver::{DriverOptions, TokenProvider};
use sync_core::engine::Direction;
use sync_core::environment::{Environment, System};
use sync_core::error::{Error, Result};
use sync_core::model::{Body, Collection, Scope};
use sync_core::storage::Storage;
use sync_core::transport::Transport;

#[cfg(doc)]
use crate::Replica;
use crate::versions::{AllVersions, Versions};
use crate::{ReplicaConfig, Status, StorageUrl};
use resolving::Resolving;

/// Opens a [`Replica`]: created by [`Replica::builder`].
///
/// It is a [`ReplicaConfig`] and the options that cannot be expressed as data. The defaults of all
/// options are documented there.
#[must_use = "nothing is opened before `open`"]
pub struct ReplicaBuilder {
    config: ReplicaConfig,
    /// The error of each option whose text is invalid; `open` returns it.
    bad: BTreeMap<&'static str, Error>,
    storage: Option<Arc<dyn Storage>>,
    #[cfg(feature = "sqlite")]
    sqlite: Option<storage_sqlite::SqliteConfig>,
    transport: Option<Arc<dyn Transport>>,
    resolving: Resolving,
    versions: BTreeMap<Collection, Versions>,
    token_provider: Option<Arc<dyn TokenProvider>>,
    environment: Arc<dyn Environment>,
    holder: String,
    #[cfg(any(feature = "ws", feature = "http"))]
    trust: transport_kit::tls::Trust,
}

/// The parts of an opened replica.
pub(crate) struct Made {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) options: DriverOptions,
    pub(crate) local_only: BTreeSet<Collection>,
    pub(crate) allowed_collections: Option<BTreeSet<Collection>>,
    pub(crate) versions: AllVersions,
    pub(crate) max_failures: u32,
    pub(crate) status: Status,
}

fn names(given: impl IntoIterator<Item: AsRef<str>>) -> Result<BTreeSet<Collection>> {
    given.into_iter().map(Collection::new).collect()
}

impl fmt::Debug for ReplicaBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ReplicaBuilder {
    pub(crate) fn new() -> Self {
        Self {
            config: ReplicaConfig::default(),
            bad: BTreeMap::new(),
            storage: None,
            #[cfg(feature = "sqlite")]
            sqlite: None,
            transport: None,
            resolving: Resolving::default(),
            versions: BTreeMap::new(),
            token_provider: None,
            environment: Arc::new(System),
            holder: format!("process {}", std::process::id()),
            #[cfg(any(feature = "ws", feature = "http"))]
            trust: transport_kit::tls::Trust::default(),
        }
    }

    /// Sets all options from this config; later calls override them. A storage and a transport that
    /// were set before stay if the config names none, and so do resolvers of [one
    /// collection](Self::resolver_for). The config's resolver is used for all other collections.
    pub fn config(mut self, config: ReplicaConfig) -> Self {
        if config.storage.is_some() {
            self.forget_storage();
        }
        if config.server.is_some() {
            self.transport = None;
        }
        self.resolving.forget_default();
        for option in ["storage", "scope", "collections", "local_only", "allowed_collections"] {
            self.bad.remove(option);
        }
        self.config = config;
        self
    }

    /// Returns the options set so far, as data; a value such as a [storage](Self::storage) is not
    /// included.
    #[must_use]
    pub fn options(&self) -> &ReplicaConfig {
        &self.config
    }

    /// Sets the storage of the replica.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.forget_storage();
        self.storage = Some(storage);
        self
    }

    /// Stores the replica in this SQLite file, which is created if it does not exist.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(self, path: impl Into<std::path::PathBuf>) -> Self {
        self.storage_at(StorageUrl::sqlite(path))
    }

    /// Stores the replica in a SQLite file, with these settings.
    ///
    /// ```
    /// use twotide::Replica;
    /// use twotide::sqlite::SqliteConfig;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("notes.db");
    /// let mut config = SqliteConfig::new(path);
    /// config.cache_kib = 512;
    /// let replica = Replica::builder().sqlite_with(config).open().await?;
    /// # replica.close().await
    /// # }
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn sqlite_with(self, config: storage_sqlite::SqliteConfig) -> Self {
        let mut builder = self.storage_at(StorageUrl::sqlite(&config.path));
        builder.sqlite = Some(config);
        builder
    }

    /// Discards the storage that was set, so that a later option decides.
    fn forget_storage(&mut self) {
        self.storage = None;
        #[cfg(feature = "sqlite")]
        {
            self.sqlite = None;
        }
        self.bad.remove("storage");
    }

    /// Stores the replica in this folder of sled, which is created if it does not exist.
    #[cfg(feature = "sled")]
    pub fn sled(self, path: impl Into<std::path::PathBuf>) -> Self {
        self.storage_at(StorageUrl::sled(path))
    }

    /// Keeps the replica in memory, until it is closed.
    pub fn memory(self) -> Self {
        self.storage_at(StorageUrl::memory())
    }

    /// Sets the storage of the replica by its address.
    pub fn storage_at(mut self, url: StorageUrl) -> Self {
        self.forget_storage();
        self.config.storage = Some(url);
        self
    }

    /// Sets the storage of the replica by the text of a [`StorageUrl`], such as `sqlite:notes.db`.
    /// [`open`](Self::open) returns the error for an invalid text.
    pub fn storage_url(mut self, url: impl AsRef<str>) -> Self {
        match self.checked("storage", url.as_ref().parse()) {
            Some(url) => self.storage_at(url),
            None => self,
        }
    }

    /// Sets the scope that is synced. `default` by default. [`open`](Self::open) returns the error
    /// for an invalid name.
    pub fn scope(mut self, scope: impl AsRef<str>) -> Self {
        self.bad.remove("scope");
        if let Some(scope) = self.checked("scope", Scope::new(scope)) {
            self.config.scope = scope;
        }
        self
    }

    /// Syncs only these collections of the scope. All by default.
    ///
    /// The others are not pulled, and edits that are written to them wait in the outbox, where
    /// [`OutboxCounts::not_chosen`](sync_core::replica::OutboxCounts::not_chosen) counts them and
    /// [`Replica::sync_state`] reports them, until the replica is opened with them. A transaction
    /// holds documents of collections that are synced or of others, not both.
    ///
    /// The choice takes effect with the next sync. A collection that is added is pulled from its
    /// beginning; after a change from some collections to all, everything is pulled again. One that
    /// is left out is removed from this device, and edits that were not synced go to the
    /// [quarantine](Replica::quarantine), from where [`retry`](crate::Quarantine::retry) writes
    /// them again. Documents that are removed here are not deleted elsewhere.
    ///
    /// A replica that has chosen compares no digests with the server. [`open`](Self::open) returns
    /// the error for an invalid name.
    ///
    /// ```
    /// use twotide::Replica;
    /// let builder = Replica::builder().memory().collections(["notes", "tags"]);
    /// assert_eq!(builder.options().collections.as_ref().map(|c| c.len()), Some(2));
    /// ```
    pub fn collections(mut self, collections: impl IntoIterator<Item: AsRef<str>>) -> Self {
        self.bad.remove("collections");
        if let Some(names) = self.checked("collections", names(collections)) {
            self.config.collections = Some(names);
        }
        self
    }

    /// Declares collections that never leave this device; all others are synced. Documents of a
    /// local-only collection are written, read and watched like others, and are in the change feed.
    /// They are never pushed or pulled, and no reset touches them; one that is deleted leaves no
    /// tombstone. What other devices sync in a collection of that name is not applied here.
    ///
    /// A transaction holds documents of local-only collections or of synced ones, not both.
    ///
    /// The declaration is stored: without this call it stays as it was. [`open`](Self::open)
    /// returns an error for a declaration that would change the meaning of existing documents:
    /// synced documents or edits in a collection that becomes local-only, and local documents in
    /// one that does not stay so. So nothing that was meant for this device is sent, and nothing is
    /// lost. [`open`](Self::open) returns the error for an invalid name, too.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().local_only(["drafts"]).open().await?;
    /// let drafts = replica.collection::<String>("drafts")?;
    /// let draft = drafts.insert(&"Dear".to_owned()).await?;
    /// assert_eq!(replica.sync_state("drafts", draft.id()).await?.as_str(), "local_only");
    /// # replica.close().await
    /// # }
    /// ```
    pub fn local_only(mut self, collections: impl IntoIterator<Item: AsRef<str>>) -> Self {
        self.bad.remove("local_only");
        if let Some(names) = self.checked("local_only", names(collections)) {
            self.config.local_only = Some(names);
        }
        self
    }

    /// Sets the collections that the app uses, in addition to those that were named as
    /// [synced](Self::collections) or [local-only](Self::local_only). Any other name is then
    /// refused when a collection is opened, so that a misspelt name does not create a new
    /// collection. By default every name is allowed.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().allowed_collections(["notes"]).open().await?;
    /// replica.collection::<String>("notes")?;
    /// assert_eq!(replica.collection::<String>("note").unwrap_err().kind(), ErrorKind::InvalidInput);
    /// # replica.close().await
    /// # }
    /// ```
    pub fn allowed_collections(mut self, collections: impl IntoIterator<Item: AsRef<str>>) -> Self {
        self.bad.remove("allowed_collections");
        if let Some(names) = self.checked("allowed_collections", names(collections)) {
            self.config.allowed_collections = Some(names);
        }
        self
    }

    /// Declares the version of a collection's type, for a type that has changed over time.
    ///
    /// Documents carry it in the field `_version`. Those of an older version (0 if they carry none)
    /// are upgraded whenever they are read, by any handle and from any source: the file, the
    /// replica's outbox, other replicas. They are stored in the new version when the app writes
    /// them the next time. The closure receives the old version and the body, and returns a body of
    /// the current version.
    ///
    /// Values must be JSON objects. A document of a newer version is `Incompatible`.
    /// [`Replica::raw`] reads and writes bodies as stored. Resolvers and the conflict inbox also
    /// receive bodies as stored; [`Collection::decode`](crate::Collection::decode) reads them and
    /// [`encode`](crate::Collection::encode) makes them.
    ///
    /// [`open`](Self::open) returns the error for an invalid name.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use twotide::prelude::*;
    ///
    /// #[derive(Deserialize)]
    /// struct OldNote { text: String }
    /// #[derive(Serialize, Deserialize)]
    /// struct Note { title: String, lines: Vec<String> }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let upgrade = |_version: u32, body: &Body| {
    ///     let OldNote { text } = body.to()?;
    ///     Body::from_value(&Note { title: String::new(), lines: vec![text] })
    /// };
    /// let replica = Replica::builder().memory().versioned("notes", 1, upgrade).open().await?;
    /// replica.raw("notes")?.put("n", &Body::parse(r#"{"text":"buy milk"}"#)?).await?;
    /// let note = replica.collection::<Note>("notes")?.get("n").await?.unwrap();
    /// assert_eq!(note.value().lines, ["buy milk"]);
    /// # replica.close().await
    /// # }
    /// ```
    pub fn versioned(
        mut self,
        collection: impl AsRef<str>,
        version: u32,
        upgrade: impl Fn(u32, &Body) -> Result<Body> + Send + Sync + 'static,
    ) -> Self {
        if let Some(collection) = self.checked("versioned", Collection::new(collection)) {
            self.versions.insert(collection, Versions::new(version, upgrade));
        }
        self
    }

    /// Sets the direction of the sync. Both by default.
    ///
    /// A replica that only pulls still accepts local edits: they stay in the outbox, where
    /// [`Status::outbox`](crate::Status::outbox) counts them, until it is opened with a direction
    /// that pushes. It is in sync when everything up to the head is applied. A replica that only
    /// pushes is in sync when nothing waits to be pushed, and receives other replicas' edits only
    /// where they are in conflict with its own.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.config.direction = direction;
        self
    }

    /// Sets the version of the app's own schema, which is sent to the server. 0 by default.
    pub fn schema(mut self, version: u32) -> Self {
        self.config.schema = version;
        self
    }

    /// Sets whether data whose access was revoked stays on this device. If not, and the server's
    /// greeting reports that a scope may not be read, the data that was pulled of it is removed,
    /// edits that were not synced go to the quarantine, and
    /// [`Event::ScopeGone`](sync_core::engine::Event::ScopeGone) reports it. Set it where one
    /// device is shared by several tokens with different access. Not by default.
    pub fn keep_revoked(mut self, yes: bool) -> Self {
        self.config.keep_revoked = yes;
        self
    }

    /// Sets the display name of this process as the holder of the replica's engine, which is part
    /// of the error that another process gets while this one holds it. The process id by default.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = holder.into();
        self
    }

    /// Sets the source of time and randomness. The operating system by default.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Sets whether the replica [starts](Replica::start) at once. Not by default.
    pub fn auto_start(mut self, yes: bool) -> Self {
        self.config.auto_start = yes;
        self
    }
}
