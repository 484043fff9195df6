//! A replica and a service that knows nothing of us, step by step: every interleaving of fetches and sends with what the
//! storage does is in the hands of the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

mod service;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use sync_core::environment::{Environment, System};
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::foreign::{ClosureTransport, Outcome, Version};
use sync_core::kv::{KvOptions, MemoryKv, open_replica};
use sync_core::model::{
    Body, Chunk, Collection, Cursor, DocumentId, DocumentKey, Limits, PushId, ReplicaId, Reset,
    ResetReason, Scope, Seq, VerdictKind, Verdicts,
};
use sync_core::protocol::{Greeting, Hello, Pull, VERSIONS, Welcome};
use sync_core::replica::{Committed, Context, LocalTransaction, LocalWrite, WriteOperation};
use sync_core::resolver::{ClientWins, ServerWins};
use sync_core::storage::Storage;
use sync_core::transport::{Connection, Delivery, Transport};

use service::{Service, Writes};

const LIMITS: Limits = Limits { documents: 2, bytes: 1 << 20 };

fn key(id: &str) -> DocumentKey {
    let collection = Collection::new("notes").unwrap();
    DocumentKey::new(Scope::default(), collection, DocumentId::new(id).unwrap())
}

/// A replica, and where its next pull begins if chunks are asked for ahead.
struct Device {
    kv: Arc<MemoryKv>,
    storage: Arc<dyn Storage>,
    connection: Arc<dyn Connection>,
    welcome: Welcome,
    cx: Context,
    ahead: Cursor,
}

impl Device {
    async fn open(kv: Arc<MemoryKv>, transport: &ClosureTransport) -> Self {
        let storage = open_replica(Arc::clone(&kv), ReplicaId([1; 16]), KvOptions::default());
        let storage: Arc<dyn Storage> = Arc::new(storage.unwrap());
        let lease = storage.claim("test".to_owned()).await.unwrap();
        let resolvers = sync_core::resolver::Resolvers::new(ServerWins);
        let cx = Context { now: System.now(), resolvers, lease };
        let state = storage.state().await.unwrap();
        let ahead = state.checkpoint(&Scope::default()).cursor();
        let hello = Hello {
            versions: VERSIONS.to_vec(),
            replica: state.replica,
            token: None,
            compressions: Vec::new(),
            schema: 0,
            agent: String::new(),
            scopes: vec![Greeting { scope: Scope::default(), cursor: ahead.clone() }],
        };
        let (connection, welcome) = transport.connect(hello).await.unwrap();
        Self { kv, storage, connection, welcome, cx, ahead }
    }

    async fn new(service: &Arc<Service>) -> Self {
        Self::open(Arc::default(), &service.transport()).await
    }

    /// The process ends, and another one begins: nothing is left but what was stored.
    async fn restart(self, service: &Arc<Service>) -> Self {
        Self::open(Arc::new(self.kv.copy()), &service.transport()).await
    }

    async fn write(&self, id: &str, text: Option<&str>) {
        let key = key(id);
        let body = |t| Body::from_value(&t).unwrap();
        let operation = text.map_or(WriteOperation::Delete, |t| WriteOperation::Put(body(t)));
        let writes = vec![LocalWrite { collection: key.collection, id: key.id, operation }];
        let transaction = LocalTransaction { scope: Scope::default(), writes };
        self.storage.write(self.cx.now, transaction).await.unwrap();
    }

    /// What the app sees, and whether it is settled.
    async fn reads(&self, id: &str) -> Option<(String, bool)> {
        let found = self.storage.get(vec![key(id)]).await.unwrap().remove(0)?;
        Some((found.state.body.unwrap().to().unwrap(), !found.dirty))
    }

    async fn delivery(&self) -> Result<Delivery, Error> {
        let (scope, cursor) = (Scope::default(), self.ahead.clone());
        self.connection.pull(Pull { scope, cursor, limits: LIMITS }).await
    }

