//! Batches, their verdicts, and reads of the outbox.

use super::peer::Asked;
use super::support::{
    BEGINNING, EPOCH, Fixture, chunk, entry, key, network, options, state, until, verdicts, welcome,
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

async fn outbox(fixture: &Fixture) -> OutboxCounts {
    fixture.storage.state().await.unwrap().outbox(&Scope::default())
}

async fn pushing(fixture: &mut Fixture) -> Driver {
    let driver = fixture.run(options(), PUSH).await;
    fixture.peer.greet(0).await;
    driver
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_pushed_settled_and_counted() {
    let mut fixture = Fixture::new();
    fixture.write("a").await;
    fixture.write("b").await;
    let driver = pushing(&mut fixture).await;
    let push = fixture.peer.push().await;
    assert_eq!(push.what.changes.len(), 2);
    push.accept(1);
    let status = until(&driver, |s| s.progress.phase == Phase::InSync).await;
    assert_eq!((status.pushed, status.conflicts, status.failures), (2, 0, 0));
    assert_eq!(outbox(&fixture).await, OutboxCounts::default());
    assert_eq!(fixture.seen.committed.lock().unwrap().last().unwrap().applied, 2);
    fixture.write("c").await;
    fixture.peer.push().await.accept(3);
    until(&driver, |s| s.pushed == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_to_the_limits_of_both_sides() {
    for of_server in [true, false] {
        let mut fixture = Fixture::new();
        fixture.write("a").await;
        fixture.write("b").await;
        let mut options = options();
        let one = Limits { documents: 1, bytes: 1 << 20 };
        if !of_server {
            options.push_limits = one;
        }
        let driver = fixture.run(options, PUSH).await;
        let attempt = fixture.peer.connect().await;
        let mut welcome = welcome(&attempt.what, 0);
        if of_server {
            welcome.push_limits = one;
        }
        attempt.welcome_with(welcome);
        for seq in 1..=2 {
            let push = fixture.peer.push().await;
            assert_eq!(push.what.changes.len(), 1);
            push.accept(seq);
        }
        assert_eq!(until(&driver, |s| s.progress.phase == Phase::InSync).await.pushed, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn limits_of_zero_still_allow_one_transaction() {
    let mut fixture = Fixture::new();
    fixture.write("a").await;
    let mut options = options();
    options.push_limits = Limits::NONE;
    let driver = fixture.run(options, PUSH).await;
    fixture.peer.greet(0).await;
    fixture.peer.push().await.accept(1);
    assert_eq!(until(&driver, |s| s.progress.phase == Phase::InSync).await.pushed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_link_was_lost_is_pushed_again_as_it_was() {
    let mut fixture = Fixture::new();
    fixture.write("a").await;
    let driver = fixture.run(options(), PUSH).await;
    let link = fixture.peer.greet(0).await;
    let first = fixture.peer.push().await;
    link.lose(network("the cable is cut"));
    fixture.peer.greet(0).await;
    let second = fixture.peer.push().await;
    assert_eq!(first.what, second.what);
    second.accept(1);
    assert_eq!(until(&driver, |s| s.progress.phase == Phase::InSync).await.pushed, 1);
}

/// Refuses each batch by its size until it is recalled, and returns the recall.
async fn recalled(fixture: &mut Fixture) -> Asked<PushBatch, Verdicts> {
    loop {
        let push = fixture.peer.push().await;
        if push.what.recall.is_some() {
            return push;
        }
        push.fail(Error::new(ErrorKind::TooLarge, "the proxy takes 10 bytes"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_is_too_large_to_send_is_quarantined_with_the_reason() {
    let mut fixture = Fixture::new();
    fixture.write("large").await;
    let driver = pushing(&mut fixture).await;
    recalled(&mut fixture).await.answer(Verdicts::Recalled);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    let (which, limits) = (Unsettled::Quarantine, Limits::PUSH);
    let page =
        fixture.storage.unsettled(Scope::default(), which, UnsettledAfter::Start, limits).await;
    let entries = page.unwrap().items;
    let (rejection, ..) = entries[0].refused.as_ref().unwrap();
    assert_eq!((entries.len(), rejection.code), (1, RejectionCode::TooLarge));
    assert!(rejection.reason.contains("the proxy takes 10 bytes"), "{}", rejection.reason);
}

#[tokio::test(start_paused = true)]
async fn conflicts_that_were_met_are_counted() {
    let mut fixture = Fixture::new();
    fixture.write("a").await;
    fixture.write("b").await;
    let driver = fixture.run(options(), Goal { push: false, ..Goal::ONCE }).await;
    fixture.peer.greet(2).await;
    let of = |seq, id: &str| {
        let key = key(id);
        LogEntry { seq: Seq(seq), collection: key.collection, id: key.id, state: state(seq) }
    };
    let entries = vec![of(1, "a"), of(2, "b")];
    fixture.peer.pull().await.answer(Delivery::Chunk(chunk(0, entries)));
    until(&driver, |s| s.conflicts == 2).await;
}

/// Returns the error that is shown for a verdict that leaves the edit as it was.
async fn shown(kind: VerdictKind) -> Error {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    fixture.write("remote-1").await;
    let push = fixture.peer.push().await;
    // It names the position of which the edit was made.
    let verdicts = verdicts(&push.what, 1, &kind);
    push.answer(verdicts);
    let status = until(&driver, |s| s.failures == 1).await;
    assert!(fixture.seen.events.lock().unwrap().iter().any(|e| matches!(e, Event::Stalled(..))));
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
async fn a_batch_of_which_one_edit_made_progress_is_no_failure() {
    let mut fixture = Fixture::new();
    let driver = fixture.once().await;
    fixture.peer.greet(1).await;
    fixture.catch_up(&driver, 1).await;
    // Two edits in one batch: the driver reads the outbox once the second one is written.
    let held = fixture.storage.hold("next_push");
    fixture.write("remote-1").await;
    fixture.write("new").await;
    drop(held);
    let push = fixture.peer.push().await;
    assert_eq!(push.what.changes.len(), 2);
    let verdict = |seq, kind| Verdict { seq: Seq(seq), kind, current: None };
    let decided = vec![verdict(1, VerdictKind::Superseded), verdict(2, VerdictKind::Accepted)];
    push.answer(Verdicts::Decided { epoch: EPOCH, mark: None, verdicts: decided });
    let status = until(&driver, |s| s.pushed == 2).await;
    assert!(status.last_error.is_none(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_the_storage_rejects_are_requested_again() {
    let mut fixture = Fixture::new();
    fixture.write("a").await;
    let driver = pushing(&mut fixture).await;
    fixture.storage.fail("settle", Error::new(ErrorKind::Storage, "the disk is full"));
    fixture.peer.push().await.accept(1);
    let status = until(&driver, |s| s.failures == 1).await;
    assert_eq!((status.pushed, status.last_error.unwrap().message()), (0, "the disk is full"));
    fixture.peer.push().await.accept(1);
    until(&driver, |s| s.pushed == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_while_the_outbox_is_read_makes_it_read_again() {
    let mut fixture = Fixture::new();
    let driver = pushing(&mut fixture).await;
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    let (looks, held) = (fixture.storage.calls("state"), fixture.storage.hold("state"));
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        fixture.write(id).await;
        fixture.storage.called("state", looks + 1).await;
        assert_eq!(fixture.storage.calls("state"), looks + 1, "after {n} more");
    }
    drop(held);
    assert_eq!(fixture.peer.push().await.what.changes.len(), 3);
    fixture.storage.called("state", looks + 2).await;
}

#[tokio::test(start_paused = true)]
async fn pulled_changes_are_not_pushed() {
    let mut fixture = Fixture::new();
    let driver = fixture.run(options(), Goal::default()).await;
    fixture.peer.greet(1).await;
    fixture.bring(1).await;
    let live = fixture.peer.live().await;
    fixture.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    let (looks, formed) = (fixture.storage.calls("state"), fixture.storage.calls("next_push"));
    live.bring(Ok(Delivery::Chunk(chunk(1, vec![entry(2)]))));
    fixture.storage.called("state", looks + 1).await;
    fixture.peer.acknowledge().await.answer(None);
    until(&driver, |s| s.progress.scopes[0].1.position == Seq(2)).await;
    assert_eq!(fixture.storage.calls("next_push"), formed);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_failure_to_read_the_outbox_keeps_the_connection() {
    let mut fixture = Fixture::new();
    let driver = pushing(&mut fixture).await;
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    let looks = fixture.storage.calls("state");
    fixture.storage.fail("state", Error::new(ErrorKind::Storage, "it is locked"));
    fixture.write("a").await;
    fixture.storage.called("state", looks + 1).await;
    fixture.write("b").await;
    assert_eq!(fixture.peer.push().await.what.changes.len(), 2);
    assert_eq!(driver.status().borrow().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_fails_permanently_ends_the_attempts() {
    let mut fixture = Fixture::new();
    let driver = pushing(&mut fixture).await;
    until(&driver, |s| s.progress.phase == Phase::InSync).await;
    let gone = Error::new(ErrorKind::Storage, "the disk is gone").retrying(Retry::Never);
    fixture.storage.fail("state", gone);
    fixture.write("a").await;
    let status = until(&driver, |s| s.progress.refused == Some(ErrorKind::Storage)).await;
    assert_eq!(status.progress.phase, Phase::Stopped);
    assert_eq!(status.last_error.unwrap().message(), "the disk is gone");
    fixture.peer.close().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_new_identity_the_batch_is_formed_anew() {
    let mut fixture = Fixture::new();
    fixture.write("a").await;
    let driver = pushing(&mut fixture).await;
    let first = fixture.peer.push().await;
    let replica = first.what.replica;
    first.answer(Verdicts::Cloned);
    let attempt = fixture.peer.connect().await;
    assert_ne!(attempt.what.replica, replica);
    let renamed = attempt.what.replica;
    attempt.welcome(0);
    let push = fixture.peer.push().await;
    assert_eq!(push.what.replica, renamed);
    push.accept(1);
    until(&driver, |s| s.pushed == 1).await;
    assert!(fixture.seen.has(&Event::Reidentified));
}
