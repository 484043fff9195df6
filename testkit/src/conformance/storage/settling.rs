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
use super::desk::{Desk, delete, put, transaction};
use super::log::Log;
use super::taking_in::{Answer, Told};

/// An accepted document is clean, known at its position, and not pushed again.
pub async fn what_is_accepted_is_clean<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 3);
    desk.apply(log.rest(0)).await;
    desk.write([put("a", "1"), delete("r-00001")]).await;
    let batch = desk.push().await;
    let verdicts = log.accept(&batch);
    let committed = desk.settle(&batch, verdicts).await;
    assert_eq!(committed.taken, 2);
    let stored = desk.get("a").await.map(|s| (s.dirty, s.known.0));
    assert_eq!(stored.map(|(dirty, _)| dirty), Some(false), "what was accepted is dirty");
    assert!(stored.is_some_and(|(_, known)| known > 3), "where it was accepted is not known");
    assert_eq!(desk.outbox().await, Default::default());
    assert_eq!(desk.next_push(Limits::PUSH).await, None, "what was accepted is pushed again");
    desk.check().await;
    Ok(())
}

/// An edit that was made while its document was in flight stays, and is pushed next.
pub async fn an_edit_during_the_push_stays<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    desk.write([put("edited", "1"), put("deleted", "1"), put("left", "1")]).await;
    let batch = desk.push().await;
    desk.write([put("edited", "2"), delete("deleted")]).await;
    let verdicts = log.accept(&batch);
    desk.settle(&batch, verdicts).await;
    assert_eq!(desk.text("edited").await.as_deref(), Some("2"));
    assert_eq!(desk.text("deleted").await, None, "a deletion during the push was undone");
    assert_eq!(desk.outbox().await.pending, 2);
    let next = desk.push().await;
    let next: Vec<_> = next.changes.iter().map(|c| (c.id.as_str(), json(&c.state))).collect();
    assert_eq!(next, [("deleted", "(a tombstone)"), ("edited", "2")]);
    desk.check().await;
    Ok(())
}

/// Verdicts on any batch but the one in flight change nothing, and neither do repeated verdicts.
pub async fn verdicts_on_another_batch_change_nothing<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    desk.put("a", "1").await;
    let first = desk.push().await;
    let verdicts = log.accept(&first);
    desk.settle(&first, verdicts.clone()).await;
    desk.put("a", "2").await;
    let second = desk.push().await;
    let before = (desk.state().await, desk.documents().await);
    for id in [first.id, PushId(0), second.id.next(), PushId(u64::MAX)] {
        let settled = desk.storage.settle(desk.cx(), Scope::default(), id, verdicts.clone()).await;
        let settled = must(settled, "verdicts on another batch are no error");
        assert_eq!((settled.taken, settled.changes.len()), (0, 0), "verdicts on batch {id}");
        assert_eq!((desk.state().await, desk.documents().await), before, "verdicts on batch {id}");
    }
    let verdicts = log.accept(&second);
    let elsewhere = match verdicts.clone() {
        Verdicts::Decided { verdicts, .. } => {
            Verdicts::Decided { epoch: Epoch([0xe9; 16]), mark: None, verdicts }
        }
        other => other,
    };
    desk.settle(&second, elsewhere).await;
    assert_eq!(desk.next_push(Limits::PUSH).await, Some(second.clone()), "of another epoch");
    desk.settle(&second, verdicts).await;
    assert_eq!(desk.outbox().await, Default::default());
    Ok(())
}

/// Verdicts that do not fit their batch, one too few, one too many, or none at all, are rejected
/// and change nothing.
pub async fn verdicts_that_do_not_fit_are_refused<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    desk.write([put("a", "1"), put("b", "1")]).await;
    let batch = desk.push().await;
    let before = (desk.state().await, desk.documents().await);
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
        refused(desk.try_settle(&batch, verdicts).await, ErrorKind::Protocol, what);
        assert_eq!((desk.state().await, desk.documents().await), before, "{what}");
        assert_eq!(desk.next_push(Limits::PUSH).await.as_ref(), Some(&batch), "{what}");
    }
    desk.settle(&batch, sound).await;
    assert_eq!(desk.outbox().await, Default::default());
    Ok(())
}

/// A batch that was recalled before it was appended is gone, and its changes are pushed in another
/// one.
pub async fn a_recalled_batch_is_formed_anew<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    desk.write([put("a", "1"), put("b", "1")]).await;
    let batch = desk.push().await;
    desk.settle(&batch, Verdicts::Recalled).await;
    let next = desk.push().await;
    assert!(next.id > batch.id);
    assert_eq!(next.changes, batch.changes);
    let verdicts = log.accept(&next);
    desk.settle(&next, verdicts).await;
    assert_eq!(desk.outbox().await, Default::default());
    Ok(())
}

