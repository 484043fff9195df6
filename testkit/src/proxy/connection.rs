//! One connection of a proxy: two sockets, a pump for each direction, and the end of the
//! connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::pump::{Pump, Pumped};
use super::{Ending, Shared, Way, reset, socket};

/// How long each side of a connection that was closed with FIN may take to close.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection stopped passing bytes.
enum End {
    /// Both sides have closed.
    Closed,
    /// The connection has to be cut.
    Cut(Ending),
    /// The connection is half-open.
    Silent,
}

pub(super) struct Connection {
    shared: Arc<Shared>,
    opened: Instant,
    cuts: watch::Receiver<(u64, Ending)>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.counters.send_modify(|c| {
            c.connections += 1;
            c.open += 1;
        });
        let cuts = shared.cuts.subscribe();
        Self { shared, opened: Instant::now(), cuts }
    }

    pub(super) async fn run(mut self, client: TcpStream, target: SocketAddr) {
        let mut client = Socket { stream: client, hard: true };
        let connected = tokio::select! {
            connected = connect(target) => connected,
            ending = self.fate() => return finish(&mut client, None, ending).await,
        };
        let Ok(stream) = connected else { return };
        let mut server = Socket { stream, hard: true };
        // Without delay, or small messages would wait for each other.
        let prompt = client.stream.set_nodelay(true);
        if prompt.and_then(|()| server.stream.set_nodelay(true)).is_err() {
            return;
        }
        let ending = match self.pump(&mut client.stream, &mut server.stream).await {
            // Both sides have closed, and may still have bytes to read.
            End::Closed => return (client.hard, server.hard) = (false, false),
            End::Cut(ending) => ending,
            End::Silent => self.swallow(&mut client.stream, &mut server.stream).await,
        };
        finish(&mut client, Some(&mut server), ending).await;
    }

    /// Passes bytes until both sides have closed, or a fault ends that.
    async fn pump(&mut self, client: &mut TcpStream, server: &mut TcpStream) -> End {
        let shared = Arc::clone(&self.shared);
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = Pump::new(&shared, Way::ToServer, from_client, to_server).run();
        let down = Pump::new(&shared, Way::ToClient, from_server, to_client).run();
        tokio::pin!(up, down);
        let (mut up_done, mut down_done) = (false, false);
        while !(up_done && down_done) {
            let pumped = tokio::select! {
                ending = self.fate() => return End::Cut(ending),
                pumped = &mut up, if !up_done => { up_done = true; pumped }
                pumped = &mut down, if !down_done => { down_done = true; pumped }
            };
            match pumped {
                Pumped::Broken => return End::Cut(Ending::Reset),
                Pumped::Due => return End::Cut(shared.behaviour.borrow().ending),
                Pumped::Cut(ending) => return End::Cut(ending),
                Pumped::Silent => return End::Silent,
                Pumped::Ended => {}
            }
        }
        End::Closed
    }

    /// Reads and delivers nothing, until both sides have closed or the connection is cut.
    async fn swallow(&mut self, client: &mut TcpStream, server: &mut TcpStream) -> Ending {
        let take = async |side: &mut TcpStream| {
            let mut scratch = vec![0; 4 << 10];
            while side.read(&mut scratch).await.is_ok_and(|n| n > 0) {}
        };
        tokio::select! {
            ending = self.fate() => ending,
            ((), ()) = async { tokio::join!(take(client), take(server)) } => Ending::Reset,
        }
    }

    /// Completes when this connection has to be cut from outside.
    async fn fate(&mut self) -> Ending {
        let mut behaviour = self.shared.behaviour.subscribe();
        loop {
            let (due, ending) = {
                let behaviour = behaviour.borrow_and_update();
                (behaviour.cut_after.map(|after| self.opened + after), behaviour.ending)
            };
            tokio::select! {
                Ok(()) = self.cuts.changed() => return self.cuts.borrow_and_update().1,
                Ok(()) = behaviour.changed() => {}
                () = sleep_until(due.unwrap_or(self.opened)), if due.is_some() => return ending,
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.counters.send_modify(|c| c.open -= 1);
    }
}

async fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    if target.is_ipv4() {
        socket()?.connect(target).await
    } else {
        TcpStream::connect(target).await
    }
}

/// A socket that ends with RST when it is dropped, also with the proxy, unless it was ended
/// otherwise.
struct Socket {
    stream: TcpStream,
    hard: bool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.hard {
            reset(&self.stream);
        }
    }
}

/// Ends both sides. With FIN they are closed and then read to their ends, because unread bytes make
/// the system send RST after all.
async fn finish(client: &mut Socket, server: Option<&mut Socket>, ending: Ending) {
    if ending == Ending::Reset {
        return;
    }
    let close = async |socket: &mut Socket| {
        socket.hard = false;
        // A side that is closed already needs no FIN.
        if socket.stream.shutdown().await.is_ok() {
            let mut scratch = vec![0; 4 << 10];
            while socket.stream.read(&mut scratch).await.is_ok_and(|n| n > 0) {}
        }
    };
    let both = async {
        match server {
            Some(server) => drop(tokio::join!(close(client), close(server))),
            None => close(client).await,
        }
    };
    // A side that does not close in this time may get an RST.
    let _ = timeout(FAREWELL, both).await;
}
