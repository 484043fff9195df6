//! Fills a server's file without a server, which is faster than pushing.

use std::path::Path;
use std::sync::Arc;

use twotide::backend::clock::Now;
use twotide::backend::model::{
    Body, Change, Collection, DocumentId, DocumentState, Epoch, LogKey, NewLog, PushBatch, PushId,
    ReplicaId, Revision, Scope, ServerStart, Stamp,
};
use twotide::server::ops::AppendContext;
use twotide::server::{Open, ServerStorage};
use twotide::sqlite::{SqliteConfig, Synchronous, open_server};

/// When the documents of a seed were written: long before any other write of a test.
const THEN: Now = Now(1_700_000_000_000);

/// Documents that are appended together: a chunk never ends within them.
const APPEND: usize = 25;

/// Returns the id of a seeded document.
pub(crate) fn id(n: usize) -> String {
    format!("d{n:06}")
}

/// Returns the body of a seeded document.
pub(crate) fn body(n: usize) -> String {
    format!(r#"{{"n":{n},"text":"{:x<100}"}}"#, "")
}

/// Creates a server's file with that many documents in the collection `docs` of the scope
/// `default`.
pub(crate) fn server(path: &Path, documents: usize) {
    let mut config = SqliteConfig::new(path);
    config.synchronous = Synchronous::Normal;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let storage = open_server(&config).unwrap();
        let (replica, collection) = (ReplicaId([9; 16]), Collection::new("docs").unwrap());
        let mut stamp = Stamp::new(THEN.0, 0);
        let mut change = |n: usize| {
            stamp = stamp.next();
            let revision = Revision { stamp, replica };
            let body = Some(Body::parse(body(n)).unwrap());
            Change::new(
                collection.clone(),
                DocumentId::new(id(n)).unwrap(),
                DocumentState { created: stamp, ..DocumentState::new(revision, body) },
            )
        };
        let cx = AppendContext {
            drift: std::time::Duration::MAX,
            ..AppendContext::new(
                THEN,
                ServerStart(7),
                NewLog { epoch: Epoch([7; 16]), key: LogKey([7; 16]) },
            )
        };
        let starts = (0..documents).step_by(APPEND);
        for (batch, first) in starts.enumerate() {
            let changes = (first..documents.min(first + APPEND)).map(&mut change).collect();
            let id = PushId(batch as u64 + 1);
            let batch = PushBatch::new(Scope::default(), replica, id, changes);
            storage.append(cx, batch, Arc::new(Open)).await.unwrap();
        }
        storage.close().await.unwrap();
    });
}