/// A verdict never moves the pull position: changes of other replicas in between would be missed.
pub async fn a_verdict_never_moves_the_position<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    log.fill("r", 2);
    desk.apply(log.rest(0)).await;
    log.put("between", "1");
    desk.put("a", "1").await;
    let batch = desk.push().await;
    let verdicts = log.accept(&batch);
    desk.settle(&batch, verdicts).await;
    assert_eq!(desk.position().await, 2, "the verdict moved the position");
    desk.apply(log.rest(2)).await;
    assert_eq!(desk.text("between").await.as_deref(), Some("1"));
    assert_eq!(desk.position().await, 4);
    desk.check().await;
    Ok(())
}

/// A verdict that is older than the document's known position ends its batch and has no other
/// effect.
pub async fn a_late_verdict_does_not_go_back<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    desk.put("a", "1").await;
    let batch = desk.push().await;
    let verdicts = log.accept(&batch);
    // Another replica edits it, and this replica pulls that edit before it gets the verdict.
    let theirs = log.put("a", "2");
    desk.apply(log.rest(0)).await;
    desk.settle(&batch, verdicts).await;
    assert_eq!(desk.get("a").await.map(|s| s.state), Some(theirs));
    assert_eq!(desk.get("a").await.map(|s| (s.known.0, s.dirty)), Some((2, false)));
    assert_eq!(desk.outbox().await, Default::default());
    desk.check().await;
    Ok(())
}

