//! Opening a replica.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sync_core::driver::{DriverOptions, DriverStatus, TokenProvider};
use sync_core::engine::{Direction, RetryPolicy};
use sync_core::environment::{Environment, System};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Collection, Limits, Scope};
use sync_core::resolver::{ConflictResolver, ResolveOn, Resolvers};
use sync_core::storage::Storage;
use sync_core::transport::Transport;

use crate::dial::dial;
use crate::{Replica, ReplicaConfig, Status, StorageUrl, Strategy};

/// Opens a [`Replica`]: created by [`Replica::builder`].
///
/// It is a [`ReplicaConfig`] and what cannot be expressed as data: the defaults of all options are
/// documented there.
#[must_use = "nothing is opened before `open`"]
pub struct ReplicaBuilder {
    config: ReplicaConfig,
    /// Text that is no value of its option, told when the replica is opened.
    bad_storage: Option<Error>,
    bad_scope: Option<Error>,
    bad_collection: Option<Error>,
    storage: Option<Arc<dyn Storage>>,
    transport: Option<Arc<dyn Transport>>,
    resolvers: Option<Resolvers>,
    token_provider: Option<Arc<dyn TokenProvider>>,
    environment: Arc<dyn Environment>,
    holder: String,
    #[cfg(any(feature = "ws", feature = "http"))]
    trust: transport_kit::tls::Trust,
}

