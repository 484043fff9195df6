//! How a driver starts and stops.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::support::{Fixture, chunk, entry, notes, options, until, within};
use sync_core::driver::Driver;
use sync_core::engine::{Goal, Phase};
use sync_core::error::{Error, ErrorKind};
use sync_core::model::{Scope, Seq};
use sync_core::storage::Storage;
use sync_core::transport::Delivery;

#[tokio::test(start_paused = true)]
async fn a_driver_is_at_rest_until_it_is_run_and_counts_its_runs() {
    let mut fixture = Fixture::new();
    let driver = fixture.start(options()).await;
    fixture.peer.is_quiet_for(Duration::from_secs(60)).await;
    assert_eq!(driver.status().borrow().progress.phase, Phase::Stopped);
    for n in 1..=3 {
        assert_eq!(driver.run(Goal::ONCE).await.unwrap(), n);
    }
    until(&driver, |s| s.runs == 3 && s.progress.phase == Phase::Connecting).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_sends_a_goodbye_releases_the_lease_and_ends_the_driver() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    driver.stop().await;
    assert_eq!(fixture.peer.close().await.reason, "the replica stops");
    assert_eq!(fixture.storage.calls("release"), 1);
    assert_eq!(driver.status().borrow().progress.phase, Phase::Stopped);
    assert_eq!(
        fixture.seen.statuses.lock().unwrap().last().unwrap().progress.phase,
        Phase::Stopped
    );
    assert_eq!(driver.run(Goal::ONCE).await.unwrap_err().kind(), ErrorKind::Closed);
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_driver_stops_it() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    drop(driver);
    assert_eq!(fixture.peer.close().await.reason, "the replica stops");
    fixture.storage.called("release", 1).await;
}

/// Stops a driver in a separate task.
fn stop(driver: &Arc<Driver>) -> JoinHandle<()> {
    let driver = Arc::clone(driver);
    tokio::spawn(async move { driver.stop().await })
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_the_storages_work() {
    let mut fixture = Fixture::new();
    let driver = Arc::new(fixture.once().await);
    fixture.peer.greet(2).await;
    let held = fixture.storage.hold("apply");
    fixture.bring(2).await;
    fixture.storage.called("apply", 1).await;
    let stopping = stop(&driver);
    fixture.peer.close().await;
    sleep(Duration::from_secs(60)).await;
    assert!(!stopping.is_finished());
    assert_eq!(fixture.storage.calls("release"), 0);
    drop(held);
    within("the driver stops", stopping).await.unwrap();
    assert_eq!(fixture.storage.calls("release"), 1);
    let state = fixture.storage.state().await.unwrap();
    assert_eq!(state.checkpoint(&Scope::default()).position, Seq(2));
    let taken = fixture.seen.committed.lock().unwrap().iter().map(|c| c.applied).sum::<usize>();
    assert_eq!(taken, 2, "the observer is told of it");
}

#[tokio::test(start_paused = true)]
async fn every_call_that_stops_a_driver_waits_for_its_end() {
    let mut fixture = Fixture::new();
    let driver = Arc::new(fixture.once().await);
    fixture.peer.greet(2).await;
    let held = fixture.storage.hold("apply");
    fixture.bring(2).await;
    fixture.storage.called("apply", 1).await;
    // One call is cancelled, and two more wait at the same time.
    assert!(timeout(Duration::from_secs(1), driver.stop()).await.is_err());
    let calls = [stop(&driver), stop(&driver)];
    sleep(Duration::from_secs(60)).await;
    assert!(!calls.iter().any(JoinHandle::is_finished));
    let other = Driver::start(fixture.parts.clone(), options()).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Busy);
    drop(held);
    for call in calls {
        within("the driver stops", call).await.unwrap();
    }
    assert_eq!(fixture.storage.calls("release"), 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_nothing_but_the_storage() {
    let mut fixture = Fixture::new();
    let mut options = options();
    options.acknowledge_every = Duration::from_secs(60 * 60);
    let driver = fixture.run(options, Goal::default()).await;
    fixture.peer.greet(1).await;
    fixture.bring(1).await;
    // The position is acknowledged in an hour.
    let _live = fixture.peer.live().await;
    assert!(timeout(Duration::from_secs(1), driver.stop()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn stopping_cancels_an_attempt_to_connect() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    let attempt = fixture.peer.connect().await;
    assert!(timeout(Duration::from_secs(1), driver.stop()).await.is_ok());
    attempt.dropped().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_is_reported_although_the_lease_cannot_be_released() {
    let fixture = Fixture::new();
    let driver = fixture.once().await;
    until(&driver, |s| s.progress.phase == Phase::Connecting).await;
    fixture.storage.fail("release", Error::new(ErrorKind::Storage, "the disk is full"));
    driver.stop().await;
    assert_eq!(driver.status().borrow().progress.phase, Phase::Stopped);
}

#[tokio::test(start_paused = true)]
async fn one_driver_runs_over_a_storage_and_another_one_after_it() {
    let fixture = Fixture::new();
    let mut named = options();
    named.holder = "the app".to_owned();
    let first = fixture.start(named).await;
    let error = Driver::start(fixture.parts.clone(), options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("holder the app"), "{error}");
    first.stop().await;
    fixture.start(options()).await.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_cannot_start_leaves_nothing_behind() {
    let fixture = Fixture::new();
    for call in ["set_collections", "state"] {
        fixture.storage.fail(call, Error::new(ErrorKind::Storage, "the disk is gone"));
        let error = Driver::start(fixture.parts.clone(), options()).await.unwrap_err();
        assert_eq!(error.message(), "the disk is gone");
    }
    assert_eq!(fixture.storage.calls("release"), 2);
    fixture.start(options()).await;
}

#[tokio::test(start_paused = true)]
async fn the_collections_of_the_options_are_chosen_before_the_first_greeting() {
    let mut fixture = Fixture::new();
    let chosen = Some(BTreeSet::from([notes()]));
    let mut options = options();
    options.collections.clone_from(&chosen);
    let _driver = fixture.run(options, Goal::ONCE).await;
    assert_eq!(fixture.seen.committed.lock().unwrap().len(), 1);
    let hello = fixture.peer.connect().await.what;
    assert_eq!(hello.scopes[0].cursor.collections, chosen);
}

#[tokio::test(start_paused = true)]
async fn each_reported_status_differs_from_the_one_before() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(2).await;
    let pull = fixture.peer.pull().await;
    pull.answer(Delivery::Chunk(chunk(0, vec![entry(1), entry(2)])));
    fixture.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    // A commit that changes nothing that the status shows.
    fixture.write("note").await;
    fixture.storage.called("next_push", 2).await;
    yield_now().await;
    let statuses = fixture.seen.statuses.lock().unwrap();
    assert!(statuses.windows(2).all(|pair| pair[0] != pair[1]), "{statuses:?}");
    let phases: Vec<_> = statuses.iter().map(|s| s.progress.phase).collect();
    for phase in [Phase::Connecting, Phase::Syncing, Phase::InSync] {
        assert!(phases.contains(&phase), "{phases:?}");
    }
}
