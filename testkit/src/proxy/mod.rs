//! A TCP proxy in this process, in front of any server, that can be told to misbehave while it
//! runs.
//!
//! ```text
//!   client ── loopback ──► TcpProxy ── loopback ──► server
//!                             │
//!       pass, refuse, cut, truncate, stall, fall silent, throttle, hold back, flip, repeat
//! ```
//!
//! It knows nothing of what travels, except where an HTTP response ends if it is to [hold one
//! back](Hold::Response). It works for every client and server that speak TCP, also for TLS.
//!
//! ```
//! use std::time::Duration;
//! use testkit::proxy::{Ending, TcpProxy};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let proxy = TcpProxy::start(server.local_addr()?).await?;
//! let mut client = tokio::net::TcpStream::connect(proxy.address()).await?;
//! let (mut served, _) = server.accept().await?;
//!
//! client.write_all(b"ping").await?;
//! served.read_exact(&mut [0; 4]).await?;
//!
//! proxy.stall();
//! client.write_all(b"never arrives").await?;
//! proxy.wait_for(Duration::from_secs(5), |c| c.to_server == 4).await?;
//!
//! proxy.cut(Ending::Reset);
//! assert!(client.read(&mut [0; 1]).await.is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod connection;
mod links;
mod once;
mod pump;
mod response;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use links::{LinkSwitch, SwitchedDial};
pub use once::Once;

/// Bytes that one direction of a connection may keep while it cannot deliver them. A sender of more
/// has to wait, as with a network whose buffers are full.
pub const BUFFER: usize = 64 << 10;

/// Bytes that a direction may keep because it [holds them back](Hold); at more it delivers what it
/// has, as gateways do.
pub const HELD: usize = 4 << 20;

/// Connections at a time; later ones wait to be accepted.
const CONNECTIONS: usize = 1_024;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// How a connection that is cut ends, on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With RST: reading and writing fail at once, and what was on its way is lost. So ends a
    /// process that was killed.
    #[default]
    Reset,
    /// With FIN: readers see an end. So ends a gateway that closes an idle connection.
    Finish,
}

/// When bytes that are held back are delivered. Each is also delivered at the end of the
/// connection, and when [`HELD`] bytes wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hold {
    /// At once.
    #[default]
    Nothing,
    /// When nothing more came for that long.
    Quiet(Duration),
    /// When that many wait.
    Bytes(usize),
    /// When an HTTP/1.1 response is complete: what a buffering gateway does to server-sent events,
    /// whose response never is. What is not HTTP, and what goes to the server, is passed at once.
    Response,
}

/// What happens to the bytes of one direction. The default passes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Flow {
    /// Nothing is delivered: bytes are taken until [`BUFFER`] of them wait, and are delivered when
    /// this ends.
    pub stalled: bool,
    /// At most so many bytes a second, for each connection.
    pub bytes_per_second: Option<u64>,
    /// A connection is cut when it has delivered exactly so many bytes. Those that have delivered
    /// more are cut at once.
    pub cut_after: Option<u64>,
    /// When bytes are held back.
    pub hold: Hold,
    /// One bit is flipped in the byte with this number, from 0, of each connection.
    pub flip_at: Option<u64>,
}

/// Everything that a proxy does. The default passes everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Behaviour {
    /// New connections are accepted and cut at once, before the server hears of them.
    pub refuse: bool,
    /// Every connection is cut when it is that old; those that are older, at once.
    pub cut_after: Option<Duration>,
    /// How connections that this or a [`Flow`] cuts come to their end.
    pub ending: Ending,
    /// From the client to the server.
    pub to_server: Flow,
    /// From the server to the client.
    pub to_client: Flow,
}

impl Behaviour {
    fn stall(&mut self) {
        self.to_server.stalled = true;
        self.to_client.stalled = true;
    }

    fn flow(&self, way: Way) -> Flow {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }
}

/// What a proxy has seen since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that were accepted and not refused.
    pub connections: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that are open now.
    pub open: u64,
    /// How often something happened [once](TcpProxy::once).
    pub once: u64,
    /// Bytes that were delivered to the server.
    pub to_server: u64,
    /// Bytes that were delivered to clients.
    pub to_client: u64,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    behaviour: watch::Sender<Behaviour>,
    /// How often everything was cut, and how the last time.
    cuts: watch::Sender<(u64, Ending)>,
    counters: watch::Sender<Counters>,
    trap: once::Trap,
}

