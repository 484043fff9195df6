//! A replica that joins late catches up in chunks, within bounds, and continues after a crash.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "support/seed.rs"]
mod seed;
mod support;

use support::{Db, Folder, Served, most_memory, until};

const MANY: usize = 100_000;
const FEW: usize = 20_000;
/// The most memory that a catch-up may take with chunks of 1,000 documents, in KiB.
const MEMORY: u64 = 64 << 10;

#[test]
fn a_killed_catch_up_continues_from_its_checkpoint_and_pulls_nothing_twice() {
    let folder = Folder::new();
    seed::server(&folder.path("server.db"), MANY);
    let server = Served::start(&folder.path("server.db"));
    let url = server.url();
    let args = ["--server", &*url, "--chunk", "100"];
    let total = MANY as u64;

    let db = Db::new(&folder, "a.db");
    let mut sync = db.start("sync", &args);
    until("the replica is in the middle", || {
        let (position, ..) = db.position()?;
        (position > total * 2 / 5).then_some(())
    });
    sync.kill();
    let (position, documents, _) = db.position().unwrap();
    assert!(position < total, "it was done before it was killed: make the chunks smaller");
    assert_eq!(position, documents, "the checkpoint covers exactly what is there");

    let line = db.run("sync", &args).ok().json();
    println!("killed at {position} of {total}; the second run pulled {}", line["pulled"]);
    assert_eq!(line["pulled"], total - documents);
    let scope = db.reaches(&server);
    assert_eq!(scope["documents"], total);
}

#[test]
fn memory_is_bounded_by_the_chunks_and_not_by_the_data() {
    let folder = Folder::new();
    let measure = |documents: usize| {
        let file = format!("server-{documents}.db");
        seed::server(&folder.path(&file), documents);
        let server = Served::start(&folder.path(&file));
        let db = Db::new(&folder, &format!("replica-{documents}.db"));
        // It keeps running, so that its memory can be read when everything is applied.
        let mut live = db.live(&server, &[]);
        let line = live.line_where("in sync", |l| l["in_sync"] == true);
        assert_eq!(line["pulled"], documents as u64);
        (most_memory(live.pid()), most_memory(server.process.pid()))
    };
    let (few, many) = (measure(FEW), measure(MANY));
    let ((Some(few), Some(few_served)), (Some(many), Some(many_served))) = (few, many) else {
        println!("skipped: the memory of a process can be seen on Linux only");
        return;
    };
    println!("the replica's memory: {few} KiB for {FEW} documents, {many} KiB for {MANY}");
    println!("the server's memory: {few_served} KiB for {FEW}, {many_served} KiB for {MANY}");
    for (few, many) in [(few, many), (few_served, many_served)] {
        assert!(many < MEMORY, "{many} KiB are over the bound of {MEMORY}");
        // Page caches are full only with many documents, so the bound is not closer to equal.
        assert!(many < few * 2, "five times the documents took {many} KiB instead of {few}");
    }
}
