//! Appending: positions, commit order, atomicity.

use std::sync::{Arc, Mutex, PoisonError};

use sync_core::model::{Change, Cursor, Limits, LogKey, NewLog, ReplicaId, Seq, VerdictKind};
use sync_server::ServerStorage;

use super::super::run::Outcome;
use super::super::tools::{ALL, documents, drop_after, json, must, panic_quietly, together};
use super::ServerStorageHarness;
use super::fixture::{Fixture, Reader, Told, batch, context, decided, insert};

/// The changes of an append are readable as soon as it returns, at positions after the head.
pub async fn an_append_is_there_when_it_returns<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let first = fixture.push(&[("a", Some("1")), ("b", Some("2"))]).await;
    assert_eq!((first.before, first.head), (Seq(0), Seq(2)));
    assert_eq!(decided(&first).iter().map(|v| v.seq.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(first.entries, fixture.all().await, "what was written is told");
    let second = fixture.push(&[("a", Some("3")), ("c", Some("4")), ("b", None)]).await;
    assert_eq!((second.before, second.head), (Seq(2), Seq(5)));
    assert_eq!(second.entries, fixture.chunk(fixture.at(2).await, ALL).await.entries);
    let scope = fixture.scope().await;
    assert_eq!((scope.head, scope.documents, scope.epoch), (Seq(5), 2, second.epoch));
    assert_eq!(second.mark.as_ref().map(|mark| mark.at), Some(scope.head), "the log is marked");
    assert_eq!(scope.starts.first().map(|t| t.first), Some(Seq(1)));
    fixture.check().await;
    Ok(())
}

/// Positions follow commit order, also with many writers: none is given twice, none is left out,
/// and pushes do not interleave.
pub async fn positions_are_commit_order<H: ServerStorageHarness>(harness: H) -> Outcome {
    const WRITERS: u8 = 8;
    const PUSHES: u64 = 10;
    let fixture = Fixture::open(&harness).await;
    let writers = (0..WRITERS).map(|w| {
        let storage = Arc::clone(&fixture.storage);
        async move {
            let mut runs = Vec::new();
            for n in 1..=PUSHES {
                let changes =
                    (0..3).map(|d| insert(&format!("w{w}-{n:02}-{d}"), &n.to_string())).collect();
                let pushed = batch(ReplicaId([w; 16]), n, changes);
                let appended = storage.append(context(), pushed, Told::open()).await;
                let appended = must(appended, "a push is appended");
                let seqs: Vec<_> = decided(&appended).iter().map(|v| v.seq.0).collect();
                assert_eq!(seqs, [1, 2, 3].map(|d| appended.before.0 + d), "a push is one run");
                runs.push((appended.before.0, appended.head.0));
            }
            assert!(runs.is_sorted(), "a later push of one writer stands before an earlier one");
            runs
        }
    });
    let mut runs: Vec<_> = together(writers).await.into_iter().flatten().collect();
    runs.sort_unstable();
    let mut end = 0;
    for (before, head) in runs {
        assert_eq!((before, head), (end, end + 3), "positions were given twice or left out");
        end = head;
    }
    assert_eq!(end, u64::from(WRITERS) * PUSHES * 3);
    fixture.check().await;
    Ok(())
}

/// A reader that has followed the log to a position has received the newest state of every document
/// at or below it, at every moment and with many writers.
pub async fn followers_receive_everything_below_their_position<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    const WRITERS: u8 = 4;
    const PUSHES: u64 = 30;
    let fixture = Fixture::open(&harness).await;
    fixture.scope().await;
    let settled: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let writers = (0..WRITERS).map(|w| {
        let (storage, settled) = (Arc::clone(&fixture.storage), Arc::clone(&settled));
        tokio::spawn(async move {
            let own = Fixture::open(&Opened(storage)).await;
            for n in 1..=PUSHES {
                let names = [format!("w{w}-{}", n % 5), format!("w{w}-new-{n}")];
                let json = n.to_string();
                let changes: Vec<Change> =
                    names.iter().map(|name| own.next(name, Some(&json))).collect();
                let appended = own.append(&batch(ReplicaId([w; 16]), n, changes)).await;
                let mut settled = settled.lock().unwrap_or_else(PoisonError::into_inner);
                for (name, verdict) in names.into_iter().zip(decided(&appended)) {
                    settled.push((format!("notes/{name}"), verdict.seq.0));
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let last = u64::from(WRITERS) * PUSHES * 2;
    let readers = [1, 3, 7, 1_000].map(|limit| {
        let (storage, settled) = (Arc::clone(&fixture.storage), Arc::clone(&settled));
        async move {
            let mut reader = Reader::default();
            while reader.checkpoint.after().0 < last {
                let at_head = !reader.step(&*storage, documents(limit)).await.has_more();
                let position = reader.checkpoint.after().0;
                let settled = settled.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Before the head, a document may have moved to a position after the end of the
                // chunk.
                let stays = |name: &str| at_head || name.contains("-new-");
                let below = settled.iter().filter(|(name, seq)| *seq <= position && stays(name));
                for (name, seq) in below {
                    let seen = reader.seen.get(name).map(|e| e.seq.0);
                    assert!(seen >= Some(*seq), "{name} of {seq} was not seen at {position}");
                }
                tokio::task::yield_now().await;
            }
            reader
        }
    });
    let readers = together(readers).await;
    for writer in writers {
        super::super::tools::finished(writer).await;
    }
    let all = fixture.all().await;
    for reader in readers {
        let mut seen: Vec<_> = reader.seen.into_values().collect();
        seen.sort_by_key(|e| e.seq);
        assert_eq!(seen, all, "a follower ends with something else than the log");
    }
    fixture.check().await;
    Ok(())
}

/// A harness of an open storage.
struct Opened(Arc<dyn ServerStorage>);

impl super::Place for Opened {}

#[async_trait::async_trait]
impl ServerStorageHarness for Opened {
    async fn open(&self) -> sync_core::error::Result<Arc<dyn ServerStorage>> {
        Ok(Arc::clone(&self.0))
    }
}

/// A reader at the head receives whole pushes: documents that are pushed together have equal
/// bodies.
pub async fn readers_see_whole_pushes<H: ServerStorageHarness>(harness: H) -> Outcome {
    const PUSHES: usize = 40;
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("x", Some("0")), ("y", Some("0")), ("z", Some("0"))]).await;
    let storage = Arc::clone(&fixture.storage);
    let reader = tokio::spawn(async move {
        let mut reader = Reader::default();
        let last = (3 * PUSHES + 3) as u64;
        while reader.checkpoint.after().0 < last {
            reader.follow(&*storage, documents(3)).await;
            let bodies: Vec<_> = reader.seen.values().map(|e| json(&e.state).to_owned()).collect();
            assert_eq!(bodies.len(), 3, "half of the first push");
            assert!(bodies.windows(2).all(|w| w[0] == w[1]), "half of a push: {bodies:?}");
            tokio::task::yield_now().await;
        }
    });
    for n in 1..=PUSHES {
        let json = n.to_string();
        fixture.push(&["x", "y", "z"].map(|name| (name, Some(json.as_str())))).await;
    }
    super::super::tools::finished(reader).await;
    Ok(())
}

/// A judge that panics makes its push fail as a whole, and the push is not remembered: it succeeds
/// with a correct judge.
pub async fn a_judge_that_panics_fails_its_push_whole<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1"))]).await;
    let before = (fixture.scope().await, fixture.all().await);
    let pushed = fixture.batch(vec![insert("b", "1"), insert("bad", "1"), insert("c", "1")]);
    let judge = Told::admitting(
        |change| {
            if change.id.as_str() == "bad" { panic_quietly() } else { Ok(()) }
        },
    );
    let failed = fixture.try_append(pushed.clone(), judge).await;
    assert!(failed.is_err(), "a judge that panics was taken to say something: {failed:?}");
    assert_eq!((fixture.scope().await, fixture.all().await), before, "something is left of it");
    let appended = fixture.append(&pushed).await;
    assert_eq!((appended.before, appended.head), (Seq(1), Seq(4)));
    assert!(decided(&appended).iter().all(|v| v.kind == VerdictKind::Accepted));
    fixture.check().await;
    Ok(())
}

/// An append whose future is dropped happens whole or not at all, and its retry gets verdicts that
/// fit.
pub async fn a_dropped_append_is_whole<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1"))]).await;
    for polls in 0..8 {
        let before = fixture.scope().await.head.0;
        let changes = (0..10).map(|n| insert(&format!("p{polls}-{n}"), "1")).collect();
        let pushed = fixture.batch(changes);
        drop_after(polls, fixture.try_append(pushed.clone(), Told::open())).await;
        // The next call takes effect after the earlier ones.
        fixture.push(&[("after", Some(&polls.to_string()))]).await;
        let all = fixture.all().await;
        let prefix = format!("p{polls}-");
        let there = all.iter().filter(|e| e.id.as_str().starts_with(&prefix)).count();
        assert!(there == 0 || there == 10, "dropped after {polls} polls: {there} of 10 changes");
        assert_eq!(fixture.scope().await.head.0, before + there as u64 + 1);
        fixture.check().await;
    }
    Ok(())
}

/// Whichever other future is dropped, the storage is consistent and answers the next call.
pub async fn after_a_dropped_call_the_next_one_works<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    use sync_core::model::{Epoch, Scope};
    use sync_server::Visible;
    use sync_server::ops::Acknowledgement;

    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 20).await;
    fixture.push(&[("d-00003", None)]).await;
    for polls in 0..8 {
        let (storage, scope) = (&fixture.storage, Scope::default);
        let epoch = fixture.scope().await.epoch;
        drop_after(
            polls,
            storage.scope(scope(), NewLog { epoch: Epoch([1; 16]), key: LogKey([7; 16]) }),
        )
        .await;
        drop_after(polls, storage.find_scope(scope())).await;
        drop_after(polls, storage.scopes(None, 10)).await;
        let read = storage.changes(scope(), Cursor::default(), Limits::CHUNK, Visible::All);
        drop_after(polls, read).await;
        let ack = Acknowledgement::new(epoch, Seq(polls as u64));
        drop_after(polls, storage.acknowledge(scope(), ReplicaId([3; 16]), ack)).await;
        drop_after(polls, storage.replica(scope(), ReplicaId([3; 16]))).await;
        drop_after(polls, storage.purge(scope(), Seq(0))).await;
        let fresh = Epoch([0x20 + polls as u8; 16]);
        drop_after(polls, storage.begin_epoch(scope(), epoch, Seq(21), fresh)).await;
        fixture.push(&[("after", Some(&polls.to_string()))]).await;
        let now = fixture.scope().await.epoch;
        assert!(now == epoch || now == fresh, "neither the old epoch nor the new one: {now}");
        fixture.check().await;
    }
    Ok(())
}

