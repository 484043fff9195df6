//! Opening a replica.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sync_core::driver::{DriverOptions, DriverStatus};
use sync_core::engine::RetryPolicy;
use sync_core::environment::{Environment, System};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Collection, Limits, Scope};
use sync_core::resolver::{ConflictResolver, ResolveOn, Resolvers};
use sync_core::storage::Storage;
use sync_core::transport::Transport;

use crate::dial::{DialOptions, dial};
use crate::{Replica, Status, StorageUrl};

enum StorageChoice {
    Given(Arc<dyn Storage>),
    /// Text that is no address is told when the replica is opened.
    Url(Result<StorageUrl>),
}

enum TransportChoice {
    Given(Arc<dyn Transport>),
    Url(String),
}

/// Opens a [`Replica`]: made by [`Replica::builder`].
#[must_use = "nothing is opened before `open`"]
pub struct ReplicaBuilder {
    storage: Option<StorageChoice>,
    transport: Option<TransportChoice>,
    environment: Arc<dyn Environment>,
    options: DriverOptions,
    scope: Result<Scope>,
    attempts: u32,
    auto_start: bool,
    dial: DialOptions,
}

impl fmt::Debug for ReplicaBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaBuilder").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ReplicaBuilder {
    pub(crate) fn new() -> Self {
        let mut options = DriverOptions::default();
        options.holder = format!("process {}", std::process::id());
        Self {
            storage: None,
            transport: None,
            environment: Arc::new(System),
            options,
            scope: Ok(Scope::default()),
            attempts: 5,
            auto_start: false,
            dial: DialOptions::default(),
        }
    }

    /// The replica lives in this storage.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(StorageChoice::Given(storage));
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
        self.storage = Some(StorageChoice::Url(Ok(url)));
        self
    }

    /// The replica lives there, by the text of a [`StorageUrl`], such as `sqlite:notes.db`. Text that is none is told by
    /// [`open`](Self::open).
    pub fn storage_url(mut self, url: impl AsRef<str>) -> Self {
        self.storage = Some(StorageChoice::Url(url.as_ref().parse()));
        self
    }

    /// The server is reached this way.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(TransportChoice::Given(transport));
        self
    }

    /// The server has this address: `ws://host:port` or `wss://host:port`, `http://host:port` or `https://host:port`,
    /// among those that were compiled in.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.transport = Some(TransportChoice::Url(url.into()));
        self
    }

    /// What to authenticate with. None by default.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.options.token = Some(token.into());
        self
    }

    /// The scope that is synced. `default` by default.
    pub fn scope(mut self, scope: impl AsRef<str>) -> Self {
        self.scope = Scope::new(scope);
        self
    }

    /// Who decides conflicts. The last write by default.
    pub fn resolver(mut self, resolver: impl ConflictResolver) -> Self {
        self.options.resolvers = Resolvers::new(resolver);
        self
    }

    /// Who decides the conflicts of one collection, and where; to be called after [`Self::resolver`].
    pub fn resolver_for(
        mut self,
        collection: Collection,
        resolver: Arc<dyn ConflictResolver>,
        on: ResolveOn,
    ) -> Self {
        self.options.resolvers = self.options.resolvers.with(collection, resolver, on);
        self
    }

    /// How failures are retried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.options.engine.retry = retry;
        self
    }

    /// After how many failures in a row [`Replica::sync_now`], [`push`](Replica::push) and [`pull`](Replica::pull) give
    /// up. 5 by default. A [started](Replica::start) replica never gives up.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The most that a chunk may hold. 1,000 documents and 4 MiB by default.
    pub fn chunk_limits(mut self, limits: Limits) -> Self {
        self.options.chunk_limits = limits;
        self
    }

    /// The most that a push batch may hold; the server's limits are kept as well. 1,000 documents and 4 MiB by default.
    pub fn push_limits(mut self, limits: Limits) -> Self {
        self.options.push_limits = limits;
        self
    }

    /// How many chunks may wait while one is applied, and how many bytes they may have together. Two and 16 MiB by
    /// default.
    pub fn pipeline(mut self, depth: usize, bytes: usize) -> Self {
        self.options.engine.depth = depth;
        self.options.engine.window_bytes = bytes;
        self
    }

    /// How long connecting, and one request, may take. 15 s and 60 s by default.
    pub fn timeouts(mut self, connect: Duration, request: Duration) -> Self {
        self.options.engine.connect_timeout = connect;
        self.options.engine.request_timeout = request;
        self
    }

    /// Whether compression is offered to a server that is reached by its address: a fourth of the bytes for typical
    /// documents, at some cost of time, which pays on slow links. Not by default.
    pub fn compression(mut self, yes: bool) -> Self {
        self.dial.compression = yes;
        self
    }

    /// Whom to trust as the server at a `wss://` or `https://` address. The authorities of the web by default.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub fn trust(mut self, trust: transport_net::tls::Trust) -> Self {
        self.dial.trust = trust;
        self
    }

    /// How changes are followed over HTTP. By server-sent events by default, and by what is left where those do not get
    /// through.
    #[cfg(feature = "http")]
    pub fn live_by(mut self, live_by: transport_http::LiveBy) -> Self {
        self.dial.live_by = live_by;
        self
    }

    /// The version of the app's own schema, as the server is told it. 0 by default.
    pub fn schema(mut self, version: u32) -> Self {
        self.options.schema = version;
        self
    }

    /// Whether data stays on this device that its user may not see any more. When the server's greeting says that a scope
    /// may not be seen, what was pulled of it leaves the device, edits that were not synced go to the quarantine, and
    /// [`Event::ScopeGone`](sync_core::engine::Event::ScopeGone) tells of it. To be set where one device is shared by several
    /// tokens that may see different things. Not by default.
    pub fn keep_revoked(mut self, yes: bool) -> Self {
        self.options.engine.forget_revoked = !yes;
        self
    }

    /// Who holds the engine of this replica, in words for people: another process that wants it is told. The process id
    /// by default.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.options.holder = holder.into();
        self
    }

    /// Where time and chance come from. The operating system by default.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Whether to [start](Replica::start) at once. Not by default.
    pub fn auto_start(mut self, yes: bool) -> Self {
        self.auto_start = yes;
        self
    }

    /// Opens the replica.
    ///
    /// # Errors
    /// `InvalidInput` without a storage, for a bad scope or a bad address; `Incompatible` for a file that is not a
    /// replica's or from a newer version; else as the storage.
    pub async fn open(mut self) -> Result<Replica> {
        self.options.scopes = vec![self.scope?];
        let missing = || Error::new(ErrorKind::InvalidInput, "a replica needs a storage");
        let transport = match self.transport {
            Some(TransportChoice::Given(transport)) => Some(transport),
            Some(TransportChoice::Url(url)) => Some(dial(&url, &self.dial)?),
            None => None,
        };
        let storage = match self.storage.ok_or_else(missing)? {
            StorageChoice::Given(storage) => storage,
            StorageChoice::Url(url) => url?.open_replica(self.environment.replica_id()).await?,
        };
        // So that the status is right from the beginning.
        let outbox = storage.state().await?.outbox(&self.options.scopes[0]);
        let status = Status::of(&DriverStatus::default(), outbox);
        let (environment, options) = (self.environment, self.options);
        let replica = Replica::new(storage, transport, environment, options, self.attempts, status);
        if self.auto_start {
            replica.start().await?;
        }
        Ok(replica)
    }
}
