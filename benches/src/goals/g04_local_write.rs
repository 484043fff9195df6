//! Goal 4: local writes with their entries in the outbox, against rusqlite inserting the same rows
//! without them; and what several writers gain by sharing commits, each durable before it is
//! acknowledged.

use std::sync::Arc;

use sync_core::model::{Body, DocumentId, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;

use crate::documents::{Order, body, collection, id};
use crate::goal::Goal;
use crate::measure::{Aim, Bench};
use crate::meter::{Cost, Meter};
use crate::raw::{RawDocument, RawSqlite, Sync};
use crate::setup::{environment, sqlite_storage};
use crate::{Outcome, raw};

/// The documents in a transaction, and the number of transactions.
const SINGLE: (usize, usize) = (1, 2_000);
const BATCHED: (usize, usize) = (1_000, 30);

/// Returns transactions that insert the first documents.
pub(super) fn transactions(each: usize, count: usize) -> Outcome<Vec<LocalTransaction>> {
    let collection = collection()?;
    let write = |n| -> Outcome<LocalWrite> {
        let operation = WriteOperation::Insert(Body::parse(body(n))?);
        let id = DocumentId::new(id(Order::Ordered, n))?;
        Ok(LocalWrite { collection: collection.clone(), id, operation })
    };
    let transaction = |t: usize| -> Outcome<LocalTransaction> {
        let writes = (t * each..(t + 1) * each).map(write).collect::<Outcome<_>>()?;
        Ok(LocalTransaction { scope: Scope::default(), writes })
    };
    (0..count).map(transaction).collect()
}

/// Measures one writer that writes the transactions one after the other.
async fn write(bench: &Bench, transactions: Vec<LocalTransaction>) -> Outcome<Cost> {
    let storage = sqlite_storage(bench.folder.path())?;
    let environment = environment();
    let meter = Meter::start();
    for transaction in transactions {
        storage.write(environment.now(), transaction).await?;
    }
    let cost = meter.cost();
    storage.close().await?;
    Ok(cost)
}

fn insert(bench: &mut Bench, rows: &[RawDocument], each: usize) -> Outcome<Cost> {
    let path = bench.path(".raw.db");
    let mut raw = RawSqlite::open(&path, Sync::Full)?;
    let meter = Meter::start();
    for chunk in rows.chunks(each) {
        raw.insert(chunk)?;
    }
    let cost = meter.cost();
    drop(raw);
    std::fs::remove_file(path)?;
    Ok(cost)
}

/// Returns the writes per second of that many concurrent writers.
async fn writers(bench: &Bench, writers: usize) -> Outcome<f64> {
    let storage: Arc<dyn Storage> = sqlite_storage(bench.folder.path())?;
    let each = (4_000 / writers).clamp(60, 400);
    let mut all = transactions(1, writers * each)?;
    let meter = Meter::start();
    let mut tasks = tokio::task::JoinSet::new();
    while !all.is_empty() {
        let (storage, own) = (Arc::clone(&storage), all.split_off(all.len() - each));
        tasks.spawn(async move {
            let environment = environment();
            for transaction in own {
                storage.write(environment.now(), transaction).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let rate = (writers * each) as f64 / meter.cost().wall.as_secs_f64();
    storage.close().await?;
    Ok(rate)
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let shapes = [
        ("one document to a transaction", SINGLE, 40.0, 25.0),
        ("1,000 documents to a transaction", BATCHED, 30.0, 18.0),
    ];
    for (what, (each, count), bar, stretch) in shapes {
        let rows = raw::rows(Order::Ordered, each * count);
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds() {
            let raw = insert(bench, &rows, each)?.cpu.as_secs_f64();
            let ours = write(bench, transactions(each, count)?).await?.cpu.as_secs_f64();
            rounds.push((ours / raw - 1.0) * 100.0);
        }
        let what = format!("local write with outbox, {what}");
        bench.row(Aim::at_most(Goal::LocalWrite, what, "% CPU over raw", bar, stretch), rounds);
    }
    let (mut ten, mut hundred) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let one = writers(bench, 1).await?;
        ten.push(writers(bench, 10).await? / one);
        hundred.push(writers(bench, 100).await? / one);
    }
    for (what, rounds, bar, stretch) in
        [("10 writers", ten, 4.0, 8.0), ("100 writers", hundred, 20.0, 40.0)]
    {
        let what = format!("writes a second, durable, {what}");
        bench.row(Aim::at_least(Goal::LocalWrite, what, "x one writer", bar, stretch), rounds);
    }
    Ok(())
}
