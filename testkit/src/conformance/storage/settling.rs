//! Settling verdicts.

use std::sync::atomic::Ordering;

use sync_core::clock::Now;
use sync_core::error::ErrorKind;
use sync_core::model::{
    Epoch, Limits, PushId, Rejection, RejectionCode, Scope, Seq, ServerState, Stamp, Verdict,
    VerdictKind, Verdicts,
};
use sync_core::replica::{Context, Unsettled};
use sync_core::resolver::Resolution;

use super::super::run::Outcome;
use super::super::tools::{ALL, json, must, now, refused};
use super::StorageHarness;
use super::applying::{Answer, Told};
use super::fixture::{Fixture, delete, put, transaction};
use super::log::Log;

/// An accepted document is clean, known at its position, and not pushed again.
pub async fn what_is_accepted_is_clean<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 3);
    fixture.apply(log.rest(0)).await;
    fixture.write([put("a", "1"), delete("r-00001")]).await;
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    let committed = fixture.settle(&batch, verdicts).await;
    assert_eq!(committed.applied, 2);
    let stored = fixture.get("a").await.map(|s| (s.dirty, s.known.0));
    assert_eq!(stored.map(|(dirty, _)| dirty), Some(false), "what was accepted is dirty");
    assert!(stored.is_some_and(|(_, known)| known > 3), "where it was accepted is not known");
    assert_eq!(fixture.outbox().await, Default::default());
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "what was accepted is pushed again");
    fixture.check().await;
    Ok(())
}

/// An edit that was made while its document was in flight stays, and is pushed next.
pub async fn an_edit_during_the_push_stays<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.write([put("edited", "1"), put("deleted", "1"), put("left", "1")]).await;
    let batch = fixture.push().await;
    fixture.write([put("edited", "2"), delete("deleted")]).await;
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    assert_eq!(fixture.text("edited").await.as_deref(), Some("2"));
    assert_eq!(fixture.text("deleted").await, None, "a deletion during the push was undone");
    assert_eq!(fixture.outbox().await.pending, 2);
    let next = fixture.push().await;
    let next: Vec<_> = next.changes.iter().map(|c| (c.id.as_str(), json(&c.state))).collect();
    assert_eq!(next, [("deleted", "(a tombstone)"), ("edited", "2")]);
    fixture.check().await;
    Ok(())
}

/// Verdicts on any batch but the one in flight change nothing, and neither do repeated verdicts.
pub async fn verdicts_on_another_batch_change_nothing<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.put("a", "1").await;
    let first = fixture.push().await;
    let verdicts = log.accept(&first);
    fixture.settle(&first, verdicts.clone()).await;
    fixture.put("a", "2").await;
    let second = fixture.push().await;
    let before = (fixture.state().await, fixture.documents().await);
    for id in [first.id, PushId(0), second.id.next(), PushId(u64::MAX)] {
        let settled =
            fixture.storage.settle(fixture.cx(), Scope::default(), id, verdicts.clone()).await;
        let settled = must(settled, "verdicts on another batch are no error");
        assert_eq!((settled.applied, settled.changes.len()), (0, 0), "verdicts on batch {id}");
        assert_eq!(
            (fixture.state().await, fixture.documents().await),
            before,
            "verdicts on batch {id}"
        );
    }
    let verdicts = log.accept(&second);
    let elsewhere = match verdicts.clone() {
        Verdicts::Decided { verdicts, .. } => {
            Verdicts::Decided { epoch: Epoch([0xe9; 16]), mark: None, verdicts }
        }
        other => other,
    };
    fixture.settle(&second, elsewhere).await;
    assert_eq!(fixture.next_push(Limits::PUSH).await, Some(second.clone()), "of another epoch");
    fixture.settle(&second, verdicts).await;
    assert_eq!(fixture.outbox().await, Default::default());
    Ok(())
}

/// Verdicts that do not fit their batch, one too few, one too many, or none at all, are rejected
/// and change nothing.
pub async fn verdicts_that_do_not_fit_are_refused<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.write([put("a", "1"), put("b", "1")]).await;
    let batch = fixture.push().await;
    let before = (fixture.state().await, fixture.documents().await);
    let sound = log.accept(&batch);
    let Verdicts::Decided { verdicts, .. } = &sound else { panic!("they are decided") };
    let many = |n: usize| log.decided(verdicts.iter().cycle().take(n).cloned().collect());
    let wrong = [
        ("too few", many(1)),
        ("too many", many(3)),
        ("none", many(0)),
        ("stale", Verdicts::Stale),
        ("cloned", Verdicts::Cloned),
    ];
    for (what, verdicts) in wrong {
        refused(fixture.try_settle(&batch, verdicts).await, ErrorKind::Protocol, what);
        assert_eq!((fixture.state().await, fixture.documents().await), before, "{what}");
        assert_eq!(fixture.next_push(Limits::PUSH).await.as_ref(), Some(&batch), "{what}");
    }
    fixture.settle(&batch, sound).await;
    assert_eq!(fixture.outbox().await, Default::default());
    Ok(())
}

