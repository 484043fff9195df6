//! The lifetime of a log: its beginning, purges, epochs, acknowledgements.

use sync_core::model::{
    Cursor, Digest, Epoch, LogKey, LogMark, LogRun, NewLog, ReplicaId, Reset, ResetReason, Scope,
    Seq, ServerStart, StartRecord,
};
use sync_server::ops::{Acknowledgement, AppendContext};
use sync_server::record::{Acknowledged, Fork};

use super::super::run::Outcome;
use super::super::tools::{ALL, documents, must, scope, together};
use super::ServerStorageHarness;
use super::fixture::{Fixture, Told, WRITER};

/// A scope begins once: concurrent callers get the same epoch.
pub async fn a_scope_begins_once<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    assert_eq!(must(fixture.storage.find_scope(scope("s")).await, "nobody has heard of it"), None);
    let callers = (1..=8u8).map(|n| {
        let storage = std::sync::Arc::clone(&fixture.storage);
        async move {
            must(
                storage
                    .scope(scope("s"), NewLog { epoch: Epoch([n; 16]), key: LogKey([7; 16]) })
                    .await,
                "a scope",
            )
            .epoch
        }
    });
    let epochs = together(callers).await;
    assert!(epochs.iter().all(|e| *e == epochs[0]), "a scope began more than once: {epochs:?}");
    let found = must(fixture.storage.find_scope(scope("s")).await, "it is there");
    assert_eq!(found.map(|s| (s.epoch, s.head)), Some((epochs[0], Seq(0))));
    Ok(())
}

/// A purge removes the tombstones up to a position and moves the horizon there; a reader below it
/// gets a reset.
pub async fn a_purge_removes_tombstones_and_moves_the_horizon<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 4).await;
    fixture.push(&[("d-00000", None), ("d-00001", None)]).await;
    fixture.push(&[("d-00002", None), ("e", Some("1"))]).await;
    let purge =
        async |up_to| must(fixture.storage.purge(Scope::default(), Seq(up_to)).await, "purge");
    assert_eq!(purge(5).await, 1, "one tombstone stands up to 5");
    let scope = fixture.scope().await;
    assert_eq!((scope.horizon, scope.head, scope.documents), (Seq(5), Seq(8), 2));
    let left = fixture.all().await;
    assert_eq!(left.iter().map(|e| e.seq.0).collect::<Vec<_>>(), [4, 6, 7, 8]);
    let below = Fork::Reset(Reset { epoch: scope.epoch, reason: ResetReason::BelowHorizon });
    for position in 1..5 {
        assert_eq!(fixture.fork(fixture.at(position).await).await, below, "at {position}");
    }
    for position in [5, 6, 8] {
        assert_eq!(fixture.chunk(fixture.at(position).await, ALL).await.horizon, Seq(5));
    }
    // A full pull that began at or after the horizon is safe.
    for (floor, safe) in [(5, true), (8, true), (4, false)] {
        let cursor = Cursor { floor: Some(Seq(floor)), ..fixture.at(2).await };
        if safe {
            fixture.chunk(cursor, documents(1)).await;
        } else {
            assert_eq!(fixture.fork(cursor).await, below);
        }
    }
    assert_eq!(purge(2).await, 0);
    assert_eq!(fixture.scope().await.horizon, Seq(5), "the horizon moves forward only");
    assert_eq!(purge(1_000).await, 2);
    let scope = fixture.scope().await;
    assert_eq!((scope.horizon, scope.head), (Seq(8), Seq(8)), "the head is as far as it goes");
    assert_eq!(fixture.all().await.len(), 2);
    fixture.check().await;
    // A purged document is the same as one that never existed.
    let again = fixture.append(&fixture.batch(vec![super::fixture::insert("d-00000", "1")])).await;
    assert_eq!(super::fixture::decided(&again)[0].seq, Seq(9));
    Ok(())
}