/// What a replica is made of.
pub(crate) struct Made {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) options: DriverOptions,
    pub(crate) local_only: BTreeSet<Collection>,
    pub(crate) known: Option<BTreeSet<Collection>>,
    pub(crate) attempts: u32,
    pub(crate) status: Status,
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
            bad_storage: None,
            bad_scope: None,
            bad_collection: None,
            storage: None,
            transport: None,
            resolvers: None,
            token_provider: None,
            environment: Arc::new(System),
            holder: format!("process {}", std::process::id()),
            #[cfg(any(feature = "ws", feature = "http"))]
            trust: transport_kit::tls::Trust::default(),
        }
    }

    /// Sets all options from this config; later calls override them. A storage and a transport that
    /// were set before stay if the config names none; resolvers that were set before do not.
    pub fn config(mut self, config: ReplicaConfig) -> Self {
        if config.storage.is_some() {
            self.storage = None;
        }
        if config.server.is_some() {
            self.transport = None;
        }
        self.resolvers = None;
        (self.bad_storage, self.bad_scope, self.bad_collection) = (None, None, None);
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
        (self.storage, self.bad_storage) = (Some(storage), None);
        self
    }

    /// Stores the replica in this SQLite file, which is created if it does not exist.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(self, path: impl Into<std::path::PathBuf>) -> Self {
        self.storage_at(StorageUrl::sqlite(path))
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
        (self.storage, self.bad_storage) = (None, None);
        self.config.storage = Some(url);
        self
    }

    /// Sets the storage of the replica by the text of a [`StorageUrl`], such as `sqlite:notes.db`.
    /// [`open`](Self::open) returns the error for an invalid text.
    pub fn storage_url(mut self, url: impl AsRef<str>) -> Self {
        match url.as_ref().parse() {
            Ok(url) => return self.storage_at(url),
            Err(error) => self.bad_storage = Some(error),
        }
        self
    }

    /// Sets the transport.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the server's address: `ws://host:port` or `wss://host:port`, `http://host:port` or
    /// `https://host:port`, among those that were compiled in.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.transport = None;
        self.config.server = Some(url.into());
        self
    }

    /// Sets the token to authenticate with. None by default. With a
    /// [provider](Self::token_provider) it is used for the first connection only.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(token.into());
        self
    }

    /// Sets the provider that is called for a token before every connection, and once more when the
    /// server refuses the token. See [`TokenProvider`] for what happens when that one is refused
    /// too, and [`tokens_from`](sync_core::driver::tokens_from) for closures.
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.token_provider = Some(Arc::new(provider));
        self
    }

    /// Sets the scope that is synced. `default` by default. [`open`](Self::open) returns the error
    /// for an invalid name.
    pub fn scope(mut self, scope: impl AsRef<str>) -> Self {
        match Scope::new(scope) {
            Ok(scope) => (self.config.scope, self.bad_scope) = (scope, None),
            Err(error) => self.bad_scope = Some(error),
        }
        self
    }

    /// Syncs only these collections of the scope. All by default.
    ///
    /// The others are not pulled, and edits that are written to them wait in the outbox, where
    /// [`OutboxCounts::not_chosen`](sync_core::replica::OutboxCounts::not_chosen) counts them and
    /// [`Replica::sync_state`] says so, until the replica is opened with them. A transaction holds
    /// documents of collections that are synced or of others, not both.
    ///
    /// The choice takes effect when the replica syncs the next time. A collection that is added is
    /// pulled from its beginning by itself, beside the others; from some to all, everything is. One
    /// that is left out leaves this device: its documents are removed, and edits that were not
    /// synced go to the [quarantine](Replica::quarantine), from where
    /// [`retry`](crate::Quarantine::retry) writes them again. Documents that are removed are not
    /// deleted elsewhere.
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
        match collections.into_iter().map(Collection::new).collect() {
            Ok(names) => (self.config.collections, self.bad_collection) = (Some(names), None),
            Err(error) => self.bad_collection = Some(error),
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
    /// The declaration is kept in the storage: without this call it stays as it was.
    /// [`open`](Self::open) refuses another one as long as it would change the meaning of existing
    /// documents: synced documents or edits in a collection that becomes local-only, and local
    /// documents in one that does not stay so. So nothing that was meant for this device is sent,
    /// and nothing is lost. [`open`](Self::open) returns the error for an invalid name, too.
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
        match collections.into_iter().map(Collection::new).collect() {
            Ok(names) => (self.config.local_only, self.bad_collection) = (Some(names), None),
            Err(error) => self.bad_collection = Some(error),
        }
        self
    }

    /// Sets the collections that the app knows, beside those that were named as
    /// [synced](Self::collections) or [local-only](Self::local_only). Any other name is then
    /// refused when a collection is opened: a misspelt name does not become a collection of its
    /// own. By default every name is a collection.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> twotide::Result<()> {
    /// let replica = Replica::builder().memory().known(["notes"]).open().await?;
    /// replica.collection::<String>("notes")?;
    /// assert_eq!(replica.collection::<String>("note").unwrap_err().kind(), ErrorKind::InvalidInput);
    /// # replica.close().await
    /// # }
    /// ```
    pub fn known(mut self, collections: impl IntoIterator<Item: AsRef<str>>) -> Self {
        match collections.into_iter().map(Collection::new).collect() {
            Ok(names) => (self.config.known, self.bad_collection) = (Some(names), None),
            Err(error) => self.bad_collection = Some(error),
        }
        self
    }

    /// Sets the direction of the sync. Both by default.
    ///
    /// A replica that only pulls still takes local edits: they stay in the outbox, where
    /// [`Status::outbox`](crate::Status::outbox) counts them, until it is opened with a direction
    /// that pushes. It is in sync when everything up to the head is here. A replica that only
    /// pushes is in sync when nothing waits to be pushed, and learns what others wrote only where
    /// that meets its own edits.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.config.direction = direction;
        self
    }

    /// Sets the resolver that decides conflicts. The last write wins by default.
    pub fn resolver(mut self, resolver: impl ConflictResolver) -> Self {
        self.resolvers = Some(Resolvers::new(resolver));
        self
    }

    /// Sets the resolver that decides conflicts, by name.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.resolver = strategy;
        self.resolvers = None;
        self
    }

    /// Sets the resolver that decides the conflicts of one collection, and the side on which it
    /// runs. Call it after [`Self::resolver`] and [`Self::strategy`].
    pub fn resolver_for(
        mut self,
        collection: Collection,
        resolver: Arc<dyn ConflictResolver>,
        on: ResolveOn,
    ) -> Self {
        let so_far = self.resolvers.unwrap_or_else(|| self.config.resolver.resolvers());
        self.resolvers = Some(so_far.with(collection, resolver, on));
        self
    }

    /// Sets how failures are retried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.config.retry = retry;
        self
    }

    /// Sets after how many failures in a row [`Replica::sync_now`], [`push`](Replica::push) and
    /// [`pull`](Replica::pull) give up, and a [started](Replica::start) replica reports
    /// [`Activity::Error`](crate::Activity::Error). 5 by default. A started replica continues to
    /// retry all the same, unless [retries](RetryPolicy::enabled) are turned off.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.config.attempts = attempts.max(1);
        self
    }

    /// Sets the most that a chunk may hold. 1,000 documents and 4 MiB by default.
    pub fn chunk_limits(mut self, limits: Limits) -> Self {
        (self.config.chunk_documents, self.config.chunk_bytes) = (limits.documents, limits.bytes);
        self
    }

    /// Sets the most that a push batch may hold; the server's limits are kept as well. 1,000
    /// documents and 4 MiB by default.
    pub fn push_limits(mut self, limits: Limits) -> Self {
        (self.config.batch_documents, self.config.batch_bytes) = (limits.documents, limits.bytes);
        self
    }

    /// Sets how many chunks may wait while one is applied, and how many bytes they may have
    /// together. Two and 16 MiB by default.
    pub fn pipeline(mut self, depth: usize, bytes: usize) -> Self {
        self.config.pipeline_depth = depth;
        self.config.pipeline_bytes = bytes;
        self
    }

    /// Sets how long connecting, and one request, may take. 15 s and 60 s by default.
    pub fn timeouts(mut self, connect: Duration, request: Duration) -> Self {
        self.config.connect_timeout = connect;
        self.config.request_timeout = request;
        self
    }

    /// Sets whether compression is offered to a server that is set by its address: a fourth of the
    /// bytes for typical documents, at some cost of time, which pays on slow links. Not by default.
    pub fn compression(mut self, yes: bool) -> Self {
        self.config.compression = yes;
        self
    }

    /// Sets which certificates are trusted for a server at a `wss://` or `https://` address. The
    /// authorities of the web by default.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub fn trust(mut self, trust: transport_kit::tls::Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets how changes are followed over HTTP. By server-sent events by default, and by a fallback
    /// where those do not get through.
    #[cfg(feature = "http")]
    pub fn live_by(mut self, live_by: transport_http::LiveBy) -> Self {
        self.config.live_by = live_by;
        self
    }

    /// Sets how often a server is polled over HTTP where nothing better works. 5 s by default.
    #[cfg(feature = "http")]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll_interval = interval;
        self
    }

    /// Sets the proxy of HTTP. The system's by default, and none to a server on this machine.
    #[cfg(feature = "http")]
    pub fn proxy(mut self, proxy: transport_http::ProxyBy) -> Self {
        self.config.proxy = proxy;
        self
    }

    /// Sets the version of the app's own schema, which is sent to the server. 0 by default.
    pub fn schema(mut self, version: u32) -> Self {
        self.config.schema = version;
        self
    }

    /// Sets whether data stays on this device that its user may not see any more. If not, and the
    /// server's greeting says that a scope may not be seen, what was pulled of it leaves the
    /// device, edits that were not synced go to the quarantine, and
    /// [`Event::ScopeGone`](sync_core::engine::Event::ScopeGone) reports it. Set it where one
    /// device is shared by several tokens that may see different things. Not by default.
    pub fn keep_revoked(mut self, yes: bool) -> Self {
        self.config.keep_revoked = yes;
        self
    }

    /// Sets the display name of this process as the holder of the replica's engine: the error that
    /// another process gets when it wants the engine contains it. The process id by default.
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

    /// Opens the replica.
    ///
    /// # Errors
    /// `InvalidInput` without a storage, for a bad scope, collection or address, for an option that
    /// [cannot work](ReplicaConfig::check), and for [local-only collections](Self::local_only) that
    /// cannot become so; `Incompatible` for a file that is not a replica's or from a newer version;
    /// else as the storage.
    pub async fn open(self) -> Result<Replica> {
        if let Some(error) = self.bad_storage.or(self.bad_scope).or(self.bad_collection) {
            return Err(error);
        }
        let config = self.config;
        config.check()?;
        let transport = match (self.transport, &config.server) {
            (Some(given), _) => Some(given),
            (None, Some(url)) => {
                #[allow(unused_mut, reason = "without transports there is nobody to trust")]
                let mut options = config.dial_options();
                #[cfg(any(feature = "ws", feature = "http"))]
                {
                    options.trust = self.trust;
                }
                Some(dial(url, &options)?)
            }
            (None, None) => None,
        };
        let is_given = self.storage.is_some();
        let storage = match (self.storage, &config.storage) {
            (Some(given), _) => given,
            (None, Some(url)) => url.open_replica(self.environment.replica_id()).await?,
            (None, None) => {
                let message = "a replica needs a storage, such as `sqlite:notes.db`";
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let mut options = config.driver_options();
        options.holder = self.holder;
        options.resolvers = self.resolvers.unwrap_or_else(|| config.resolver.resolvers());
        options.token_provider = self.token_provider;
        let opened = Arc::clone(&storage);
        let made = async {
            if let Some(local_only) = config.local_only {
                storage.declare_local_only(local_only).await?;
            }
            let state = storage.state().await?;
            // So that the status is right from the beginning.
            let outbox = state.outbox(&options.scopes[0]);
            let status = Status::of(&DriverStatus::default(), outbox, config.direction);
            let replica = Replica::new(Made {
                storage,
                transport,
                environment: self.environment,
                options,
                local_only: state.local_only,
                known: config.known,
                attempts: config.attempts,
                status,
            });
            if config.auto_start {
                replica.start().await?;
            }
            Ok(replica)
        };
        let made = made.await;
        if made.is_err() && !is_given {
            // Nothing has a handle of it. The error before is the one to tell.
            let _ = opened.close().await;
        }
        made
    }
}
