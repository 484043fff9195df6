//! The acknowledgements of a replica's position.

use std::time::Duration;

use tokio::time::Instant;

use super::support::{EPOCH, Fixture, chunk, entry, network, options, until, welcome};
use sync_core::engine::{Goal, Phase};
use sync_core::error::{Error, ErrorKind};
use sync_core::model::{Reset, ResetReason, Seq};
use sync_core::transport::Delivery;

const PULL: Goal = Goal { push: false, ..Goal::ONCE };

#[tokio::test(start_paused = true)]
async fn the_position_at_the_head_is_acknowledged_before_everything_is_in_sync() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(2).await;
    fixture.bring(2).await;
    let ack = fixture.peer.acknowledge().await;
    assert_eq!((ack.what.epoch, ack.what.seq), (EPOCH, Seq(2)));
    assert!(ack.what.digest.is_some());
    assert_eq!(driver.status().borrow().progress.phase, Phase::Syncing);
    ack.answer(None);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_follows_acknowledges_as_often_as_the_options_say() {
    let mut fixture = Fixture::new();
    let mut options = options();
    options.acknowledge_every = Duration::from_secs(7);
    let driver = fixture.run(options, Goal::default()).await;
    fixture.peer.greet(1).await;
    fixture.bring(1).await;
    let live = fixture.peer.live().await;
    let began = Instant::now();
    fixture.peer.acknowledge().await.answer(None);
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    for seq in 2..=4 {
        live.bring(Ok(Delivery::Chunk(chunk(seq - 1, vec![entry(seq)]))));
        until(&driver, |s| s.progress.scopes[0].1.position == Seq(seq)).await;
    }
    let ack = fixture.peer.acknowledge().await;
    assert_eq!((ack.what.seq, began.elapsed()), (Seq(4), Duration::from_secs(14)));
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_acknowledges_is_not_followed_by_the_same_acknowledgement() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(options(), PULL).await;
    let link = fixture.peer.greet(2).await;
    fixture.catch_up(&driver, 2).await;
    link.lose(network("the cable is cut"));
    fixture.peer.close().await;
    let attempt = fixture.peer.connect().await;
    assert!(attempt.what.scopes[0].digest.is_some());
    attempt.welcome(2);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    fixture.peer.is_quiet_for(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_in_a_greeting_is_repeated_after_a_reset() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(options(), PULL).await;
    let link = fixture.peer.greet(2).await;
    fixture.catch_up(&driver, 2).await;
    link.lose(network("the cable is cut"));
    let attempt = fixture.peer.connect().await;
    let mut welcome = welcome(&attempt.what, 2);
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    welcome.scopes[0].reset = Some(reset);
    attempt.welcome_with(welcome);
    fixture.bring(2).await;
    let ack = fixture.peer.acknowledge().await;
    assert_eq!(ack.what.seq, Seq(2));
    ack.answer(None);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_not_repeated_on_its_connection() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(options(), PULL).await;
    fixture.peer.greet(2).await;
    fixture.catch_up(&driver, 2).await;
    driver.run(PULL).await.unwrap();
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    fixture.peer.pull().await.answer(Delivery::Reset(reset));
    fixture.bring(2).await;
    until(&driver, |s| s.runs == 2 && s.progress.phase == Phase::InSync).await;
    fixture.peer.is_quiet_for(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_acknowledgement_fails_nothing() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(options(), PULL).await;
    fixture.peer.greet(2).await;
    fixture.bring(2).await;
    fixture.peer.acknowledge().await.fail(Error::new(ErrorKind::Overloaded, "not now"));
    let status = until(&driver, |s| s.progress.phase == Phase::InSync).await;
    assert_eq!(status.failures, 0);
    assert!(fixture.seen.statuses.lock().unwrap().iter().all(|s| s.last_error.is_none()));
}

#[tokio::test(start_paused = true)]
async fn after_a_digest_that_differs_everything_is_pulled_again() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(options(), PULL).await;
    fixture.peer.greet(2).await;
    fixture.bring(2).await;
    let reset = Reset { epoch: EPOCH, reason: ResetReason::DigestDiffers };
    fixture.peer.acknowledge().await.answer(Some(reset));
    let pull = fixture.peer.pull().await;
    assert_eq!(pull.what.cursor.after, Seq(0));
    pull.answer(Delivery::Chunk(chunk(0, vec![entry(1), entry(2)])));
    // An acknowledgement that was answered with a reset is repeated.
    fixture.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
}
