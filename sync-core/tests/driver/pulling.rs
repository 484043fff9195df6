//! Chunks, live streams, resets, and scopes that leave.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::support::{EPOCH, Fixture, chunk, entry, network, options, until};
use sync_core::engine::{Event, Goal, Phase};
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{Limits, Reset, ResetReason, Scope, Seq};
use sync_core::storage::Storage;
use sync_core::transport::{Delivery, Moved};

const LIVE: Goal = Goal { push: false, pull: true, live: true };

#[tokio::test(start_paused = true)]
async fn chunks_are_applied_one_after_the_other_up_to_the_head() {
    let mut fixture = Fixture::new();
    let mut options = options();
    options.chunk_limits = Limits { documents: 5, bytes: 1 << 20 };
    let driver = fixture.run(options.clone(), Goal::ONCE).await;
    fixture.peer.greet(2).await;
    let pull = fixture.peer.pull().await;
    let asked = Limits { documents: 5, bytes: options.engine.first_pull_bytes };
    assert_eq!((pull.what.scope.clone(), pull.what.limits), (Scope::default(), asked));
    let mut first = chunk(0, vec![entry(1)]);
    first.head = Seq(2);
    pull.answer(Delivery::Chunk(first));
    let pull = fixture.peer.pull().await;
    assert_eq!(pull.what.cursor.after, Seq(1));
    pull.answer(Delivery::Chunk(chunk(1, vec![entry(2)])));
    fixture.peer.acknowledge().await.answer(None);
    let status = until(&driver, |s| s.progress.phase == Phase::InSync).await;
    let progress = status.progress.scopes[0].1;
    assert_eq!((progress.pulled, progress.position, progress.head), (2, Seq(2), Seq(2)));
    assert_eq!(fixture.storage.state().await.unwrap().scopes[0].documents, 2);
    let committed = fixture.seen.committed.lock().unwrap();
    assert_eq!(committed.iter().map(|c| c.applied).collect::<Vec<_>>(), [0, 1, 1]);
    assert!(fixture.seen.has(&Event::InSync));
}

/// A driver that follows the log of one entry.
async fn following(fixture: &mut Fixture) -> (sync_core::driver::Driver, super::peer::Live) {
    let driver = fixture.run(options(), LIVE).await;
    fixture.peer.greet(1).await;
    fixture.bring(1).await;
    let live = fixture.peer.live().await;
    assert_eq!(live.pull.cursor.after, Seq(1));
    fixture.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    (driver, live)
}