/// A batch that was recalled before it was appended is gone, and its changes are pushed in another
/// one.
pub async fn a_recalled_batch_is_formed_anew<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.write([put("a", "1"), put("b", "1")]).await;
    let batch = fixture.push().await;
    fixture.settle(&batch, Verdicts::Recalled).await;
    let next = fixture.push().await;
    assert!(next.id > batch.id);
    assert_eq!(next.changes, batch.changes);
    let verdicts = log.accept(&next);
    fixture.settle(&next, verdicts).await;
    assert_eq!(fixture.outbox().await, Default::default());
    Ok(())
}

/// A verdict never moves the pull position: changes of other replicas in between would be missed.
pub async fn a_verdict_never_moves_the_position<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 2);
    fixture.apply(log.rest(0)).await;
    log.put("between", "1");
    fixture.put("a", "1").await;
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    fixture.settle(&batch, verdicts).await;
    assert_eq!(fixture.position().await, 2, "the verdict moved the position");
    fixture.apply(log.rest(2)).await;
    assert_eq!(fixture.text("between").await.as_deref(), Some("1"));
    assert_eq!(fixture.position().await, 4);
    fixture.check().await;
    Ok(())
}

/// A verdict that is older than the document's known position ends its batch and has no other
/// effect.
pub async fn a_late_verdict_does_not_go_back<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    fixture.put("a", "1").await;
    let batch = fixture.push().await;
    let verdicts = log.accept(&batch);
    // Another replica edits it, and this replica pulls that edit before it gets the verdict.
    let theirs = log.put("a", "2");
    fixture.apply(log.rest(0)).await;
    fixture.settle(&batch, verdicts).await;
    assert_eq!(fixture.get("a").await.map(|s| s.state), Some(theirs));
    assert_eq!(fixture.get("a").await.map(|s| (s.known.0, s.dirty)), Some((2, false)));
    assert_eq!(fixture.outbox().await, Default::default());
    fixture.check().await;
    Ok(())
}

/// The server's result of a push (superseded, merged) is what the replica shows; a later edit is
/// kept.
pub async fn a_merged_state_is_applied<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let (resolvers, calls) = Told::resolvers(|| Ok(Resolution::Local));
    fixture.resolvers = resolvers;
    let mut log = Log::new();
    let names = ["superseded", "merged", "edited-since"];
    fixture.write(names.map(|n| put(n, "\"mine\""))).await;
    let batch = fixture.push().await;
    fixture.put("edited-since", "\"later\"").await;
    let verdicts = batch.changes.iter().map(|change| {
        let name = change.id.as_str();
        log.put(name, "\"made\"");
        let current: ServerState = log.current(name);
        let kind = if name == "superseded" { VerdictKind::Superseded } else { VerdictKind::Merged };
        Verdict { seq: current.seq, kind, current: Some(current) }
    });
    let verdicts: Vec<_> = verdicts.collect();
    fixture.settle(&batch, log.decided(verdicts)).await;
    for name in ["superseded", "merged"] {
        let made = log.current(name);
        let stored = fixture.get(name).await.map(|s| (Some(s.state), s.known, s.dirty));
        assert_eq!(stored, Some((made.state, made.seq, false)), "{name}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1, "only what was edited since is in conflict");
    assert_eq!(fixture.text("edited-since").await.as_deref(), Some("\"later\""));
    let next = fixture.push().await;
    assert_eq!(next.changes.len(), 1, "{next:?}");
    let made = log.current("edited-since").state.map(|s| s.revision);
    assert_eq!(next.changes[0].base.map(|b| b.revision), made);
    fixture.check().await;
    Ok(())
}

/// A rejected edit moves into the quarantine with its reason: the document shows the settled state,
/// and the other changes of the batch are settled.
pub async fn a_refused_edit_moves_into_the_quarantine<H: StorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    let settled = log.put("bad", "0");
    fixture.apply(log.rest(0)).await;
    fixture.write([put("bad", "\"bad\""), put("good", "1"), put("new", "\"bad\"")]).await;
    let batch = fixture.push().await;
    let Verdicts::Decided { verdicts: accepted, .. } = log.accept(&batch) else {
        panic!("they are decided")
    };
    let Verdicts::Decided { verdicts: rejected, .. } = log.reject(&batch) else {
        panic!("they are decided")
    };
    let verdicts = batch.changes.iter().zip(accepted.into_iter().zip(rejected));
    let verdicts = verdicts.map(|(c, (yes, no))| if c.id.as_str() == "good" { yes } else { no });
    let verdicts: Vec<_> = verdicts.collect();
    let committed = fixture.settle(&batch, log.decided(verdicts)).await;
    assert_eq!(committed.refused.len(), 2);
    assert_eq!(fixture.get("bad").await.map(|s| s.state), Some(settled), "the settled state shows");
    assert_eq!(fixture.get("new").await, None, "a refused insert is not shown");
    assert_eq!(fixture.get("good").await.map(|s| s.dirty), Some(false), "the others go on");
    let moved = fixture.unsettled(Unsettled::Quarantine, ALL).await;
    let said: Vec<_> = moved
        .iter()
        .map(|e| {
            (e.key.id.as_str(), json(&e.local), e.refused.as_ref().map(|r| r.0.reason.as_str()))
        })
        .collect();
    let reason = Some("not a document");
    assert_eq!(said, [("bad", "\"bad\"", reason), ("new", "\"bad\"", reason)]);
    assert_eq!(fixture.next_push(Limits::PUSH).await, None, "a refused edit blocks the outbox");
    fixture.check().await;
    Ok(())
}

