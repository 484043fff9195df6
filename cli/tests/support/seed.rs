//! Fills a server's file without a server, which is faster than pushing.

use std::path::Path;
use std::sync::Arc;

use twotide::backend::clock::Now;
use twotide::backend::model::{
    Body, Change, Collection, DocumentId, DocumentState, Epoch, LogKey, NewLog, PushBatch, PushId,
    Rejection, ReplicaId, Revision, Scope, ServerStart, Stamp,
};
use twotide::backend::resolver::Resolution;
use twotide::server::ServerStorage;
use twotide::server::ops::{AppendContext, Judge};
use twotide::sqlite::{SqliteConfig, Synchronous, open_server};

/// When the documents of a seed were written: long before any other write of a test.
const THEN: Now = Now(1_700_000_000_000);

#[derive(Debug)]
struct Anything;

impl Judge for Anything {
    fn admit(&self, _: &Change, _: Option<&DocumentState>) -> Result<(), Rejection> {
        Ok(())
    }

    fn resolve(&self, _: &Scope, _: &Change, _: Option<&DocumentState>) -> Option<Resolution> {
        None
    }
}

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
            Change {
                collection: collection.clone(),
                id: DocumentId::new(id(n)).unwrap(),
                base: None,
                base_body: None,
                state: DocumentState {
                    revision,
                    author: revision,
                    created: stamp,
                    body,
                    erased: None,
                },
            }
        };
        let cx = AppendContext {
            now: THEN,
            start: ServerStart(7),
            drift: std::time::Duration::MAX,
            fresh: NewLog { epoch: Epoch([7; 16]), key: LogKey([7; 16]) },
            owner: None,
        };
        let starts = (0..documents).step_by(APPEND);
        for (batch, first) in starts.enumerate() {
            let changes = (first..documents.min(first + APPEND)).map(&mut change).collect();
            let id = PushId(batch as u64 + 1);
            let batch = PushBatch {
                scope: Scope::default(),
                replica,
                id,
                changes,
                recall: None,
                mark: None,
            };
            storage.append(cx, batch, Arc::new(Anything)).await.unwrap();
        }
        storage.close().await.unwrap();
    });
}
