//! Applying chunks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sync_core::error::{Error, ErrorKind};
use sync_core::model::{
    Chunk, Epoch, Limits, LogKey, LogMark, LogRun, Reset, ResetReason, Scope, Seq, ServerStart,
};
use sync_core::replica::{Decided, Unsettled};
use sync_core::resolver::{Conflict, ConflictResolver, Resolution, Resolvers};

use super::super::run::Outcome;
use super::super::tools::{ALL, entry, json, must, panic_quietly, refused};
use super::StorageHarness;
use super::fixture::{Fixture, delete, put};
use super::log::Log;

/// The result of a resolver in a case.
pub(super) type Answer = fn() -> sync_core::error::Result<Resolution>;

/// A resolver that counts its calls, and returns or fails as the case requires.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) calls: Arc<AtomicUsize>,
}

impl Told {
    /// Returns resolvers with that result, and the number of their calls.
    pub(super) fn resolvers(answer: Answer) -> (Resolvers, Arc<AtomicUsize>) {
        let calls = Arc::<AtomicUsize>::default();
        (Resolvers::new(Self { answer, calls: Arc::clone(&calls) }), calls)
    }
}

impl ConflictResolver for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn resolve(&self, _: &Conflict<'_>) -> sync_core::error::Result<Resolution> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        (self.answer)()
    }
}

/// A chunk is applied with its documents and its position; deletions in it delete.
pub async fn a_chunk_brings_documents_and_position<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 10);
    let applied = fixture.apply(log.chunk(0, 6)).await;
    assert_eq!((applied.checkpoint.after(), applied.applied), (Seq(6), 6));
    assert_eq!(applied.checkpoint.epoch, Some(log.epoch));
    assert_eq!(fixture.position().await, 6);
    let Some(stored) = fixture.get("r-00002").await else { panic!("a document is missing") };
    assert_eq!((json(&stored.state), stored.known, stored.dirty), ("2", Seq(3), false));
    assert_eq!(Some(stored.state), log.current("r-00002").state, "a state is taken in as it is");
    log.delete("r-00002");
    fixture.apply(log.rest(6)).await;
    assert_eq!(fixture.documents().await.len(), 9);
    assert_eq!(fixture.get("r-00002").await, None);
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "what was pulled is pushed back");
    fixture.check().await;
    Ok(())
}

/// A chunk that contradicts itself is rejected as a whole: none of its documents is applied, and
/// the position stays.
pub async fn a_chunk_that_contradicts_itself_changes_nothing<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 8);
    fixture.apply(log.chunk(0, 2)).await;
    let before = (fixture.state().await, fixture.documents().await);
    let sound = log.rest(2);
    let mut swapped = sound.clone();
    swapped.entries.swap(4, 5);
    let mut doubled = sound.clone();
    doubled.entries[5].seq = doubled.entries[4].seq;
    let mut beyond = sound.clone();
    beyond.next = Seq(7);
    let mut before_after = sound.clone();
    before_after.entries[0].seq = Seq(2);
    let mut over_head = sound.clone();
    over_head.head = Seq(7);
    let chunks: [(&str, Chunk); 5] = [
        ("swapped entries", swapped),
        ("two entries on one position", doubled),
        ("an entry beyond the end", beyond),
        ("an entry before the beginning", before_after),
        ("an end beyond the head", over_head),
    ];
    for (what, chunk) in chunks {
        refused(fixture.try_apply(chunk).await, ErrorKind::Protocol, what);
        assert_eq!((fixture.state().await, fixture.documents().await), before, "{what}");
    }
    fixture.apply(sound).await;
    assert_eq!(fixture.documents().await.len(), 8);
    fixture.check().await;
    Ok(())
}

