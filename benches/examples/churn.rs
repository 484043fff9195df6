//! Measures how large a replica becomes when its documents are rewritten repeatedly, in sled and in
//! SQLite, and what opening it costs then. Prints the tables that the crate's documentation quotes:
//!
//! ```sh
//! cargo run --release -p benches --example churn
//! ```
//!
//! Each figure comes from a separate process. Numbers after the command change how many documents
//! are rewritten (10,000), how often (30), and the documents of the second table (100,000).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage_sled::SledConfig;
use storage_sqlite::SqliteConfig;
use sync_core::clock::Now;
use sync_core::model::{Body, Collection, DocumentId, DocumentKey, ReplicaId, Scope};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use sync_core::storage::Storage;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const REPLICA: ReplicaId = ReplicaId([7; 16]);
/// The number of documents in a transaction.
const TRANSACTION: usize = 500;
/// A prime, so that steps of this size reach every document.
const STRIDE: usize = 7_919;
const BACKENDS: [&str; 3] = ["sqlite", "sled", "sled, not tidied"];

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [step, backend, path, numbers @ ..] = arguments.as_slice()
        && let Some(step) = step.strip_prefix("--")
    {
        let numbers: Vec<usize> = numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        return runtime.block_on(child(step, backend, Path::new(path), &numbers));
    }
    let number = |at: usize, default: usize| match arguments.get(at) {
        Some(n) => n.parse(),
        None => Ok(default),
    };
    let (documents, rounds, many) = (number(0, 10_000)?, number(1, 30)?, number(2, 100_000)?);
    rewritten(documents, rounds)?;
    opened(many)
}

/// Prints the first table.
fn rewritten(documents: usize, rounds: usize) -> Outcome {
    println!(
        "{documents} documents of some 300 bytes, each written {rounds} more times; MiB on the disk\n"
    );
    println!("| | written once | at most | in the end | closed, opened | all deleted | time |");
    println!("|---|---|---|---|---|---|---|");
    for backend in BACKENDS {
        let folder = tempfile::tempdir()?;
        let told = ask("churn", backend, folder.path(), &[documents, rounds])?;
        println!("| {backend} | {} |", told.join(" | "));
    }
    println!();
    Ok(())
}

/// Prints the second table.
fn opened(documents: usize) -> Outcome {
    println!("{documents} documents of some 300 bytes\n");
    println!(
        "| | MiB on the disk | written in | opened in | MiB of memory, opened | after reading all |"
    );
    println!("|---|---|---|---|---|---|");
    for backend in &BACKENDS[..2] {
        let folder = tempfile::tempdir()?;
        let mut told = ask("fill", backend, folder.path(), &[documents])?;
        told.extend(ask("open", backend, folder.path(), &[documents])?);
        println!("| {backend} | {} |", told.join(" | "));
    }
    Ok(())
}

/// Runs a step in a separate process, and returns the lines that it prints.
fn ask(step: &str, backend: &str, folder: &Path, numbers: &[usize]) -> Outcome<Vec<String>> {
    let output = Command::new(std::env::current_exe()?)
        .args([&format!("--{step}"), backend])
        .arg(folder.join("replica"))
        .args(numbers.iter().map(usize::to_string))
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{step} on {backend} failed").into());
    }
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

async fn child(step: &str, backend: &str, path: &Path, numbers: &[usize]) -> Outcome {
    match (step, numbers) {
        ("churn", &[documents, rounds]) => churn(backend, path, documents, rounds).await,
        ("fill", &[documents]) => fill(backend, path, documents).await,
        ("open", &[documents]) => open_and_read(backend, path, documents).await,
        _ => Err("no such step".into()),
    }
}

fn open(backend: &str, path: &Path) -> Outcome<Arc<dyn Storage>> {
    if backend == "sqlite" {
        return Ok(Arc::new(storage_sqlite::open_replica(&SqliteConfig::new(path), REPLICA)?));
    }
    let mut config = SledConfig::new(path);
    if backend != "sled" {
        config.tidy_every = None;
    }
    Ok(Arc::new(storage_sled::open_replica(&config, REPLICA)?))
}

