//! The setup of a case: a server whose hooks and storage the case controls, and the transport under
//! test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::WatchedServerStorage;
use storage_kit::kv::{KvOptions, MemoryKv, open_server};
use sync_core::error::{Error, Result};
use sync_core::model::{
    Body, Change, Chunk, Collection, Cursor, DocumentId, DocumentState, Limits, PushBatch, PushId,
    ReplicaId, Revision, Scope, Seq, Stamp, Verdict, VerdictKind, Verdicts,
};
use sync_core::protocol::{Greeting, Hello, Pull, Welcome};
use sync_core::transport::{Connection, Delivery, Transport};
use sync_server::record::ServerScope;
use sync_server::{Server, ServerOptions};

use super::access_switch::{AccessSwitch, TOKEN};
use super::harness::{Timing, TransportHarness};

/// The collection of documents where it does not matter.
pub(super) const NOTES: &str = "notes";

pub(super) struct Fixture<H> {
    pub(super) harness: H,
    pub(super) server: Server,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) access_switch: Arc<AccessSwitch>,
    pub(super) storage: Arc<WatchedServerStorage>,
    pub(super) timing: Timing,
}

impl<H: TransportHarness> Fixture<H> {
    /// Makes a server in memory with the usual options.
    pub(super) async fn new(harness: H) -> Self {
        Self::with(harness, |_| {}).await
    }

    /// Makes a server with the harness's heartbeat, for silent links.
    pub(super) async fn with_heartbeat(harness: H) -> Self {
        let heartbeat = harness.timing().heartbeat;
        Self::with(harness, |options| options.heartbeat = heartbeat).await
    }

    pub(super) async fn with(harness: H, set: impl FnOnce(&mut ServerOptions)) -> Self {
        let rows = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
        let (access_switch, storage) = (
            Arc::new(AccessSwitch::default()),
            Arc::new(WatchedServerStorage::new(Arc::new(rows))),
        );
        let mut options = ServerOptions::default();
        harness.adjust(&mut options);
        set(&mut options);
        let server =
            Server::builder(storage.clone()).hooks(access_switch.hooks()).options(options).build();
        let transport = harness.serve(server.clone()).await.unwrap();
        let timing = harness.timing();
        Self { harness, server, transport, access_switch, storage, timing }
    }

    /// Waits for a future that must be ready promptly.
    pub(super) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        within(self.timing.prompt, what, future).await
    }

    /// Greets with the token of most cases.
    pub(super) async fn greet(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        self.soon("connecting", self.transport.connect(hello)).await
    }

    /// Connects that replica, for these scopes from their beginning.
    pub(super) async fn connect(&self, who: u8, scopes: &[&Scope]) -> Arc<dyn Connection> {
        match self.greet(hello(who, scopes)).await {
            Ok((connection, _)) => connection,
            Err(error) => panic!("the connection was refused: {error}"),
        }
    }

    /// Returns the server's row about a scope.
    pub(super) async fn row(&self, scope: &Scope) -> ServerScope {
        let row = self.server.storage().find_scope(scope.clone()).await.unwrap();
        row.expect("the server has heard of the scope")
    }

    /// Returns whether the server has a row about a scope, which begins with its first accepted
    /// write.
    pub(super) async fn has_begun(&self, scope: &Scope) -> bool {
        self.server.storage().find_scope(scope.clone()).await.unwrap().is_some()
    }

    /// Makes a client that writes on a separate link in memory, and not on the link under test.
    pub(super) async fn author(&self) -> Author {
        let (connection, _) =
            self.server.in_process().connect(hello(200, &[])).await.expect("a link in memory");
        Author { connection, next: AtomicU64::new(1) }
    }
}

/// A client that writes documents on a separate link.
pub(super) struct Author {
    connection: Arc<dyn Connection>,
    next: AtomicU64,
}

