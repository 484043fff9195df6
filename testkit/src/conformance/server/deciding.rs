//! Verdicts: the base check, the judge, resolution on the server.

use std::sync::Arc;

use sync_core::clock::{DRIFT_BOUND, Now};
use sync_core::model::{
    BaseRef, DocumentState, Limits, Rejection, RejectionCode, Revision, Seq, Stamp, VerdictKind,
};
use sync_core::resolver::Resolution;
use sync_server::ops::AppendContext;

use super::super::run::Outcome;
use super::super::tools::{body, json, must, now};
use super::ServerStorageHarness;
use super::fixture::{Fixture, Told, change, context, decided, insert};

/// A change that was not made on the current state is a conflict: it is not stored, and its verdict
/// has the current state.
pub async fn a_conflict_carries_the_current_state<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1")), ("b", Some("1")), ("gone", Some("1"))]).await;
    let old = [fixture.next("a", Some("\"late\"")), fixture.next("gone", Some("\"late\""))];
    fixture.push(&[("a", Some("2")), ("gone", None)]).await;
    let before = (fixture.scope().await, fixture.all().await);
    let [late, late_gone] = old;
    let missing = change("missing", Some("1"), late.base);
    let pushed = fixture.batch(vec![late, late_gone, insert("b", "2"), missing]);
    let appended = fixture.append(&pushed).await;
    let told: Vec<_> = decided(&appended)
        .iter()
        .map(|v| {
            let current = v.current.as_ref();
            assert_eq!(v.kind, VerdictKind::Conflict, "{v:?}");
            (v.seq.0, current.map(|c| c.seq.0), current.and_then(|c| c.state.as_ref()).map(json))
        })
        .collect();
    let gone = (5, Some(5), Some("(a tombstone)"));
    // An absent document is known to be absent at the head.
    assert_eq!(told, [(4, Some(4), Some("2")), gone, (2, Some(2), Some("1")), (5, Some(5), None)]);
    assert_eq!(
        (fixture.scope().await, fixture.all().await),
        before,
        "a conflict changed something"
    );
    assert_eq!(appended.entries, []);
    Ok(())
}

/// Absent matches no base, a base that was a tombstone, and any deletion.
pub async fn what_absent_matches<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let epoch = fixture.scope().await.epoch;
    let revision = Revision { stamp: Stamp::new(now().0, 0), replica: super::fixture::WRITER };
    let live = BaseRef { revision, epoch, seq: Seq(1), tombstone: false };
    let dead = BaseRef { tombstone: true, ..live };
    let pushed = fixture.batch(vec![
        change("none", Some("1"), None),
        change("on a tombstone", Some("1"), Some(dead)),
        change("deleted", None, Some(live)),
        change("on a state", Some("1"), Some(live)),
    ]);
    let appended = fixture.append(&pushed).await;
    let kinds: Vec<_> = decided(&appended).iter().map(|v| v.kind.clone()).collect();
    let accepted = VerdictKind::Accepted;
    assert_eq!(kinds, [accepted.clone(), accepted.clone(), accepted, VerdictKind::Conflict]);
    fixture.check().await;
    Ok(())
}

/// A change that equals the current state is accepted at its position, in whichever push it is.
pub async fn the_same_state_is_accepted_in_any_push<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let state = insert("a", "1");
    fixture.append(&fixture.batch(vec![state.clone()])).await;
    fixture.push(&[("b", Some("1"))]).await;
    let before = (fixture.scope().await, fixture.all().await);
    let again = fixture.append(&fixture.batch(vec![state])).await;
    assert_eq!(decided(&again)[0].kind, VerdictKind::Accepted);
    assert_eq!(decided(&again)[0].seq, Seq(1));
    assert_eq!((fixture.scope().await, fixture.all().await), before);
    Ok(())
}

/// A rejected change is not stored, not sent to readers and not counted; the other changes of its
/// push are.
pub async fn a_rejected_change_is_not_stored<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("kept", Some("1"))]).await;
    let rejection = Rejection { code: RejectionCode::Invalid, reason: "not so".to_owned() };
    let said = rejection.clone();
    let judge = Told::admitting(move |change| {
        let bad = change.state.body.as_ref().is_some_and(|b| b.as_str() == "\"bad\"");
        if bad { Err(said.clone()) } else { Ok(()) }
    });
    let kept = fixture.next("kept", Some("\"bad\""));
    let pushed =
        fixture.batch(vec![insert("good", "1"), insert("bad", "\"bad\""), kept, insert("c", "1")]);
    let appended = fixture.append_by(&pushed, judge).await;
    let rejected = VerdictKind::Rejected(rejection);
    let kinds: Vec<_> = decided(&appended).iter().map(|v| v.kind.clone()).collect();
    let accepted = VerdictKind::Accepted;
    assert_eq!(kinds, [accepted.clone(), rejected.clone(), rejected.clone(), accepted]);
    let all = fixture.all().await;
    let ids: Vec<_> = all.iter().map(|e| (e.seq.0, e.id.as_str(), json(&e.state))).collect();
    assert_eq!(ids, [(1, "kept", "1"), (2, "good", "1"), (3, "c", "1")]);
    assert_eq!(appended.entries.len(), 2, "a rejected change is told to listeners");
    fixture.check().await;
    // The judge decides differently now, and the verdict stays the same.
    let again = fixture.append(&pushed).await;
    assert_eq!(decided(&again)[1].kind, rejected);
    assert_eq!(fixture.all().await, all);
    Ok(())
}

