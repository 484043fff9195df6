//! Goal 6: the time from a write on one replica until another one shows it, against three commits
//! of rusqlite that are synced (the write, the batch, the server's) and one round trip over
//! loopback; and the same while many other clients listen.

use std::time::Duration;

use sync_core::model::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use twotide::{Changes, Replica};

use super::g04_local_write::transactions;
use crate::Outcome;
use crate::child::{Child, broadcast};
use crate::documents::Order;
use crate::goal::Goal;
use crate::measure::{Aim, Bench, median};
use crate::meter::Meter;
use crate::raw::{self, RawSqlite, Sync, frame};
use crate::server::{Listening, Way};
use crate::setup::{environment, replica_over, sqlite_storage};

/// A round takes the median of this many writes.
const WRITES: usize = 41;
const CLIENTS: usize = 1_000;

/// The files and the socket of the baseline.
struct Underneath {
    files: [RawSqlite; 3],
    rows: std::vec::IntoIter<raw::RawDocument>,
    socket: TcpStream,
}

impl Underneath {
    async fn start(bench: &mut Bench) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let socket = TcpStream::connect(listener.local_addr()?).await?;
        let (mut there, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        there.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while there.read_exact(&mut buffer).await.is_ok() {
                if there.write_all(&buffer).await.is_err() {
                    return;
                }
            }
        });
        let mut file = || RawSqlite::open(&bench.path(".raw.db"), Sync::Full);
        let files = [file()?, file()?, file()?];
        let rows = raw::rows(Order::Ordered, 10_000).into_iter();
        Ok(Self { files, rows, socket })
    }

    /// Runs three commits and a round trip.
    async fn once(&mut self) -> Outcome<Duration> {
        let row = self.rows.next().ok_or("there are no more rows")?;
        let mut buffer = [0; 512];
        let meter = Meter::start();
        for file in &mut self.files {
            file.insert(std::slice::from_ref(&row))?;
        }
        self.socket.write_all(&buffer).await?;
        self.socket.read_exact(&mut buffer).await?;
        Ok(meter.cost().wall)
    }
}

/// Two replicas in SQLite that follow one server.
struct Pair {
    here: Replica,
    there: Replica,
    changes: Changes,
    writes: std::vec::IntoIter<sync_core::replica::LocalTransaction>,
}

impl Pair {
    async fn start(bench: &Bench, server: &Listening, writes: usize) -> Outcome<Self> {
        let open = async || -> Outcome<Replica> {
            let storage = sqlite_storage(bench.folder.path())?;
            let transport = server.transport(Way::WebSocket)?;
            let replica = replica_over(transport, storage, &Scope::default(), 1_000).await?;
            replica.start().await?;
            replica.wait_until_in_sync().await?;
            Ok(replica)
        };
        let (here, there) = (open().await?, open().await?);
        let changes = there.changes().await?;
        let writes = transactions(1, writes)?.into_iter();
        Ok(Self { here, there, changes, writes })
    }

    async fn once(&mut self) -> Outcome<Duration> {
        let transaction = self.writes.next().ok_or("there are no more writes")?;
        let meter = Meter::start();
        self.here.storage().write(environment().now(), transaction).await?;
        let change = tokio::time::timeout(Duration::from_secs(30), self.changes.next());
        change.await.map_err(|_| "a change never came")?.ok_or("the replica was closed")??;
        Ok(meter.cost().wall)
    }

    async fn close(self) -> Outcome {
        for replica in [self.here, self.there] {
            replica.stop().await;
            replica.close().await?;
        }
        Ok(())
    }
}

/// Starts the clients of a bare broadcaster, and returns its sockets to them.
async fn broadcaster() -> Outcome<(Vec<TcpStream>, Child)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let accept = async {
        let mut sockets = Vec::new();
        while sockets.len() < CLIENTS {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        Outcome::Ok(sockets)
    };
    let count = CLIENTS.to_string();
    let (sockets, joined) =
        tokio::try_join!(accept, async { Child::start(&["readers", &address, &count]).await })?;
    Ok((sockets, joined.0))
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let path = bench.path(".server.db");
    let server = Listening::sqlite(&path).await?;
    let mut underneath = Underneath::start(bench).await?;
    let mut pair = Pair::start(bench, &server, WRITES * bench.rounds() * 2 + 2).await?;
    // The first write is slower.
    pair.once().await?;
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let (mut base, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..WRITES {
            base.push(underneath.once().await?.as_secs_f64());
            ours.push(pair.once().await?.as_secs_f64());
        }
        rounds.push(median(&ours) / median(&base));
    }
    let what = "from a write to another replica, p50";
    bench.row(Aim::at_most(Goal::Latency, what, "x fsyncs and a round trip", 2.0, 1.3), rounds);

    bench.say(format_args!("{CLIENTS} clients connect"));
    let (mut sockets, _readers) = broadcaster().await?;
    let address = server.address.to_string();
    let _listeners = Child::start(&["listeners", &address, &CLIENTS.to_string()]).await?;
    pair.once().await?;
    let (frame, mut rounds) = (frame(400), Vec::new());
    for _ in 0..bench.rounds() {
        let (mut base, mut told, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..WRITES {
            base.push(underneath.once().await?.as_secs_f64());
            let meter = Meter::start();
            broadcast(&mut sockets, &frame, 1).await?;
            told.push(meter.cost().wall.as_secs_f64());
            ours.push(pair.once().await?.as_secs_f64());
        }
        rounds.push((median(&ours) - 1.3 * median(&told)) / median(&base));
    }
    let what = "the same with 1,000 connected clients, less 1.3 times a bare broadcast";
    bench.row(Aim::at_most(Goal::Latency, what, "x fsyncs and a round trip", 2.0, 1.3), rounds);
    pair.close().await
}