impl Author {
    /// Writes documents in one append. Ids must be new.
    pub(super) async fn write(&self, scope: &Scope, documents: &[(&str, Body)]) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let changes = documents.iter().map(|(id, body)| insert(NOTES, id, body.clone())).collect();
        let batch = PushBatch::new(scope.clone(), replica(200), PushId(id), changes);
        let verdicts = self.connection.push(batch).await.expect("a push in memory");
        assert_accepted(&verdicts);
    }

    /// Writes documents with these numbers, each in a separate append.
    pub(super) async fn write_each(&self, scope: &Scope, numbers: std::ops::Range<usize>) {
        for n in numbers {
            self.write(scope, &[(&name(n), text("x"))]).await;
        }
    }
}

pub(super) fn replica(who: u8) -> ReplicaId {
    ReplicaId([who; 16])
}

pub(super) fn scope(name: &str) -> Scope {
    Scope::new(name).expect("a name")
}

/// Returns the id of the document with that number; ids and numbers have the same order.
pub(super) fn name(n: usize) -> String {
    format!("document-{n:06}")
}

pub(super) fn text(of: &str) -> Body {
    Body::from_value(&of).expect("a text is JSON")
}

/// Returns a body of about so many bytes that no compression makes much smaller.
pub(super) fn large(bytes: usize) -> Body {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = bytes as u64 | 1;
    let letter = |_| {
        // A xorshift generator (Marsaglia, 2003), because any bytes without a pattern are enough.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 58) as usize])
    };
    text(&(0..bytes).map(letter).collect::<String>())
}

/// Returns an insert of a new document.
pub(super) fn insert(collection: &str, id: &str, body: Body) -> Change {
    static STAMPS: AtomicU64 = AtomicU64::new(1);
    let stamp = Stamp::new(1_000_000 + STAMPS.fetch_add(1, Ordering::Relaxed), 0);
    let revision = Revision { stamp, replica: replica(1) };
    Change::new(
        Collection::new(collection).expect("a name"),
        DocumentId::new(id).expect("an id"),
        DocumentState { created: stamp, ..DocumentState::new(revision, Some(body)) },
    )
}

/// Returns a batch of one replica.
pub(super) fn batch(who: u8, id: u64, scope: &Scope, changes: Vec<Change>) -> PushBatch {
    PushBatch::new(scope.clone(), replica(who), PushId(id), changes)
}

pub(super) fn hello(who: u8, scopes: &[&Scope]) -> Hello {
    let greeting = |scope: &&Scope| Greeting {
        scope: (*scope).clone(),
        cursor: Cursor::default(),
        digest: None,
    };
    Hello {
        token: Some(TOKEN.to_owned()),
        schema: 1,
        agent: "conformance".to_owned(),
        scopes: scopes.iter().map(greeting).collect(),
        ..Hello::new(replica(who))
    }
}

/// Returns a pull from a cursor within the usual limits.
pub(super) fn pull(scope: &Scope, cursor: Cursor) -> Pull {
    Pull { scope: scope.clone(), cursor, limits: Limits::CHUNK }
}

/// Returns a pull from the beginning, in chunks of so many documents.
pub(super) fn pull_few(scope: &Scope, documents: usize) -> Pull {
    let limits = Limits { documents, ..Limits::CHUNK };
    Pull { scope: scope.clone(), cursor: Cursor::default(), limits }
}

pub(super) fn decided(verdicts: &Verdicts) -> &[Verdict] {
    match verdicts {
        Verdicts::Decided { verdicts, .. } => verdicts,
        other => panic!("verdicts were expected, and came {other:?}"),
    }
}

pub(super) fn assert_accepted(verdicts: &Verdicts) -> Vec<Seq> {
    let accepted = |v: &Verdict| {
        assert_eq!(v.kind, VerdictKind::Accepted, "{verdicts:?}");
        v.seq
    };
    decided(verdicts).iter().map(accepted).collect()
}

pub(super) fn error_of<T: std::fmt::Debug>(what: &str, result: Result<T>) -> Error {
    match result {
        Ok(value) => panic!("{what} should have failed, and brought {value:?}"),
        Err(error) => error,
    }
}

pub(super) async fn within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {bound:?}"),
    }
}

/// Returns the delivered chunk.
pub(super) fn chunk_of(delivery: Delivery) -> Chunk {
    match delivery {
        Delivery::Chunk(chunk) => chunk,
        Delivery::Reset(reset) => panic!("a chunk was expected, and came {reset:?}"),
    }
}
