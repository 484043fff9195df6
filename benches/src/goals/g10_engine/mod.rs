//! Goal 10: the costs without a database and a network: engine, driver, frames and codec, with a
//! storage that only counts, and with the one in memory. Both sides of the link are in this
//! process, and all their processor time counts.

mod counting;
mod link;

use std::sync::Arc;

use sync_core::storage::Storage;
use tokio::runtime::Builder;
use transport_kit::framed::{FramedOptions, FramedTransport};

use super::pulling::pull;
use crate::Outcome;
use crate::goal::Goal;
use crate::measure::{Aim, Bench};
use crate::setup::memory_storage;
use counting::Counting;
use link::{Chunks, DialChunks};

const DOCUMENTS: usize = 200_000;

/// Returns the documents per second of one processor.
async fn rate(chunks: &Arc<Chunks>, storage: Arc<dyn Storage>) -> Outcome<f64> {
    let transport = FramedTransport::new(DialChunks(Arc::clone(chunks)), FramedOptions::default());
    let documents = chunks.documents();
    let cost = pull(Arc::new(transport), storage, documents).await?;
    Ok(documents as f64 / cost.cpu.as_secs_f64())
}

/// Returns the allocations per chunk of a pull of chunks with that many documents.
fn allocations(chunk: usize) -> Outcome<f64> {
    const CHUNKS: usize = 100;
    let chunks = Arc::new(Chunks::new(chunk * CHUNKS, chunk)?);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut ended = Ok(0.0);
    let counted = allocation_counter::measure(|| {
        ended = runtime.block_on(rate(&chunks, Arc::new(Counting::default())));
    });
    ended.map(|_| counted.count_total as f64 / CHUNKS as f64)
}

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let chunks = Arc::new(Chunks::new(DOCUMENTS, 1_000)?);
    let (mut counting, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        counting.push(rate(&chunks, Arc::new(Counting::default())).await?);
        memory.push(rate(&chunks, memory_storage()?).await?);
    }
    let per_second = "documents/s of one core";
    let what = "engine, driver and codec with a storage that counts";
    bench.row(Aim::at_least(Goal::Engine, what, per_second, 1_500_000.0, 3_000_000.0), counting);
    let what = "the same with the storage in memory";
    bench.row(Aim::at_least(Goal::Engine, what, per_second, 400_000.0, 1_000_000.0), memory);
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        let (small, large) = std::thread::spawn(|| (allocations(100), allocations(1_000)))
            .join()
            .map_err(|_| "a measurement panicked")?;
        rounds.push((large? - small?) / 900.0);
    }
    let what =
        "allocations that a chunk of 1,000 documents needs over one of 100, for each of the 900";
    bench.row(Aim::at_most(Goal::Engine, what, "a document", 0.05, 0.01), rounds);
    Ok(())
}