#[tokio::test(start_paused = true)]
async fn the_chunks_of_a_live_stream_are_applied_one_by_one() {
    let mut fixture = Fixture::new();
    let (driver, live) = following(&mut fixture).await;
    for seq in 2..=4 {
        live.bring(Ok(Delivery::Chunk(chunk(seq - 1, vec![entry(seq)]))));
        until(&driver, |s| s.progress.scopes[0].1.position == Seq(seq)).await;
    }
    assert_eq!(fixture.storage.calls("apply"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_that_ends_in_silence_is_a_lost_link() {
    let mut fixture = Fixture::new();
    let (driver, live) = following(&mut fixture).await;
    drop(live);
    let status = until(&driver, |s| s.progress.phase == Phase::Offline).await;
    assert_eq!(status.last_error.unwrap().message(), "the live stream ended");
    fixture.peer.greet(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_is_dropped_when_it_is_not_wanted_any_more() {
    let mut fixture = Fixture::new();
    let (driver, live) = following(&mut fixture).await;
    driver.run(Goal { push: false, ..Goal::ONCE }).await.unwrap();
    live.dropped().await;
    fixture.peer.pull().await.nothing_new();
    until(&driver, |s| s.runs == 2 && s.progress.phase == Phase::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_overdue_when_too_few_bytes_have_moved_for_its_time() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let attempt = fixture.peer.connect().await;
    let link = attempt.welcome(1);
    *link.moved.lock().unwrap() = Some(Moved { up: 0, down: 0 });
    let _unanswered = fixture.peer.pull().await;
    let asked = Instant::now();
    // Bytes arrive in the first and in the second minute, and none in the third.
    for down in [8 << 10, 16 << 10] {
        sleep(Duration::from_secs(59)).await;
        *link.moved.lock().unwrap() = Some(Moved { up: 0, down });
    }
    until(&driver, |s| s.progress.phase == Phase::Offline).await;
    assert_eq!(asked.elapsed(), Duration::from_secs(180));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_moved_before_do_not_count_for_a_pull() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let attempt = fixture.peer.connect().await;
    let link = attempt.welcome(1);
    *link.moved.lock().unwrap() = Some(Moved { up: 9 << 20, down: 8 << 10 });
    let _unanswered = fixture.peer.pull().await;
    let asked = Instant::now();
    until(&driver, |s| s.progress.phase == Phase::Offline).await;
    assert_eq!(asked.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_reset_discards_the_position_and_everything_is_pulled_again() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(2).await;
    fixture.catch_up(&driver, 2).await;
    driver.run(Goal::ONCE).await.unwrap();
    let pull = fixture.peer.pull().await;
    assert_eq!(pull.what.cursor.after, Seq(2));
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    pull.answer(Delivery::Reset(reset));
    let pull = fixture.peer.pull().await;
    assert_eq!(pull.what.cursor.after, Seq(0));
    assert!(fixture.seen.has(&Event::Reset(Scope::default(), reset)));
    pull.answer(Delivery::Chunk(chunk(0, vec![entry(1), entry(2)])));
    until(&driver, |s| s.runs == 2 && s.progress.phase == Phase::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_the_storage_fails_is_tried_again() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(2).await;
    fixture.storage.fail("reset", Error::new(ErrorKind::Storage, "the disk is full"));
    let reset = Reset { epoch: EPOCH, reason: ResetReason::BelowHorizon };
    fixture.peer.pull().await.answer(Delivery::Reset(reset));
    let status = until(&driver, |s| s.failures == 1).await;
    assert_eq!(status.last_error.unwrap().message(), "the disk is full");
    fixture.storage.called("reset", 2).await;
    fixture.catch_up(&driver, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_may_not_be_seen_any_more_is_removed_from_the_device() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let link = fixture.peer.greet(2).await;
    fixture.catch_up(&driver, 2).await;
    link.lose(network("the cable is cut"));
    fixture.peer.connect().await.welcome_without_scopes();
    until(&driver, |s| s.progress.refused == Some(ErrorKind::PermissionDenied)).await;
    fixture.storage.called("forget", 1).await;
    until(&driver, |s| s.progress.scopes[0].1.position == Seq(0)).await;
    assert!(fixture.seen.has(&Event::ScopeGone(Scope::default())));
    let state = fixture.storage.state().await.unwrap();
    assert_eq!(state.scope(&Scope::default()).map_or(0, |s| s.documents), 0);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_the_storage_rejects_is_pulled_again_later() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(1).await;
    fixture.storage.fail("apply", Error::new(ErrorKind::Storage, "the disk is full"));
    fixture.bring(1).await;
    let status = until(&driver, |s| s.failures == 1).await;
    assert_eq!(status.last_error.unwrap().message(), "the disk is full");
    fixture.peer.is_quiet_for(Duration::from_millis(249)).await;
    fixture.catch_up(&driver, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_advice_of_a_failed_pull_is_kept() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(1).await;
    let busy = Error::new(ErrorKind::Overloaded, "too many at once");
    let wait = Duration::from_secs(20);
    fixture.peer.pull().await.fail(busy.retrying(Retry::Later(Some(wait))));
    until(&driver, |s| s.failures == 1).await;
    fixture.peer.is_quiet_for(wait).await;
    fixture.catch_up(&driver, 1).await;
}
