//! A TCP proxy in this process, in front of any server, that injects faults while it runs.
//!
//! ```text
//!   client ── loopback ──► TcpProxy ── loopback ──► server
//!                             │
//!       pass, refuse, cut, truncate, stall, fall silent, throttle, hold back, flip, repeat
//! ```
//!
//! It does not interpret the bytes, except to find the end of an HTTP response if it has to [hold
//! one back](Hold::Response). It works for every client and server that speak TCP, also for TLS.
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

/// How many bytes one direction of a connection buffers while it cannot deliver them. A sender of
/// more waits, as with a network whose buffers are full.
pub const BUFFER: usize = 64 << 10;

/// How many bytes a direction may [hold back](Hold). Above that it delivers what it has, as
/// gateways do.
pub const HELD: usize = 4 << 20;

/// The largest number of connections at a time. Later ones wait to be accepted.
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
    /// With RST: reads and writes fail at once, and bytes in transit are lost, as when a process is
    /// killed.
    #[default]
    Reset,
    /// With FIN: readers reach an end, as when a gateway closes an idle connection.
    Finish,
}

/// When held-back bytes are delivered. They are also delivered at the end of the connection, and
/// when [`HELD`] bytes wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hold {
    /// At once.
    #[default]
    Nothing,
    /// When no more bytes arrived for that long.
    Quiet(Duration),
    /// When that many bytes wait.
    Bytes(usize),
    /// When an HTTP/1.1 response is complete: the behaviour of a buffering gateway with server-sent
    /// events, whose response never is. Other bytes, and those to the server, are passed at once.
    Response,
}

/// What happens to the bytes of one direction. The default passes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Flow {
    /// Whether nothing is delivered: bytes are read until [`BUFFER`] of them wait, and are
    /// delivered when this ends.
    pub stalled: bool,
    /// The largest number of bytes a second, for each connection.
    pub bytes_per_second: Option<u64>,
    /// After exactly how many delivered bytes a connection is cut. Connections that have delivered
    /// more are cut at once.
    pub cut_after: Option<u64>,
    /// When bytes are held back.
    pub hold: Hold,
    /// The number of the byte, from 0, of each connection in which one bit is flipped.
    pub flip_at: Option<u64>,
}

/// The behaviour of a proxy. The default passes everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Behaviour {
    /// Whether new connections are accepted and cut at once, before they reach the server.
    pub refuse: bool,
    /// The age at which a connection is cut. Older ones are cut at once.
    pub cut_after: Option<Duration>,
    /// How connections that this or a [`Flow`] cuts end.
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

/// The counters of a proxy since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that were accepted and not refused.
    pub connections: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that are open now.
    pub open: u64,
    /// How often a fault occurred [once](TcpProxy::once).
    pub once: u64,
    /// Bytes that were delivered to the server.
    pub to_server: u64,
    /// Bytes that were delivered to clients.
    pub to_client: u64,
}

/// The state that all connections share.
#[derive(Debug)]
struct Shared {
    behaviour: watch::Sender<Behaviour>,
    /// The number of cuts of all connections, and how the last one ended them.
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
/// Its behaviour can be changed at any time, also for open connections. Dropping it closes its
/// port, resets every connection, and ends its tasks.
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
    /// `Network` if no port is available.
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

    /// Returns the address that clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its current behaviour.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        *self.shared.behaviour.borrow()
    }

    /// Changes its behaviour. Connections follow as soon as they run.
    pub fn change(&self, how: impl FnOnce(&mut Behaviour)) {
        self.shared.behaviour.send_modify(how);
    }

    /// Passes everything from now on. Waiting bytes are delivered, and a fault that was to occur
    /// once is cancelled.
    pub fn pass(&self) {
        self.shared.trap.disarm();
        self.change(|b| *b = Behaviour::default());
    }

    /// Refuses new connections. Open ones stay.
    pub fn refuse(&self) {
        self.change(|b| b.refuse = true);
    }

    /// Delivers nothing any more, in both directions, without an error: a link whose other end is
    /// gone.
    pub fn stall(&self) {
        self.change(Behaviour::stall);
    }

    /// Cuts every open connection. Later ones are not affected.
    pub fn cut(&self, ending: Ending) {
        self.shared.cut(ending);
    }

    /// Lets a fault occur once in one direction, after so many more bytes, on whichever
    /// connections. [`Counters::once`] counts it when it has occurred. An earlier fault that has
    /// not occurred is cancelled.
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

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.shared.counters.borrow()
    }

    /// Waits until the counters fulfil a condition, and returns them.
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

/// Makes a socket with small buffers: bytes in the operating system's buffers are not delivered
/// either, and the proxy does not observe them.
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

/// Accepts connections until the proxy is dropped. Dropping the set ends its tasks.
async fn accept(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                let Ok((client, _)) = accepted else {
                    // Most of these errors concern one client. Some, like too many open files, end
                    // only with time.
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

/// Makes a socket end with RST when it is dropped.
fn reset(socket: &TcpStream) {
    // Fails for a socket that is closed already.
    let _ = socket.set_zero_linger();
}
