//! Goal 9: costs that do not grow with the data: processor time per document of a first sync, a
//! sync without news, and opening a replica.

use std::path::{Path, PathBuf};

use storage_sqlite::{SqliteConfig, open_replica};
use sync_core::model::{ReplicaId, Scope};

use super::pulling::pull;
use crate::Outcome;
use crate::child::Child;
use crate::documents::Order;
use crate::goal::Goal;
use crate::measure::{Aim, Bench, Curve, median};
use crate::meter::Meter;
use crate::server::{Listening, Way, fill, transport};
use crate::setup::CHUNK;
use crate::setup::{replica_over, sqlite_storage};

const FEW: usize = 10_000;
const MANY: usize = 1_000_000;
const SIZES: [usize; 3] = [FEW, 100_000, MANY];
/// The syncs without news in a round.
const SYNCS: usize = 200;
/// How many times a round opens a replica.
const OPENED: usize = 15;

/// Returns the processor time of both sides for each document, in microseconds. A small pull is
/// repeated, so that its time is measurable.
async fn per_document(bench: &Bench, server: &Listening, documents: usize) -> Outcome<f64> {
    let times = (50_000 / documents).max(1);
    let mut all = 0.0;
    for _ in 0..times {
        let storage = sqlite_storage(bench.folder.path())?;
        let transport = server.transport(Way::WebSocket)?;
        all += pull(transport, storage, documents).await?.cpu.as_secs_f64();
    }
    Ok(all * 1e6 / (times * documents) as f64)
}

async fn first_sync(bench: &mut Bench, servers: &[Listening]) -> Outcome {
    let mut costs = SIZES.map(|_| Vec::new());
    for round in 0..bench.rounds() {
        bench.say(format_args!("round {}", round + 1));
        for ((documents, server), costs) in SIZES.into_iter().zip(servers).zip(&mut costs) {
            costs.push(per_document(bench, server, documents).await?);
        }
    }
    let rounds = costs[2].iter().zip(&costs[0]).map(|(many, few)| many / few).collect();
    let what = "CPU per document of a first sync, 1,000,000 against 10,000, ordered ids";
    bench.row(Aim::at_most(Goal::Scale, what, "x", 1.3, 1.1), rounds);
    let points = SIZES.iter().zip(&costs).map(|(n, c)| (*n as f64, median(c))).collect();
    let what = "CPU per document of a first sync, both sides, ordered ids".to_owned();
    bench.curves.push(Curve { what, unit: "µs", lines: vec![("first sync".to_owned(), points)] });
    Ok(())
}

/// Measures the server's cost of a sync without news over an open connection.
async fn without_news(bench: &mut Bench) -> Outcome {
    let path = fill(bench, Order::Ordered, FEW).await?;
    let storage = format!("sqlite:{}", path.display());
    let (mut server, address) = Child::start(&["serve", &storage]).await?;
    let transport = transport(address.parse()?, Way::WebSocket)?;
    let storage = sqlite_storage(bench.folder.path())?;
    let replica = replica_over(transport, storage, &Scope::default(), CHUNK).await?;
    replica.start().await?;
    replica.wait_until_in_sync().await?;
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let before = server.number("cpu").await?;
        for _ in 0..SYNCS {
            replica.sync_now().await?;
        }
        rounds.push((server.number("cpu").await? - before) / 1e3 / SYNCS as f64);
    }
    replica.stop().await;
    replica.close().await?;
    let what = "a sync without news on an open connection, CPU of the server";
    bench.row(Aim::at_most(Goal::Scale, what, "µs", 100.0, 30.0), rounds);
    Ok(())
}

fn opening(file: &Path) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..OPENED {
        let meter = Meter::start();
        let storage = open_replica(&SqliteConfig::new(file), ReplicaId([8; 16]))?;
        times.push(meter.cost().wall.as_secs_f64());
        drop(storage);
    }
    Ok(median(&times))
}

async fn opened(bench: &mut Bench, servers: &[Listening]) -> Outcome {
    let mut files: Vec<PathBuf> = Vec::new();
    for (server, documents) in [(&servers[0], FEW), (&servers[2], MANY)] {
        let file = bench.path(".replica.db");
        let storage = open_replica(&SqliteConfig::new(&file), ReplicaId([8; 16]))?;
        let transport = server.transport(Way::WebSocket)?;
        pull(transport, std::sync::Arc::new(storage), documents).await?;
        files.push(file);
    }
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let paths = files.clone();
        let timed = move || Outcome::Ok((opening(&paths[0])?, opening(&paths[1])?));
        let (few, many) = tokio::task::spawn_blocking(timed).await??;
        rounds.push(many / few);
    }
    let what = "opening a replica of 1,000,000 documents against one of 10,000";
    bench.row(Aim::at_most(Goal::Scale, what, "x", 1.3, 1.1), rounds);
    Ok(())
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let mut servers = Vec::new();
    for documents in SIZES {
        let path = fill(bench, Order::Ordered, documents).await?;
        servers.push(Listening::sqlite(&path).await?);
    }
    first_sync(bench, &servers).await?;
    opened(bench, &servers).await?;
    drop(servers);
    without_news(bench).await
}
