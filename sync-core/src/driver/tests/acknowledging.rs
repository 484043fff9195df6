//! How far the replica is, as the server is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::support::{EPOCH, Stage, chunk, entry, mark, network, notes, options, until, welcome};
use crate::driver::execute::ack;
use crate::engine::{Goal, Phase};
use crate::error::{Error, ErrorKind};
use crate::model::{
    Checkpoint, Digest, FullPull, Generation, LocalSeq, PushId, ReplicaId, Reset, ResetReason,
    Scope, Seq,
};
use crate::protocol::Ack;
use crate::replica::{Failures, OutboxCounts, ReplicaState, ScopeSummary};
use crate::transport::Delivery;

const PULL: Goal = Goal { push: false, ..Goal::ONCE };

/// A scope that stands at position 5 with nothing unsettled.
fn settled() -> ScopeSummary {
    let checkpoint = Checkpoint {
        epoch: Some(EPOCH),
        position: Seq(5),
        mark: Some(mark(5)),
        ..Default::default()
    };
    ScopeSummary {
        scope: Scope::default(),
        checkpoint,
        documents: 1,
        digest: Digest(3),
        outbox: OutboxCounts::default(),
        in_flight: None,
        failures: Failures::default(),
        is_partial: false,
    }
}

/// What is told of a scope when the newest verdict named that position.
fn told(summary: ScopeSummary, seen: u64) -> Option<Ack> {
    let state = ReplicaState {
        replica: ReplicaId([1; 16]),
        last_push: PushId(0),
        last_local: LocalSeq(0),
        inbox: 0,
        lease: (Generation(1), String::new()),
        local_only: Default::default(),
        scopes: vec![summary],
    };
    ack(&state, &Scope::default(), Seq(seen))
}

#[test]
fn a_settled_scope_tells_its_position_with_its_digest() {
    for seen in [0, 5] {
        let ack = told(settled(), seen).unwrap();
        assert_eq!((ack.scope, ack.epoch, ack.seq), (Scope::default(), EPOCH, Seq(5)));
        assert_eq!((ack.digest, ack.mark), (Some(Digest(3)), Some(mark(5))));
    }
}

#[test]
fn a_scope_that_was_never_pulled_has_nothing_to_tell() {
    let other = ScopeSummary { scope: Scope::new("other").unwrap(), ..settled() };
    assert_eq!(told(other, 0), None);
    assert_eq!(told(ScopeSummary { checkpoint: Checkpoint::default(), ..settled() }, 0), None);
}

#[test]
fn a_digest_that_need_not_be_the_servers_is_not_told() {
    let outbox = |counts| ScopeSummary { outbox: counts, ..settled() };
    let at = |checkpoint| ScopeSummary { checkpoint, ..settled() };
    let whole = settled().checkpoint;
    let backfills = BTreeMap::from([(notes(), Seq(2))]);
    let full_pull = Some(FullPull { floor: Seq(9), generation: 1, marks: false });
    for (summary, seq) in [
        (outbox(OutboxCounts { pending: 1, ..Default::default() }), 5),
        (outbox(OutboxCounts { in_flight: 1, ..Default::default() }), 5),
        (outbox(OutboxCounts { deferred: 1, ..Default::default() }), 5),
        (at(Checkpoint { backfills, ..whole.clone() }), 2),
        (at(Checkpoint { full_pull, ..whole }), 5),
        (ScopeSummary { is_partial: true, ..settled() }, 5),
    ] {
        let ack = told(summary.clone(), 0).unwrap();
        assert_eq!((ack.seq, ack.digest), (Seq(seq), None), "{summary:?}");
    }
    assert_eq!(told(settled(), 6).unwrap().digest, None, "what was settled lies ahead");
}

#[test]
fn edits_that_do_not_travel_keep_no_digest_back() {
    let counts = OutboxCounts { quarantined: 1, not_chosen: 1, ..Default::default() };
    let ack = told(ScopeSummary { outbox: counts, ..settled() }, 0).unwrap();
    assert_eq!(ack.digest, Some(Digest(3)));
}

