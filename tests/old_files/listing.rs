//! The content of a replica and of a server, as text that names every value.

use std::fmt::Write;

use twotide::Replica;

use super::backend::model::{Body, Cursor, DocumentState, Limits, ReplicaId, Scope};
use super::backend::replica::{Unsettled, UnsettledAfter};
use super::{ChangesReply, ServerStorage, Visible};

const COLLECTIONS: [&str; 4] = ["drafts", "inbox", "notes", "tags"];

/// A short body as it is; a long one as its length and a hash.
fn body(body: Option<&Body>) -> String {
    match body.map(Body::as_str) {
        None => "deleted".to_owned(),
        Some(text) if text.len() < 80 => text.to_owned(),
        Some(text) => {
            let hash = text.bytes().fold(7_u64, |h, b| h.wrapping_mul(31) ^ u64::from(b));
            format!("{} bytes with the hash {hash:x}", text.len())
        }
    }
}

fn state(state: Option<&DocumentState>) -> String {
    let Some(state) = state else { return "nothing".to_owned() };
    let erased = state.erased.map(|at| format!(", erased at {at}")).unwrap_or_default();
    let (revision, created) = (state.revision, state.created);
    let author = match state.author {
        author if author == revision => String::new(),
        author => format!(" by {author}"),
    };
    format!("{} at {revision}{author}, created {created}{erased}", body(state.body.as_ref()))
}

/// Lists everything that the replica stores in its scope and in its local-only collections.
pub(crate) async fn replica(replica: &Replica) -> String {
    let mut out = String::new();
    let all = replica.state().await.unwrap();
    let own = all.scope(replica.scope()).unwrap();
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    line(format!("replica {}, newest batch {}", all.replica, all.last_push));
    line(format!("local-only: {:?}", all.local_only));
    let (at, mark) = (&own.checkpoint, own.checkpoint.mark.is_some());
    line(format!("scope {}, epoch {:?}, position {}", own.scope, at.epoch, at.position));
    line(format!("seen {}, with a mark: {mark}, chosen: {:?}", at.seen, at.collections));
    line(format!("{} documents with the digest {}", own.documents, own.digest));
    line(format!("{} failures, {:?}", own.failures.count, own.outbox));
    for name in COLLECTIONS {
        let collection = replica.raw(name).unwrap();
        for found in collection.scan(None, 1_000).await.unwrap().documents {
            let is = replica.sync_state(name, found.id()).await.unwrap().as_str();
            let (id, revision, text) = (found.id(), found.revision(), body(Some(found.value())));
            line(format!("{name}/{id} is {is}: {text} at {revision}"));
        }
    }
    let which = [
        (Unsettled::Pending, "waits"),
        (Unsettled::InFlight, "in flight"),
        (Unsettled::Deferred, "conflict"),
        (Unsettled::Quarantine, "quarantined"),
    ];
    for (which, word) in which {
        let (scope, start) = (replica.scope().clone(), UnsettledAfter::Start);
        let page = replica.storage().unsettled(scope, which, start, Limits::CHUNK).await.unwrap();
        for entry in page.items {
            let base = entry.base.as_ref().map(|base| &base.state);
            let (collection, id) = (&entry.key.collection, &entry.key.id);
            line(format!("{word}: {collection}/{id}: {}", state(Some(&entry.local))));
            line(format!("  base {}, server {}", state(base), state(entry.remote.as_ref())));
            line(format!("  transaction {}, attempts {}", entry.transaction, entry.attempts));
            if let Some((rejection, at, ticket)) = entry.refused {
                line(format!("  {:?} {}, at {at}, {ticket}", rejection.code, rejection.reason));
            }
        }
    }
    out
}

/// Lists everything that the server stores, including its records of these replicas.
pub(crate) async fn server(server: &dyn ServerStorage, replicas: &[ReplicaId]) -> String {
    let mut out = String::new();
    for scope in server.scopes(None, 100).await.unwrap() {
        out += &server_scope(server, scope, replicas).await;
    }
    out
}

async fn server_scope(server: &dyn ServerStorage, scope: Scope, replicas: &[ReplicaId]) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    let row = server.find_scope(scope.clone()).await.unwrap().unwrap();
    line(format!(
        "scope {scope}, epoch {:?}, head {}, horizon {}",
        row.epoch, row.head, row.horizon
    ));
    line(format!("{} documents with the digest {}", row.documents, row.digest));
    line(format!("{} erasures, newest stamp {}", row.erasures, row.high_water));
    for before in &row.ancestors {
        line(format!("before: epoch {:?} up to {}", before.epoch, before.cut));
    }
    for &replica in replicas {
        let (at, push) = server.replica(scope.clone(), replica).await.unwrap();
        line(format!("replica {replica}: {at:?}, newest batch {push:?}"));
    }
    let cursor = Cursor { epoch: Some(row.epoch), ..Cursor::default() };
    let all = Limits { documents: 1_000, bytes: 64 << 20 };
    let reply = server.changes(scope, cursor, all, Visible::All).await.unwrap();
    let ChangesReply::Chunk(chunk) = reply else { panic!("{reply:?}") };
    assert_eq!(chunk.next, chunk.head, "the log is longer than what was read");
    for entry in chunk.entries {
        let (seq, collection, id) = (entry.seq, entry.collection, entry.id);
        line(format!("{seq}: {collection}/{id}: {}", state(Some(&entry.state))));
    }
    out
}