/// The server's result of a push (superseded, merged) is what the replica shows; a later edit is
/// kept.
pub async fn what_the_server_made_of_it_is_taken_in<H: StorageHarness>(harness: H) -> Outcome {
    let mut desk = Desk::open(&harness).await;
    let (resolvers, calls) = Told::resolvers(|| Ok(Resolution::Local));
    desk.resolvers = resolvers;
    let mut log = Log::new();
    let names = ["superseded", "merged", "edited-since"];
    desk.write(names.map(|n| put(n, "\"mine\""))).await;
    let batch = desk.push().await;
    desk.put("edited-since", "\"later\"").await;
    let verdicts = batch.changes.iter().map(|change| {
        let name = change.id.as_str();
        log.put(name, "\"made\"");
        let current: ServerState = log.current(name);
        let kind = if name == "superseded" { VerdictKind::Superseded } else { VerdictKind::Merged };
        Verdict { seq: current.seq, kind, current: Some(current) }
    });
    let verdicts: Vec<_> = verdicts.collect();
    desk.settle(&batch, log.decided(verdicts)).await;
    for name in ["superseded", "merged"] {
        let made = log.current(name);
        let stored = desk.get(name).await.map(|s| (Some(s.state), s.known, s.dirty));
        assert_eq!(stored, Some((made.state, made.seq, false)), "{name}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1, "only what was edited since is in conflict");
    assert_eq!(desk.text("edited-since").await.as_deref(), Some("\"later\""));
    let next = desk.push().await;
    assert_eq!(next.changes.len(), 1, "{next:?}");
    let made = log.current("edited-since").state.map(|s| s.revision);
    assert_eq!(next.changes[0].base.map(|b| b.revision), made);
    desk.check().await;
    Ok(())
}

/// A rejected edit moves into the quarantine with its reason: the document shows the settled state,
/// and the other changes of the batch are settled.
pub async fn a_refused_edit_moves_into_the_quarantine<H: StorageHarness>(harness: H) -> Outcome {
    let desk = Desk::open(&harness).await;
    let mut log = Log::new();
    let settled = log.put("bad", "0");
    desk.apply(log.rest(0)).await;
    desk.write([put("bad", "\"bad\""), put("good", "1"), put("new", "\"bad\"")]).await;
    let batch = desk.push().await;
    let Verdicts::Decided { verdicts: accepted, .. } = log.accept(&batch) else {
        panic!("they are decided")
    };
    let Verdicts::Decided { verdicts: rejected, .. } = log.reject(&batch) else {
        panic!("they are decided")
    };
    let verdicts = batch.changes.iter().zip(accepted.into_iter().zip(rejected));
    let verdicts = verdicts.map(|(c, (yes, no))| if c.id.as_str() == "good" { yes } else { no });
    let verdicts: Vec<_> = verdicts.collect();
    let committed = desk.settle(&batch, log.decided(verdicts)).await;
    assert_eq!(committed.refused.len(), 2);
    assert_eq!(desk.get("bad").await.map(|s| s.state), Some(settled), "the settled state shows");
    assert_eq!(desk.get("new").await, None, "a refused insert is not shown");
    assert_eq!(desk.get("good").await.map(|s| s.dirty), Some(false), "the others go on");
    let moved = desk.unsettled(Unsettled::Quarantine, ALL).await;
    let said: Vec<_> = moved
        .iter()
        .map(|e| {
            (e.key.id.as_str(), json(&e.local), e.refused.as_ref().map(|r| r.0.reason.as_str()))
        })
        .collect();
    let reason = Some("not a document");
    assert_eq!(said, [("bad", "\"bad\"", reason), ("new", "\"bad\"", reason)]);
    assert_eq!(desk.next_push(Limits::PUSH).await, None, "a refused edit blocks the outbox");
    desk.check().await;
    Ok(())
}

/// A conflict verdict has the server's state, the resolver decides, and the remaining edit is based
/// on that state.
pub async fn a_conflict_verdict_is_resolved<H: StorageHarness>(harness: H) -> Outcome {
    let mut desk = Desk::open(&harness).await;
    let mut log = Log::new();
    log.put("kept", "\"theirs\"");
    log.put("dropped", "\"theirs\"");
    for (name, answer) in
        [("kept", (|| Ok(Resolution::Local)) as Answer), ("dropped", || Ok(Resolution::Remote))]
    {
        desk.resolvers = Told::resolvers(answer).0;
        desk.put(name, "\"mine\"").await;
        let batch = desk.push().await;
        let committed = desk.settle(&batch, log.conflict(&batch)).await;
        assert_eq!(committed.conflicts.len(), 1, "{name}");
        assert_eq!(desk.get(name).await.map(|s| s.known), Some(log.current(name).seq), "{name}");
        if name == "kept" {
            let next = desk.push().await;
            let theirs = log.current(name).state.map(|s| s.revision);
            assert_eq!(next.changes[0].base.map(|b| b.revision), theirs);
            let verdicts = log.accept(&next);
            desk.settle(&next, verdicts).await;
        }
    }
    assert_eq!(desk.text("kept").await.as_deref(), Some("\"mine\""));
    assert_eq!(desk.text("dropped").await.as_deref(), Some("\"theirs\""));
    assert_eq!(desk.outbox().await, Default::default());
    // A document that is gone on the server has no state.
    desk.put("gone", "1").await;
    let batch = desk.push().await;
    let seq = Seq(log.head());
    let current = Some(ServerState { seq, state: None });
    let verdict = Verdict { seq, kind: VerdictKind::Conflict, current };
    desk.resolvers = Told::resolvers(|| Ok(Resolution::Remote)).0;
    desk.settle(&batch, log.decided(vec![verdict])).await;
    assert_eq!(desk.text("gone").await, None);
    desk.check().await;
    Ok(())
}

/// An edit whose stamp the server rejected gets a new stamp and is pushed again: the app made no
/// mistake.
pub async fn a_refused_stamp_is_taken_anew<H: StorageHarness>(harness: H) -> Outcome {
    const AHEAD: u64 = 3_600_000;
    let desk = Desk::open(&harness).await;
    let log = Log::new();
    let truth = now();
    let wrong = Now(truth.0 + AHEAD);
    must(desk.storage.write(wrong, transaction([put("a", "1")])).await, "a write");
    let cx = Context { now: wrong, ..desk.cx() };
    let batch = desk.storage.next_push(cx.clone(), Scope::default(), Limits::PUSH).await;
    let Some(batch) = must(batch, "a batch is formed") else {
        panic!("there is something to push")
    };
    let code = RejectionCode::Clock { server_time: Stamp::new(truth.0, 0) };
    let kind = VerdictKind::Rejected(Rejection { code, reason: "too far ahead".to_owned() });
    let verdicts = log.decided(vec![Verdict { seq: Seq(0), kind, current: None }]);
    let settled = desk.storage.settle(cx.clone(), Scope::default(), batch.id, verdicts).await;
    assert_eq!(must(settled, "verdicts are taken in").refused, [], "it goes into the quarantine");
    let next = desk.storage.next_push(cx, Scope::default(), Limits::PUSH).await;
    let Some(next) = must(next, "a batch is formed") else { panic!("it is not pushed again") };
    assert!(next.id > batch.id);
    let stamp = next.changes[0].state.revision.stamp;
    assert!(stamp.millis() < wrong.0 - AHEAD / 2, "{stamp} is as far ahead as before");
    assert_eq!(json(&next.changes[0].state), "1");
    desk.check().await;
    Ok(())
}
