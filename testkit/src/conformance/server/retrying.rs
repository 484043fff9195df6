//! Pushes that arrive again.

use sync_core::model::{PushBatch, ReplicaId, Scope, Seq, VerdictKind, Verdicts};

use super::super::run::Outcome;
use super::super::tools::{must, scope};
use super::ServerStorageHarness;
use super::fixture::{Fixture, WRITER, batch, change, decided, insert};

/// Asserts that the push is repeated without an effect, and returns its verdicts.
async fn unchanged(fixture: &Fixture, what: &str, pushed: &PushBatch) -> Verdicts {
    let before = (fixture.scope().await, fixture.all().await);
    let appended = fixture.append(pushed).await;
    assert_eq!(appended.entries, [], "{what}: something was written");
    assert_eq!((appended.before, appended.head), (before.0.head, before.0.head), "{what}");
    assert_eq!((fixture.scope().await, fixture.all().await), before, "{what}");
    appended.verdicts
}

/// Returns the verdicts of a retry, without the states, which may be newer.
fn kinds(verdicts: &Verdicts) -> Vec<(Seq, VerdictKind)> {
    match verdicts {
        Verdicts::Decided { verdicts, .. } => {
            verdicts.iter().map(|v| (v.seq, v.kind.clone())).collect()
        }
        other => panic!("decided verdicts were expected, not {other:?}"),
    }
}

/// Pushes changes with every kind of verdict, and returns the verdicts.
async fn pushed(fixture: &Fixture) -> (PushBatch, Verdicts) {
    fixture.push(&[("theirs", Some("1")), ("same", Some("\"equal\""))]).await;
    let changes = vec![
        insert("accepted", "1"),
        insert("theirs", "2"),
        insert("same", "\"equal\""),
        change("nothing", None, None),
        insert("moved", "1"),
    ];
    let pushed = batch(ReplicaId([0x22; 16]), 7, changes);
    let appended = fixture.append(&pushed).await;
    let kinds: Vec<_> = decided(&appended).iter().map(|v| v.kind.clone()).collect();
    let (accepted, conflict) = (VerdictKind::Accepted, VerdictKind::Conflict);
    let superseded = VerdictKind::Superseded;
    assert_eq!(kinds, [accepted.clone(), conflict, superseded, accepted.clone(), accepted]);
    (pushed, appended.verdicts)
}

/// A push that arrives again gets its original verdicts, even if other clients have edited the
/// documents since, and changes nothing.
pub async fn a_retry_gets_the_original_verdicts<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let (pushed, told) = pushed(&fixture).await;
    let again = unchanged(&fixture, "at once", &pushed).await;
    assert_eq!(again, told);
    fixture
        .push(&[("moved", Some("\"on\"")), ("accepted", None), ("theirs", Some("\"on\""))])
        .await;
    let again = unchanged(&fixture, "after others moved on", &pushed).await;
    assert_eq!(kinds(&again), kinds(&told));
    let Verdicts::Decided { verdicts, .. } = again else { panic!("they are decided") };
    let current = verdicts[1].current.as_ref().and_then(|c| c.state.as_ref());
    let json = current.map(super::super::tools::json);
    assert_eq!(json, Some("\"on\""), "a conflict is told with the state that is current now");
    fixture.check().await;
    Ok(())
}

/// A push is recognised after the storage was closed and opened again.
pub async fn a_retry_is_recognised_after_reopening<H: ServerStorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_durable()?;
    let fixture = Fixture::open(&harness).await;
    let (pushed, told) = pushed(&fixture).await;
    must(fixture.storage.close().await, "the storage is closed");
    let fixture = fixture.reopen(&harness).await;
    assert_eq!(unchanged(&fixture, "after reopening", &pushed).await, told);
    Ok(())
}

/// A push whose verdicts were returned is recognised after a crash.
pub async fn a_retry_is_recognised_after_a_crash<H: ServerStorageHarness>(harness: H) -> Outcome {
    harness.capabilities().need_crash()?;
    let fixture = Fixture::open(&harness).await;
    let (pushed, told) = pushed(&fixture).await;
    must(harness.crash().await, "a crash");
    let fixture = fixture.reopen(&harness).await;
    assert_eq!(unchanged(&fixture, "after a crash", &pushed).await, told);
    Ok(())
}

/// Returns whether verdicts are the same, though the log may have moved on in between.
fn same(one: &Verdicts, other: &Verdicts) -> bool {
    let decided = |verdicts: &Verdicts| match verdicts {
        Verdicts::Decided { epoch, verdicts, .. } => Some((*epoch, verdicts.clone())),
        _ => None,
    };
    decided(one).is_some() && decided(one) == decided(other)
}