/// A chunk that does not begin at the stored position changes nothing, and the result reports it:
/// a chunk that is early, late, doubled, overlapping, or of another epoch.
pub async fn a_chunk_that_begins_elsewhere_changes_nothing<H: StorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 9);
    let early = fixture.try_apply(log.chunk(3, 6)).await;
    let early = must(early, "an early chunk is no error");
    assert!(!early.moved && early.checkpoint.after() == Seq(0), "{early:?}");
    fixture.apply(log.chunk(0, 3)).await;
    let before = (fixture.state().await, fixture.documents().await);
    let other = Chunk { epoch: Epoch([0xe9; 16]), ..log.chunk(3, 6) };
    let wrong = [
        ("a chunk twice", log.chunk(0, 3)),
        ("a chunk that overlaps", log.chunk(2, 6)),
        ("a chunk that begins later", log.chunk(6, 9)),
        ("everything once more", log.chunk(0, 9)),
        ("an empty chunk from elsewhere", Chunk { entries: Vec::new(), ..log.chunk(5, 9) }),
        ("a chunk of another epoch", other),
    ];
    for (what, chunk) in wrong {
        let applied = must(fixture.try_apply(chunk).await, what);
        assert!(!applied.moved, "{what} was taken in");
        assert_eq!((applied.applied, applied.changes.len()), (0, 0), "{what}");
        assert_eq!(applied.checkpoint.after(), Seq(3), "{what}: the answer says where it stands");
        assert_eq!((fixture.state().await, fixture.documents().await), before, "{what}");
    }
    fixture.apply(log.rest(3)).await;
    assert_eq!(fixture.documents().await.len(), 9);
    Ok(())
}

/// An empty chunk moves the position, because nothing up to it is for this replica.
pub async fn an_empty_chunk_moves_the_position<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 5);
    fixture.apply(Chunk { entries: Vec::new(), ..log.chunk(0, 3) }).await;
    assert_eq!((fixture.position().await, fixture.documents().await.len()), (3, 0));
    fixture.apply(log.rest(3)).await;
    assert_eq!((fixture.position().await, fixture.documents().await.len()), (5, 2));
    Ok(())
}

/// The replica's own writes are applied like all others: a device that was wiped gets its own
/// writes back.
pub async fn own_writes_come_back<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let replica = fixture.state().await.replica;
    let mut own = entry(1, "a", Some("1"));
    own.state.revision.replica = replica;
    own.state.author.replica = replica;
    let log = Log::new();
    let head = Seq(1);
    fixture.apply(Chunk { next: head, head, entries: vec![own], ..log.chunk(0, 0) }).await;
    assert_eq!(
        fixture.text("a").await.as_deref(),
        Some("1"),
        "the own write was taken for an echo"
    );
    assert_eq!(fixture.get("a").await.map(|s| s.dirty), Some(false));
    Ok(())
}

/// Changes that arrive while a batch is in flight are not lost: clean documents are replaced at
/// once, and the others after the verdict.
pub async fn what_arrives_during_a_push_is_not_lost<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.put("mine", "0");
    log.put("theirs", "0");
    fixture.apply(log.rest(0)).await;
    let (resolvers, calls) = Told::resolvers(|| Ok(Resolution::Remote));
    fixture.resolvers = resolvers;
    fixture.put("mine", "\"edited\"").await;
    let batch = fixture.push().await;
    let theirs = log.put("mine", "\"theirs\"");
    log.put("theirs", "\"new\"");
    fixture.apply(log.rest(2)).await;
    assert_eq!(fixture.position().await, 4);
    assert_eq!(fixture.text("theirs").await.as_deref(), Some("\"new\""), "a clean document waits");
    assert_eq!(fixture.text("mine").await.as_deref(), Some("\"edited\""), "a pushed one does not");
    assert_eq!(calls.load(Ordering::Relaxed), 0, "only the verdict tells whether it is a conflict");
    let verdicts = log.conflict(&batch);
    fixture.settle(&batch, verdicts).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1, "the conflict is decided once");
    assert_eq!(fixture.get("mine").await.map(|s| s.state), Some(theirs));
    assert_eq!(fixture.outbox().await, Default::default());
    fixture.check().await;
    Ok(())
}

