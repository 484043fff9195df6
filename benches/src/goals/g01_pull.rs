//! Goal 1: a chunked pull from a server in SQLite into a replica in SQLite, over sockets, against
//! rusqlite inserting the same rows with the same pragmas, a chunk to a transaction.

use super::pulling::{insert, pull};
use crate::documents::Order;
use crate::goal::Goal;
use crate::measure::{Aim, Bench};
use crate::server::{Listening, Way, fill};
use crate::setup::sqlite_storage;
use crate::{Outcome, raw};

const DOCUMENTS: usize = 100_000;
const WAYS: [(Way, &str, f64, f64); 3] = [
    (Way::WebSocket, "frames over WebSocket", 0.8, 0.93),
    (Way::Http, "frames over HTTP", 0.8, 0.93),
    (Way::HttpJson, "JSON over HTTP", 0.6, 0.75),
];

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let path = fill(bench, Order::Random, DOCUMENTS).await?;
    let server = Listening::sqlite(&path).await?;
    let rows = raw::rows(Order::Random, DOCUMENTS);
    let mut rounds = WAYS.map(|_| Vec::new());
    for round in 0..bench.rounds() {
        bench.say(format_args!("round {}", round + 1));
        let raw = insert(bench, &rows)?.wall;
        for (at, (way, ..)) in WAYS.iter().enumerate() {
            let storage = sqlite_storage(bench.folder.path())?;
            let ours = pull(server.transport(*way)?, storage, DOCUMENTS).await?.wall;
            rounds[at].push(raw.as_secs_f64() / ours.as_secs_f64());
        }
    }
    for ((_, what, bar, stretch), rounds) in WAYS.iter().zip(rounds) {
        let what = format!("{DOCUMENTS} documents, random ids, {what}");
        bench.row(Aim::at_least(Goal::Pull, what, "of raw", *bar, *stretch), rounds);
    }
    Ok(())
}
