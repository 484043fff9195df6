//! Searches files for erased data.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{NOW, REPLICA, collection, config, id, place};
use storage_sqlite::{SqliteStorage, open_replica};
use sync_core::error::ErrorKind;
use sync_core::model::{Body, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

async fn write(storage: &SqliteStorage, writes: Vec<(String, WriteOperation)>) {
    let writes = writes
        .into_iter()
        .map(|(name, operation)| LocalWrite::new(collection("notes"), id(&name), operation));
    let transaction = LocalTransaction { scope: Scope::default(), writes: writes.collect() };
    storage.write(NOW, transaction).await.unwrap();
}

fn bytes(path: &Path) -> Vec<u8> {
    let beside = |suffix| std::fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
    ["", "-wal", "-shm"].into_iter().flat_map(beside).collect()
}

/// Returns the marks `<000123>` in the bytes, each once.
fn marks(bytes: &[u8]) -> std::collections::BTreeSet<usize> {
    let number = |w: &[u8]| std::str::from_utf8(&w[1..7]).ok()?.parse().ok();
    let is_mark = |w: &&[u8]| w[0] == b'<' && w[7] == b'>';
    bytes.windows(8).filter(is_mark).filter_map(number).collect()
}

/// Rows of many sizes are inserted, grow, move to other pages and are removed. Every version of an
/// erased document carries a separate mark.
#[tokio::test]
async fn no_version_of_an_erased_document_is_left_anywhere() {
    let (_folder, path) = place();
    let storage = open_replica(&config(&path), REPLICA).unwrap();
    let mut numbers = Numbers(7);
    let (mut next, mut versions) = (0, vec![Vec::new(); 1_500]);
    for _ in 0..60 {
        let mut writes = Vec::new();
        for _ in 0..100 {
            let (document, size) = (numbers.below(versions.len()), numbers.below(40));
            let filling = "z".repeat(size * size);
            let body = Body::parse(format!("\"<{next:06}>{filling}<{next:06}>\"")).unwrap();
            versions[document].push(next);
            writes.push((format!("d{document}"), WriteOperation::Put(body)));
            next += 1;
        }
        write(&storage, writes).await;
    }
    let (gone, kept): (Vec<_>, Vec<_>) =
        versions.iter().enumerate().filter(|(_, v)| !v.is_empty()).partition(|(n, _)| n % 4 != 0);
    for some in gone.chunks(50) {
        let erasures = some.iter().map(|(n, _)| (format!("d{n}"), WriteOperation::Erase));
        write(&storage, erasures.collect()).await;
    }
    assert!(storage.purge_erased().await.unwrap());
    let left = marks(&bytes(&path));
    let erased: Vec<_> =
        gone.iter().flat_map(|(_, v)| v.iter()).filter(|m| left.contains(m)).collect();
    assert!(erased.is_empty(), "{} of {next} are left: {erased:?}", erased.len());
    let newest: Vec<_> = kept.iter().filter_map(|(_, v)| v.last()).collect();
    assert!(newest.iter().all(|m| left.contains(m)), "what was not erased is there");
    storage.close().await.unwrap();
}

/// A process that crashes between an erasure and its cleaning leaves a row about it: the next
/// process that opens the file completes it.
#[tokio::test]
async fn an_erasure_is_completed_after_a_crash() {
    let (folder, path) = place();
    let storage = open_replica(&config(&path), REPLICA).unwrap();
    let body = Body::parse("\"secret\"").unwrap();
    write(&storage, vec![("a".to_owned(), WriteOperation::Put(body))]).await;
    write(&storage, vec![("a".to_owned(), WriteOperation::Erase)]).await;
    // The files of a killed process, with a log from before the erasure was committed to the file.
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", path.display());
        std::fs::copy(from, format!("{}{suffix}", copy.display())).unwrap();
    }
    storage.close().await.unwrap();
    let again = open_replica(&config(&copy), REPLICA).unwrap();
    assert!(again.purge_erased().await.unwrap());
    assert!(!bytes(&copy).windows(6).any(|w| w == b"secret"));
    again.close().await.unwrap();
}

/// Purging waits for a reader of the old state, then returns `Busy`; later it succeeds.
#[tokio::test]
async fn purging_waits_for_a_reader_of_the_old_state() {
    let (_folder, path) = place();
    let mut config = config(&path);
    config.busy_timeout = std::time::Duration::from_millis(50);
    let storage = open_replica(&config, REPLICA).unwrap();
    let body = Body::parse("\"secret\"").unwrap();
    write(&storage, vec![("a".to_owned(), WriteOperation::Put(body))]).await;
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count: i64 = reader.query_row("SELECT count(*) FROM documents", [], |r| r.get(0)).unwrap();
    assert_eq!(count, 1);
    write(&storage, vec![("a".to_owned(), WriteOperation::Erase)]).await;
    let error = storage.purge_erased().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    reader.execute_batch("COMMIT").unwrap();
    assert!(storage.purge_erased().await.unwrap());
    assert!(!bytes(&path).windows(6).any(|w| w == b"secret"));
    storage.close().await.unwrap();
}
