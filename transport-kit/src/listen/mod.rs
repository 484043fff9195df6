//! Accepts connections, with TLS and without, and bounds them.

mod bounded;
mod config;

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::Extensions;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::LinkActivity;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use bounded::Bounded;
pub use config::ListenConfig;
#[cfg(feature = "tls")]
pub use secure::{listen_tls, listen_tls_with};

/// The pause after the operating system cannot accept a connection, for example for lack of files.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest time for headers: sums with it do not overflow.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The remote address of a connection: a handler extracts it as `ConnectInfo<RemoteAddress>`.
/// Behind a gateway it is the gateway's address.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAddress(pub SocketAddr);

impl RemoteAddress {
    /// Returns the address of the connection of a request with these extensions, also if axum's own
    /// accept loop sets it; none if the routes are served in a way that does not set it.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<SocketAddr> {
        let own = extensions.get::<ConnectInfo<Self>>().map(|i| i.0.0);
        own.or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|i| i.0))
    }
}

/// Serves an app on a socket until `stop` completes, with the bounds of [`ListenConfig::default`].
/// Each request carries the [`LinkActivity`] of its connection as an extension. It returns when the
/// requests received until then are answered; open links are closed by their handlers. If this
/// future is dropped, connections end as if `stop` had completed, but are not waited for.
///
/// # Errors
/// `Network` if the socket is not a listening one. Errors of a single connection are logged.
pub async fn listen(
    socket: TcpListener,
    app: Router,
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    listen_with(socket, app, ListenConfig::default(), stop).await
}

/// Serves as [`listen`], with other bounds.
///
/// # Errors
/// As [`listen`].
pub async fn listen_with(
    socket: TcpListener,
    app: Router,
    config: ListenConfig,
    stop: impl Future<Output = ()> + Send,
) -> Result<()> {
    Acceptor::new(app, config).run(&socket, stop, |connection| ready(Ok(connection))).await
}

#[cfg(feature = "tls")]
mod secure {
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Serves an app on a socket with TLS, and else as [`listen`](super::listen).
    ///
    /// [`tls::server_config`](crate::tls::server_config) makes a configuration from a certificate
    /// and a key.
    ///
    /// # Errors
    /// As [`listen`](super::listen).
    pub async fn listen_tls(
        socket: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        app: Router,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        listen_tls_with(socket, tls, app, ListenConfig::default(), stop).await
    }

    /// Serves as [`listen_tls`], with other bounds.
    ///
    /// # Errors
    /// As [`listen`](super::listen).
    pub async fn listen_tls_with(
        socket: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        app: Router,
        config: ListenConfig,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        let acceptor = TlsAcceptor::from(tls);
        Acceptor::new(app, config)
            .run(&socket, stop, |connection| acceptor.accept(connection))
            .await
    }
}

/// The state that all connections to a socket share.
struct Acceptor {
    app: Router,
    config: ListenConfig,
    places: Arc<Semaphore>,
}

impl Acceptor {
    fn new(app: Router, config: ListenConfig) -> Self {
        let places = Arc::new(Semaphore::new(config.connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { app, config, places }
    }

    /// Accepts and serves until `stop` completes, then waits for the answers under way. `shake`
    /// turns a connection into the stream for HTTP. It runs in the connection's own task: a slow
    /// handshake does not delay other clients.
    async fn run<S, F>(
        self,
        socket: &TcpListener,
        stop: impl Future<Output = ()> + Send,
        shake: impl Fn(Bounded) -> F,
    ) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let (stopping, stopped) = watch::channel(false);
        let accept_all = async {
            loop {
                let place = self.place().await?;
                let (connection, address) = next(socket).await?;
                let activity = LinkActivity::default();
                let patience = self.config.write_timeout;
                let connection = Bounded::new(connection, activity.clone(), patience, place);
                let (app, config) = (self.app.clone(), self.config.clone());
                let shaking = shake(connection);
                let from = (RemoteAddress(address), activity);
                tokio::spawn(serve(shaking, from, app, config, stopped.clone()));
            }
        };
        tokio::select! {
            failed = accept_all => return failed,
            () = stop => {}
        }
        drop(stopped);
        // Each connection holds a receiver until it ends.
        let _ = stopping.send(true);
        stopping.closed().await;
        Ok(())
    }

    /// Waits for a place for one more connection.
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let connections = self.config.connections;
        tracing::warn!(connections, "as many connections as are taken: others wait");
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|e| Error::new(ErrorKind::Internal, "no place for a connection").because(e))
    }
}

/// Accepts the next connection, and makes it send small messages at once.
async fn next(socket: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    loop {
        match socket.accept().await {
            Ok((connection, address)) => match connection.set_nodelay(true) {
                Ok(()) => return Ok((connection, address)),
                Err(error) => {
                    tracing::debug!(%error, "a connection broke before it was served");
                }
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let stopped = Error::new(ErrorKind::Network, "the server cannot listen");
                return Err(stopped.because(error));
            }
            Err(error) => {
                // Most of these errors concern one connection. Some, like too many open files, last
                // for some time.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it ends or becomes a link.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shaking: impl Future<Output = io::Result<S>>,
    (RemoteAddress(address), activity): (RemoteAddress, LinkActivity),
    app: Router,
    config: ListenConfig,
    mut stopped: watch::Receiver<bool>,
) {
    let shaken = tokio::select! {
        shaken = timeout(config.handshake_timeout, shaking) => shaken,
        () = is_set(&mut stopped) => return,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, %address, "a TLS handshake failed"),
        Err(_) => return tracing::debug!(%address, "a TLS handshake took too long"),
    };
    let app = TowerToHyperService::new(app);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(RemoteAddress(address)));
        request.extensions_mut().insert(activity.clone());
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout.min(YEAR))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = is_set(&mut stopped) => {
            // Ends the connection when its requests are answered.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, %address, "a connection broke");
    }
}

/// Completes when no more requests are accepted, or the listener was dropped.
async fn is_set(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}