#[tokio::test(start_paused = true)]
async fn the_position_at_the_head_is_told_before_everything_is_in_sync() {
    let mut stage = Stage::new();
    let driver = stage.once().await;
    stage.peer.greet(2).await;
    stage.bring(2).await;
    let ack = stage.peer.acknowledge().await;
    assert_eq!((ack.what.epoch, ack.what.seq), (EPOCH, Seq(2)));
    assert!(ack.what.digest.is_some());
    assert_eq!(driver.status().borrow().phase, Phase::Syncing);
    ack.answer(None);
    until(&driver, |s| s.phase == Phase::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_follows_tells_its_position_as_often_as_the_options_say() {
    let mut stage = Stage::new();
    let mut options = options();
    options.acknowledge_every = Duration::from_secs(7);
    let driver = stage.run(options, Goal::default()).await;
    stage.peer.greet(1).await;
    stage.bring(1).await;
    let live = stage.peer.live().await;
    let began = Instant::now();
    stage.peer.acknowledge().await.answer(None);
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    for seq in 2..=4 {
        live.bring(Ok(Delivery::Chunk(chunk(seq - 1, vec![entry(seq)]))));
        until(&driver, |s| s.scopes[0].progress.position == Seq(seq)).await;
    }
    let ack = stage.peer.acknowledge().await;
    assert_eq!((ack.what.seq, began.elapsed()), (Seq(4), Duration::from_secs(14)));
}

#[tokio::test(start_paused = true)]
async fn what_the_greeting_told_is_not_told_again() {
    let mut stage = Stage::new();
    let driver = stage.run(options(), PULL).await;
    let link = stage.peer.greet(2).await;
    stage.catch_up(&driver, 2).await;
    link.lose(network("the cable is cut"));
    stage.peer.close().await;
    let attempt = stage.peer.connect().await;
    assert!(attempt.what.scopes[0].digest.is_some());
    attempt.welcome(2);
    until(&driver, |s| s.phase == Phase::InSync).await;
    stage.peer.is_quiet_for(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_greeting_told_is_told_again_after_it_was_answered_with_a_reset() {
    let mut stage = Stage::new();
    let driver = stage.run(options(), PULL).await;
    let link = stage.peer.greet(2).await;
    stage.catch_up(&driver, 2).await;
    link.lose(network("the cable is cut"));
    let attempt = stage.peer.connect().await;
    let mut welcome = welcome(&attempt.what, 2);
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    welcome.scopes[0].reset = Some(reset);
    attempt.welcome_with(welcome);
    stage.bring(2).await;
    let ack = stage.peer.acknowledge().await;
    assert_eq!(ack.what.seq, Seq(2));
    ack.answer(None);
    until(&driver, |s| s.phase == Phase::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_told_on_this_connection_is_not_told_again() {
    let mut stage = Stage::new();
    let driver = stage.run(options(), PULL).await;
    stage.peer.greet(2).await;
    stage.catch_up(&driver, 2).await;
    driver.run(PULL).await.unwrap();
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    stage.peer.pull().await.answer(Delivery::Reset(reset));
    stage.bring(2).await;
    until(&driver, |s| s.runs == 2 && s.phase == Phase::InSync).await;
    stage.peer.is_quiet_for(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_position_that_the_server_does_not_want_to_hear_of_now_fails_nothing() {
    let mut stage = Stage::new();
    let driver = stage.run(options(), PULL).await;
    stage.peer.greet(2).await;
    stage.bring(2).await;
    stage.peer.acknowledge().await.fail(Error::new(ErrorKind::Overloaded, "not now"));
    let status = until(&driver, |s| s.phase == Phase::InSync).await;
    assert_eq!(status.failures, 0);
    assert!(stage.seen.statuses.lock().unwrap().iter().all(|s| s.last_error.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_differs_has_everything_pulled_afresh() {
    let mut stage = Stage::new();
    let driver = stage.run(options(), PULL).await;
    stage.peer.greet(2).await;
    stage.bring(2).await;
    let reset = Reset { epoch: EPOCH, reason: ResetReason::DigestDiffers };
    stage.peer.acknowledge().await.answer(Some(reset));
    let pull = stage.peer.pull().await;
    assert_eq!(pull.what.cursor.after, Seq(0));
    pull.answer(Delivery::Chunk(chunk(0, vec![entry(1), entry(2)])));
    // What was answered with a reset was not heard.
    stage.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.phase == Phase::InSync).await;
}
