//! A server that is killed again and again while replicas write loses nothing that was acknowledged
//! locally.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::{Chance, Db, Folder, Process, Served, until};
use twotide::Replica;
use twotide::backend::model::Body;
use twotide::prelude::{Operation, Origin};

/// Returns how often the server is killed: 20 times the variable `TWOTIDE_TEST_KILLS_TIMES`, which
/// is 1 by default.
fn rounds() -> u64 {
    20 * std::env::var("TWOTIDE_TEST_KILLS_TIMES").map_or(1, |times| times.parse::<u64>().unwrap())
}

const REPLICAS: usize = 3;

/// A process that syncs a replica, and this process writing to the same replica.
struct Writer {
    db: Db,
    live: Process,
    written: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

/// Writes new documents, and one document again and again; `written` counts those that were
/// acknowledged.
async fn write(replica: &Replica, name: usize, written: &AtomicU64, stop: &AtomicBool) {
    let (log, counters) = (replica.raw("log").unwrap(), replica.raw("counters").unwrap());
    while !stop.load(Ordering::Relaxed) {
        let n = written.load(Ordering::Relaxed);
        let body = Body::parse(format!(r#"{{"n":{n},"by":{name}}}"#)).unwrap();
        log.insert_with_id(&format!("{name}-{n:06}"), &body).await.unwrap();
        counters.put(&format!("of-{name}"), &body).await.unwrap();
        written.store(n + 1, Ordering::Relaxed);
        // The replicas share two cores with everything else: a short pause keeps the outbox small.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    replica.close().await.unwrap();
}

impl Writer {
    fn start(folder: &Folder, name: usize, server: &Served) -> Self {
        let db = Db::new(folder, &format!("replica-{name}.db"));
        let mut live = db.live(server, &[]);
        live.line_where("in sync", |l| l["in_sync"] == true);
        let (written, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (path, count, end) = (db.0.clone(), Arc::clone(&written), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let replica = Replica::builder().sqlite(path).open().await.unwrap();
                write(&replica, name, &count, &end).await;
            });
        });
        Self { db, live, written, stop, thread }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// Follows a server as a replica that writes nothing, and counts what happens to each document.
struct Onlooker {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<BTreeMap<String, u64>>,
}

impl Onlooker {
    fn start(folder: &Folder, server: &Served) -> Self {
        let (path, url) = (folder.path("onlooker.db"), server.url());
        let stop = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let replica = Replica::builder().sqlite(path).server(url).open().await.unwrap();
                let mut seen = BTreeMap::new();
                let mut changes = replica.changes().await.unwrap();
                replica.start().await.unwrap();
                loop {
                    let next = tokio::time::timeout(Duration::from_millis(100), changes.next());
                    let Ok(change) = next.await else {
                        if end.load(Ordering::Relaxed) {
                            break;
                        }
                        continue;
                    };
                    let change = change.unwrap().unwrap();
                    assert_eq!(change.origin(), Origin::Remote);
                    if change.key().collection.as_str() == "log" {
                        assert_eq!(change.operation(), Operation::Insert, "{change:?}");
                        *seen.entry(change.key().id.as_str().to_owned()).or_default() += 1;
                    }
                }
                replica.close().await.unwrap();
                seen
            })
        });
        Self { stop, thread }
    }
}

#[test]
fn a_server_killed_at_random_points_loses_nothing_and_applies_nothing_twice() {
    let mut chance = Chance::new("server_crash", 20_261_121);
    let folder = Folder::new();
    let file = folder.path("server.db");
    let mut server = Served::start(&file);
    let address = server.address.to_string();
    let mut writers: Vec<Writer> =
        (0..REPLICAS).map(|n| Writer::start(&folder, n, &server)).collect();
    let onlooker = Onlooker::start(&folder, &server);
    let all_written = |writers: &[Writer]| writers.iter().map(Writer::written).sum::<u64>();

    let mut puts = 0;
    for round in 0..rounds() {
        // A point that follows from the seed as far as possible with several processes: after that
        // many writes, that long after the last of them.
        let (writes, micros) = (10 + chance.below(80), chance.below(20_000));
        let goal = all_written(&writers) + writes;
        until("the replicas write", || (all_written(&writers) >= goal).then_some(()));
        std::thread::sleep(Duration::from_micros(micros));
        server.process.kill();
        let head = all_written(&writers);
        println!("round {round}: killed after {head} writes and {micros} microseconds");
        // All writers continue without a server, and another process writes, too.
        let by = &writers[chance.below(REPLICAS as u64) as usize];
        by.db.put("log", &format!("put-{round}"), r#"{"by":"put"}"#);
        puts += 1;
        let goal = head + 5 + chance.below(20);
        until("the replicas write offline", || (all_written(&writers) >= goal).then_some(()));
        server = Served::start_at(&file, &address, &[]);
    }

    let mut counts = Vec::new();
    for writer in &mut writers {
        writer.stop.store(true, Ordering::Relaxed);
    }
    let mut lives = Vec::new();
    for writer in writers {
        writer.thread.join().unwrap();
        counts.push(writer.written.load(Ordering::Relaxed));
        lives.push((writer.db, writer.live));
    }
    let inserts: u64 = counts.iter().sum::<u64>() + puts;
    println!("{inserts} documents written, {counts:?} by the replicas");
    let documents = inserts + REPLICAS as u64;
    until("everything is at the server", || {
        (server.scope()["documents"] == documents).then_some(())
    });

    let mut exports = Vec::new();
    for (db, live) in &mut lives {
        let scope = db.reaches(&server);
        assert_eq!(scope["documents"], documents);
        assert!(live.is_running(), "{}", live.stderr());
        // Replicas wrote different documents: a push whose reply was lost is no conflict.
        let lines = live.lines_so_far();
        assert!(lines.iter().all(|l| l["conflicts"] == 0), "{:?}", lines.last());
        assert_eq!(db.status()["outbox"]["quarantined"], 0);
        exports.push(db.export());
    }
    assert!(exports.windows(2).all(|pair| pair[0] == pair[1]));
    let mut found = BTreeMap::new();
    for line in exports[0].lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        found.insert((line["collection"].to_string(), line["id"].to_string()), line);
    }
    for (name, count) in counts.iter().enumerate() {
        let of = |collection: &str, id: String| {
            let key = (format!("{collection:?}"), format!("{id:?}"));
            found.get(&key).unwrap_or_else(|| panic!("{id} is lost"))["body"].clone()
        };
        for n in 0..*count {
            assert_eq!(of("log", format!("{name}-{n:06}"))["n"], n);
        }
        assert_eq!(
            of("counters", format!("of-{name}"))["n"],
            count - 1,
            "an older state came back"
        );
    }
    // An insert takes exactly one place in the log; edits of one document may be one on the way.
    let head = server.scope()["head"].as_u64().unwrap();
    assert!(head >= documents && head <= inserts + counts.iter().sum::<u64>(), "{head}");
    Db::new(&folder, "onlooker.db").reaches(&server);
    onlooker.stop.store(true, Ordering::Relaxed);
    let seen = onlooker.thread.join().unwrap();
    assert_eq!(seen.len() as u64, inserts);
    assert!(seen.values().all(|n| *n == 1), "a document was made twice");
}