async fn churn(backend: &str, path: &Path, documents: usize, rounds: usize) -> Outcome {
    let mut storage = open(backend, path)?;
    write_all(&*storage, documents, 0, false).await?;
    println!("{}", mebibytes(size(path)?));
    let (start, mut most) = (now(), 0);
    for round in 1..=rounds {
        write_all(&*storage, documents, round, false).await?;
        most = most.max(size(path)?);
    }
    let took = start.elapsed();
    println!("{}\n{}", mebibytes(most), mebibytes(size(path)?));
    storage.close().await?;
    storage = open(backend, path)?;
    println!("{}", mebibytes(size(path)?));
    write_all(&*storage, documents, rounds + 1, true).await?;
    storage.close().await?;
    drop(storage);
    println!("{}\n{}", mebibytes(size(path)?), seconds(took));
    Ok(())
}

async fn fill(backend: &str, path: &Path, documents: usize) -> Outcome {
    let start = now();
    let storage = open(backend, path)?;
    write_all(&*storage, documents, 0, false).await?;
    storage.close().await?;
    println!("{}\n{}", mebibytes(size(path)?), seconds(start.elapsed()));
    Ok(())
}

async fn open_and_read(backend: &str, path: &Path, documents: usize) -> Outcome {
    let start = now();
    let storage = open(backend, path)?;
    storage.state().await?;
    println!("{}\n{}", seconds(start.elapsed()), mebibytes(memory()?));
    for from in (0..documents).step_by(TRANSACTION) {
        let keys = (from..documents.min(from + TRANSACTION)).map(key).collect::<Outcome<_>>()?;
        if storage.get(keys).await?.iter().any(Option::is_none) {
            return Err("a document is missing".into());
        }
    }
    println!("{}", mebibytes(memory()?));
    Ok(storage.close().await?)
}

fn key(n: usize) -> Outcome<DocumentKey> {
    // Like time-ordered ids.
    let id = DocumentId::new(format!("0192f7a0-{n:08x}-7000-8000-000000000000"))?;
    Ok(DocumentKey::new(Scope::default(), Collection::new("notes")?, id))
}

async fn write_all(storage: &dyn Storage, documents: usize, round: usize, delete: bool) -> Outcome {
    for from in (0..documents).step_by(TRANSACTION) {
        let mut writes = Vec::new();
        for n in from..documents.min(from + TRANSACTION) {
            // In scattered order, as users write, and each document once.
            let n = if round == 0 { n } else { n * STRIDE % documents };
            let DocumentKey { collection, id, .. } = key(n)?;
            let text = format!("note {n}, written for the {round}th time. ").repeat(8);
            let operation = match delete {
                true => WriteOperation::Delete,
                false => WriteOperation::Put(Body::parse(format!("{{\"text\":\"{text}\"}}"))?),
            };
            writes.push(LocalWrite { collection, id, operation });
        }
        let transaction = LocalTransaction { scope: Scope::default(), writes };
        storage.write(Now(1_800_000_000_000), transaction).await?;
    }
    Ok(())
}

/// Returns the bytes that the files of a replica occupy on disk.
fn size(path: &Path) -> Outcome<u64> {
    fn below(path: &Path) -> std::io::Result<u64> {
        if !path.is_dir() {
            return Ok(path.metadata()?.len());
        }
        std::fs::read_dir(path)?.map(|entry| below(&entry?.path())).sum()
    }
    let folder: PathBuf = path.parent().ok_or("a replica is in a folder")?.into();
    Ok(below(&folder)?)
}

/// Returns the memory that this process uses.
fn memory() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no memory is told")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[allow(clippy::disallowed_methods, reason = "what is measured is time")]
fn now() -> Instant {
    Instant::now()
}
