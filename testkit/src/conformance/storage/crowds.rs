//! Many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sync_core::model::LocalSeq;
use sync_core::replica::Stored;

use super::super::run::Outcome;
use super::super::tools::{ALL, finished, json, key, must, now, together};
use super::StorageHarness;
use super::fixture::{Fixture, put, transaction};
use super::log::Log;

/// Many callers write at once: every acknowledged write is stored, with its own place and stamp.
pub async fn many_callers_write_at_once<H: StorageHarness>(harness: H) -> Outcome {
    const CALLERS: usize = 16;
    const WRITES: usize = 12;
    let fixture = Fixture::open(&harness).await;
    let callers = (0..CALLERS).map(|caller| {
        let storage = Arc::clone(&fixture.storage);
        async move {
            let mut made = Vec::new();
            for n in 0..WRITES {
                let own = format!("own-{caller:02}-{n:02}");
                let writes =
                    transaction([put(&own, &n.to_string()), put("shared", &own.len().to_string())]);
                let committed = must(storage.write(now(), writes).await, "a write");
                made.extend(committed.changes.iter().map(|c| (c.at, c.stamp())));
            }
            made
        }
    });
    let mut made: Vec<_> = together(callers).await.into_iter().flatten().collect();
    made.sort_unstable();
    assert_eq!(made.len(), CALLERS * WRITES * 2, "every write is told of");
    for pair in made.windows(2) {
        assert!(pair[0].0 < pair[1].0, "two writes have the place {}", pair[0].0);
        assert!(pair[0].1 < pair[1].1, "places and stamps are in another order: {pair:?}");
    }
    assert_eq!(fixture.documents().await.len(), CALLERS * WRITES + 1);
    assert_eq!(fixture.outbox().await.pending as usize, CALLERS * WRITES + 1);
    let feed = fixture.feed(LocalSeq(0), ALL).await;
    assert_eq!(feed.last().map(|c| c.at), made.last().map(|(at, _)| *at));
    fixture.check().await;
    Ok(())
}

/// A reader reads whole transactions: documents that are written together are equal in every
/// result.
pub async fn readers_see_whole_transactions<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let pair = |n: usize| transaction(["x", "y", "z"].map(|name| put(name, &n.to_string())));
    must(fixture.storage.write(now(), pair(0)).await, "a write");
    let done = Arc::new(AtomicBool::new(false));
    let (storage, stop) = (Arc::clone(&fixture.storage), Arc::clone(&done));
    let reader = tokio::spawn(async move {
        let mut reads = 0;
        while !stop.load(Ordering::Acquire) || reads < 10 {
            let found = must(storage.get(["x", "y", "z"].map(key).to_vec()).await, "a read");
            let text = |s: &Option<Stored>| s.as_ref().map(|s| json(&s.state).to_owned());
            let texts: Vec<_> = found.iter().map(text).collect();
            assert!(texts[0].is_some(), "a document is missing for a moment");
            assert!(texts.windows(2).all(|w| w[0] == w[1]), "half of a transaction: {texts:?}");
            reads += 1;
        }
    });
    for n in 1..60 {
        must(fixture.storage.write(now(), pair(n)).await, "a write");
    }
    done.store(true, Ordering::Release);
    finished(reader).await;
    Ok(())
}

/// A reader reads whole chunks: at every moment the documents are those up to the position.
pub async fn readers_see_whole_chunks<H: StorageHarness>(harness: H) -> Outcome {
    const CHUNKS: u64 = 40;
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 10 * CHUNKS as usize);
    let done = Arc::new(AtomicBool::new(false));
    let (storage, stop) = (Arc::clone(&fixture.storage), Arc::clone(&done));
    let reader = tokio::spawn(async move {
        let (mut reads, mut last) = (0, 0);
        while !stop.load(Ordering::Acquire) || reads < 10 {
            let state = must(storage.state().await, "the state is read");
            if let Some(summary) = state.scopes.first() {
                let position = summary.checkpoint.after().0;
                assert_eq!(summary.documents, position, "documents and position differ");
                assert!(last <= position, "the position went back for a moment");
                last = position;
            }
            reads += 1;
        }
    });
    for n in 0..CHUNKS {
        fixture.apply(log.chunk(10 * n, 10 * n + 10)).await;
    }
    done.store(true, Ordering::Release);
    finished(reader).await;
    fixture.check().await;
    Ok(())
}
