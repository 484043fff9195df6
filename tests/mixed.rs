//! Replicas on every storage, over every transport, against servers on every storage: all are equal
//! at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use twotide::backend::model::Digest;
use twotide::http::{HttpConfig, HttpTransport, LiveBy};
use twotide::prelude::*;
use twotide::server::{Server, ServerOptions};
use twotide::{StorageUrl, net, routes};

/// Fails a test that hangs. The bound is long: the machine may be slow and busy, and retries pause.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("this takes too long")
}

/// A server on a real socket, which can be stopped and started again on the same port.
struct Serving {
    server: Server,
    listening: JoinHandle<Result<()>>,
    address: std::net::SocketAddr,
}

impl Serving {
    async fn start(storage: &StorageUrl, address: &str) -> Self {
        let storage = storage.open_server().await.unwrap();
        let options = ServerOptions::default();
        let server = Server::builder(storage).options(options).build();
        let socket = TcpListener::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut draining = server.draining();
        let stop = async move {
            let _ = draining.wait_for(|d| *d).await;
        };
        let listening = tokio::spawn(net::listen(socket, routes(&server), stop));
        Self { server, listening, address }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    async fn stop(self) {
        self.server.drain();
        soon(self.server.drained()).await;
        self.listening.abort();
        let _ = self.listening.await;
        self.server.storage().close().await.unwrap();
    }

    /// Returns the server's digest; none before the first push.
    async fn digest(&self, replica: &Replica) -> Option<Digest> {
        let scope = self.server.storage().find_scope(replica.scope().clone()).await.unwrap();
        scope.map(|row| row.digest)
    }
}

async fn replicas(serving: &Serving, folder: &Path) -> Vec<Replica> {
    let (ws, http) = (serving.url("ws"), serving.url("http"));
    let mut polls = HttpConfig::new(&http);
    polls.live = LiveBy::Poll;
    polls.poll_interval = Duration::from_millis(100);
    let builders = [
        Replica::builder().sled(folder.join("a.sled")).server(&ws),
        Replica::builder().sqlite(folder.join("b.db")).server(&http).live_by(LiveBy::Sse),
        Replica::builder().memory().transport(Arc::new(serving.server.in_process())),
        Replica::builder().sled(folder.join("d.sled")).server(&http).live_by(LiveBy::LongPoll),
        Replica::builder().memory().transport(Arc::new(HttpTransport::new(polls).unwrap())),
        Replica::builder().sqlite(folder.join("f.db")).server(&ws).compression(true),
    ];
    let mut replicas = Vec::new();
    for builder in builders {
        replicas.push(builder.open().await.unwrap());
    }
    replicas
}

async fn documents(replica: &Replica) -> BTreeMap<String, String> {
    let page = replica.raw("notes").unwrap().scan(None, 10_000).await.unwrap();
    page.documents.iter().map(|d| (d.id().to_owned(), d.value().as_str().to_owned())).collect()
}

async fn put(replica: &Replica, id: &str, text: &str) {
    replica.raw("notes").unwrap().put(id, &Body::from_value(&text).unwrap()).await.unwrap();
}

/// Waits until all replicas show the same as the server.
async fn equal(serving: &Serving, replicas: &[Replica]) -> BTreeMap<String, String> {
    let same = async {
        loop {
            let mut digests = vec![serving.digest(&replicas[0]).await];
            let mut settled = true;
            for replica in replicas {
                soon(replica.wait_until_in_sync()).await.unwrap();
                let state = replica.state().await.unwrap();
                settled &= state.outbox(replica.scope()).pending == 0;
                digests.push(state.scope(replica.scope()).map(|s| s.digest));
            }
            if settled && digests.iter().all(|d| *d == digests[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(same).await;
    let shown = documents(&replicas[0]).await;
    for replica in replicas {
        assert_eq!(documents(replica).await, shown);
    }
    shown
}

async fn everybody_ends_equal(storage: StorageUrl, folder: &Path) {
    let serving = Serving::start(&storage, "127.0.0.1:0").await;
    let replicas = replicas(&serving, folder).await;
    // Offline: each replica writes documents that only it edits, and one that all edit.
    for (n, replica) in replicas.iter().enumerate() {
        for i in 0..50 {
            put(replica, &format!("own-{n}-{i}"), &format!("by {n}")).await;
        }
        put(replica, "fought-for", &format!("by {n}")).await;
    }
    for replica in &replicas {
        replica.start().await.unwrap();
    }
    let shown = equal(&serving, &replicas).await;
    assert_eq!(shown.len(), 50 * replicas.len() + 1);
    // The last write won: that of the last replica.
    assert_eq!(shown["fought-for"], format!("\"by {}\"", replicas.len() - 1));

    // Live: each replica edits and deletes documents of another one.
    for (n, replica) in replicas.iter().enumerate() {
        let other = (n + 1) % replicas.len();
        put(replica, &format!("own-{other}-0"), &format!("edited by {n}")).await;
        let notes = replica.raw("notes").unwrap();
        notes.delete(&format!("own-{other}-1")).await.unwrap();
    }
    let shown = equal(&serving, &replicas).await;
    assert_eq!(shown.len(), 49 * replicas.len() + 1);
    assert_eq!(shown["own-1-0"], "\"edited by 0\"");

    // The server stops and starts again on the same port; meanwhile every replica writes.
    let address = serving.address.to_string();
    // The replica in the server's process stops with it.
    replicas[2].close().await.unwrap();
    let rest: Vec<Replica> =
        replicas.iter().enumerate().filter(|(n, _)| *n != 2).map(|(_, r)| r.clone()).collect();
    serving.stop().await;
    for (n, replica) in rest.iter().enumerate() {
        put(replica, &format!("while-down-{n}"), "still here").await;
    }
    let serving = Serving::start(&storage, &address).await;
    let shown = equal(&serving, &rest).await;
    assert_eq!(shown.keys().filter(|id| id.starts_with("while-down")).count(), rest.len());
    for replica in &rest {
        replica.close().await.unwrap();
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_converge_with_a_sqlite_server() {
    let folder = tempfile::tempdir().unwrap();
    everybody_ends_equal(StorageUrl::sqlite(folder.path().join("server.db")), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_converge_with_a_sled_server() {
    let folder = tempfile::tempdir().unwrap();
    everybody_ends_equal(StorageUrl::sled(folder.path().join("server.sled")), folder.path()).await;
}
