//! Goal 8: how much memory a replica uses above its start, in a separate process, beside the pages
//! that SQLite caches; and that it does not depend on how much data there is, or how much waits to
//! be pushed.

use std::path::Path;

use storage_sqlite::SqliteConfig;
use sync_core::engine::EngineOptions;

use crate::Outcome;
use crate::child::Child;
use crate::documents::{BODY, Order};
use crate::goal::Goal;
use crate::measure::{Aim, Bench};
use crate::server::{Listening, fill};
use crate::setup::CHUNK;

const FEW: usize = 10_000;
const MANY: usize = 1_000_000;
const MB: f64 = 1e6;

/// Returns the peak that a child reports, in megabytes, without the pages of its file that SQLite
/// may cache for the writer.
async fn above_start(words: &[&str], file: &Path) -> Outcome<f64> {
    let (_child, peak) = Child::start(words).await?;
    let cache = u64::from(SqliteConfig::new(file).cache_kib) << 10;
    // The data may still be in the write-ahead log.
    let log = std::fs::metadata(file.with_extension("db-wal")).map_or(0, |m| m.len());
    let pages = (std::fs::metadata(file)?.len() + log).min(cache);
    Ok((peak.parse::<f64>()? - pages as f64) / MB)
}

fn text(path: &Path) -> Outcome<&str> {
    Ok(path.to_str().ok_or("a path is not Unicode")?)
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let mut servers = Vec::new();
    for documents in [FEW, MANY] {
        let path = fill(bench, Order::Ordered, documents).await?;
        servers.push(Listening::sqlite(&path).await?);
    }
    let outbox = bench.path(".outbox.db");
    bench.say(format_args!("writing {MANY} documents into an outbox"));
    let writing = above_start(&["write", text(&outbox)?, &MANY.to_string()], &outbox).await?;
    bench.say(format_args!("that took {writing:.1} MB"));
    let taker = Listening::sqlite(&bench.path(".server.db")).await?;
    let (mut few, mut many, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        bench.say(format_args!("round {}", round + 1));
        for (server, rounds) in servers.iter().zip([&mut few, &mut many]) {
            let file = bench.path(".replica.db");
            let address = server.address.to_string();
            rounds.push(above_start(&["pull", &address, text(&file)?], &file).await?);
            std::fs::remove_file(file)?;
        }
        let address = taker.address.to_string();
        waiting.push(above_start(&["push", &address, text(&outbox)?], &outbox).await?);
    }
    let chunk = CHUNK * (BODY + 20 + 9 + 64) + 128;
    let depth = EngineOptions::default().depth;
    let budget = (3 * chunk * (depth + 1)) as f64 / MB + 15.0;
    let unit = "MB above the start";
    let what = "first pull of 1,000,000 documents";
    bench.row(Aim::at_most(Goal::Memory, what, unit, budget, budget / 2.0), many.clone());
    let what = "pushing with 1,000,000 documents in the outbox";
    bench.row(Aim::at_most(Goal::Memory, what, unit, budget, budget / 2.0), waiting.clone());
    for (what, larger) in [
        ("first pull of 1,000,000 documents over one of 10,000", many),
        ("pushing out of an outbox of 1,000,000 over a first pull of 10,000", waiting),
    ] {
        let rounds: Vec<f64> = larger.iter().zip(&few).map(|(m, f)| m - f).collect();
        let bar = (crate::measure::median(&few) / 10.0).max(4.0);
        bench.row(Aim::at_most(Goal::Memory, what, "MB more", bar, bar / 2.0), rounds);
    }
    Ok(())
}
