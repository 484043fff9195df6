//! Goal 3: a chunked pull into sled, against one `apply_batch` and one flush of the same documents
//! for each chunk.

use std::sync::Arc;

use super::pulling::pull;
use crate::documents::Order;
use crate::goal::Goal;
use crate::measure::{Aim, Bench};
use crate::meter::{Cost, Meter};
use crate::raw::RawDocument;
use crate::server::append;
use crate::setup::CHUNK;
use crate::setup::{memory_server, sled_storage};
use crate::{Outcome, raw};

const DOCUMENTS: usize = 100_000;

/// Measures what storing the same documents costs sled itself.
fn raw(bench: &mut Bench, rows: &[RawDocument]) -> Outcome<Cost> {
    let path = bench.path(".raw.sled");
    let db = sled::open(&path)?;
    let meter = Meter::start();
    for chunk in rows.chunks(CHUNK) {
        let mut batch = sled::Batch::default();
        for row in chunk {
            // A replica stores 40 more bytes of each document.
            let mut value = Vec::with_capacity(40 + row.body.len());
            value.extend_from_slice(&row.stamp.to_le_bytes());
            value.extend_from_slice(&[0; 32]);
            value.extend_from_slice(row.body.as_bytes());
            batch.insert(format!("default/documents/{}", row.id).as_bytes(), value);
        }
        db.apply_batch(batch)?;
        db.flush()?;
    }
    let cost = meter.cost();
    drop(db);
    std::fs::remove_dir_all(path)?;
    Ok(cost)
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let server = memory_server()?;
    append(&**server.storage(), &Default::default(), Order::Random, DOCUMENTS).await?;
    let rows = raw::rows(Order::Random, DOCUMENTS);
    let mut rounds = Vec::new();
    for round in 0..bench.rounds() {
        bench.say(format_args!("round {}", round + 1));
        let raw = raw(bench, &rows)?.wall;
        let storage = sled_storage(bench.folder.path())?;
        let ours = pull(Arc::new(server.in_process()), storage, DOCUMENTS).await?.wall;
        rounds.push(raw.as_secs_f64() / ours.as_secs_f64());
    }
    let what = format!("{DOCUMENTS} documents, random ids, into sled");
    bench.row(Aim::at_least(Goal::Sled, what, "of raw sled", 0.85, 0.95), rounds);
    Ok(())
}
