//! All options of a replica, as data.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sync_core::driver::DriverOptions;
use sync_core::duration_text;
use sync_core::engine::{Direction, EngineOptions, RetryPolicy};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Collection, Limits, Scope};
use sync_core::resolver::{
    ClientWins, ConflictResolver, FieldMerge, LastWriteWins, Resolution, ServerWins, resolve_with,
};

use crate::StorageUrl;
use crate::dial::DialOptions;

/// A built-in way to decide conflicts. As text: `lww`, `server`, `client`, `merge` or `defer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strategy {
    /// The last write wins: [`LastWriteWins`].
    #[default]
    Lww,
    /// The server's version wins: [`ServerWins`].
    Server,
    /// The replica's version wins: [`ClientWins`].
    Client,
    /// JSON objects are merged field by field. For a field that both changed, the last write wins:
    /// [`FieldMerge`].
    Merge,
    /// No resolver: conflicts wait in the conflict inbox.
    Defer,
}

impl Strategy {
    pub(crate) fn resolver(self) -> Arc<dyn ConflictResolver> {
        match self {
            Self::Lww => Arc::new(LastWriteWins),
            Self::Server => Arc::new(ServerWins),
            Self::Client => Arc::new(ClientWins),
            Self::Merge => Arc::new(FieldMerge::new()),
            Self::Defer => Arc::new(resolve_with("defer", |_| Ok(Resolution::Defer))),
        }
    }
}

/// All options of a replica, as data: the content of an app's settings file.
///
/// Options that are left out have the builder's defaults. An unknown name is an error that lists
/// the known ones. Durations are text, such as `"250ms"`, `"30s"` or `"5m"`.
///
/// The heartbeat of a connection is not an option of a replica: the server's greeting sets it.
///
/// ```
/// use twotide::{Replica, ReplicaConfig};
/// # async fn example() -> twotide::Result<()> {
/// let config: ReplicaConfig = serde_json::from_str(
///     r#"{
///         "storage": "memory:",
///         "scope": "team",
///         "direction": "pull",
///         "resolver": "merge",
///         "retry": { "first": "100ms", "ceiling": "10s" }
///     }"#,
/// ).unwrap();
/// let replica = Replica::builder().config(config).open().await?;
/// # replica.close().await
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ReplicaConfig {
    /// Where the replica is stored: the text of a [`StorageUrl`], such as `sqlite:notes.db`. None
    /// by default, but required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageUrl>,
    /// The server's address, such as `wss://sync.example.com`. None by default: the replica cannot
    /// sync then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The token to authenticate with. None by default. It is a secret: remove it before the config
    /// is written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The scope that is synced. Default `default`.
    pub scope: Scope,
    /// The direction of the sync: `push`, `pull` or `both`. Default `both`.
    pub direction: Direction,
    /// The resolver that decides conflicts. Default `lww`.
    pub resolver: Strategy,
    /// How failures are retried: `enabled` (default true), `first` (default `"250ms"`), `factor`
    /// (default 2, at least 1), `ceiling` (default `"30s"`) and `jitter` (default true).
    pub retry: RetryPolicy,
    /// The number of failures in a row after which one-shot syncs return an error, and a started
    /// replica, which keeps retrying, reports one. Default 5, at least 1. Earlier files name it
    /// `attempts`.
    #[serde(alias = "attempts")]
    pub max_failures: u32,
    /// How changes are followed over HTTP: `auto`, `sse`, `long_poll` or `poll`. Default `auto`.
    #[cfg(feature = "http")]
    pub live_by: transport_http::LiveBy,
    /// The interval of polls over HTTP where nothing better works. Default `"5s"`.
    #[cfg(feature = "http")]
    #[serde(with = "duration_text")]
    pub poll_interval: Duration,
    /// Which proxy HTTP goes through: `system`, `none`, or an address such as `http://proxy:3128`,
    /// which may contain a name and a password. Default `system`: environment variables like
    /// `HTTPS_PROXY` and `NO_PROXY`, and the settings of the operating system. Requests to a server
    /// on this machine then use none.
    #[cfg(feature = "http")]
    pub proxy: transport_http::ProxyBy,
    /// The most documents of a push batch; one local transaction always fits. Default 1,000.
    pub batch_documents: usize,
    /// The most bytes of a push batch; one local transaction always fits. Default 4 MiB.
    pub batch_bytes: usize,
    /// The most documents of a chunk; one server transaction always fits. Default 1,000.
    pub chunk_documents: usize,
    /// The most bytes of a chunk; one server transaction always fits. Default 4 MiB.
    pub chunk_bytes: usize,
    /// How many chunks may wait while one is applied. Default 2.
    pub pipeline_depth: usize,
    /// How many bytes those may have together. Default 16 MiB.
    pub pipeline_bytes: usize,
    /// Whether syncing begins when the replica is opened. Default no.
    pub auto_start: bool,
    /// How long connecting may take, including the request for a token. Default `"15s"`.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// How long a pull or a push may take. Default `"1m"`.
    #[serde(with = "duration_text")]
    pub request_timeout: Duration,
    /// Whether compression is offered. Default no.
    pub compression: bool,
    /// Whether data stays on this device after access to it was revoked. Default no.
    pub keep_revoked: bool,
    /// The version of the app's own schema, which is sent to the server. Default 0.
    pub schema: u32,
    /// The collections that are synced. Left out by default: all of the scope that are not
    /// local-only. See [`ReplicaBuilder::collections`](crate::ReplicaBuilder::collections).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collections: Option<BTreeSet<Collection>>,
    /// The collections that never leave this device; all others are synced. Left out by default: as
    /// was declared when the storage was opened before, and none in a new one. See
    /// [`ReplicaBuilder::local_only`](crate::ReplicaBuilder::local_only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_only: Option<BTreeSet<Collection>>,
    /// The collections that the app uses: others are refused when they are opened. Left out by
    /// default: any name is allowed. See
    /// [`ReplicaBuilder::allowed_collections`](crate::ReplicaBuilder::allowed_collections).
    #[serde(alias = "known", skip_serializing_if = "Option::is_none")]
    pub allowed_collections: Option<BTreeSet<Collection>>,
}