/// A stamp too far ahead of the server's time is rejected, with that time; one within the bound is
/// not.
pub async fn a_stamp_too_far_ahead_is_rejected<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let time = now();
    let stamped = |name: &str, at: Now| {
        let mut change = insert(name, "1");
        change.state.revision.stamp = Stamp::new(at.0, 0);
        change
    };
    let bound = time.plus(DRIFT_BOUND);
    let pushed = fixture.batch(vec![stamped("within", bound), stamped("beyond", Now(bound.0 + 1))]);
    let cx = AppendContext { now: time, ..context() };
    let appended = must(fixture.storage.append(cx, pushed, Told::open()).await, "an append");
    assert_eq!(decided(&appended)[0].kind, VerdictKind::Accepted);
    let VerdictKind::Rejected(rejection) = &decided(&appended)[1].kind else {
        panic!("a stamp beyond the bound was taken: {appended:?}")
    };
    assert_eq!(rejection.code, RejectionCode::Clock { server_time: Stamp::new(time.0, 0) });
    assert_eq!(fixture.all().await.len(), 1);
    Ok(())
}

/// A conflict that the server resolves ends as the judge decides; a merge is a state of the server,
/// later than both.
pub async fn the_server_resolves_as_the_judge_decides<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let names = ["local", "remote", "merge", "delete", "defer"];
    fixture.push(&names.map(|n| (n, Some("\"theirs\"")))).await;
    let judge = Told::resolving(|change, current| {
        assert!(current.is_some(), "the judge is told what is current");
        Some(match change.id.as_str() {
            "local" => Resolution::Local,
            "remote" => Resolution::Remote,
            "merge" => Resolution::Merge(body("\"both\"")),
            "delete" => Resolution::Delete,
            _ => Resolution::Defer,
        })
    });
    let pushed = fixture.batch(names.map(|n| insert(n, "\"mine\"")).to_vec());
    let appended = fixture.append_by(&pushed, judge).await;
    let verdicts = decided(&appended);
    let kinds: Vec<_> = verdicts.iter().map(|v| v.kind.clone()).collect();
    let merged = VerdictKind::Merged;
    let (accepted, superseded) = (VerdictKind::Accepted, VerdictKind::Superseded);
    assert_eq!(kinds, [accepted, superseded, merged.clone(), merged, VerdictKind::Conflict]);
    let all = fixture.all().await;
    let find = |name: &str| -> Option<&DocumentState> {
        all.iter().find(|e| e.id.as_str() == name).map(|e| &e.state)
    };
    let shown = names.map(|n| find(n).map_or("(nothing)", json));
    assert_eq!(shown, ["\"mine\"", "\"theirs\"", "\"both\"", "(a tombstone)", "\"theirs\""]);
    for n in [2, 3] {
        let made = verdicts[n].current.as_ref().and_then(|c| c.state.as_ref());
        assert_eq!(made, find(names[n]), "the verdict tells what the server made");
        let pushed = pushed.changes[n].state.revision;
        let made = made.map(|m| m.revision);
        assert!(made.is_some_and(|m| m.stamp > pushed.stamp), "{made:?} after {pushed:?}");
    }
    assert_eq!(verdicts[1].current.as_ref().map(|c| c.seq), Some(Seq(2)));
    fixture.check().await;
    Ok(())
}

/// A merge that the judge does not admit becomes a conflict, which the replica has to decide.
pub async fn a_merge_that_is_not_admitted_is_a_conflict<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    #[derive(Debug)]
    struct Strict;
    impl sync_server::ops::Judge for Strict {
        fn admit(
            &self,
            change: &sync_core::model::Change,
            _: Option<&DocumentState>,
        ) -> Result<(), Rejection> {
            let bad = json(&change.state) == "\"bad\"";
            let reason = "not so".to_owned();
            if bad { Err(Rejection { code: RejectionCode::Invalid, reason }) } else { Ok(()) }
        }
        fn resolve(
            &self,
            _: &sync_core::model::Scope,
            _: &sync_core::model::Change,
            _: Option<&DocumentState>,
        ) -> Option<Resolution> {
            Some(Resolution::Merge(body("\"bad\"")))
        }
    }
    let fixture = Fixture::open(&harness).await;
    fixture.push(&[("a", Some("1"))]).await;
    let before = (fixture.scope().await.head, fixture.all().await);
    let appended =
        fixture.append_by(&fixture.batch(vec![insert("a", "2")]), Arc::new(Strict)).await;
    assert_eq!(decided(&appended)[0].kind, VerdictKind::Conflict);
    assert_eq!((fixture.scope().await.head, fixture.all().await), before);
    Ok(())
}

/// The states in the verdicts on one push are bounded, so that they fit into a message; one is
/// always included.
pub async fn states_in_verdicts_are_bounded<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let large = format!("\"{}\"", "x".repeat(900_000));
    let names: Vec<_> = (0..8).map(|n| format!("large-{n}")).collect();
    for half in names.chunks(4) {
        let documents: Vec<_> = half.iter().map(|n| (n.as_str(), Some(large.as_str()))).collect();
        fixture.push(&documents).await;
    }
    let pushed = fixture.batch(names.iter().map(|n| insert(n, "1")).collect());
    let appended = fixture.append(&pushed).await;
    let verdicts = decided(&appended);
    assert!(verdicts.iter().all(|v| v.kind == VerdictKind::Conflict));
    let told: Vec<_> = verdicts.iter().filter_map(|v| v.current.as_ref()?.state.as_ref()).collect();
    let bytes: usize = told.iter().map(|s| s.weight()).sum();
    assert!(!told.is_empty() && bytes <= Limits::CHUNK.bytes, "{} states told", told.len());
    assert!(verdicts[0].current.is_some(), "the first is always told");
    Ok(())
}
