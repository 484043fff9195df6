//! The server's side: an axum router that makes links from requests.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{Extensions, HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt, future};
use sync_core::error::{Error, ErrorKind};
use sync_core::transport::{Admission, FrameLink, LinkActivity};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite;
use transport_kit::{Place, Places, RemoteAddress};

use crate::messages::{self, Messages};
use crate::{PATH, SUBPROTOCOL, WsServerConfig, error};

/// The other end of a link: its address and its HTTP headers.
#[derive(Clone)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The address that the connection came from; none if the router is served in a way that does
    /// not set it. Behind a gateway it is the gateway's.
    pub address: Option<SocketAddr>,
    /// The headers of the HTTP request.
    pub headers: HeaderMap,
}

impl fmt::Debug for PeerInfo {
    /// Omits the headers: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerInfo").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Serves links.
pub trait LinkHandler: Send + Sync + 'static {
    /// Serves one link to its end. The link is closed when the future ends. Until
    /// [`FrameLink::admission`] is dropped the client may send at most
    /// [`WsServerConfig::greeting_bytes`], and holds one of the few places of clients that are not
    /// admitted yet.
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()>;
}

impl<T: LinkHandler + ?Sized> LinkHandler for Arc<T> {
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()> {
        (**self).serve(link, peer)
    }
}

struct WsService {
    handler: Box<dyn LinkHandler>,
    config: WsServerConfig,
    room: Arc<Semaphore>,
    greetings: Places<Option<IpAddr>>,
    /// Parts of the memory for messages that are arriving.
    arriving: Places<Option<IpAddr>>,
}

/// The place of a link until its client is admitted.
struct Arriving {
    messages: Option<Arc<Messages>>,
    _place: Place<Option<IpAddr>>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(messages) = &self.messages {
            messages.begin();
        }
    }
}

/// Returns a router with one route, [`PATH`], which hands links to the handler. It can be merged
/// into the app's own router.
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

/// As [`router`], with other settings.
pub fn router_with(handler: impl LinkHandler, config: WsServerConfig) -> Router {
    let room = Arc::new(Semaphore::new(config.connections.min(Semaphore::MAX_PERMITS)));
    let greetings = Places::new(config.greetings, config.greetings_per_address);
    let parts = (config.message_memory / messages::PART).max(1);
    let arriving = Places::new(parts, parts.div_ceil(4) * 3);
    let service = WsService { handler: Box::new(handler), config, room, greetings, arriving };
    Router::new().route(PATH, any(enter)).with_state(Arc::new(service))
}

async fn enter(
    State(service): State<Arc<WsService>>,
    headers: HeaderMap,
    extensions: Extensions,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(error) = service.config.browsers.check_handshake(&headers, &uri) {
        return (StatusCode::FORBIDDEN, error.to_string()).into_response();
    }
    let full = |why: &'static str| {
        let retry_after = service.config.retry_after.as_secs().max(1).to_string();
        let headers = [(header::RETRY_AFTER, retry_after)];
        (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response()
    };
    let Ok(place) = Arc::clone(&service.room).try_acquire_owned() else {
        return full("the server is full");
    };
    let address = RemoteAddress::of(&extensions);
    let Some(greeting) = service.greetings.try_take(address.map(|a| a.ip())) else {
        return full("too many connections wait to greet the server");
    };
    let activity = extensions.get::<LinkActivity>().cloned();
    let peer = PeerInfo { address, headers };
    let socket = service.config.socket();
    upgrade
        .read_buffer_size(socket.read_buffer_size)
        .write_buffer_size(socket.write_buffer_size)
        .max_write_buffer_size(socket.max_write_buffer_size)
        .max_message_size(socket.max_message_size.unwrap_or(usize::MAX))
        .max_frame_size(socket.max_frame_size.unwrap_or(usize::MAX))
        .protocols([SUBPROTOCOL])
        .on_failed_upgrade(|error| tracing::debug!(%error, "a WebSocket could not be made"))
        .on_upgrade(move |socket| async move {
            if let Some(activity) = &activity {
                activity.limit_reading(Some(service.config.greeting_bytes));
            }
            let ip = address.map(|a| a.ip());
            let messages = activity.clone().map(|a| Messages::new(a, &service.arriving, ip));
            let arriving = Arriving { messages: messages.clone(), _place: greeting };
            service.handler.serve(to_link(socket, activity, messages, arriving), peer).await;
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

fn to_link(
    socket: WebSocket,
    activity: Option<LinkActivity>,
    messages: Option<Arc<Messages>>,
    arriving: Arriving,
) -> FrameLink {
    let (outgoing, incoming) = socket.split();
    let outgoing = outgoing
        .sink_map_err(of_axum)
        .with(|frame| future::ready(Ok::<_, Error>(Message::Binary(frame))));
    let incoming = incoming.filter_map(move |message| {
        // Pings may arrive between the parts of a message.
        let is_whole = matches!(&message, Ok(Message::Binary(_) | Message::Text(_)));
        if let Some(messages) = messages.as_ref().filter(|_| is_whole) {
            messages.is_whole();
        }
        future::ready(match message {
            Ok(Message::Binary(frame)) => Some(Ok(frame)),
            Ok(Message::Text(_)) => Some(Err(error::text())),
            Ok(Message::Close(Some(close))) => Some(Err(error::closed(close.code, &close.reason))),
            Ok(Message::Close(None) | Message::Ping(_) | Message::Pong(_)) => None,
            Err(e) => Some(Err(of_axum(e))),
        })
    });
    let admission = Some(Box::new(arriving) as Admission);
    FrameLink { outgoing: Box::pin(outgoing), incoming: incoming.boxed(), activity, admission }
}

impl LinkHandler for sync_server::Server {
    fn serve(&self, link: FrameLink, peer: PeerInfo) -> BoxFuture<'static, ()> {
        let server = self.clone();
        Box::pin(async move {
            if let Err(error) = server.serve_link(link).await {
                tracing::debug!(error = %error.report(), address = ?peer.address, "a connection ended");
            }
        })
    }
}