    /// Asks for the next chunk, and leaves it to the test when it is taken in.
    async fn fetch(&mut self) -> Chunk {
        let Delivery::Chunk(chunk) = self.delivery().await.unwrap() else { panic!("a reset") };
        let next = self.ahead.advanced(chunk.epoch, chunk.next, chunk.head);
        self.ahead = next.at(chunk.bookmark());
        chunk
    }

    async fn apply(&self, chunk: Chunk) -> Committed {
        let applied = self.storage.apply(self.cx.clone(), chunk).await.unwrap();
        assert!(applied.moved);
        applied.committed
    }

    /// Fetches and takes in until nothing follows.
    async fn pull(&mut self) {
        loop {
            let chunk = self.fetch().await;
            let more = chunk.has_more();
            self.apply(chunk).await;
            if !more {
                return;
            }
        }
    }

    /// Sends what waits, and leaves it to the test when the verdicts are taken in.
    async fn send(&self) -> Result<(PushId, Verdicts), Error> {
        let scope = Scope::default();
        let batch = self.storage.next_push(self.cx.clone(), scope, Limits::PUSH).await.unwrap();
        let batch = batch.expect("something to push");
        let id = batch.id;
        Ok((id, self.connection.push(batch).await?))
    }

    async fn settle(&self, (id, verdicts): (PushId, Verdicts)) -> Committed {
        self.storage.settle(self.cx.clone(), Scope::default(), id, verdicts).await.unwrap()
    }

    async fn push(&self) -> Committed {
        let sent = self.send().await.unwrap();
        self.settle(sent).await
    }

    /// Gives its position up, as it was told to.
    async fn reset(&mut self, reset: Reset) {
        self.storage.reset(self.cx.clone(), Scope::default(), reset).await.unwrap();
        let state = self.storage.state().await.unwrap();
        self.ahead = state.checkpoint(&Scope::default()).cursor();
    }
}

fn reads(text: &str, settled: bool) -> Option<(String, bool)> {
    Some((text.to_owned(), settled))
}

#[tokio::test]
async fn what_the_service_holds_comes_in_pages_and_goes_on_after_a_restart() {
    let service = Service::new(Writes::Put);
    for id in ["a", "b", "c"] {
        service.store(id, Some(id));
    }
    let mut device = Device::new(&service).await;
    let first = device.fetch().await;
    assert_eq!((first.entries.len(), first.has_more()), (2, true));
    device.apply(first).await;
    let mut device = device.restart(&service).await;
    assert_eq!(device.ahead.bookmark.as_ref().map(|b| b.as_str()), Some("2"));
    device.pull().await;
    assert_eq!(device.reads("c").await, reads("c", true));
    service.store("a", None);
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
}

#[tokio::test]
async fn an_own_write_is_settled_without_a_change_or_a_conflict() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    device.write("a", Some("one")).await;
    let settled = device.push().await;
    assert_eq!((settled.changes.len(), settled.conflicts.len(), settled.taken), (0, 0, 1));
    assert_eq!(device.reads("a").await, reads("one", true));
    // An edit before the echo comes: the echo is its base.
    device.write("a", Some("two")).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("two", false));
    let settled = device.push().await;
    assert_eq!(settled.conflicts, Vec::new());
    assert_eq!(service.text("a").as_deref(), Some("two"));
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("two", true));
}

