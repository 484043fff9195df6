//! The routes of all transports that were compiled in.

use axum::Router;
use sync_server::Server;
use transport_kit::BrowserPolicy;

/// Returns the routes of every transport that was compiled in: WebSocket with `ws`, HTTP with
/// `http`. Serve them on one port with [`net::listen`](crate::net::listen) or
/// [`net::listen_tls`](crate::net::listen_tls), which bound connections and slow clients, alone or
/// merged into another app.
///
/// ```
/// use std::sync::Arc;
/// use twotide::server::{Hooks, Server, ServerOptions, System};
/// use twotide::{StorageUrl, net, routes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = StorageUrl::memory().open_server().await?;
/// let server = Server::builder(storage).build();
/// let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let stop = async {}; // when to stop: here at once
/// net::listen(socket, routes(&server), stop).await?;
/// # Ok(())
/// # }
/// ```
///
/// Requests of web pages are answered only for pages of the server's own address. A server that
/// admits every client answers only the names of this machine and IP addresses, so that no web page
/// can reach it through another host name. [`routes_with`] allows more.
pub fn routes(server: &Server) -> Router {
    let browsers = BrowserPolicy::default();
    routes_with(server, if server.admits_all() { browsers.local_hosts() } else { browsers })
}

/// Returns the same routes, with a policy for web pages and host names.
///
/// ```
/// use twotide::net::BrowserPolicy;
/// # fn routes(server: &twotide::server::Server) -> twotide::Result<axum::Router> {
/// let browsers = BrowserPolicy::default().allow_origin("https://app.example")?;
/// let routes = twotide::routes_with(server, browsers);
/// # Ok(routes)
/// # }
/// ```
pub fn routes_with(server: &Server, browsers: BrowserPolicy) -> Router {
    let routes = Router::new();
    #[cfg(feature = "ws")]
    let routes = {
        let mut config = transport_ws::WsServerConfig::default();
        config.browsers = browsers.clone();
        routes.merge(transport_ws::router_with(server.clone(), config))
    };
    #[cfg(feature = "http")]
    let routes = {
        let mut config = transport_http::HttpServerConfig::default();
        config.browsers = browsers.clone();
        routes.merge(transport_http::router_with(server.clone(), config))
    };
    let _ = (server, browsers);
    routes
}
