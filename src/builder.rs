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

/// Opens a [`Replica`]: made by [`Replica::builder`].
///
/// It is a [`ReplicaConfig`] and what cannot be written down as data: the defaults of all options
/// stand there.
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
    trust: transport_net::tls::Trust,
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
            trust: transport_net::tls::Trust::default(),
        }
    }

    /// All options are as this config says; what is called afterwards changes them. A storage and a
    /// transport that were given before stay if the config names none, resolvers that were given
    /// before do not.
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

    /// What was set so far, as data; what was given as a value, such as a [storage](Self::storage),
    /// is not in it.
    #[must_use]
    pub fn options(&self) -> &ReplicaConfig {
        &self.config
    }

    /// The replica lives in this storage.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        (self.storage, self.bad_storage) = (Some(storage), None);
        self
    }

    /// The replica lives in this SQLite file, which is made if it is not there.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(self, path: impl Into<std::path::PathBuf>) -> Self {
        self.storage_at(StorageUrl::sqlite(path))
    }

    /// The replica lives in this folder of sled, which is made if it is not there.
    #[cfg(feature = "sled")]
    pub fn sled(self, path: impl Into<std::path::PathBuf>) -> Self {
        self.storage_at(StorageUrl::sled(path))
    }

    /// The replica lives in memory, until it is closed.
    pub fn memory(self) -> Self {
        self.storage_at(StorageUrl::memory())
    }

    /// The replica lives there.
    pub fn storage_at(mut self, url: StorageUrl) -> Self {
        (self.storage, self.bad_storage) = (None, None);
        self.config.storage = Some(url);
        self
    }

    /// The replica lives there, by the text of a [`StorageUrl`], such as `sqlite:notes.db`. Text
    /// that is none is told by [`open`](Self::open).
    pub fn storage_url(mut self, url: impl AsRef<str>) -> Self {
        match url.as_ref().parse() {
            Ok(url) => return self.storage_at(url),
            Err(error) => self.bad_storage = Some(error),
        }
        self
    }

    /// The server is reached this way.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// The server has this address: `ws://host:port` or `wss://host:port`, `http://host:port` or
    /// `https://host:port`, among those that were compiled in.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.transport = None;
        self.config.server = Some(url.into());
        self
    }

    /// What to authenticate with. None by default. With a [provider](Self::token_provider) it is
    /// for the first connection only.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Some(token.into());
        self
    }

    /// Who is asked for a token before every connection, and once more when the server refuses it.
    /// See [`TokenProvider`] for what happens when that one is refused too, and
    /// [`tokens_from`](sync_core::driver::tokens_from) for closures.
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.token_provider = Some(Arc::new(provider));
        self
    }

    /// The scope that is synced. `default` by default. Text that is none is told by
    /// [`open`](Self::open).
    pub fn scope(mut self, scope: impl AsRef<str>) -> Self {
        match Scope::new(scope) {
            Ok(scope) => (self.config.scope, self.bad_scope) = (scope, None),
            Err(error) => self.bad_scope = Some(error),
        }
        self
    }

    /// Only these collections of the scope are synced. All by default.
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
    /// A replica that has chosen compares no digests with the server. Text that is no name is told
    /// by [`open`](Self::open).
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

    /// These collections never leave this device, and all others are synced. Documents of a
    /// local-only collection are written, read and watched like others, and are in the change feed.
    /// They are never pushed or pulled, and no reset touches them; one that is deleted is gone for
    /// good. What other devices sync in a collection of that name does not come here.
    ///
    /// A transaction holds documents of local-only collections or of synced ones, not both.
    ///
    /// The declaration is kept in the storage: without this call it stays as it was. Another one is
    /// refused by [`open`](Self::open) as long as it would change what documents mean that are
    /// there: synced documents or edits in a collection that becomes local-only, and local
    /// documents in one that does not stay so. So nothing that was meant for this device travels,
    /// and nothing is lost. Text that is no name is told by [`open`](Self::open), too.
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

    /// The collections that the app knows, beside those that were named as
    /// [synced](Self::collections) or [local-only](Self::local_only). Any other name is then
    /// refused as soon as it is asked for: a slip of the pen does not become a collection of its
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

    /// Which way it syncs. Both by default.
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

    /// Who decides conflicts. The last write by default.
    pub fn resolver(mut self, resolver: impl ConflictResolver) -> Self {
        self.resolvers = Some(Resolvers::new(resolver));
        self
    }

    /// Who decides conflicts, by name.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.resolver = strategy;
        self.resolvers = None;
        self
    }

    /// Who decides the conflicts of one collection, and where; to be called after
    /// [`Self::resolver`] and [`Self::strategy`].
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

    /// How failures are retried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.config.retry = retry;
        self
    }

    /// After how many failures in a row [`Replica::sync_now`], [`push`](Replica::push) and
    /// [`pull`](Replica::pull) give up, and a [started](Replica::start) replica reports
    /// [`Activity::Error`](crate::Activity::Error). 5 by default. A started replica goes on trying
    /// all the same, unless [retries](RetryPolicy::enabled) are turned off.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.config.attempts = attempts.max(1);
        self
    }

    /// The most that a chunk may hold. 1,000 documents and 4 MiB by default.
    pub fn chunk_limits(mut self, limits: Limits) -> Self {
        (self.config.chunk_documents, self.config.chunk_bytes) = (limits.documents, limits.bytes);
        self
    }

    /// The most that a push batch may hold; the server's limits are kept as well. 1,000 documents
    /// and 4 MiB by default.
    pub fn push_limits(mut self, limits: Limits) -> Self {
        (self.config.batch_documents, self.config.batch_bytes) = (limits.documents, limits.bytes);
        self
    }

    /// How many chunks may wait while one is applied, and how many bytes they may have together.
    /// Two and 16 MiB by default.
    pub fn pipeline(mut self, depth: usize, bytes: usize) -> Self {
        self.config.pipeline_depth = depth;
        self.config.pipeline_bytes = bytes;
        self
    }

    /// How long connecting, and one request, may take. 15 s and 60 s by default.
    pub fn timeouts(mut self, connect: Duration, request: Duration) -> Self {
        self.config.connect_timeout = connect;
        self.config.request_timeout = request;
        self
    }

    /// Whether compression is offered to a server that is reached by its address: a fourth of the
    /// bytes for typical documents, at some cost of time, which pays on slow links. Not by default.
    pub fn compression(mut self, yes: bool) -> Self {
        self.config.compression = yes;
        self
    }

    /// Whom to trust as the server at a `wss://` or `https://` address. The authorities of the web
    /// by default.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub fn trust(mut self, trust: transport_net::tls::Trust) -> Self {
        self.trust = trust;
        self
    }

    /// How changes are followed over HTTP. By server-sent events by default, and by what is left
    /// where those do not get through.
    #[cfg(feature = "http")]
    pub fn live_by(mut self, live_by: transport_http::LiveBy) -> Self {
        self.config.live_by = live_by;
        self
    }

    /// How often a server is asked over HTTP where nothing better works. 5 s by default.
    #[cfg(feature = "http")]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll_interval = interval;
        self
    }

    /// Which proxy HTTP goes through. The system's by default, and none to a server on this
    /// machine.
    #[cfg(feature = "http")]
    pub fn proxy(mut self, proxy: transport_http::ProxyBy) -> Self {
        self.config.proxy = proxy;
        self
    }

    /// The version of the app's own schema, as the server is told it. 0 by default.
    pub fn schema(mut self, version: u32) -> Self {
        self.config.schema = version;
        self
    }

    /// Whether data stays on this device that its user may not see any more. When the server's
    /// greeting says that a scope may not be seen, what was pulled of it leaves the device, edits
    /// that were not synced go to the quarantine, and
    /// [`Event::ScopeGone`](sync_core::engine::Event::ScopeGone) tells of it. To be set where one
    /// device is shared by several tokens that may see different things. Not by default.
    pub fn keep_revoked(mut self, yes: bool) -> Self {
        self.config.keep_revoked = yes;
        self
    }

    /// Who holds the engine of this replica, in words for people: another process that wants it is
    /// told. The process id by default.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = holder.into();
        self
    }

    /// Where time and chance come from. The operating system by default.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Whether to [start](Replica::start) at once. Not by default.
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
