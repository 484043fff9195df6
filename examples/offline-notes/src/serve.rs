//! A server in this process, for trying the app out.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use twotide::server::{Hooks, Server, ServerOptions};
use twotide::{StorageUrl, net, routes};

use crate::Outcome;

/// How long the sessions of other clients may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that listens.
pub(crate) struct Serving {
    server: Server,
    /// Its address.
    pub(crate) url: String,
}

impl Serving {
    pub(crate) async fn start(address: SocketAddr, file: &Path) -> Outcome<Self> {
        // This server does not authenticate its clients.
        if !address.ip().is_loopback() {
            return Err(format!("only this machine is served, and {address} is not of it").into());
        }
        let socket = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let url = format!("ws://{}", socket.local_addr()?);
        let storage = StorageUrl::sqlite(file).open_server().await?;
        let (hooks, options) = (Hooks::default(), ServerOptions::default());
        let server = Server::builder(storage).hooks(hooks).options(options).build();
        // It listens as long as this process runs.
        tokio::spawn(net::listen(socket, routes(&server), std::future::pending()));
        Ok(Self { server, url })
    }

    /// Ends all sessions, and closes the file.
    pub(crate) async fn stop(self) -> twotide::Result<()> {
        self.server.drain();
        // A client that takes longer loses its connection.
        let _ = timeout(PATIENCE, self.server.drained()).await;
        self.server.storage().close().await
    }
}
