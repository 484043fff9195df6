//! Batches, their verdicts, and what a look at the outbox does.

use super::peer::Asked;
use super::support::{
    BEGINNING, EPOCH, Stage, chunk, entry, key, network, options, state, until, verdicts, welcome,
};
use sync_core::driver::Driver;
use sync_core::engine::{Event, Goal, Phase};
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{
    Limits, LogEntry, PushBatch, Rejection, RejectionCode, Scope, Seq, Stamp, Verdict, VerdictKind,
    Verdicts,
};
use sync_core::replica::{OutboxCounts, Unsettled, UnsettledAfter};
use sync_core::storage::Storage;
use sync_core::transport::Delivery;

const PUSH: Goal = Goal { push: true, pull: false, live: false };

async fn outbox(stage: &Stage) -> OutboxCounts {
    stage.storage.state().await.unwrap().outbox(&Scope::default())
}

async fn pushing(stage: &mut Stage) -> Driver {
    let driver = stage.run(options(), PUSH).await;
    stage.peer.greet(0).await;
    driver
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_pushed_settled_and_counted() {
    let mut stage = Stage::new();
    stage.write("a").await;
    stage.write("b").await;
    let driver = pushing(&mut stage).await;
    let push = stage.peer.push().await;
    assert_eq!(push.what.changes.len(), 2);
    push.accept(1);
    let status = until(&driver, |s| s.phase == Phase::InSync).await;
    assert_eq!((status.pushed, status.conflicts, status.failures), (2, 0, 0));
    assert_eq!(outbox(&stage).await, OutboxCounts::default());
    assert_eq!(stage.seen.committed.lock().unwrap().last().unwrap().taken, 2);
    stage.write("c").await;
    stage.peer.push().await.accept(3);
    until(&driver, |s| s.pushed == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_to_the_limits_of_both_sides() {
    for of_server in [true, false] {
        let mut stage = Stage::new();
        stage.write("a").await;
        stage.write("b").await;
        let mut options = options();
        let one = Limits { documents: 1, bytes: 1 << 20 };
        if !of_server {
            options.push_limits = one;
        }
        let driver = stage.run(options, PUSH).await;
        let attempt = stage.peer.connect().await;
        let mut welcome = welcome(&attempt.what, 0);
        if of_server {
            welcome.push_limits = one;
        }
        attempt.welcome_with(welcome);
        for seq in 1..=2 {
            let push = stage.peer.push().await;
            assert_eq!(push.what.changes.len(), 1);
            push.accept(seq);
        }
        assert_eq!(until(&driver, |s| s.phase == Phase::InSync).await.pushed, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn bounds_of_nothing_still_let_one_transaction_pass() {
    let mut stage = Stage::new();
    stage.write("a").await;
    let mut options = options();
    options.push_limits = Limits::NONE;
    let driver = stage.run(options, PUSH).await;
    stage.peer.greet(0).await;
    stage.peer.push().await.accept(1);
    assert_eq!(until(&driver, |s| s.phase == Phase::InSync).await.pushed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_link_was_lost_is_pushed_again_as_it_was() {
    let mut stage = Stage::new();
    stage.write("a").await;
    let driver = stage.run(options(), PUSH).await;
    let link = stage.peer.greet(0).await;
    let first = stage.peer.push().await;
    link.lose(network("the cable is cut"));
    stage.peer.greet(0).await;
    let second = stage.peer.push().await;
    assert_eq!(first.what, second.what);
    second.accept(1);
    assert_eq!(until(&driver, |s| s.phase == Phase::InSync).await.pushed, 1);
}

/// Refuses each batch by its size until it is recalled, and gives the recall.
async fn recalled(stage: &mut Stage) -> Asked<PushBatch, Verdicts> {
    loop {
        let push = stage.peer.push().await;
        if push.what.recall.is_some() {
            return push;
        }
        push.fail(Error::new(ErrorKind::TooLarge, "the proxy takes 10 bytes"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_is_too_large_to_travel_goes_into_the_quarantine_with_what_was_said() {
    let mut stage = Stage::new();
    stage.write("large").await;
    let driver = pushing(&mut stage).await;
    recalled(&mut stage).await.answer(Verdicts::Recalled);
    until(&driver, |s| s.phase == Phase::InSync).await;
    let (which, limits) = (Unsettled::Quarantine, Limits::PUSH);
    let page =
        stage.storage.unsettled(Scope::default(), which, UnsettledAfter::Start, limits).await;
    let entries = page.unwrap().items;
    let (rejection, ..) = entries[0].refused.as_ref().unwrap();
    assert_eq!((entries.len(), rejection.code), (1, RejectionCode::TooLarge));
    assert!(rejection.reason.contains("the proxy takes 10 bytes"), "{}", rejection.reason);
}

#[tokio::test(start_paused = true)]
async fn conflicts_that_were_met_are_counted() {
    let mut stage = Stage::new();
    stage.write("a").await;
    stage.write("b").await;
    let driver = stage.run(options(), Goal { push: false, ..Goal::ONCE }).await;
    stage.peer.greet(2).await;
    let of = |seq, id: &str| {
        let key = key(id);
        LogEntry { seq: Seq(seq), collection: key.collection, id: key.id, state: state(seq) }
    };
    let entries = vec![of(1, "a"), of(2, "b")];
    stage.peer.pull().await.answer(Delivery::Chunk(chunk(0, entries)));
    until(&driver, |s| s.conflicts == 2).await;
}

/// What is shown of a verdict that leaves the edit as it was.
async fn shown(kind: VerdictKind) -> Error {
    let mut stage = Stage::new();
    let driver = stage.once().await;
    stage.peer.greet(1).await;
    stage.catch_up(&driver, 1).await;
    stage.write("remote-1").await;
    let push = stage.peer.push().await;
    // It names the position of which the edit was made.
    let verdicts = verdicts(&push.what, 1, &kind);
    push.answer(verdicts);
    let status = until(&driver, |s| s.failures == 1).await;
    assert!(stage.seen.events.lock().unwrap().iter().any(|e| matches!(e, Event::Stalled(..))));
    status.last_error.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_changes_nothing_is_shown() {
    let nothing = "the server's answer changes nothing";
    let known = "the server answers with a conflict that is known already";
    for (kind, message, answer) in [
        (VerdictKind::Accepted, nothing, "accepted"),
        (VerdictKind::Superseded, nothing, "superseded"),
        (VerdictKind::Merged, nothing, "merged"),
        (VerdictKind::Conflict, known, "conflict"),
    ] {
        let error = shown(kind).await;
        assert_eq!((error.kind(), error.message()), (ErrorKind::Protocol, message));
        let text = error.to_string();
        assert!(text.starts_with("push: "), "{text}");
        assert!(text.contains(&format!("answer {answer}")), "{text}");
        assert!(text.contains("default/notes/remote-1"), "{text}");
        assert_eq!(error.retry(), Retry::Later(None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_refused_is_shown_with_the_servers_time() {
    let code = RejectionCode::Clock { server_time: Stamp::new(BEGINNING, 0) };
    let rejection = Rejection { code, reason: "it lies in the future".to_owned() };
    let error = shown(VerdictKind::Rejected(rejection)).await;
    assert_eq!(error.message(), "the server's clock disagrees with the time of an edit");
    let text = error.to_string();
    assert!(text.contains("it lies in the future"), "{text}");
    assert!(text.contains(&format!("server_time {BEGINNING}")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_which_one_edit_got_further_is_no_failure() {
    let mut stage = Stage::new();
    let driver = stage.once().await;
    stage.peer.greet(1).await;
    stage.catch_up(&driver, 1).await;
    // Two edits in one batch: the driver looks at the outbox once the second one is written.
    let held = stage.storage.hold("next_push");
    stage.write("remote-1").await;
    stage.write("new").await;
    drop(held);
    let push = stage.peer.push().await;
    assert_eq!(push.what.changes.len(), 2);
    let verdict = |seq, kind| Verdict { seq: Seq(seq), kind, current: None };
    let decided = vec![verdict(1, VerdictKind::Superseded), verdict(2, VerdictKind::Accepted)];
    push.answer(Verdicts::Decided { epoch: EPOCH, mark: None, verdicts: decided });
    let status = until(&driver, |s| s.pushed == 2).await;
    assert!(status.last_error.is_none(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_the_storage_does_not_take_are_asked_for_again() {
    let mut stage = Stage::new();
    stage.write("a").await;
    let driver = pushing(&mut stage).await;
    stage.storage.fail("settle", Error::new(ErrorKind::Storage, "the disk is full"));
    stage.peer.push().await.accept(1);
    let status = until(&driver, |s| s.failures == 1).await;
    assert_eq!((status.pushed, status.last_error.unwrap().message()), (0, "the disk is full"));
    stage.peer.push().await.accept(1);
    until(&driver, |s| s.pushed == 1).await;
}

#[tokio::test(start_paused = true)]
async fn writes_while_the_outbox_is_looked_at_make_it_looked_at_again() {
    let mut stage = Stage::new();
    let driver = pushing(&mut stage).await;
    until(&driver, |s| s.phase == Phase::InSync).await;
    let (looks, held) = (stage.storage.calls("state"), stage.storage.hold("state"));
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        stage.write(id).await;
        stage.storage.called("state", looks + 1).await;
        assert_eq!(stage.storage.calls("state"), looks + 1, "after {n} more");
    }
    drop(held);
    assert_eq!(stage.peer.push().await.what.changes.len(), 3);
    stage.storage.called("state", looks + 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_server_brings_is_nothing_to_push() {
    let mut stage = Stage::new();
    let driver = stage.run(options(), Goal::default()).await;
    stage.peer.greet(1).await;
    stage.bring(1).await;
    let live = stage.peer.live().await;
    stage.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.phase == Phase::InSync).await;
    let (looks, formed) = (stage.storage.calls("state"), stage.storage.calls("next_push"));
    live.bring(Ok(Delivery::Chunk(chunk(1, vec![entry(2)]))));
    stage.storage.called("state", looks + 1).await;
    stage.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.scopes[0].progress.position == Seq(2)).await;
    assert_eq!(stage.storage.calls("next_push"), formed);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_outbox_that_fails_for_a_while_leaves_the_connection_alone() {
    let mut stage = Stage::new();
    let driver = pushing(&mut stage).await;
    until(&driver, |s| s.phase == Phase::InSync).await;
    let looks = stage.storage.calls("state");
    stage.storage.fail("state", Error::new(ErrorKind::Storage, "it is locked"));
    stage.write("a").await;
    stage.storage.called("state", looks + 1).await;
    stage.write("b").await;
    assert_eq!(stage.peer.push().await.what.changes.len(), 2);
    assert_eq!(driver.status().borrow().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_is_gone_for_good_ends_the_attempts() {
    let mut stage = Stage::new();
    let driver = pushing(&mut stage).await;
    until(&driver, |s| s.phase == Phase::InSync).await;
    let gone = Error::new(ErrorKind::Storage, "the disk is gone").retrying(Retry::Never);
    stage.storage.fail("state", gone);
    stage.write("a").await;
    let status = until(&driver, |s| s.refused == Some(ErrorKind::Storage)).await;
    assert_eq!(status.phase, Phase::Stopped);
    assert_eq!(status.last_error.unwrap().message(), "the disk is gone");
    stage.peer.close().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_new_identity_the_batch_is_formed_anew() {
    let mut stage = Stage::new();
    stage.write("a").await;
    let driver = pushing(&mut stage).await;
    let first = stage.peer.push().await;
    let replica = first.what.replica;
    first.answer(Verdicts::Cloned);
    let attempt = stage.peer.connect().await;
    assert_ne!(attempt.what.replica, replica);
    let renamed = attempt.what.replica;
    attempt.welcome(0);
    let push = stage.peer.push().await;
    assert_eq!(push.what.replica, renamed);
    push.accept(1);
    until(&driver, |s| s.pushed == 1).await;
    assert!(stage.seen.has(&Event::Reidentified));
}
