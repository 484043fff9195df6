//! A real edit history, replayed by as many replicas as there were writers, each offline at times.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use support::{Chance, Folder, PATIENCE};
use twotide::Replica;
use twotide::backend::clock::Now;
use twotide::backend::environment::{Environment, System};
use twotide::backend::kv::{KvOptions, MemoryKv, open_replica};
use twotide::backend::model::{Body, ReplicaId, Revision, Scope};
use twotide::server::{Server, ServerOptions};
use twotide::sqlite::{SqliteConfig, open_server};

/// The recorded history is not part of the repository; it is stored beside it.
const HISTORY: &str = "../../shared/data/edit-history.jsonl.gz";

#[derive(Deserialize)]
struct Line {
    commit: u64,
    replica: String,
    collection: String,
    id: String,
    op: String,
    body: Option<Box<RawValue>>,
}

fn read_history(path: &Path) -> Vec<Line> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// A clock that only advances when a line is replayed.
#[derive(Debug)]
struct Ticking(AtomicU64);

impl Environment for Ticking {
    fn now(&self) -> Now {
        Now(self.0.load(Ordering::SeqCst))
    }

    fn random(&self, buffer: &mut [u8]) {
        System.random(buffer);
    }
}

/// The newest state of a document while the history is replayed.
#[derive(Clone)]
struct Newest {
    writer: usize,
    /// None after a delete.
    revision: Option<Revision>,
}

struct Writer {
    name: String,
    replica: Replica,
    online: bool,
}

impl Writer {
    /// Pushes everything that waits.
    async fn push(&self) {
        within(&self.name, "pushes", async {
            if self.online {
                self.replica.wait_until_in_sync().await.unwrap();
            } else {
                self.replica.sync_now().await.unwrap();
            }
        })
        .await;
        assert_eq!(self.waiting().await, 0, "{} is in sync and has something left", self.name);
    }

    async fn waiting(&self) -> u64 {
        let state = self.replica.state().await.unwrap();
        state.scopes.iter().map(|s| s.outbox.pending + s.outbox.in_flight).sum()
    }

    async fn has(&self, collection: &str, id: &str, revision: Option<Revision>) -> bool {
        let found = self.replica.raw(collection).unwrap().get(id).await.unwrap();
        found.map(|d| d.revision()) == revision
    }

    /// Waits until it has that state of the document.
    async fn pull(&self, collection: &str, id: &str, revision: Option<Revision>) {
        within(&self.name, "pulls", async {
            let mut commits = self.replica.storage().commits();
            commits.borrow_and_update();
            if !self.online && !self.has(collection, id, revision).await {
                self.replica.sync_now().await.unwrap();
            }
            while !self.has(collection, id, revision).await {
                assert!(self.online, "{} is in sync without {collection}/{id}", self.name);
                commits.changed().await.unwrap();
            }
        })
        .await;
    }
}

async fn within<T>(who: &str, does: &str, what: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, what).await;
    result.unwrap_or_else(|_| panic!("{who} {does} for more than {PATIENCE:?}"))
}

/// Live documents by collection and id.
type Documents = BTreeMap<(String, String), String>;

