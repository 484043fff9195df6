//! The client's side.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt, future};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::protocol::{Hello, Welcome};
use sync_core::transport::{Connection, FrameLink, LinkActivity, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::uri::{PathAndQuery, Scheme};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Uri};
use transport_kit::framed::{Dial, FramedTransport};
use transport_kit::{Counted, normalized_address, shown_address};

use crate::{PATH, SUBPROTOCOL, WsConfig, error};

/// The transport of a replica over WebSocket.
///
/// ```
/// use transport_ws::{WsConfig, WsTransport};
/// let transport = WsTransport::new(WsConfig::new("ws://localhost:7878"))?;
/// # let _ = transport;
/// assert!(WsTransport::new(WsConfig::new("http://localhost")).is_err());
/// # Ok::<(), sync_core::error::Error>(())
/// ```
#[derive(Debug)]
pub struct WsTransport(FramedTransport<WsDial>);

impl WsTransport {
    /// Creates a transport to that server. Nothing is connected yet.
    ///
    /// # Errors
    /// `InvalidInput` if the address, a header or a certificate cannot be used.
    pub fn new(config: WsConfig) -> Result<Self> {
        let framed = config.framed.clone();
        Ok(Self(FramedTransport::new(WsDial::new(config)?, framed)))
    }
}

#[async_trait]
impl Transport for WsTransport {
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        self.0.connect(hello).await
    }
}

/// Connects links: TCP, TLS if the address is `wss:`, WebSocket.
struct WsDial {
    config: WsConfig,
    request: Request,
    host: String,
    port: u16,
    #[cfg(feature = "tls")]
    tls: Option<(tokio_rustls::TlsConnector, rustls::pki_types::ServerName<'static>)>,
}

impl std::fmt::Debug for WsDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsDial").field("config", &self.config).finish_non_exhaustive()
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}

impl WsDial {
    fn new(config: WsConfig) -> Result<Self> {
        let bad_url = |what| invalid(what).with("url", shown_address(&config.url));
        let address = normalized_address(&config.url)?;
        let uri: Uri = address.parse().map_err(|e| bad_url("not an address").because(e))?;
        let is_secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") if cfg!(feature = "tls") => true,
            Some("wss") => return Err(bad_url("this build has no TLS: feature `tls`")),
            _ => return Err(bad_url("an address begins with ws:// or wss://")),
        };
        let authority = uri.authority().ok_or_else(|| bad_url("the address names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad_url("the address names no host"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") if is_secure => 443,
            Some("") => 80,
            // An invalid port would otherwise be treated as a missing one.
            _ => authority.port_u16().filter(|p| *p > 0).ok_or_else(|| bad_url("no such port"))?,
        };
        let request = request(&config, uri.clone())?;
        #[cfg(feature = "tls")]
        let tls = if is_secure {
            let name = rustls::pki_types::ServerName::try_from(host.clone())
                .map_err(|e| bad_url("not the name of a host").because(e))?;
            Some((tokio_rustls::TlsConnector::from(config.trust.client_config()?), name))
        } else {
            None
        };
        Ok(Self {
            request,
            host,
            port,
            #[cfg(feature = "tls")]
            tls,
            config,
        })
    }

    async fn link(&self) -> Result<FrameLink> {
        let network = |what| move |e| Error::new(ErrorKind::Network, what).because(e);
        let tcp = TcpStream::connect((self.host.as_str(), self.port));
        let tcp = tcp.await.map_err(network("the server cannot be reached"))?;
        tcp.set_nodelay(true).map_err(network("the link broke"))?;
        let activity = LinkActivity::default();
        let tcp = Counted::new(tcp, activity.clone());
        #[cfg(feature = "tls")]
        if let Some((connector, name)) = &self.tls {
            let tls = connector.connect(name.clone(), tcp).await;
            let tls = tls.map_err(|e| {
                let what = if transport_kit::is_plain_answer(&e) {
                    "what answered does not speak TLS: a port without it has an address with ws://"
                } else {
                    "TLS with the server failed"
                };
                network(what)(e)
            })?;
            return self.upgrade(tls, activity).await;
        }
        self.upgrade(tcp, activity).await
    }

    async fn upgrade<S>(&self, stream: S, activity: LinkActivity) -> Result<FrameLink>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = Some(self.config.socket());
        let request = self.request.clone();
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, config);
        let (socket, _) = upgrade.await.map_err(error::of_socket)?;
        Ok(to_link(socket, activity))
    }
}

fn request(config: &WsConfig, uri: Uri) -> Result<Request> {
    let mut parts = uri.into_parts();
    // A path is the prefix of the routes, as over HTTP; the whole path is accepted, too.
    let prefix = parts.path_and_query.as_ref().map_or("", |p| p.as_str()).trim_end_matches('/');
    let path = format!("{}{PATH}", prefix.strip_suffix(PATH).unwrap_or(prefix));
    let path: PathAndQuery = path.parse().map_err(|e| invalid("not a path").because(e))?;
    parts.path_and_query = Some(path);
    let is_default_port = |scheme: &Scheme, port| {
        matches!((scheme.as_str(), port), ("ws", Some(80)) | ("wss", Some(443)))
    };
    if let (Some(scheme), Some(authority)) = (&parts.scheme, &parts.authority)
        && is_default_port(scheme, authority.port_u16())
    {
        parts.authority = authority.host().parse().ok();
    }
    let uri = Uri::from_parts(parts).map_err(|e| invalid("not an address").because(e))?;
    let mut request = uri
        .into_client_request()
        .map_err(|e| invalid("no request can be made to this address").because(e))?;
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    for (name, value) in &config.headers {
        let bad = || invalid("not an HTTP header").with("header", name);
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        headers.append(HeaderName::try_from(name.as_str()).map_err(|_| bad())?, value);
    }
    Ok(request)
}

fn to_link<S>(socket: WebSocketStream<S>, activity: LinkActivity) -> FrameLink
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (outgoing, incoming) = socket.split();
    let outgoing = outgoing
        .sink_map_err(error::of_socket)
        .with(|frame| future::ready(Ok::<_, Error>(Message::Binary(frame))));
    let incoming = incoming.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(frame)) => Some(Ok(frame)),
            Ok(Message::Text(_)) => Some(Err(error::text())),
            Ok(Message::Close(Some(close))) => {
                Some(Err(error::closed(close.code.into(), &close.reason)))
            }
            Ok(Message::Close(None) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                None
            }
            Err(e) => Some(Err(error::of_socket(e))),
        })
    });
    let activity = Some(activity);
    FrameLink {
        outgoing: Box::pin(outgoing),
        incoming: incoming.boxed(),
        activity,
        admission: None,
    }
}

#[async_trait]
impl Dial for WsDial {
    async fn dial(&self) -> Result<FrameLink> {
        match tokio::time::timeout(self.config.connect_timeout, self.link()).await {
            Ok(link) => link,
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the server did not answer in time")),
        }
        .map_err(|e| e.with("url", &self.config.url))
    }
}
