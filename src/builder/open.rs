//! Opening what the builder describes.

use std::sync::Arc;

use sync_core::driver::DriverStatus;
use sync_core::error::{Error, ErrorKind, Result};

use super::{Made, ReplicaBuilder};
#[cfg(doc)]
use crate::ReplicaConfig;
use crate::dial::dial;
use crate::versions::AllVersions;
use crate::{Replica, Status};

impl ReplicaBuilder {
    /// Opens the replica.
    ///
    /// # Errors
    /// `InvalidInput` without a storage, for a bad scope, collection or address, for an option that
    /// [cannot work](ReplicaConfig::check), and for [local-only collections](Self::local_only) that
    /// cannot become so; `Incompatible` for a file that is not a replica's or from a newer version;
    /// else as the storage.
    pub async fn open(self) -> Result<Replica> {
        if let Some((_, error)) = self.bad.into_iter().next() {
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
            #[cfg(feature = "sqlite")]
            (None, Some(url)) if self.sqlite.is_some() => {
                url.open_sqlite(self.sqlite, self.environment.replica_id()).await?
            }
            (None, Some(url)) => url.open_replica(self.environment.replica_id()).await?,
            (None, None) => {
                let message = "a replica needs a storage, such as `sqlite:notes.db`";
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let mut options = config.driver_options();
        options.holder = self.holder;
        options.resolvers = self.resolving.resolvers(config.resolver);
        options.token_provider = self.token_provider;
        let opened = Arc::clone(&storage);
        let made = async {
            if let Some(local_only) = config.local_only {
                storage.declare_local_only(local_only).await?;
            }
            let state = storage.state().await?;
            // So that the status is right from the beginning.
            let outbox = state.outbox(&options.scopes[0]);
            let status = Status::of(&DriverStatus::default(), outbox, config.direction, false);
            let replica = Replica::new(Made {
                storage,
                transport,
                environment: self.environment,
                options,
                local_only: state.local_only,
                allowed_collections: config.allowed_collections,
                versions: AllVersions::new(self.versions),
                max_failures: config.max_failures,
                status,
            });
            if config.auto_start {
                replica.start().await?;
            }
            Ok(replica)
        };
        let made = made.await;
        if made.is_err() && !is_given {
            // No handle of it exists. The earlier error is the one to return.
            let _ = opened.close().await;
        }
        made
    }
}
