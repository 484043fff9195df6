//! Goal 5: a push of 10,000 documents from SQLite over WebSocket into SQLite, against rusqlite
//! running the three transactions of each batch: record the batch, append it on the server, settle
//! it.

use std::path::Path;

use rusqlite::params;
use sync_core::model::Scope;

use super::g04_local_write::transactions;
use crate::documents::{AUTHOR, Order};
use crate::goal::Goal;
use crate::measure::{Aim, Bench};
use crate::meter::{Cost, Meter};
use crate::raw::{RawDocument, RawSqlite, Sync};
use crate::server::{Listening, Way};
use crate::setup::CHUNK;
use crate::setup::{environment, replica_over, sqlite_storage};
use crate::{Outcome, raw};

const DOCUMENTS: usize = 10_000;

const OUTBOX: &str = "CREATE TABLE unsettled (document INTEGER PRIMARY KEY, pushable INTEGER, pending BLOB NOT NULL) STRICT;
    INSERT INTO unsettled SELECT pk, pk, zeroblob(40) FROM document;";
const LOG: &str = "CREATE TABLE log (pk INTEGER PRIMARY KEY, scope_id INTEGER NOT NULL, seq INTEGER NOT NULL,
    first INTEGER NOT NULL, collection_id INTEGER NOT NULL, id TEXT NOT NULL, stamp INTEGER NOT NULL,
    replica BLOB NOT NULL, created INTEGER NOT NULL, body TEXT) STRICT;
    CREATE UNIQUE INDEX log_position ON log (scope_id, seq);
    CREATE UNIQUE INDEX log_document ON log (collection_id, id);";

/// Runs the three transactions of each batch.
fn raw(bench: &mut Bench, rows: &[RawDocument]) -> Outcome<Cost> {
    let (path, server_path) = (bench.path(".raw.db"), bench.path(".raw.db"));
    let mut replica = RawSqlite::open(&path, Sync::Full)?;
    rows.chunks(CHUNK).try_for_each(|chunk| replica.insert(chunk))?;
    replica.batch(OUTBOX)?;
    let server = RawSqlite::open(&server_path, Sync::Full)?;
    server.batch(LOG)?;
    let (r, s) = (replica.connection(), server.connection());
    let meter = Meter::start();
    for (at, chunk) in rows.chunks(CHUNK).enumerate() {
        let documents: Vec<i64> = (0..chunk.len()).map(|n| (at * CHUNK + n + 1) as i64).collect();
        r.execute_batch("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")?;
        let mut bodies: Vec<String> = Vec::with_capacity(chunk.len());
        for pk in &documents {
            let mut read = r.prepare_cached("SELECT body FROM document WHERE pk = ?1")?;
            bodies.push(read.query_row([pk], |row| row.get(0))?);
            let note =
                "UPDATE unsettled SET pushable = NULL, pending = zeroblob(70) WHERE document = ?1";
            r.prepare_cached(note)?.execute([pk])?;
        }
        r.execute_batch("COMMIT")?;
        s.execute_batch("BEGIN IMMEDIATE")?;
        for (row, body) in chunk.iter().zip(&bodies) {
            let append = "INSERT INTO log (scope_id, seq, first, collection_id, id, stamp, replica, created, body) \
                 VALUES (1, ?1, ?1, 1, ?2, ?3, ?4, ?3, ?5)";
            let values = params![row.position, row.id, row.stamp, &AUTHOR.0[..], body];
            s.prepare_cached(append)?.execute(values)?;
        }
        s.execute_batch("COMMIT")?;
        r.execute_batch("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE")?;
        for pk in &documents {
            r.prepare_cached("UPDATE document SET known = ?1 WHERE pk = ?1")?.execute([pk])?;
            r.prepare_cached("DELETE FROM unsettled WHERE document = ?1")?.execute([pk])?;
        }
        r.execute_batch("COMMIT")?;
    }
    let cost = meter.cost();
    drop((replica, server));
    std::fs::remove_file(path)?;
    std::fs::remove_file(server_path)?;
    Ok(cost)
}

async fn push(bench: &mut Bench, folder: &Path) -> Outcome<Cost> {
    let path = bench.path(".server.db");
    let server = Listening::sqlite(&path).await?;
    let storage = sqlite_storage(folder)?;
    let environment = environment();
    for transaction in transactions(100, DOCUMENTS / 100)? {
        storage.write(environment.now(), transaction).await?;
    }
    let transport = server.transport(Way::WebSocket)?;
    let replica = replica_over(transport, storage, &Scope::default(), CHUNK).await?;
    let meter = Meter::start();
    replica.push().await?;
    let cost = meter.cost();
    let state = replica.state().await?;
    if state.scopes.iter().any(|s| s.outbox.pending + s.outbox.in_flight > 0) {
        return Err("something was not pushed".into());
    }
    replica.close().await?;
    Ok(cost)
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let rows = raw::rows(Order::Ordered, DOCUMENTS);
    let folder = bench.folder.path().to_owned();
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let raw = raw(bench, &rows)?.wall.as_secs_f64();
        rounds.push(raw / push(bench, &folder).await?.wall.as_secs_f64());
    }
    let what = format!("{DOCUMENTS} documents, SQLite to SQLite over WebSocket");
    bench.row(Aim::at_least(Goal::Push, what, "of raw", 0.5, 0.8), rounds);
    Ok(())
}