/// A conflict verdict has the server's state, the resolver decides, and the remaining edit is based
/// on that state.
pub async fn a_conflict_verdict_is_resolved<H: StorageHarness>(harness: H) -> Outcome {
    let mut fixture = Fixture::open(&harness).await;
    let mut log = Log::new();
    log.put("kept", "\"theirs\"");
    log.put("dropped", "\"theirs\"");
    for (name, answer) in
        [("kept", (|| Ok(Resolution::Local)) as Answer), ("dropped", || Ok(Resolution::Remote))]
    {
        fixture.resolvers = Told::resolvers(answer).0;
        fixture.put(name, "\"mine\"").await;
        let batch = fixture.push().await;
        let committed = fixture.settle(&batch, log.conflict(&batch)).await;
        assert_eq!(committed.conflicts.len(), 1, "{name}");
        assert_eq!(fixture.get(name).await.map(|s| s.known), Some(log.current(name).seq), "{name}");
        if name == "kept" {
            let next = fixture.push().await;
            let theirs = log.current(name).state.map(|s| s.revision);
            assert_eq!(next.changes[0].base.map(|b| b.revision), theirs);
            let verdicts = log.accept(&next);
            fixture.settle(&next, verdicts).await;
        }
    }
    assert_eq!(fixture.text("kept").await.as_deref(), Some("\"mine\""));
    assert_eq!(fixture.text("dropped").await.as_deref(), Some("\"theirs\""));
    assert_eq!(fixture.outbox().await, Default::default());
    // A document that is gone on the server has no state.
    fixture.put("gone", "1").await;
    let batch = fixture.push().await;
    let seq = Seq(log.head());
    let current = Some(ServerState { seq, state: None });
    let verdict = Verdict { seq, kind: VerdictKind::Conflict, current };
    fixture.resolvers = Told::resolvers(|| Ok(Resolution::Remote)).0;
    fixture.settle(&batch, log.decided(vec![verdict])).await;
    assert_eq!(fixture.text("gone").await, None);
    fixture.check().await;
    Ok(())
}

/// An edit whose stamp the server rejected gets a new stamp and is pushed again: the app made no
/// mistake.
pub async fn a_refused_stamp_is_taken_anew<H: StorageHarness>(harness: H) -> Outcome {
    const AHEAD: u64 = 3_600_000;
    let fixture = Fixture::open(&harness).await;
    let log = Log::new();
    let truth = now();
    let wrong = Now(truth.0 + AHEAD);
    must(fixture.storage.write(wrong, transaction([put("a", "1")])).await, "a write");
    let cx = Context { now: wrong, ..fixture.cx() };
    let batch = fixture.storage.next_push(cx.clone(), Scope::default(), Limits::PUSH).await;
    let Some(batch) = must(batch, "a batch is formed") else {
        panic!("there is something to push")
    };
    let code = RejectionCode::Clock { server_time: Stamp::new(truth.0, 0) };
    let kind = VerdictKind::Rejected(Rejection { code, reason: "too far ahead".to_owned() });
    let verdicts = log.decided(vec![Verdict { seq: Seq(0), kind, current: None }]);
    let settled = fixture.storage.settle(cx.clone(), Scope::default(), batch.id, verdicts).await;
    assert_eq!(must(settled, "verdicts are taken in").refused, [], "it goes into the quarantine");
    let next = fixture.storage.next_push(cx, Scope::default(), Limits::PUSH).await;
    let Some(next) = must(next, "a batch is formed") else { panic!("it is not pushed again") };
    assert!(next.id > batch.id);
    let stamp = next.changes[0].state.revision.stamp;
    assert!(stamp.millis() < wrong.0 - AHEAD / 2, "{stamp} is as far ahead as before");
    assert_eq!(json(&next.changes[0].state), "1");
    fixture.check().await;
    Ok(())
}