impl Shared {
    fn cut(&self, ending: Ending) {
        self.cuts.send_modify(|(times, how)| {
            *times += 1;
            *how = ending;
        });
    }
}

/// A proxy on loopback in front of a server.
///
/// What it does can be changed at any time, and holds for connections that are open already.
/// Dropping it closes its port, resets every connection, and ends its tasks.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl TcpProxy {
    /// Starts a proxy on a free port of this machine. It passes everything.
    ///
    /// # Errors
    /// `Network` if no port can be had.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let no_port = |e| Error::new(ErrorKind::Network, "no port for a proxy").because(e);
        let listener = listen().map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let shared = Arc::new(Shared {
            behaviour: watch::Sender::default(),
            cuts: watch::Sender::default(),
            counters: watch::Sender::default(),
            trap: once::Trap::default(),
        });
        let task = tokio::spawn(accept(listener, target, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, task })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does now.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        *self.shared.behaviour.borrow()
    }

    /// Changes what it does. Connections act on it as soon as they run.
    pub fn change(&self, how: impl FnOnce(&mut Behaviour)) {
        self.shared.behaviour.send_modify(how);
    }

    /// Passes everything from now on; what waits is delivered, and what was to happen once does not
    /// happen any more.
    pub fn pass(&self) {
        self.shared.trap.disarm();
        self.change(|b| *b = Behaviour::default());
    }

    /// Refuses new connections. Those that are open stay.
    pub fn refuse(&self) {
        self.change(|b| b.refuse = true);
    }

    /// Delivers nothing any more, in both directions, without an error: a link whose other end is
    /// gone.
    pub fn stall(&self) {
        self.change(Behaviour::stall);
    }

    /// Cuts every connection that is open now. Later ones are not touched.
    pub fn cut(&self, ending: Ending) {
        self.shared.cut(ending);
    }

    /// Lets something happen once in one direction, when so many more bytes have come from now on,
    /// on whichever connections. [`Counters::once`] tells when it has happened. What was to happen
    /// before and has not yet is forgotten.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use testkit::proxy::{Ending, Once, TcpProxy, Way};
    /// let proxy = TcpProxy::start(([127, 0, 0, 1], 7878).into()).await?;
    /// // In the middle of the next answer, if that is longer than 100 bytes.
    /// proxy.once(Way::ToClient, 100, Once::Cut(Ending::Finish));
    /// # Ok::<(), sync_core::error::Error>(()) }).unwrap();
    /// ```
    pub fn once(&self, way: Way, after: u64, what: Once) {
        self.shared.trap.arm(way, after, what);
    }

    /// What it has seen.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.shared.counters.borrow()
    }

    /// Waits until the counters fulfil a condition, and returns them as they were then.
    ///
    /// # Errors
    /// `Timeout`, with the counters as they are, if that takes longer than `within`.
    pub async fn wait_for(
        &self,
        within: Duration,
        mut condition: impl FnMut(&Counters) -> bool,
    ) -> Result<Counters> {
        let mut counters = self.shared.counters.subscribe();
        match tokio::time::timeout(within, counters.wait_for(|c| condition(c))).await {
            Ok(Ok(counters)) => Ok(*counters),
            // The sender lives as long as the proxy.
            Ok(Err(_)) | Err(_) => {
                Err(Error::new(ErrorKind::Timeout, "the proxy did not see what was waited for")
                    .with("counters", format!("{:?}", self.counters())))
            }
        }
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket with small buffers: bytes that the operating system keeps are not delivered either, and
/// the proxy does not see them.
fn socket() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(BUFFER as u32)?;
    socket.set_send_buffer_size(BUFFER as u32)?;
    Ok(socket)
}

/// Connections that are accepted inherit the buffers.
fn listen() -> std::io::Result<TcpListener> {
    let socket = socket()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.listen(CONNECTIONS as u32)
}

/// Takes connections until the proxy is dropped. The set ends what it holds when it is dropped.
async fn accept(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                let Ok((client, _)) = accepted else {
                    // Most of these concern one client. Some, like too many open files, end only
                    // with time.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                if shared.behaviour.borrow().refuse {
                    shared.counters.send_modify(|c| c.refused += 1);
                    reset(&client);
                    continue;
                }
                let connection = connection::Connection::new(Arc::clone(&shared));
                connections.spawn(connection.run(client, target));
            }
        }
    }
}

/// Lets a socket end with RST when it is dropped.
fn reset(socket: &TcpStream) {
    // Fails for a socket that is gone already.
    let _ = socket.set_zero_linger();
}
