//! Replicas in SQLite files and the REST service over real sockets: lost answers, restarts on both
//! sides, and notes that all change in the same millisecond.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use rest_backend::notes::{FieldByField, Note};
use rest_backend::server::Serving;
use rest_backend::service::{Store, router};
use rest_backend::transport::{NOTES, notes_service};
use tempfile::TempDir;
use twotide::Limits;
use twotide::RetryPolicy;
use twotide::prelude::*;

/// How many more answers to writes are lost.
type Losses = Arc<AtomicUsize>;

/// Handles the request, and then closes the connection without an answer.
async fn lose(State(losses): State<Losses>, request: Request, next: Next) -> Response {
    let is_write = request.method() != Method::GET;
    let answer = next.run(request).await;
    let one_less = |n: usize| n.checked_sub(1);
    let is_lost =
        is_write && losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
    if !is_lost {
        return answer;
    }
    let broken = io::Error::other("the connection breaks");
    Response::new(Body::from_stream(futures_util::stream::iter([Err::<Vec<u8>, _>(broken)])))
}

/// A service with a stopped clock, and a folder for replicas.
struct Bench {
    folder: TempDir,
    store: Store,
    losses: Losses,
    serving: Option<Serving>,
    port: u16,
}

impl Bench {
    async fn new() -> Self {
        let store = Store::new(Arc::new(|| 1_770_000_000_000));
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Self { folder, store, losses: Losses::default(), serving: None, port: 0 };
        bench.start().await;
        bench
    }

    fn router(&self) -> Router {
        router(self.store.clone()).layer(from_fn_with_state(Arc::clone(&self.losses), lose))
    }

    async fn start(&mut self) {
        let serving = Serving::start(self.router(), self.port).await.unwrap();
        self.port = serving.port();
        self.serving = Some(serving);
    }

    async fn stop(&mut self) {
        self.serving.take().unwrap().stop().await;
    }

    fn lose_answers(&self, answers: usize) {
        self.losses.store(answers, Ordering::SeqCst);
    }

    async fn open(&self, name: &str) -> Replica {
        open(self.folder.path(), name, self.port).await
    }

    fn held(&self) -> BTreeMap<String, Note> {
        let note = |r: rest_backend::service::Row| (r.id, Note { title: r.title, text: r.text });
        self.store.notes().into_iter().map(note).collect()
    }
}

async fn open(folder: &Path, name: &str, port: u16) -> Replica {
    let url = format!("http://127.0.0.1:{port}");
    let transport = notes_service(&url, Duration::from_millis(100)).unwrap();
    let mut retry = RetryPolicy::default();
    (retry.first, retry.ceiling) = (Duration::from_millis(25), Duration::from_millis(50));
    let builder = Replica::builder().sqlite(folder.join(format!("{name}.db"))).retry(retry);
    let builder = builder.transport(Arc::new(transport)).resolver(FieldByField);
    builder.chunk_limits(Limits { documents: 2, ..Limits::CHUNK }).open().await.unwrap()
}

async fn notes(replica: &Replica) -> BTreeMap<String, Note> {
    let page = replica.collection::<Note>(NOTES).unwrap().scan(None, 1_000).await.unwrap();
    page.documents.into_iter().map(|d| (d.id().to_owned(), d.into_value())).collect()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("this takes too long")
}

#[tokio::test]
async fn notes_of_one_millisecond_are_all_listed() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.open("ann").await, bench.open("ben").await);
    let anns = ann.collection::<Note>(NOTES).unwrap();
    for n in 0..7 {
        anns.insert_with_id(&format!("n{n}"), &Note::new("one", "")).await.unwrap();
    }
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    assert_eq!(notes(&ben).await.len(), 7);
    // A note that sorts before the listed ones changes in the same millisecond.
    anns.update("n0", &Note::new("two", "")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    assert_eq!(notes(&ben).await["n0"].title, "two");
    assert_eq!(notes(&ben).await, bench.held());
}

#[tokio::test]
async fn lost_answers_create_no_second_note_and_no_conflict() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.open("ann").await, bench.open("ben").await);
    let anns = ann.collection::<Note>(NOTES).unwrap();
    anns.insert_with_id("a/ä?#", &Note::new("a", "")).await.unwrap();
    anns.insert_with_id("b", &Note::new("b", "")).await.unwrap();
    bench.lose_answers(2);
    soon(ann.sync_now()).await.unwrap();
    anns.update("b", &Note::new("b", "again")).await.unwrap();
    anns.delete("a/ä?#").await.unwrap();
    bench.lose_answers(2);
    soon(ann.sync_now()).await.unwrap();
    assert_eq!(ann.statistics().borrow().conflicts, 0);
    assert_eq!(bench.losses.load(Ordering::SeqCst), 0, "answers did get lost");
    soon(ben.sync_now()).await.unwrap();
    let expected = BTreeMap::from([("b".to_owned(), Note::new("b", "again"))]);
    assert_eq!((notes(&ann).await, notes(&ben).await), (expected.clone(), expected.clone()));
    assert_eq!(bench.held(), expected);
}

#[tokio::test]
async fn restarts_of_both_sides_lose_nothing() {
    let mut bench = Bench::new().await;
    let (ann, ben) = (bench.open("ann").await, bench.open("ben").await);
    ann.collection::<Note>(NOTES).unwrap().put("n", &Note::new("n", "base")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    bench.stop().await;
    let (anns, bens) =
        (ann.collection::<Note>(NOTES).unwrap(), ben.collection::<Note>(NOTES).unwrap());
    anns.update("n", &Note::new("title of Ann", "base")).await.unwrap();
    bens.update("n", &Note::new("n", "text of Ben")).await.unwrap();
    anns.insert_with_id("ann", &Note::new("x", "offline")).await.unwrap();
    assert_eq!(soon(ann.sync_now()).await.unwrap_err().kind(), ErrorKind::Network);
    ann.close().await.unwrap();
    ben.start().await.unwrap();
    bench.lose_answers(1);
    bench.start().await;
    // Ben reconnects by himself; Ann is restarted.
    soon(ben.wait_until_in_sync()).await.unwrap();
    let ann = bench.open("ann").await;
    soon(ann.sync_now()).await.unwrap();
    assert_eq!(notes(&ann).await["n"], Note::new("title of Ann", "text of Ben"));
    let all_is_there = async {
        let mut status = ben.status();
        while notes(&ben).await != bench.held() {
            status.changed().await.unwrap();
        }
    };
    soon(all_is_there).await;
    assert_eq!(notes(&ann).await, bench.held());
    assert_eq!(bench.held().len(), 2);
    ben.close().await.unwrap();
}

#[test]
fn the_program_ends_well() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_rest-backend")).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("shopping: Shopping on Friday: milk, bread"), "{said}");
    assert!(said.contains("Ben has 1 edit in quarantine"), "{said}");
}
