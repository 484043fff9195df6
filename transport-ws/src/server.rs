//! The server's side: an axum router that turns requests into links, and what listens.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::serve::{IncomingStream, Listener};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt, future};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::FrameLink;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite;

use crate::{PATH, SUBPROTOCOL, WsServerConfig, error};

/// Who is at the other end of a link.
#[derive(Clone)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The address that the connection came from; none if the router is served in a way that does not tell. Behind a
    /// gateway it is the gateway's.
    pub address: Option<SocketAddr>,
    /// The headers of the HTTP request.
    pub headers: HeaderMap,
}

impl fmt::Debug for PeerInfo {
    /// Without the headers: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerInfo").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Serves links.
pub trait LinkHandler: Send + Sync + 'static {
    /// Serves one link to its end. The link is closed when the future ends.
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()>;
}

impl<T: LinkHandler + ?Sized> LinkHandler for Arc<T> {
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()> {
        (**self).serve(link, peer)
    }
}

struct Door {
    handler: Box<dyn LinkHandler>,
    config: WsServerConfig,
    room: Arc<Semaphore>,
}

/// A router with one route, [`PATH`], which hands links to the handler. It can be merged into the app's own router.
///
/// ```
/// use futures_util::{FutureExt, StreamExt, future::BoxFuture};
/// use sync_core::transport::FrameLink;
/// use transport_ws::{LinkHandler, PeerInfo};
///
/// struct Silent;
///
/// impl LinkHandler for Silent {
///     fn serve(&self, mut link: FrameLink, _: PeerInfo) -> BoxFuture<'static, ()> {
///         async move { while link.incoming.next().await.is_some() {} }.boxed()
///     }
/// }
///
/// let app: axum::Router = transport_ws::router(Silent);
/// ```
pub fn router(handler: impl LinkHandler) -> Router {
    router_with(handler, WsServerConfig::default())
}

/// The same with other settings.
pub fn router_with(handler: impl LinkHandler, config: WsServerConfig) -> Router {
    let room = Arc::new(Semaphore::new(config.connections.min(Semaphore::MAX_PERMITS)));
    let door = Door { handler: Box::new(handler), config, room };
    Router::new().route(PATH, any(enter)).with_state(Arc::new(door))
}

async fn enter(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    extensions: Extensions,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(place) = Arc::clone(&door.room).try_acquire_owned() else {
        let retry_after = door.config.retry_after.as_secs().max(1).to_string();
        let headers = [(header::RETRY_AFTER, retry_after)];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, "the server is full").into_response();
    };
    let address = extensions
        .get::<ConnectInfo<Peer>>()
        .map(|i| i.0.0)
        .or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|i| i.0));
    let peer = PeerInfo { address, headers };
    let socket = door.config.socket();
    upgrade
        .read_buffer_size(socket.read_buffer_size)
        .write_buffer_size(socket.write_buffer_size)
        .max_write_buffer_size(socket.max_write_buffer_size)
        .max_message_size(socket.max_message_size.unwrap_or(usize::MAX))
        .max_frame_size(socket.max_frame_size.unwrap_or(usize::MAX))
        .protocols([SUBPROTOCOL])
        .on_failed_upgrade(|error| tracing::debug!(%error, "a WebSocket could not be made"))
        .on_upgrade(move |socket| async move {
            door.handler.serve(to_link(socket), peer).await;
            drop(place);
        })
}

fn of_axum(error: axum::Error) -> Error {
    match error.into_inner().downcast::<tungstenite::Error>() {
        Ok(error) => error::of_socket(*error),
        Err(error) => {
            Error::new(ErrorKind::Network, "the link broke").with("cause", error.to_string())
        }
    }
}

fn to_link(socket: WebSocket) -> FrameLink {
    let (outgoing, incoming) = socket.split();
    let outgoing = outgoing
        .sink_map_err(of_axum)
        .with(|frame| future::ready(Ok::<_, Error>(Message::Binary(frame))));
    let incoming = incoming.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(frame)) => Some(Ok(frame)),
            Ok(Message::Text(_)) => Some(Err(error::text())),
            Ok(Message::Close(Some(close))) => Some(Err(error::closed(close.code, &close.reason))),
            Ok(Message::Close(None) | Message::Ping(_) | Message::Pong(_)) => None,
            Err(e) => Some(Err(of_axum(e))),
        })
    });
    FrameLink { outgoing: Box::pin(outgoing), incoming: incoming.boxed() }
}

/// Where a connection came from, for all that [`listen`] takes.
#[derive(Clone, Copy)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, Sockets>> for Peer {
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
    let app = app.into_make_service_with_connect_info::<Peer>();
    axum::serve(Sockets(socket), app).with_graceful_shutdown(stop).await.map_err(stopped)
}

#[cfg(feature = "tls")]
pub use secure::listen_tls;

#[cfg(feature = "tls")]
mod secure {
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

    impl Connected<IncomingStream<'_, TlsSockets>> for Peer {
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
    /// [`server_config`](crate::tls::server_config) makes a configuration of a certificate and a key.
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
        let app = app.into_make_service_with_connect_info::<Peer>();
        axum::serve(sockets, app).with_graceful_shutdown(stop).await.map_err(stopped)
    }
}

impl LinkHandler for sync_core::server::Server {
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()> {
        let server = self.clone();
        Box::pin(async move {
            if let Err(error) = server.serve_link(link).await {
                tracing::debug!(%error, address = ?peer.address, "a connection ended");
            }
        })
    }
}