/// Two processes on one log assign positions one after the other, and both read everything.
pub async fn two_processes_share_a_log<H: ServerStorageHarness>(harness: H) -> Outcome {
    const PUSHES: u64 = 12;
    harness.capabilities().need_several_handles()?;
    let one = Fixture::open(&harness).await;
    let two = Fixture::open(&harness).await;
    one.scope().await;
    let writers = (0..4u8).map(|w| {
        let storage = Arc::clone(if w % 2 == 0 { &one.storage } else { &two.storage });
        async move {
            let mut seqs = Vec::new();
            for n in 1..=PUSHES {
                let changes = (0..2).map(|d| insert(&format!("w{w}-{n}-{d}"), "1")).collect();
                let pushed = batch(ReplicaId([w; 16]), n, changes);
                let appended = storage.append(context(), pushed, Told::open()).await;
                let appended = must(appended, "a push is appended");
                seqs.extend(decided(&appended).iter().map(|v| v.seq.0));
            }
            seqs
        }
    });
    let mut seqs: Vec<_> = together(writers).await.into_iter().flatten().collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=4 * 2 * PUSHES).collect::<Vec<_>>(), "positions");
    assert_eq!(one.all().await, two.all().await, "the two see different logs");
    one.check().await;
    two.check().await;
    // Each process knows the verdicts that the other one returned.
    let again = batch(ReplicaId([0; 16]), PUSHES, vec![insert("another", "1")]);
    assert_eq!(two.append(&again).await.verdicts, sync_core::model::Verdicts::Cloned);
    Ok(())
}

/// A document that is twice in a push is sent once, in its newest state.
pub async fn a_document_twice_in_a_push_is_one_entry<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let first = insert("a", "1");
    let base = sync_core::model::BaseRef {
        revision: first.state.revision,
        epoch: super::fixture::FRESH,
        seq: Seq(1),
        tombstone: false,
    };
    let second = super::fixture::change("a", Some("2"), Some(base));
    let appended = fixture.append(&fixture.batch(vec![first, insert("b", "1"), second])).await;
    assert!(decided(&appended).iter().all(|v| v.kind == VerdictKind::Accepted), "{appended:?}");
    assert_eq!(appended.entries, fixture.all().await, "listeners are told something else");
    let told: Vec<_> = appended.entries.iter().map(|e| (e.id.as_str(), json(&e.state))).collect();
    assert_eq!(told, [("b", "1"), ("a", "2")]);
    fixture.check().await;
    Ok(())
}
