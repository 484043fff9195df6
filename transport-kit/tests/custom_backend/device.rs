//! A replica whose steps the test controls.

use std::sync::{Arc, Mutex};

use storage_kit::kv::{KvOptions, MemoryKv, open_replica};
use sync_core::environment::{Environment, System};
use sync_core::error::Error;
use sync_core::model::{
    Body, Chunk, Collection, Cursor, DocumentId, DocumentKey, Limits, PushId, ReplicaId, Reset,
    Scope, Verdicts,
};
use sync_core::protocol::{Greeting, Hello, Pull, Welcome};
use sync_core::replica::{Committed, Context, LocalTransaction, LocalWrite, WriteOperation};
use sync_core::resolver::{Resolvers, ServerWins};
use sync_core::storage::Storage;
use sync_core::transport::{Connection, Delivery, Transport};
use transport_kit::custom_backend::FnTransport;

use crate::service::Service;

pub(crate) const LIMITS: Limits = Limits { documents: 2, bytes: 1 << 20 };

pub(crate) fn key(id: &str) -> DocumentKey {
    let collection = Collection::new("notes").unwrap();
    DocumentKey::new(Scope::default(), collection, DocumentId::new(id).unwrap())
}

/// A replica, and the start of its next pull if chunks are requested ahead.
pub(crate) struct Device {
    pub(crate) kv: Arc<MemoryKv>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) welcome: Welcome,
    pub(crate) cx: Context,
    pub(crate) ahead: Cursor,
    /// The last word of every text that was written.
    written: Mutex<Vec<(String, String)>>,
}

impl Device {
    pub(crate) async fn open(kv: Arc<MemoryKv>, transport: &FnTransport) -> Self {
        let storage = open_replica(Arc::clone(&kv), ReplicaId([1; 16]), KvOptions::default());
        let storage: Arc<dyn Storage> = Arc::new(storage.unwrap());
        let lease = storage.claim("test".to_owned()).await.unwrap();
        let resolvers = Resolvers::new(ServerWins);
        let cx = Context { now: System.now(), resolvers, lease };
        let state = storage.state().await.unwrap();
        let ahead = state.checkpoint(&Scope::default()).cursor();
        let hello = Hello {
            scopes: vec![Greeting { scope: Scope::default(), cursor: ahead.clone(), digest: None }],
            ..Hello::new(state.replica)
        };
        let (connection, welcome) = transport.connect(hello).await.unwrap();
        Self { kv, storage, connection, welcome, cx, ahead, written: Mutex::default() }
    }

    pub(crate) async fn new(service: &Arc<Service>) -> Self {
        Self::open(Arc::default(), &service.transport()).await
    }

    /// Restarts the process: only stored data is left.
    pub(crate) async fn restart(self, service: &Arc<Service>) -> Self {
        let mut next = Self::open(Arc::new(self.kv.copy()), &service.transport()).await;
        next.written = self.written;
        next
    }

    pub(crate) async fn write(&self, id: &str, text: Option<&str>) {
        if let Some(word) = text.and_then(|t| t.split(' ').next_back()) {
            self.written.lock().unwrap().push((id.to_owned(), word.to_owned()));
        }
        let key = key(id);
        let body = |t| Body::from_value(&t).unwrap();
        let operation = text.map_or(WriteOperation::Delete, |t| WriteOperation::Put(body(t)));
        let writes = vec![LocalWrite { collection: key.collection, id: key.id, operation }];
        let transaction = LocalTransaction { scope: Scope::default(), writes };
        self.storage.write(self.cx.now, transaction).await.unwrap();
    }

    /// Returns the text of a document as the app reads it, and whether it is settled.
    pub(crate) async fn reads(&self, id: &str) -> Option<(String, bool)> {
        let found = self.storage.get(vec![key(id)]).await.unwrap().remove(0)?;
        Some((found.state.body.unwrap().to().unwrap(), !found.dirty))
    }

    pub(crate) async fn delivery(&self) -> Result<Delivery, Error> {
        let (scope, cursor) = (Scope::default(), self.ahead.clone());
        self.connection.pull(Pull { scope, cursor, limits: LIMITS }).await
    }

    /// Requests the next chunk; the test applies it later.
    pub(crate) async fn fetch(&mut self) -> Chunk {
        let Delivery::Chunk(chunk) = self.delivery().await.unwrap() else { panic!("a reset") };
        let next = self.ahead.advanced(chunk.epoch, chunk.next, chunk.head, None);
        self.ahead = next.at(chunk.bookmark());
        chunk
    }

    pub(crate) async fn apply(&self, chunk: Chunk) -> Committed {
        let applied = self.storage.apply(self.cx.clone(), chunk).await.unwrap();
        assert!(applied.moved);
        applied.committed
    }

    /// Fetches and applies until nothing follows.
    pub(crate) async fn pull(&mut self) {
        loop {
            let chunk = self.fetch().await;
            let more = chunk.has_more();
            self.apply(chunk).await;
            if !more {
                return;
            }
        }
    }

    /// Sends the waiting changes; the test applies the verdicts later.
    pub(crate) async fn send(&self) -> Result<(PushId, Verdicts), Error> {
        self.try_send().await.expect("something to push")
    }

    /// As [`send`](Self::send), if anything waits.
    pub(crate) async fn try_send(&self) -> Option<Result<(PushId, Verdicts), Error>> {
        let scope = Scope::default();
        let batch = self.storage.next_push(self.cx.clone(), scope, Limits::PUSH).await.unwrap()?;
        let id = batch.id;
        Some(self.connection.push(batch).await.map(|verdicts| (id, verdicts)))
    }

    /// Returns what was written, by document.
    pub(crate) fn written(&self) -> Vec<(String, String)> {
        self.written.lock().unwrap().clone()
    }

    /// Returns the checkpoint of the storage.
    pub(crate) async fn checkpoint(&self) -> Cursor {
        self.storage.state().await.unwrap().checkpoint(&Scope::default()).cursor()
    }

    pub(crate) async fn settle(&self, (id, verdicts): (PushId, Verdicts)) -> Committed {
        self.storage.settle(self.cx.clone(), Scope::default(), id, verdicts).await.unwrap()
    }

    pub(crate) async fn push(&self) -> Committed {
        let sent = self.send().await.unwrap();
        self.settle(sent).await
    }

    /// Applies a reset, which discards the position.
    pub(crate) async fn reset(&mut self, reset: Reset) {
        self.storage.reset(self.cx.clone(), Scope::default(), reset).await.unwrap();
        self.ahead = self.checkpoint().await;
    }
}

/// Returns the expected result of [`Device::reads`].
pub(crate) fn reads(text: &str, settled: bool) -> Option<(String, bool)> {
    Some((text.to_owned(), settled))
}