/// A purge removes all tombstones, however many, and keeps every live document.
pub async fn a_purge_reaches_everything<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    for half in ["a", "b"] {
        let names: Vec<_> = (0..900).map(|n| format!("{half}{n}")).collect();
        let all: Vec<_> = names.iter().map(|n| (n.as_str(), Some("1"))).collect();
        fixture.push(&all).await;
        let gone: Vec<_> = names.iter().step_by(2).map(|n| (n.as_str(), None)).collect();
        fixture.push(&gone).await;
    }
    let head = fixture.scope().await.head;
    let purged = fixture.storage.purge(Scope::default(), head).await;
    assert_eq!(must(purged, "a purge"), 900);
    assert_eq!(fixture.all().await.len(), 900);
    fixture.check().await;
    Ok(())
}

/// A new epoch begins once, from the epoch that is named: a second call changes nothing and returns
/// the current epoch.
pub async fn a_new_epoch_begins_once<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 6).await;
    let first = fixture.scope().await.epoch;
    let begin = async |from, cut, fresh| {
        let begun = fixture.storage.begin_epoch(Scope::default(), from, Seq(cut), fresh).await;
        must(begun, "a new epoch")
    };
    let (second, third) = (Epoch([2; 16]), Epoch([3; 16]));
    let begun = begin(first, 4, second).await;
    assert_eq!((begun.epoch, begun.head), (second, Seq(6)));
    let late = begin(first, 2, third).await;
    assert_eq!(late.epoch, second, "who comes second began another one");
    assert_eq!(fixture.scope().await, late, "who comes second changed something");
    let old = Cursor { epoch: Some(first), after: Seq(5), position: Seq(5), ..Cursor::default() };
    let reason = ResetReason::EpochChanged { cut: Seq(4) };
    assert_eq!(fixture.fork(old.clone()).await, Fork::Reset(Reset { epoch: second, reason }));
    begin(second, 3, third).await;
    let reason = ResetReason::EpochChanged { cut: Seq(3) };
    assert_eq!(
        fixture.fork(old).await,
        Fork::Reset(Reset { epoch: third, reason }),
        "the lowest cut"
    );
    assert_eq!(fixture.all().await.len(), 6, "documents stay");
    fixture.push(&[("d-00000", Some("\"after\""))]).await;
    fixture.check().await;
    Ok(())
}

