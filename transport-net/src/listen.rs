//! What takes connections, with TLS and without.

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use sync_core::error::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};

/// Where a connection came from: a handler asks for it as `ConnectInfo<RemoteAddress>`. Behind a gateway it is the
/// gateway's address.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAddress(pub SocketAddr);

impl Connected<IncomingStream<'_, Sockets>> for RemoteAddress {
    fn connect_info(stream: IncomingStream<'_, Sockets>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// TCP connections that send small messages at once.
struct Sockets(TcpListener);

impl Sockets {
    async fn next(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((socket, address)) => {
                    if let Err(error) = socket.set_nodelay(true) {
                        tracing::debug!(%error, "a connection broke before it was served");
                        continue;
                    }
                    return (socket, address);
                }
                Err(error) => {
                    // Most of these concern one connection. Some, like too many open files, end only with time.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Listener for Sockets {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.next().await
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

fn stopped(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Network, "the server stopped listening").because(error)
}

/// Serves an app on a socket until `stop` completes. Links that are open then are their handler's to close.
///
/// # Errors
/// `Network` if the socket fails for good.
pub async fn listen(
    socket: TcpListener,
    app: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let app = app.into_make_service_with_connect_info::<RemoteAddress>();
    axum::serve(Sockets(socket), app).with_graceful_shutdown(stop).await.map_err(stopped)
}

#[cfg(feature = "tls")]
pub use secure::listen_tls;

#[cfg(feature = "tls")]
mod secure {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::server::TlsStream;

    use super::*;

    /// How long a client may take over its handshake.
    const HANDSHAKE: Duration = Duration::from_secs(10);
    /// Handshakes at a time; who comes later waits to be accepted.
    const HANDSHAKES: usize = 256;

    type Shaken = Option<(TlsStream<TcpStream>, SocketAddr)>;

    /// TLS connections. Handshakes run side by side: one slow client delays no other.
    struct TlsSockets {
        sockets: Sockets,
        acceptor: TlsAcceptor,
        handshakes: JoinSet<Shaken>,
    }

    impl Connected<IncomingStream<'_, TlsSockets>> for RemoteAddress {
        fn connect_info(stream: IncomingStream<'_, TlsSockets>) -> Self {
            Self(*stream.remote_addr())
        }
    }

    async fn shake(acceptor: TlsAcceptor, socket: TcpStream, address: SocketAddr) -> Shaken {
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => Some((stream, address)),
            Ok(Err(error)) => {
                tracing::debug!(%error, %address, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!(%address, "a TLS handshake took too long");
                None
            }
        }
    }

    impl Listener for TlsSockets {
        type Io = TlsStream<TcpStream>;
        type Addr = SocketAddr;

        async fn accept(&mut self) -> (Self::Io, Self::Addr) {
            loop {
                tokio::select! {
                    Some(done) = self.handshakes.join_next() => {
                        if let Ok(Some(shaken)) = done {
                            return shaken;
                        }
                    }
                    (socket, address) = self.sockets.next(), if self.handshakes.len() < HANDSHAKES => {
                        self.handshakes.spawn(shake(self.acceptor.clone(), socket, address));
                    }
                }
            }
        }

        fn local_addr(&self) -> std::io::Result<Self::Addr> {
            self.sockets.local_addr()
        }
    }

    /// Serves an app on a socket with TLS until `stop` completes. Links that are open then are their handler's to close.
    ///
    /// [`tls::server_config`](crate::tls::server_config) makes a configuration of a certificate and a key.
    ///
    /// # Errors
    /// `Network` if the socket fails for good.
    pub async fn listen_tls(
        socket: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        app: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let sockets = TlsSockets {
            sockets: Sockets(socket),
            acceptor: TlsAcceptor::from(tls),
            handshakes: JoinSet::new(),
        };
        let app = app.into_make_service_with_connect_info::<RemoteAddress>();
        axum::serve(sockets, app).with_graceful_shutdown(stop).await.map_err(stopped)
    }
}
