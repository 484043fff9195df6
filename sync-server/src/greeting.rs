//! How a server admits clients.

use super::client::{AuthenticatedClient, denied};
use super::record::ServerScope;
use super::service::Server;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{ReplicaId, Scope};
use sync_core::protocol::{Hello, VERSIONS, Welcome};
use transport_kit::framed::pick;

impl Server {
    /// Authenticates a client that reads a scope's state with a plain request.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing or wrong token, `PermissionDenied` for a scope that may not
    /// be seen, `NotFound` for one that does not exist.
    pub async fn look_at(&self, token: Option<&str>, scope: &Scope) -> Result<ServerScope> {
        let principal = self.0.hooks.authenticate.authenticate(token).await?;
        let access = self.0.hooks.authorise.scope(&principal, scope).await?;
        if access.read.is_none() {
            return Err(denied(scope));
        }
        let found = self.0.storage.find_scope(scope.clone()).await?;
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such scope").with("scope", scope)
        })
    }

    /// Authenticates a replica without a greeting: for transports in which every request is
    /// independent.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing or wrong token.
    pub async fn admit(
        &self,
        token: Option<&str>,
        replica: ReplicaId,
    ) -> Result<AuthenticatedClient> {
        let principal = self.0.hooks.authenticate.authenticate(token).await?;
        Ok(AuthenticatedClient { server: self.clone(), principal, replica })
    }

    /// Greets a replica.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing or wrong token, `Incompatible` if no version of the protocol
    /// is shared, `InvalidInput` for too many scopes.
    pub async fn greet(&self, hello: &Hello) -> Result<(AuthenticatedClient, Welcome)> {
        let options = &self.0.options;
        hello.check()?;
        let version = VERSIONS.iter().rev().find(|v| hello.versions.contains(v)).copied();
        let version = version.ok_or_else(|| {
            Error::new(
                ErrorKind::Incompatible,
                format!(
                    "this server speaks versions {VERSIONS:?} of the protocol, the replica {:?}",
                    hello.versions
                ),
            )
        })?;
        if hello.scopes.len() > options.scopes {
            let message = format!(
                "{} scopes are too many, {} is the most",
                hello.scopes.len(),
                options.scopes
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let peer = self.admit(hello.token.as_deref(), hello.replica).await?;
        let mut scopes = Vec::new();
        for greeting in &hello.scopes {
            if peer.access(&greeting.scope).await?.read.is_some() {
                scopes.push(peer.greet_scope(greeting).await?);
            }
        }
        let welcome = Welcome {
            version,
            server_time: self.0.environment.now().0,
            push_limits: options.push_limits,
            chunk_limits: options.chunk_limits,
            body_bytes: options.body_bytes,
            heartbeat: u64::try_from(options.heartbeat.as_millis()).unwrap_or(u64::MAX),
            compression: pick(&options.compressions, &hello.compressions)
                .map(|c| c.name().to_owned()),
            scopes,
        };
        Ok((peer, welcome))
    }
}
