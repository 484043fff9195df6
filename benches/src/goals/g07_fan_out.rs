//! Goal 7: one change to many clients, against a broadcaster that writes one frame, encoded once,
//! to every socket in turn. The measure is the processor time of the server; the clients run in a
//! separate process.

use sync_core::storage::Storage;

use super::g04_local_write::transactions;
use crate::Outcome;
use crate::child::Child;
use crate::goal::Goal;
use crate::measure::{Aim, Bench};
use crate::server::{Way, transport};
use crate::setup::{environment, memory_storage, replica_over};

/// Changes of a round that are sent one by one; and changes that are sent together in a burst.
const CHANGES: usize = 20;
const BURST: usize = 200;
/// A chunk with one document, and the frame around it.
const FRAME: usize = 400;

/// The processor time that a server process used while the work was done, in nanoseconds.
macro_rules! cpu_of {
    ($child:expr, $work:expr) => {{
        let before = $child.number("cpu").await?;
        $work;
        $child.number("cpu").await? - before
    }};
}

struct Raw {
    server: Child,
    clients: Child,
    read: usize,
}

impl Raw {
    async fn start(clients: usize) -> Outcome<(Self, f64)> {
        let (mut server, address) = Child::start(&["broadcast"]).await?;
        let before = server.number("memory").await?;
        let count = clients.to_string();
        let accept = format!("accept {count}");
        let (joined, _) = tokio::try_join!(
            async { Child::start(&["readers", &address, &count]).await },
            server.ask(&accept),
        )?;
        let memory = (server.number("memory").await? - before) / clients as f64;
        Ok((Self { server, clients: joined.0, read: 0 }, memory))
    }

    /// Sends frames and waits until all clients have them. Returns the server's processor time.
    async fn send(&mut self, times: usize) -> Outcome<f64> {
        let Self { server, clients, read } = self;
        *read += times * crate::raw::frame(FRAME).len();
        Ok(cpu_of!(server, {
            server.ask(&format!("send {times} {FRAME}")).await?;
            clients.ask(&format!("wait {read}")).await?;
        }))
    }
}

struct Ours {
    server: Child,
    clients: Child,
    address: String,
    written: usize,
}

impl Ours {
    async fn start(clients: usize) -> Outcome<(Self, f64)> {
        let (mut server, address) = Child::start(&["serve", "memory:"]).await?;
        let before = server.number("memory").await?;
        let (joined, _) = Child::start(&["listeners", &address, &clients.to_string()]).await?;
        let memory = (server.number("memory").await? - before) / clients as f64;
        Ok((Self { server, clients: joined, address, written: 0 }, memory))
    }

    /// Pushes documents one by one, and waits until each has reached all clients, or only the last.
    /// Returns the server's processor time.
    async fn push(&mut self, documents: usize, each: bool) -> Outcome<f64> {
        let Self { server, clients, address, written } = self;
        let transport = transport(address.parse()?, Way::WebSocket)?;
        let storage = memory_storage()?;
        let all = transactions(1, *written + documents)?;
        let replica = replica_over(transport, storage, &Default::default(), 1_000).await?;
        replica.start().await?;
        replica.wait_until_in_sync().await?;
        let used = cpu_of!(server, {
            for transaction in all.into_iter().skip(*written) {
                let storage: &dyn Storage = &**replica.storage();
                storage.write(environment().now(), transaction).await?;
                *written += 1;
                if each {
                    clients.ask(&format!("wait {written}")).await?;
                }
            }
            clients.ask(&format!("wait {written}")).await?;
        });
        replica.stop().await;
        replica.close().await?;
        Ok(used)
    }
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    for clients in [1_000, 5_000] {
        bench.say(format_args!("{clients} clients connect"));
        let (mut raw, raw_memory) = Raw::start(clients).await?;
        let (mut ours, our_memory) = Ours::start(clients).await?;
        let (mut rounds, mut bursts) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds() {
            let underneath = raw.send(CHANGES).await?;
            rounds.push(underneath / ours.push(CHANGES, true).await?);
            if clients == 1_000 {
                let underneath = raw.send(BURST).await?;
                bursts.push(underneath / ours.push(BURST, false).await?);
            }
        }
        let what = format!("one change to {clients} replicas");
        bench.row(Aim::at_least(Goal::FanOut, what, "of raw, by CPU", 0.85, 0.95), rounds);
        if clients == 1_000 {
            let what = format!("a burst of {BURST} changes to {clients} replicas");
            bench.row(Aim::at_least(Goal::FanOut, what, "x raw, by CPU", 3.0, 10.0), bursts);
            drop((raw, ours));
            memory(bench, our_memory, raw_memory, clients).await?;
        }
    }
    Ok(())
}

/// Measures the server's memory for each open and silent connection, in new processes.
async fn memory(bench: &mut Bench, ours: f64, raw: f64, clients: usize) -> Outcome {
    let mut rounds = vec![(ours - raw) / 1024.0];
    while rounds.len() < bench.rounds() {
        let (_raw, raw_memory) = Raw::start(clients).await?;
        let (_ours, our_memory) = Ours::start(clients).await?;
        rounds.push((our_memory - raw_memory) / 1024.0);
    }
    let what = "memory of an idle connection over that of a bare socket";
    bench.row(Aim::at_most(Goal::FanOut, what, "KB", 8.0, 2.0), rounds);
    Ok(())
}