/// The replica's own echo is no conflict, before or after the verdict, and whatever was edited
/// since.
pub async fn an_echo_is_no_conflict<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let (resolvers, calls) = Told::resolvers(|| Ok(Resolution::Remote));
    fixture.resolvers = resolvers;
    let mut log = Log::new();
    fixture.put("a", "1").await;
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    fixture.apply(log.rest(0)).await;
    fixture.settle(&batch, verdicts.clone()).await;
    fixture.put("a", "2").await;
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    fixture.put("a", "3").await;
    fixture.settle(&batch, verdicts).await;
    fixture.apply(log.rest(1)).await;
    assert_eq!(calls.load(Ordering::Relaxed), 0, "an echo was taken for a conflict");
    assert_eq!(fixture.text("a").await.as_deref(), Some("3"));
    let batch = fixture.push().await;
    assert_eq!(json(&batch.changes[0].state), "3");
    Ok(())
}

/// A true conflict calls the resolver once, and its decision is what the app reads and what is
/// pushed.
pub async fn a_conflict_calls_the_resolver_once<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let names = ["local", "remote", "merge", "delete"];
    for name in names {
        log.put(name, "0");
    }
    fixture.apply(log.rest(0)).await;
    fixture.write(names.map(|name| put(name, "\"mine\""))).await;
    let answers: [Answer; 4] = [
        || Ok(Resolution::Local),
        || Ok(Resolution::Remote),
        || sync_core::model::Body::parse("\"both\"").map(Resolution::Merge),
        || Ok(Resolution::Delete),
    ];
    for (name, answer) in names.into_iter().zip(answers) {
        let (resolvers, calls) = Told::resolvers(answer);
        fixture.resolvers = resolvers;
        let theirs = log.put(name, "\"theirs\"");
        let applied = fixture.apply(log.rest(log.head() - 1)).await;
        assert_eq!((calls.load(Ordering::Relaxed), applied.conflicts.len()), (1, 1), "{name}");
        let expected = match applied.conflicts[0].decided {
            Decided::Local => Some("\"mine\""),
            Decided::Remote => Some("\"theirs\""),
            Decided::Merged => Some("\"both\""),
            Decided::Deleted => None,
            other => panic!("nobody said {other:?} of {name}"),
        };
        assert_eq!(fixture.text(name).await.as_deref(), expected, "{name}");
        assert!(fixture.get(name).await.is_none_or(|s| s.known.0 == log.head()), "{name} is known");
        if let Some(stored) = fixture.get(name).await.filter(|s| s.dirty) {
            assert!(stored.state.revision.stamp > theirs.revision.stamp, "{name} is stamped anew");
        }
    }
    let pushed = fixture.push().await;
    let mut ids: Vec<_> = pushed.changes.iter().map(|c| c.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["delete", "local", "merge"], "what the server does not hold is pushed");
    for change in &pushed.changes {
        let current = log.current(change.id.as_str()).state.map(|s| s.revision);
        assert_eq!(change.base.map(|b| b.revision), current, "{change:?} is made on their state");
    }
    fixture.check().await;
    Ok(())
}