impl Default for ReplicaConfig {
    /// The defaults of the parts below.
    fn default() -> Self {
        let DriverOptions { engine, push_limits: batch, chunk_limits: chunk, schema, .. } =
            DriverOptions::default();
        Self {
            storage: None,
            server: None,
            token: None,
            scope: Scope::default(),
            direction: Direction::default(),
            resolver: Strategy::default(),
            retry: engine.retry,
            max_failures: 5,
            #[cfg(feature = "http")]
            live_by: transport_http::LiveBy::default(),
            #[cfg(feature = "http")]
            poll_interval: transport_http::HttpConfig::new("").poll_interval,
            #[cfg(feature = "http")]
            proxy: transport_http::ProxyBy::default(),
            batch_documents: batch.documents,
            batch_bytes: batch.bytes,
            chunk_documents: chunk.documents,
            chunk_bytes: chunk.bytes,
            pipeline_depth: engine.depth,
            pipeline_bytes: engine.window_bytes,
            auto_start: false,
            connect_timeout: engine.connect_timeout,
            request_timeout: engine.request_timeout,
            compression: false,
            keep_revoked: !engine.forget_revoked,
            schema,
            collections: None,
            local_only: None,
            allowed_collections: None,
        }
    }
}

impl fmt::Debug for ReplicaConfig {
    /// Omits the token, and everything that may be secret in an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaConfig")
            .field("storage", &self.storage)
            .field("scope", &self.scope)
            .field("direction", &self.direction)
            .field("resolver", &self.resolver)
            .field("retry", &self.retry)
            .field("token", &self.token.as_ref().map(|_| ".."))
            .finish_non_exhaustive()
    }
}

impl ReplicaConfig {
    /// Checks that every value is valid. Opening a replica calls this first.
    ///
    /// # Errors
    /// `InvalidInput`, naming the option, its value, and what is allowed.
    pub fn check(&self) -> Result<()> {
        let least = [
            ("max_failures", self.max_failures as usize),
            ("retry.factor", self.retry.factor as usize),
            ("batch_documents", self.batch_documents),
            ("batch_bytes", self.batch_bytes),
            ("chunk_documents", self.chunk_documents),
            ("chunk_bytes", self.chunk_bytes),
        ];
        for (option, value) in least {
            if value == 0 {
                return Err(wrong(option, value, "at least 1"));
            }
        }
        let times = [
            ("retry.first", self.retry.first),
            #[cfg(feature = "http")]
            ("poll_interval", self.poll_interval),
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
        ];
        for (option, value) in times {
            if value < Duration::from_millis(1) {
                return Err(wrong(option, format!("{value:?}"), "at least 1ms"));
            }
        }
        if self.collections.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(wrong("collections", "empty", "left out, or name at least one"));
        }
        if let (Some(synced), Some(local)) = (&self.collections, &self.local_only)
            && let Some(both) = synced.intersection(local).next()
        {
            return Err(wrong(
                "collections",
                format!("one with `{both}`"),
                "without what is local-only",
            ));
        }
        if self.scope.is_local() {
            return Err(wrong(
                "scope",
                &self.scope,
                "another one: local-only collections live there",
            ));
        }
        if self.retry.ceiling < self.retry.first {
            let value = format!("{:?}", self.retry.ceiling);
            return Err(wrong("retry.ceiling", value, "at least retry.first"));
        }
        Ok(())
    }

    pub(crate) fn driver_options(&self) -> DriverOptions {
        let mut engine = EngineOptions::default();
        engine.depth = self.pipeline_depth;
        engine.window_bytes = self.pipeline_bytes;
        engine.retry = self.retry;
        engine.connect_timeout = self.connect_timeout;
        engine.request_timeout = self.request_timeout;
        engine.forget_revoked = !self.keep_revoked;
        let mut options = DriverOptions::default();
        options.scopes = vec![self.scope.clone()];
        options.engine = engine;
        options.push_limits = Limits { documents: self.batch_documents, bytes: self.batch_bytes };
        options.chunk_limits = Limits { documents: self.chunk_documents, bytes: self.chunk_bytes };
        options.token.clone_from(&self.token);
        options.schema = self.schema;
        options.collections.clone_from(&self.collections);
        options
    }

    pub(crate) fn dial_options(&self) -> DialOptions {
        DialOptions {
            #[cfg(any(feature = "ws", feature = "http"))]
            compression: self.compression,
            #[cfg(any(feature = "ws", feature = "http"))]
            trust: transport_kit::tls::Trust::default(),
            #[cfg(feature = "http")]
            live_by: self.live_by,
            #[cfg(feature = "http")]
            poll_interval: self.poll_interval,
            #[cfg(feature = "http")]
            proxy: self.proxy.clone(),
            #[cfg(any(feature = "ws", feature = "http"))]
            connect_timeout: self.connect_timeout,
            #[cfg(feature = "http")]
            request_timeout: self.request_timeout,
        }
    }
}

fn wrong(option: &str, value: impl fmt::Display, wanted: &str) -> Error {
    let message = format!("the option `{option}` is {value}, and has to be {wanted}");
    Error::new(ErrorKind::InvalidInput, message).during("open a replica")
}