#[tokio::test]
async fn a_document_whose_state_was_delivered_last_can_be_settled() {
    // The answer must be newer than the document itself, which has the position of the last chunk.
    let service = Service::new(Writes::Conditional);
    service.store("a", Some("theirs"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    for text in ["one", "two"] {
        device.write("a", Some(text)).await;
        device.push().await;
        assert_eq!(device.reads("a").await, reads(text, true));
    }
}

#[tokio::test]
async fn a_chunk_from_before_a_send_is_taken_in_after_it() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("old"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    service.store("a", Some("older than mine"));
    device.write("a", Some("mine")).await;
    let early = device.fetch().await;
    device.push().await;
    let late = device.apply(early).await;
    assert_eq!((late.changes.len(), late.conflicts.len()), (0, 0), "it does not go back in time");
    assert_eq!(device.reads("a").await, reads("mine", true));
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("mine", true));
}

#[tokio::test]
async fn somebody_writes_on_top_before_the_verdict_is_settled() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("a", Some("mine")).await;
    let sent = device.send().await.unwrap();
    service.store("a", Some("on top of mine"));
    // The chunk comes while the document is in flight: it waits for the verdict, and descends from what was sent.
    let chunk = device.fetch().await;
    device.apply(chunk).await;
    assert_eq!(device.reads("a").await, reads("mine", false));
    let settled = device.settle(sent).await;
    assert_eq!(settled.conflicts, Vec::new());
    assert_eq!(device.reads("a").await, reads("on top of mine", true));
}

#[tokio::test]
async fn a_newer_state_after_a_restart_is_not_taken_for_a_known_one() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    service.store("z", Some("z"));
    device.pull().await;
    // Positions are given out ahead of what is taken in: by chunks that get lost, and by verdicts.
    for _ in 0..5 {
        service.store("y", Some("y"));
        device.fetch().await;
    }
    device.write("a", Some("mine")).await;
    device.push().await;
    service.store("a", Some("theirs"));
    let mut device = device.restart(&service).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("theirs", true));
}

#[tokio::test]
async fn a_write_of_somebody_else_is_a_conflict_where_the_service_looks() {
    for (writes, survivor) in [(Writes::Conditional, "theirs"), (Writes::Put, "mine")] {
        let service = Service::new(writes);
        service.store("a", Some("base"));
        let mut device = Device::new(&service).await;
        device.pull().await;
        device.write("a", Some("mine")).await;
        service.store("a", Some("theirs"));
        let settled = device.push().await;
        let noticed = writes == Writes::Conditional;
        assert_eq!(settled.conflicts.len(), usize::from(noticed), "{writes:?}");
        assert_eq!(device.reads("a").await, reads(survivor, true));
        device.pull().await;
        assert_eq!(service.text("a").as_deref(), Some(survivor));
        assert_eq!(device.reads("a").await, reads(survivor, true));
    }
}

#[tokio::test]
async fn a_conflict_that_the_edit_wins_is_sent_on_the_state_that_it_won_over() {
    let service = Service::new(Writes::Conditional);
    service.store("a", Some("base"));
    let mut device = Device::new(&service).await;
    device.cx.resolvers = sync_core::resolver::Resolvers::new(ClientWins);
    device.pull().await;
    device.write("a", Some("mine")).await;
    service.store("a", Some("theirs"));
    assert_eq!(device.push().await.conflicts.len(), 1);
    assert_eq!(device.push().await.conflicts.len(), 0);
    assert_eq!(service.text("a").as_deref(), Some("mine"));
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("mine", true));
}

#[tokio::test]
async fn an_answer_that_gets_lost_costs_a_second_attempt_with_the_same_key() {
    for writes in [Writes::Put, Writes::Conditional, Writes::Keyed] {
        let service = Service::new(writes);
        let mut device = Device::new(&service).await;
        device.write("a", Some("mine")).await;
        service.lose_answers(1);
        let error = device.send().await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
        // The process ends, and only the storage knows of the batch.
        let before = service.keys();
        device = device.restart(&service).await;
        // What was stored is fetched before it is known to be the own write.
        device.pull().await;
        device.write("a", Some("mine, and more")).await;
        let settled = device.push().await;
        assert_eq!(settled.conflicts, Vec::new(), "{writes:?}");
        assert_eq!(service.keys()[..2], [before[0].clone(), before[0].clone()]);
        assert_eq!(device.push().await.conflicts, Vec::new());
        device.pull().await;
        assert_eq!(device.reads("a").await, reads("mine, and more", true));
        assert_eq!(service.text("a").as_deref(), Some("mine, and more"));
    }
}