/// A mark of a lost part of the log proves the restore, wherever a client sends it: in a cursor, a
/// push or an acknowledgement. A mark that is not authentic proves nothing.
pub async fn an_unannounced_restore_is_found<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut batches = Vec::new();
    for (start, name) in [(1, "a"), (1, "b"), (2, "c"), (2, "d")] {
        let batch = fixture.batch(vec![super::fixture::insert(name, "1")]);
        let cx = AppendContext { start: ServerStart(start), ..super::fixture::context() };
        must(fixture.storage.append(cx, batch.clone(), Told::open()).await, "an append");
        batches.push(batch);
    }
    let scope = fixture.scope().await;
    let start = |start, first| StartRecord { start: ServerStart(start), first: Seq(first) };
    assert_eq!(scope.starts, [start(1, 1), start(2, 3)]);
    let run = |start, first, last| LogRun {
        start: ServerStart(start),
        first: Seq(first),
        last: Seq(last),
    };
    let key = scope.key.unwrap_or(LogKey([0; 16]));
    let mark = |runs: &[LogRun]| Some(LogMark::sign(scope.epoch, runs.to_vec(), &key));
    let mut cursor = fixture.at(4).await;
    cursor.mark = mark(&[run(1, 1, 2), run(2, 3, 4)]);
    let chunk = fixture.chunk(cursor.clone(), ALL).await;
    assert_eq!(chunk.mark, cursor.mark, "the mark of the log at the end of the chunk");
    let fork = |cut| Fork::Unannounced { epoch: scope.epoch, cut: Seq(cut) };
    // Another start wrote from 2 on, and that part of the log was lost.
    let lost = mark(&[run(1, 1, 1), run(9, 2, 4)]);
    cursor.mark = lost.clone();
    assert_eq!(fixture.fork(cursor.clone()).await, fork(1));
    let mut batch = fixture.batch(vec![super::fixture::insert("e", "1")]);
    batch.mark = lost.clone();
    let appended = fixture.append(&batch).await;
    assert_eq!((appended.fork, appended.entries.len()), (Some(fork(1)), 0));
    assert_eq!(fixture.scope().await, scope, "a push that shows a restore changes nothing");
    let ack = Acknowledgement { mark: lost, ..Acknowledgement::new(scope.epoch, Seq(4)) };
    let told = fixture.storage.acknowledge(Scope::default(), WRITER, ack).await;
    assert_eq!(must(told, "an acknowledgement"), Some(fork(1)));
    // The same start, beyond the head.
    cursor.mark = mark(&[run(1, 1, 2), run(2, 3, 9)]);
    assert_eq!(fixture.fork(cursor.clone()).await, fork(4));
    // A mark without the key.
    let forged = LogMark::sign(scope.epoch, vec![run(9, 1, 4)], &LogKey([0x66; 16]));
    cursor.mark = Some(forged.clone());
    fixture.chunk(cursor, ALL).await;
    let beyond = Cursor { mark: Some(forged), ..fixture.at(9).await };
    let unproven = Reset { epoch: scope.epoch, reason: ResetReason::Unproven };
    assert_eq!(fixture.fork(beyond).await, Fork::Reset(unproven));
    Ok(())
}

/// The acknowledged position of a replica is stored and only moves forward, within one epoch.
pub async fn acknowledgements_move_forward<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 6).await;
    let epoch = fixture.scope().await.epoch;
    let (s, replica) = (Scope::default, ReplicaId([0x44; 16]));
    let ack = async |epoch, seq| {
        let ack = Acknowledgement::new(epoch, Seq(seq));
        must(fixture.storage.acknowledge(s(), replica, ack).await, "an acknowledgement")
    };
    let at = async || must(fixture.storage.replica(s(), replica).await, "the replica").0;
    assert_eq!(at().await, None);
    for (said, stands) in [(3, 3), (2, 3), (5, 5), (99, 6)] {
        assert_eq!(ack(epoch, said).await, None);
        assert_eq!(at().await, Some(Acknowledged { epoch, seq: Seq(stands) }), "after {said}");
    }
    ack(Epoch([0x98; 16]), 1).await;
    assert_eq!(at().await, Some(Acknowledged { epoch, seq: Seq(6) }), "of another life");
    let fresh = Epoch([2; 16]);
    must(fixture.storage.begin_epoch(s(), epoch, Seq(4), fresh).await, "a new epoch");
    ack(fresh, 2).await;
    assert_eq!(at().await, Some(Acknowledged { epoch: fresh, seq: Seq(2) }), "in a new life");
    assert_eq!(must(fixture.storage.replica(s(), WRITER).await, "the writer").0, None);
    Ok(())
}

