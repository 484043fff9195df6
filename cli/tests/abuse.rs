//! Clients that receive or send as much as they can, and their effect on the server's memory and on
//! a well-behaved client. With `--nocapture` the tests print both; values measured in release are
//! in docs/limits.md.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that measures"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Folder, Served, most_memory, until};

/// Memory outside the budget under test: what the allocator keeps, the pages of SQLite, buffers of
/// sockets.
const BESIDE: u64 = 96 << 10;
/// The defaults of `change_memory`, `body_memory` and `push_memory`, in KiB.
const BUDGET: u64 = 128 << 10;

/// Pushes over plain HTTP as a separate replica, and returns the status; none if the server refuses
/// before it has read the body, and the connection closes before the answer is read.
fn try_post(address: SocketAddr, scope: &str, n: u64, changes: &serde_json::Value) -> Option<u16> {
    let body = json!({ "replica": format!("{n:032x}"), "id": 1, "changes": changes }).to_string();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = head(address, "POST", &format!("/v1/scopes/{scope}/pushes"), body.len());
    let mut answer = Vec::new();
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(body.as_bytes()).ok()?;
    socket.read_to_end(&mut answer).ok()?;
    Some(std::str::from_utf8(answer.get(9..12)?).unwrap().parse().unwrap())
}

fn post(address: SocketAddr, scope: &str, n: u64, changes: &serde_json::Value) -> u16 {
    try_post(address, scope, n, changes).expect("an answer")
}

fn head(address: SocketAddr, method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Sends a request, and does not read the answer.
fn unread(address: SocketAddr, scope: &str, accept: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    let path = format!("/v1/scopes/{scope}/changes");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// Returns four documents of a megabyte: one push.
fn large() -> serde_json::Value {
    let one =
        |n: u32| json!({ "collection": "c", "id": n.to_string(), "body": "x".repeat(1_000_000) });
    (0..4).map(one).collect()
}

/// An abuse lasts at least this many writes of the well-behaved client.
const WRITES: usize = 150;

/// A client that writes one small document after the other, and records how long each took.
struct Good {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    writes: JoinHandle<Vec<Duration>>,
}

impl Good {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let writes = std::thread::spawn(move || {
            let mut taken = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                let n = taken.len() as u64;
                let change = json!([{ "collection": "c", "id": n.to_string(), "body": n }]);
                assert_eq!(post(address, "good", n, &change), 200);
                taken.push(began.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
            taken
        });
        Self { stop, written, writes }
    }

    /// Stops, and returns the median and the 99th percentile of the times of its writes.
    fn end(self) -> (Duration, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let mut taken = self.writes.join().unwrap();
        taken.sort_unstable();
        assert!(taken.len() >= 20, "{} writes in all", taken.len());
        (taken[taken.len() / 2], taken[taken.len() * 99 / 100])
    }
}

/// Runs an abuse beside a well-behaved client, and returns the server's memory growth in KiB.
fn beside(name: &str, server: &Served, abuse: impl FnOnce(SocketAddr) -> Vec<TcpStream>) -> u64 {
    let memory = || most_memory(server.process.pid()).unwrap();
    let (address, memory_before) = (server.address, memory());
    let good = Good::start(address);
    let sockets = abuse(address);
    let before = good.written.load(Ordering::Relaxed);
    until("the well-behaved client writes", || {
        (good.written.load(Ordering::Relaxed) >= before + WRITES).then_some(())
    });
    let (half, most) = good.end();
    drop(sockets);
    let grown = memory().saturating_sub(memory_before);
    println!("{name}: +{} MiB; a write took {half:?}, and {most:?} at p99", grown >> 10);
    grown
}

fn start(folder: &Folder) -> Served {
    let server = Served::start(&folder.path("server.db"));
    for n in 0..3 {
        assert_eq!(post(server.address, "warm", n + 1, &large()), 200);
    }
    server
}

#[test]
fn streams_and_answers_that_are_not_read_stay_within_the_memory_for_changes() {
    let folder = Folder::new();
    let server = start(&folder);
    // More scopes than fit: each holds one push, which is never cut.
    for n in 0..60 {
        assert_eq!(post(server.address, &format!("s{n}"), 1, &large()), 200);
    }
    let grown = beside("one log, 100 streams", &server, |address| {
        (0..100).map(|_| unread(address, "s0", "text/event-stream")).collect()
    });
    assert!(grown < BESIDE, "+{grown} KiB");
    let grown = beside("60 logs, 60 streams and 60 answers", &server, |address| {
        let one = |n: u32, accept| unread(address, &format!("s{n}"), accept);
        let streams = (0..60).map(|n| one(n, "text/event-stream"));
        streams.chain((0..60).map(|n| one(n, "application/json"))).collect()
    });
    assert!(grown < BUDGET + BESIDE, "+{grown} KiB");
}

#[test]
fn bodies_that_do_not_end_stay_within_the_memory_for_bodies() {
    let folder = Folder::new();
    let server = start(&folder);
    let grown = beside("100 bodies without an end", &server, |address| {
        let begun = |n: u32| {
            let mut socket = TcpStream::connect(address).unwrap();
            let path = format!("/v1/scopes/b{n}/pushes");
            socket.write_all(head(address, "POST", &path, 16_000_000).as_bytes()).unwrap();
            // The server answers, and closes, when there is no more room.
            let _ = socket.write_all(&vec![b' '; 12_000_000]);
            socket
        };
        (0..100).map(begun).collect()
    });
    assert!(grown < BUDGET + BESIDE, "+{grown} KiB");
}

#[test]
fn many_large_pushes_at_a_time_stay_within_the_memory_for_pushes() {
    let folder = Folder::new();
    let server = start(&folder);
    let grown = beside("100 pushes of 4 MB at a time", &server, |address| {
        let push = |n: u64| {
            std::thread::spawn(move || {
                let status = try_post(address, &format!("p{}", n % 5), n, &large());
                assert!(matches!(status, None | Some(200 | 503)), "{status:?}");
            })
        };
        let all: Vec<_> = (0..100).map(push).collect();
        all.into_iter().for_each(|one| one.join().unwrap());
        Vec::new()
    });
    assert!(grown < 2 * BUDGET + BESIDE, "+{grown} KiB");
}