#[tokio::test]
async fn a_lost_answer_on_which_somebody_wrote_is_superseded_where_keys_are_remembered() {
    for (writes, conflicts) in [(Writes::Keyed, 0), (Writes::Conditional, 1)] {
        let service = Service::new(writes);
        let mut device = Device::new(&service).await;
        device.pull().await;
        device.write("a", Some("mine")).await;
        service.lose_answers(1);
        device.send().await.unwrap_err();
        service.store("a", Some("on top"));
        device.pull().await;
        let settled = device.push().await;
        assert_eq!(settled.conflicts.len(), conflicts, "{writes:?}");
        assert_eq!(device.reads("a").await, reads("on top", true));
    }
}

#[tokio::test]
async fn deletions_travel_both_ways_and_a_document_can_be_made_again() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    device.write("a", Some("one")).await;
    device.push().await;
    device.write("a", None).await;
    device.push().await;
    assert_eq!(service.text("a"), None);
    device.write("a", Some("again")).await;
    // The echo of the deletion.
    let echo = device.fetch().await;
    assert_eq!(device.apply(echo).await.conflicts, Vec::new());
    assert_eq!(device.push().await.conflicts, Vec::new());
    assert_eq!(service.text("a").as_deref(), Some("again"));
    // Both delete it.
    device.write("a", None).await;
    service.store("a", None);
    assert_eq!(device.push().await.conflicts, Vec::new());
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
}

#[tokio::test]
async fn without_a_bookmark_everything_is_listed_and_what_is_gone_is_deleted() {
    let service = Service::new(Writes::Put);
    service.tell_no_bookmark();
    for id in ["a", "b", "c"] {
        service.store(id, Some("here"));
    }
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("c", Some("edited")).await;
    device.write("d", Some("new")).await;
    service.forget("a");
    let Delivery::Reset(reset) = device.delivery().await.unwrap() else { panic!("a chunk") };
    assert_eq!(reset.reason, ResetReason::BelowHorizon);
    device.reset(reset).await;
    // A restart in the middle must not take what it lists for known already.
    let mut device = device.restart(&service).await;
    service.store("b", Some("changed"));
    device.pull().await;
    assert_eq!(device.reads("a").await, None, "it was not listed any more");
    assert_eq!(device.reads("b").await, reads("changed", true));
    assert_eq!(device.reads("c").await, reads("edited", false));
    assert_eq!(device.reads("d").await, reads("new", false));
    device.push().await;
    assert_eq!(service.text("d").as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_in_the_middle_of_a_listing() {
    let service = Service::new(Writes::Put);
    for id in ["a", "b", "c"] {
        service.store(id, Some("here"));
    }
    let mut device = Device::new(&service).await;
    let first = device.fetch().await;
    device.apply(first).await;
    device.write("0", Some("new")).await;
    let error = device.send().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Busy, Retry::Later(None)));
    // Nor after a restart in the middle of it.
    let mut device = device.restart(&service).await;
    device.send().await.unwrap_err();
    device.pull().await;
    device.push().await;
    assert_eq!(device.reads("0").await, reads("new", true));
}

#[tokio::test]
async fn an_expired_bookmark_lists_everything_once() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("here"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    service.forget("a");
    service.expire_bookmarks();
    let Delivery::Reset(reset) = device.delivery().await.unwrap() else { panic!("a chunk") };
    device.reset(reset).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
    let error = device.delivery().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "it does not go round in circles: {error}");
}