/// A digest that differs at the same position is answered by a reset; at another position it is not
/// compared.
pub async fn a_digest_that_differs_is_answered_by_a_reset<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 3).await;
    fixture.push(&[("d-00001", None), ("d-00002", Some("2"))]).await;
    let mut digest = Digest::default();
    for entry in fixture.all().await.iter().filter(|e| !e.state.is_deleted()) {
        digest.add(&entry.collection, &entry.id, &entry.state.revision);
    }
    let scope = fixture.scope().await;
    let ack = async |epoch, seq, digest| {
        let ack = Acknowledgement { digest, ..Acknowledgement::new(epoch, Seq(seq)) };
        let replica = ReplicaId([0x44; 16]);
        must(
            fixture.storage.acknowledge(Scope::default(), replica, ack).await,
            "an acknowledgement",
        )
    };
    assert_eq!(ack(scope.epoch, 5, Some(digest)).await, None, "equal documents");
    let wrong = Some(Digest(digest.0.wrapping_add(1)));
    let reset = Reset { epoch: scope.epoch, reason: ResetReason::DigestDiffers };
    let reset = Fork::Reset(reset);
    assert_eq!(ack(scope.epoch, 5, wrong).await, Some(reset));
    assert_eq!(ack(scope.epoch, 4, wrong).await, None, "at another position");
    assert_eq!(ack(Epoch([0x98; 16]), 5, wrong).await, None, "in another life");
    assert_eq!(ack(scope.epoch, 5, None).await, None, "nothing to compare");
    fixture.push(&[("d-00000", None)]).await;
    assert_eq!(ack(scope.epoch, 6, Some(digest)).await, Some(reset), "a digest of before");
    Ok(())
}

/// Counts and digests equal those of a recount, after every operation on a log.
pub async fn the_scope_is_what_a_recount_gives<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.fill("d", 30).await;
    fixture.check().await;
    for n in 0..10 {
        let names = [format!("d-{n:05}"), format!("d-{:05}", n + 10), format!("new-{n}")];
        let json = n.to_string();
        let bodies = [Some(json.as_str()), None, Some("1")];
        let documents: Vec<_> = names.iter().map(String::as_str).zip(bodies).collect();
        fixture.push(&documents).await;
        fixture.check().await;
    }
    let mut changes: Vec<_> =
        (0..5).map(|n| super::fixture::insert(&format!("new-{n}"), "2")).collect();
    changes.push(fixture.next("d-00012", Some("\"again\"")));
    fixture.append(&fixture.batch(changes)).await;
    fixture.check().await;
    must(fixture.storage.purge(Scope::default(), Seq(50)).await, "a purge");
    fixture.check().await;
    assert_eq!(fixture.scope().await.documents, 31);
    Ok(())
}

/// Every start of the server is remembered, however many follow; the scope's row names the newest.
pub async fn starts_of_the_server_are_all_remembered<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let starts = StartRecord::KEPT as u64 + 5;
    let mut marks = Vec::new();
    for n in 1..=starts {
        for half in ["a", "b"] {
            let batch = fixture.batch(vec![super::fixture::insert(&format!("{half}{n}"), "1")]);
            let cx = AppendContext { start: ServerStart(n), ..super::fixture::context() };
            let appended = must(fixture.storage.append(cx, batch, Told::open()).await, "an append");
            marks.push(appended.mark);
        }
    }
    let remembered = fixture.scope().await.starts;
    let kept: Vec<_> = remembered.iter().map(|t| (t.start.0, t.first.0)).collect();
    let expected: Vec<_> = (6..=starts).map(|n| (n, 2 * n - 1)).collect();
    assert_eq!(kept, expected);
    for (at, mark) in (1..).zip(marks) {
        assert_eq!(mark.as_ref().map(|mark| mark.at), Some(Seq(at)));
        let cursor = Cursor { mark, ..fixture.at(at).await };
        fixture.chunk(cursor, ALL).await;
    }
    // A start that this log does not know, at positions that the scope's row does not cover.
    let scope = fixture.scope().await;
    let run = |start, first, last| LogRun {
        start: ServerStart(start),
        first: Seq(first),
        last: Seq(last),
    };
    let runs = vec![run(1, 1, 2), run(2, 3, 4), run(9_999, 5, 6)];
    let key = scope.key.unwrap_or(LogKey([0; 16]));
    let mark = Some(LogMark::sign(scope.epoch, runs, &key));
    let fork = Fork::Unannounced { epoch: scope.epoch, cut: Seq(4) };
    assert_eq!(fixture.fork(Cursor { mark, ..fixture.at(6).await }).await, fork);
    Ok(())
}