/// A resolver that fails, with an error or a panic, breaks nothing: the conflict is deferred, and
/// the rest of the chunk is applied.
pub async fn a_resolver_that_fails_defers<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let failures: [(&str, Answer); 2] = [
        ("error", || Err(Error::new(ErrorKind::Internal, "it cannot decide"))),
        ("panic", || panic_quietly()),
    ];
    for (n, (name, answer)) in failures.into_iter().enumerate() {
        let at = log.head();
        log.put(name, "0");
        fixture.apply(log.rest(at)).await;
        fixture.put(name, "\"mine\"").await;
        fixture.resolvers = Told::resolvers(answer).0;
        let at = log.head();
        let theirs = log.put(name, "\"theirs\"");
        log.put("beside", &n.to_string());
        let applied = fixture.apply(log.rest(at)).await;
        assert_eq!(applied.conflicts.first().map(|c| c.decided), Some(Decided::Deferred), "{name}");
        assert_eq!(fixture.text(name).await.as_deref(), Some("\"mine\""), "{name}");
        assert_eq!(fixture.text("beside").await, Some(n.to_string()), "{name} stops the others");
        let waiting = fixture.unsettled(Unsettled::Deferred, ALL).await;
        let waiting: Vec<_> = waiting.iter().filter(|w| w.key.id.as_str() == name).collect();
        assert_eq!(waiting.len(), 1, "{name} waits in the conflict inbox");
        assert_eq!(json(&waiting[0].local), "\"mine\"");
        assert_eq!(waiting[0].remote.as_ref(), Some(&theirs));
    }
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "a deferred conflict is pushed");
    fixture.check().await;
    Ok(())
}

/// A full pull, after a reset, finds the documents that are gone on the server, and keeps local
/// edits.
pub async fn a_full_pull_removes_what_is_absent<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 6);
    fixture.apply(log.rest(0)).await;
    fixture.write([put("r-00004", "\"mine\""), put("new", "1"), delete("r-00005")]).await;
    let reset = Reset { epoch: log.epoch, reason: ResetReason::BelowHorizon };
    must(fixture.storage.reset(fixture.cx(), Scope::default(), reset).await, "a reset");
    assert_eq!(fixture.position().await, 0);
    assert_eq!(fixture.documents().await.len(), 6, "a reset takes nothing from the app");
    // The server holds only some of the six, and no tombstones.
    let mut first = log.chunk(0, 3);
    first.entries.retain(|e| e.id.as_str() == "r-00001");
    fixture.apply(first).await;
    assert_eq!(fixture.documents().await.len(), 6, "before the head nobody knows what is gone");
    let mut last = log.rest(3);
    last.entries.retain(|e| e.id.as_str() == "r-00003");
    fixture.apply(last).await;
    let left = fixture.documents().await;
    let left: Vec<_> = left.iter().map(|s| s.key.id.as_str()).collect();
    assert_eq!(left, ["new", "r-00001", "r-00003", "r-00004"]);
    assert_eq!(fixture.push().await.changes.len(), 3, "unsynced edits are kept");
    fixture.check().await;
    Ok(())
}

/// A chunk that was requested ahead, and that comes from a server that was restored meanwhile, is
/// not applied: it would remove the evidence of the fork.
pub async fn a_chunk_of_a_restored_server_is_not_applied<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 6);
    let run = |start, first, last| LogRun {
        start: ServerStart(start),
        first: Seq(first),
        last: Seq(last),
    };
    let by = |chunk: Chunk, runs: &[LogRun]| {
        let mark = Some(LogMark::sign(chunk.epoch, runs.to_vec(), &LogKey([7; 16])));
        Chunk { mark, ..chunk }
    };
    fixture.apply(by(log.chunk(0, 2), &[run(1, 1, 2)])).await;
    let second = by(log.chunk(2, 4), &[run(1, 1, 2), run(2, 3, 4)]);
    fixture.apply(second.clone()).await;
    let before = (fixture.state().await, fixture.documents().await);
    let mark = &before.0.checkpoint(&Scope::default()).mark;
    assert_eq!(*mark, second.mark, "the mark of the log is remembered");
    let restored = by(log.chunk(4, 6), &[run(1, 1, 2), run(7, 3, 6)]);
    let applied = must(fixture.try_apply(restored).await, "a chunk of another log is no error");
    assert!(!applied.moved, "a chunk of a restored server was taken in");
    assert_eq!((fixture.state().await, fixture.documents().await), before);
    fixture.apply(by(log.chunk(4, 6), &[run(1, 1, 2), run(2, 3, 4), run(3, 5, 6)])).await;
    assert_eq!(fixture.documents().await.len(), 6);
    Ok(())
}