#[tokio::test]
async fn another_name_is_another_backend() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("here"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    let other = Service::new(Writes::Put);
    let transport = other.builder("another").build().unwrap();
    let mut device = Device::open(Arc::clone(&device.kv), &transport).await;
    let reset = device.welcome.scopes[0].reset.unwrap();
    assert_eq!(reset.reason, ResetReason::EpochChanged { cut: Seq(0) });
    device.reset(reset).await;
    device.push().await;
    assert_eq!(other.text("a").as_deref(), Some("here"), "what it holds is offered");
}

#[tokio::test]
async fn a_refused_change_delays_no_other() {
    let service = Service::new(Writes::Put);
    let device = Device::new(&service).await;
    device.write("a", Some("good")).await;
    device.write("b", Some("bad")).await;
    device.write("c", Some("good")).await;
    let settled = device.push().await;
    assert_eq!(settled.refused.len(), 1);
    assert_eq!((service.text("a"), service.text("c")), (Some("good".into()), Some("good".into())));
    assert_eq!(device.reads("b").await, None);
}

#[tokio::test]
async fn a_failure_in_the_middle_sends_only_the_rest_again() {
    let service = Service::new(Writes::Keyed);
    let device = Device::new(&service).await;
    for id in ["a", "b", "c"] {
        device.write(id, Some(id)).await;
    }
    service.fail_after(1);
    device.send().await.unwrap_err();
    device.push().await;
    let keys = service.keys();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert_eq!((&keys[1], keys[0] == keys[1]), (&keys[2], false), "only the second was sent twice");
}

#[tokio::test]
async fn a_batch_has_as_many_outcomes_as_changes() {
    let version = || Version::new(1, "1");
    for outcomes in [vec![Outcome::Stored(version())], vec![Outcome::Deleted; 2]] {
        let service = Service::new(Writes::Put);
        let all = move |_| {
            let outcomes = outcomes.clone();
            async move { Ok(outcomes) }
        };
        let transport = service.builder("all").send(all).build().unwrap();
        let device = Device::open(Arc::default(), &transport).await;
        device.write("a", Some("one")).await;
        device.write("b", Some("two")).await;
        let error = device.send().await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Never));
    }
}

#[tokio::test]
async fn a_batch_is_settled_as_a_whole() {
    let service = Service::new(Writes::Put);
    let sent = Arc::clone(&service);
    let all = move |changes: Vec<sync_core::foreign::Outgoing>| {
        let outcomes = changes.iter().map(|c| sent.send(c)).collect();
        async move { outcomes }
    };
    let transport = service.builder("all").send(all).build().unwrap();
    let mut device = Device::open(Arc::default(), &transport).await;
    for id in ["a", "b", "c"] {
        device.write(id, Some(id)).await;
    }
    let (id, verdicts) = device.send().await.unwrap();
    let Verdicts::Decided { verdicts: each, .. } = &verdicts else { panic!("undecided") };
    assert!(each.iter().all(|v| v.kind == VerdictKind::Accepted), "{each:?}");
    device.settle((id, verdicts)).await;
    device.pull().await;
    assert_eq!(device.reads("c").await, reads("c", true));
}

#[tokio::test(start_paused = true)]
async fn closures_that_panic_or_hang_are_errors() {
    let service = Service::new(Writes::Put);
    let panics =
        service.builder("panics").fetch(async |_| -> Result<sync_core::foreign::Page, Error> {
            panic!("a fault of the app")
        });
    let device = Device::open(Arc::default(), &panics.build().unwrap()).await;
    let error = device.delivery().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        error.to_string().contains("fetch: the closure `fetch` panicked (backend panics"),
        "{error}"
    );
    let hangs = service
        .builder("hangs")
        .timeout(Duration::from_secs(3))
        .send_each(|_| std::future::pending::<Result<Outcome, Error>>());
    let mut device = Device::open(Arc::default(), &hangs.build().unwrap()).await;
    device.write("a", Some("one")).await;
    assert_eq!(device.send().await.unwrap_err().kind(), ErrorKind::Timeout);
    // The line is free again.
    device.pull().await;
}