/// A push that is older than the newest of its replica is stale: it has no effect, not even on what
/// is remembered.
pub async fn an_older_push_is_stale<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let replica = ReplicaId([0x22; 16]);
    let first = batch(replica, 3, vec![insert("a", "1")]);
    fixture.append(&first).await;
    let second = batch(replica, 4, vec![fixture.next("a", Some("2")), insert("b", "1")]);
    let told = fixture.append(&second).await.verdicts;
    fixture.push(&[("a", Some("\"others\""))]).await;
    let never_seen = batch(replica, 2, vec![insert("late", "1")]);
    for old in [&first, &never_seen] {
        assert_eq!(unchanged(&fixture, "a stale push", old).await, Verdicts::Stale);
        let again = unchanged(&fixture, "the newest push", &second).await;
        assert!(same(&again, &told), "a stale push overwrote what is remembered: {again:?}");
    }
    let (_, newest) = must(fixture.storage.replica(Scope::default(), replica).await, "the replica");
    assert_eq!(newest, Some(second.id));
    Ok(())
}

/// Another push under a known id shows that the replica was cloned: it has no effect.
pub async fn another_push_under_a_known_id_is_cloned<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let replica = ReplicaId([0x22; 16]);
    let first = batch(replica, 3, vec![insert("a", "1"), insert("b", "1")]);
    let told = fixture.append(&first).await.verdicts;
    let mut fewer = first.clone();
    fewer.changes.pop();
    let mut swapped = first.clone();
    swapped.changes.swap(0, 1);
    let mut other_body = first.clone();
    other_body.changes[1].state.body = insert("b", "2").state.body;
    let other = batch(replica, 3, vec![insert("c", "1"), insert("d", "1")]);
    for clone in [fewer, swapped, other_body, other] {
        assert_eq!(
            unchanged(&fixture, "another push", &clone).await,
            Verdicts::Cloned,
            "{clone:?}"
        );
    }
    assert_eq!(unchanged(&fixture, "the first push", &first).await, told);
    Ok(())
}

/// A push that is recalled after it was appended gets its verdicts.
pub async fn a_recalled_push_gets_its_verdicts<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let (pushed, told) = pushed(&fixture).await;
    assert_eq!(unchanged(&fixture, "the recall", &recall(&pushed)).await, told);
    let mut other = recall(&pushed);
    other.recall = other.recall.map(|digest| digest ^ 1);
    assert_eq!(unchanged(&fixture, "another recall", &other).await, Verdicts::Cloned);
    Ok(())
}

/// A push that is recalled before it was appended has no effect, even if it arrives later and after
/// the storage was opened again.
pub async fn a_recalled_push_is_never_appended<H: ServerStorageHarness>(harness: H) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    let replica = ReplicaId([0x22; 16]);
    fixture.append(&batch(replica, 2, vec![insert("z", "1")])).await;
    let late = batch(replica, 3, vec![insert("a", "1"), insert("b", "1")]);
    assert_eq!(unchanged(&fixture, "the recall", &recall(&late)).await, Verdicts::Recalled);
    let fixture = match harness.capabilities().need_durable() {
        Ok(()) => {
            must(fixture.storage.close().await, "the storage is closed");
            fixture.reopen(&harness).await
        }
        Err(_) => fixture,
    };
    for copy in [&late, &recall(&late)] {
        assert_eq!(unchanged(&fixture, "a late copy", copy).await, Verdicts::Recalled);
    }
    let other = batch(replica, 3, vec![insert("c", "1")]);
    assert_eq!(unchanged(&fixture, "another push", &other).await, Verdicts::Cloned);
    let next = batch(replica, 4, late.changes.clone());
    let kinds: Vec<_> =
        decided(&fixture.append(&next).await).iter().map(|v| v.kind.clone()).collect();
    assert_eq!(kinds, [VerdictKind::Accepted, VerdictKind::Accepted]);
    Ok(())
}

fn recall(batch: &PushBatch) -> PushBatch {
    batch.clone().recalled(batch.digest())
}

/// Pushes are remembered for each replica and each scope.
pub async fn pushes_are_remembered_for_each_replica_and_scope<H: ServerStorageHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::open(&harness).await;
    fixture.append(&batch(WRITER, 5, vec![insert("a", "1")])).await;
    let other = fixture.append(&batch(ReplicaId([0x33; 16]), 1, vec![insert("b", "1")])).await;
    assert_eq!(decided(&other)[0].kind, VerdictKind::Accepted, "another replica counts anew");
    let elsewhere =
        PushBatch { scope: scope("elsewhere"), ..batch(WRITER, 2, vec![insert("a", "1")]) };
    let elsewhere = fixture.append(&elsewhere).await;
    assert_eq!(decided(&elsewhere)[0].seq, Seq(1), "another scope has a log of its own");
    let newest = async |name| must(fixture.storage.replica(scope(name), WRITER).await, "it").1;
    assert_eq!(newest("default").await.map(|p| p.0), Some(5));
    assert_eq!(newest("elsewhere").await.map(|p| p.0), Some(2));
    assert_eq!(newest("nowhere").await, None);
    Ok(())
}