async fn documents_of(replica: &Replica) -> Documents {
    let files = replica.raw("files").unwrap();
    let (mut found, mut after) = (Documents::new(), None);
    loop {
        let page = files.scan(after.as_deref(), 100).await.unwrap();
        for document in page.documents {
            let key = ("files".to_owned(), document.id().to_owned());
            found.insert(key, document.value().as_str().to_owned());
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

/// Starts a real server on a real socket, with the same clock, and returns its address.
async fn serve(file: &Path, clock: &Arc<Ticking>) -> (Server, String) {
    let storage = Arc::new(open_server(&SqliteConfig::new(file)).unwrap());
    let environment = Arc::clone(clock) as Arc<dyn Environment>;
    let mut options = ServerOptions::default();
    // Listeners must be notified: the heartbeat, which finds missed changes, comes too late for
    // this test.
    options.heartbeat = Duration::from_secs(3_600);
    let server = Server::builder(storage).options(options).environment(environment).build();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", socket.local_addr().unwrap());
    let app = twotide::ws::router(server.clone());
    tokio::spawn(twotide::net::listen(socket, app, std::future::pending()));
    (server, url)
}

async fn open(folder: &Folder, n: usize, name: &str, url: &str, clock: &Arc<Ticking>) -> Replica {
    let builder =
        Replica::builder().server(url).environment(Arc::clone(clock) as Arc<dyn Environment>);
    // Every third is stored in a file, and the others in memory, which is faster.
    let builder = if n.is_multiple_of(3) {
        builder.sqlite(folder.path(&format!("{name}.db")))
    } else {
        let id = ReplicaId([n as u8 + 1; 16]);
        let storage = open_replica(Arc::new(MemoryKv::default()), id, KvOptions::default());
        builder.storage(Arc::new(storage.unwrap()))
    };
    builder.open().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_history_of_21_writers_ends_in_its_final_state_on_every_replica() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(HISTORY);
    if !path.exists() {
        println!("skipped: the recorded history is not at {HISTORY}");
        return;
    }
    let lines = read_history(&path);
    let mut chance = Chance::new("history", 21);
    let folder = Folder::new();
    let clock = Arc::new(Ticking(AtomicU64::new(1_600_000_000_000)));
    let (server, url) = serve(&folder.path("server.db"), &clock).await;
    let mut writers: Vec<Writer> = Vec::new();
    let mut truth = Documents::new();
    let mut newest: BTreeMap<(String, String), Newest> = BTreeMap::new();
    let (mut went_offline, mut handed_over) = (0, 0);

    for commit in lines.chunk_by(|a, b| a.commit == b.commit && a.replica == b.replica) {
        let name = &commit[0].replica;
        let writer = match writers.iter().position(|w| w.name == *name) {
            Some(writer) => writer,
            None => {
                let replica = open(&folder, writers.len(), name, &url, &clock).await;
                writers.push(Writer { name: name.clone(), replica, online: false });
                writers.len() - 1
            }
        };
        // A writer connects or disconnects.
        let turns = chance.below(writers.len() as u64) as usize;
        let turning = &mut writers[turns];
        turning.online = !turning.online;
        if turning.online {
            turning.replica.start().await.unwrap();
        } else {
            turning.replica.stop().await;
            went_offline += 1;
        }
        // A writer of a document has pulled the earlier writes: that is the recorded order.
        for line in commit {
            let key = (line.collection.clone(), line.id.clone());
            let Some(before) = newest.get(&key).filter(|b| b.writer != writer) else { continue };
            if !writers[writer].has(&line.collection, &line.id, before.revision).await {
                writers[before.writer].push().await;
                writers[writer].pull(&line.collection, &line.id, before.revision).await;
                handed_over += 1;
            }
        }
        let replica = &writers[writer].replica;
        let mut transaction = replica.transaction();
        for line in commit {
            // The clock advances once per line.
            clock.0.fetch_add(1, Ordering::SeqCst);
            let collection = replica.raw(&line.collection).unwrap();
            let key = (line.collection.clone(), line.id.clone());
            match (&*line.op, &line.body) {
                ("put", Some(body)) => {
                    let body = Body::parse(body.get().to_owned()).unwrap();
                    transaction.put(&collection, &line.id, &body).unwrap();
                    truth.insert(key, body.as_str().to_owned());
                }
                ("delete", None) => {
                    transaction.delete(&collection, &line.id).unwrap();
                    truth.remove(&key);
                }
                (op, _) => panic!("a line with the operation {op}"),
            }
        }
        transaction.commit().await.unwrap();
        for line in commit {
            let collection = replica.raw(&line.collection).unwrap();
            let revision = collection.get(&line.id).await.unwrap().map(|d| d.revision());
            newest.insert((line.collection.clone(), line.id.clone()), Newest { writer, revision });
        }
    }

    assert_eq!((lines.len(), writers.len(), truth.len()), (2_700, 21, 133));
    // All writers go online: first their edits are pushed, then everything is pulled.
    for writer in &writers {
        writer.push().await;
    }
    let row = server.look_at(None, &Scope::default()).await.unwrap();
    assert_eq!(row.documents, 133);
    let mut conflicts = 0;
    for Writer { name, replica, .. } in &writers {
        let reached = async {
            let mut commits = replica.storage().commits();
            loop {
                commits.borrow_and_update();
                let state = replica.state().await.unwrap();
                if state.scopes[0].checkpoint.after() == row.head {
                    return state;
                }
                if tokio::time::timeout(Duration::from_millis(50), commits.changed()).await.is_err()
                {
                    replica.sync_now().await.unwrap();
                }
            }
        };
        let state = within(name, "pulls everything", reached).await;
        assert_eq!(documents_of(replica).await, truth, "{name}");
        assert_eq!((state.scopes[0].documents, state.scopes[0].digest), (133, row.digest));
        let counts = state.scopes[0].outbox;
        assert_eq!(counts.pending + counts.in_flight + counts.quarantined + counts.deferred, 0);
        conflicts += replica.statistics().borrow().conflicts;
    }
    println!(
        "{} changes, {handed_over} hand-overs, {went_offline} times offline, head {}, {conflicts} conflicts",
        lines.len(),
        row.head
    );
    // Every edit was made on the earlier writes: none of them was concurrent.
    assert_eq!(conflicts, 0);
    for writer in writers {
        writer.replica.close().await.unwrap();
    }
    server.drain();
    within("the server", "drains", server.drained()).await;
}