#[tokio::test]
async fn a_page_that_breaks_its_contract_is_refused_by_name() {
    use sync_core::foreign::{Document, Page};
    let document = |id: &str| Document::live("notes", id, Version::new(1, "1"), &"x").unwrap();
    let many = Page::last(vec![document("a"), document("b"), document("c")]);
    let endless = Page::last(vec![document("a")]).more(true);
    let huge = "x".repeat(33 << 20);
    let huge = Document::live("notes", "huge", Version::new(1, "1"), &huge).unwrap();
    let huge = Page::last(vec![document("a"), huge]);
    for (page, what) in
        [(many, "3 documents"), (endless, "no new bookmark"), (huge, "largest huge")]
    {
        let service = Service::new(Writes::Put);
        let fetch = move |_| {
            let page = page.clone();
            async move { Ok(page) }
        };
        let transport = service.builder("odd").fetch(fetch).build().unwrap();
        let device = Device::open(Arc::default(), &transport).await;
        let error = device.delivery().await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Never));
        assert!(error.to_string().contains(what), "{error}");
    }
    let error = Document::deleted("notes", "a\nb", None).unwrap_err();
    assert!(error.to_string().contains("control character"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_polls_and_is_told_of_news() {
    let service = Service::new(Writes::Put);
    let bell = Arc::new(tokio::sync::Notify::new());
    let ears = Arc::clone(&bell);
    let listen = move |_| {
        let ears = Arc::clone(&ears);
        async move {
            ears.notified().await;
            Ok(())
        }
    };
    let poll = Duration::from_secs(60);
    let transport = service.builder("live").poll_every(poll, Duration::ZERO).changed(listen);
    let mut device = Device::open(Arc::default(), &transport.build().unwrap()).await;
    device.pull().await;
    let (scope, cursor) = (Scope::default(), device.ahead.clone());
    let mut live = device.connection.live(Pull { scope, cursor, limits: LIMITS });
    let mut waits = async |service: &Service, ring: bool, entries: usize| {
        let began = tokio::time::Instant::now();
        let fetches = service.fetches();
        service.store("a", Some("news"));
        if ring {
            bell.notify_one();
        }
        let Some(Ok(Delivery::Chunk(chunk))) = live.next().await else { panic!("no chunk") };
        assert_eq!((chunk.entries.len(), service.fetches() - fetches), (entries, 1));
        began.elapsed()
    };
    assert_eq!(waits(&service, false, 1).await, poll);
    assert!(waits(&service, true, 1).await < Duration::from_secs(1));
    // An own write is fetched at once: only then the replica knows that it is in sync.
    device.write("b", Some("mine")).await;
    device.push().await;
    assert!(waits(&service, false, 2).await < Duration::from_secs(1));
    device
        .connection
        .close(sync_core::protocol::Goodbye { reason: String::new(), retry_after: None })
        .await;
    assert_eq!(live.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(live.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_lists_everything_now_and_then_if_it_is_told_to() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("here"));
    let builder = service.builder("refetch").poll_every(Duration::from_secs(60), Duration::ZERO);
    let transport = builder.refetch_every(Duration::from_secs(150)).build().unwrap();
    let mut device = Device::open(Arc::default(), &transport).await;
    device.pull().await;
    service.forget("a");
    let (scope, cursor) = (Scope::default(), device.ahead.clone());
    let mut live = device.connection.live(Pull { scope, cursor, limits: LIMITS });
    let began = tokio::time::Instant::now();
    let Some(Ok(Delivery::Reset(reset))) = live.next().await else { panic!("no reset") };
    assert_eq!(began.elapsed(), Duration::from_secs(180));
    device.reset(reset).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
}

#[test]
fn a_transport_needs_its_closures() {
    let error = ClosureTransport::builder("lame").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("the closure `fetch`"), "{error}");
}
