//! Builds a server.

use std::sync::Arc;

use sync_core::environment::{Environment, System};
use sync_core::resolver::Resolvers;

use crate::hooks::{Authenticate, Authorise, Hooks, Validate};
use crate::service::{Server, ServerOptions};
use crate::storage::ServerStorage;

/// Builds a [`Server`]. Without further calls it admits every client, allows everything, and
/// accepts every document.
///
/// ```
/// use std::sync::Arc;
///
/// use storage_kit::kv::{KvOptions, MemoryKv, open_server};
/// use sync_server::{Server, ServerOptions, StaticTokens};
///
/// # fn main() -> sync_core::error::Result<()> {
/// let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default())?;
/// let mut options = ServerOptions::default();
/// options.scopes = 10;
/// let server = Server::builder(Arc::new(storage))
///     .authenticate(StaticTokens::new([("ada".to_owned(), "a long secret".to_owned())]))
///     .options(options)
///     .build();
/// assert!(!server.admits_all());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerBuilder {
    storage: Arc<dyn ServerStorage>,
    hooks: Hooks,
    options: ServerOptions,
    environment: Arc<dyn Environment>,
}

impl Server {
    /// Starts to build a server over a storage. Several servers, also in several processes, may be
    /// built over one storage if the storage can be shared.
    pub fn builder(storage: Arc<dyn ServerStorage>) -> ServerBuilder {
        let (hooks, options) = (Hooks::default(), ServerOptions::default());
        ServerBuilder { storage, hooks, options, environment: Arc::new(System) }
    }
}

impl ServerBuilder {
    /// Sets which clients are admitted, and as which principal.
    pub fn authenticate(mut self, authenticate: impl Authenticate) -> Self {
        self.hooks.authenticate = Arc::new(authenticate);
        self
    }

    /// Sets what each principal may read and write.
    pub fn authorise(mut self, authorise: impl Authorise) -> Self {
        self.hooks.authorise = Arc::new(authorise);
        self
    }

    /// Sets what a valid document is.
    pub fn validate(mut self, validate: impl Validate) -> Self {
        self.hooks.validate = Arc::new(validate);
        self
    }

    /// Sets the resolvers of the collections whose conflicts the server resolves. None by default.
    pub fn resolvers(mut self, resolvers: Resolvers) -> Self {
        self.hooks.resolvers = resolvers;
        self
    }

    /// Sets all hooks at once, those that were set before included.
    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// Sets limits, times and compressions.
    pub fn options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what provides the time and random numbers: the operating system by default, and
    /// something else in tests.
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Builds the server. It reads nothing from the storage yet.
    #[must_use]
    pub fn build(self) -> Server {
        Server::new(self.storage, self.hooks, self.options, self.environment)
    }
}
