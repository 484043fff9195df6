//! Serving over everything that was compiled in.

use axum::Router;
use sync_core::server::Server;

/// The routes of every transport that was compiled in: WebSocket with `ws`, HTTP with `http`. To be served on one port
/// with [`net::listen`](crate::net::listen) or [`net::listen_tls`](crate::net::listen_tls), which bound connections and slow
/// clients, alone or merged into an app of one's own.
///
/// ```
/// use std::sync::Arc;
/// use twotide::core::environment::System;
/// use twotide::core::server::{Hooks, Server, ServerOptions};
/// use twotide::{StorageUrl, net, routes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = StorageUrl::memory().open_server().await?;
/// let server = Server::new(storage, Hooks::default(), ServerOptions::default(), Arc::new(System));
/// let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let stop = async {}; // when to stop: here at once
/// net::listen(socket, routes(&server), stop).await?;
/// # Ok(())
/// # }
/// ```
pub fn routes(server: &Server) -> Router {
    let routes = Router::new();
    #[cfg(feature = "ws")]
    let routes = routes.merge(transport_ws::router(server.clone()));
    #[cfg(feature = "http")]
    let routes = routes.merge(transport_http::router(server.clone()));
    #[cfg(not(any(feature = "ws", feature = "http")))]
    let _ = server;
    routes
}
