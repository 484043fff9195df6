//! Requests that the greeting makes unnecessary, and those that it does not.

use super::*;
use crate::model::{Collection, FullPull, LogKey, LogMark, LogRun, ServerStart};

fn settled_at(position: u64) -> Checkpoint {
    let run = LogRun { start: ServerStart(3), first: Seq(1), last: Seq(position.max(1)) };
    let mark = Some(LogMark::sign(EPOCH, vec![run], &LogKey([7; 16])));
    let position = Seq(position);
    Checkpoint { epoch: Some(EPOCH), position, mark, ..Checkpoint::default() }
}

/// Connects a replica with that checkpoint and that greeting.
fn greeted(goal: Goal, checkpoint: Checkpoint, change: impl FnOnce(&mut ScopeGreeting)) -> Script {
    let mut s = Script { engine: Engine::new(EngineOptions::default(), 1), now: Instant(1_000) };
    let asked = checkpoint.cursor();
    s.input(Input::Opened { scope: scope(), checkpoint });
    s.input(Input::Run(goal));
    let Output::Connect { ticket, .. } = s.one() else { panic!("it should connect") };
    let mut greeting = ScopeGreeting {
        scope: scope(),
        asked,
        epoch: EPOCH,
        head: Seq(40),
        reset: None,
        last_push: PushId(0),
    };
    change(&mut greeting);
    s.input(Input::Connected { ticket, scopes: vec![greeting], last_push: PushId(0) });
    s
}

fn has_pull(commands: &[Output]) -> bool {
    commands.iter().any(|o| matches!(o, Output::Pull { .. }))
}

#[test]
fn a_replica_greeted_at_the_head_only_acknowledges_its_position() {
    let mut s = greeted(PULL, settled_at(40), |_| {});
    let commands = s.commands();
    let (ticket, _) = told(&commands);
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert!(!s.engine.is_in_sync(), "the digests were not compared yet");
    s.input(Input::Acknowledged { scope: scope(), ticket, result: Ok(None) });
    assert!(s.engine.is_in_sync());
    assert_eq!(s.commands(), []);
    // A later run pulls at the head again.
    s.input(Input::Run(PULL));
    assert!(has_pull(&s.commands()));
}

#[test]
fn a_replica_greeted_at_the_head_follows_live_from_there() {
    let mut s = greeted(FOLLOW, settled_at(40), |_| {});
    let commands = s.commands();
    let at = |o: &Output| matches!(o, Output::Subscribe { cursor, .. } if *cursor == settled_at(40).cursor());
    assert!(!has_pull(&commands) && commands.iter().any(at), "{commands:?}");
    assert!(s.engine.is_in_sync());
}

#[test]
fn a_greeting_that_leaves_a_doubt_is_followed_by_a_pull() {
    let late = Collection::new("late").unwrap();
    let floor = FullPull { floor: Seq(40), generation: 1, marks: true };
    let of_another_life = settled_at(40).mark.map(|mark| LogMark { epoch: Epoch([8; 16]), ..mark });
    let checkpoints = [
        Checkpoint::default(),
        // An empty scope is pulled as a whole, which detects deletions.
        Checkpoint { position: Seq(0), mark: None, ..settled_at(0) },
        settled_at(0),
        Checkpoint { mark: None, ..settled_at(40) },
        Checkpoint { mark: settled_at(39).mark, ..settled_at(40) },
        Checkpoint { mark: of_another_life, ..settled_at(40) },
        Checkpoint { backfills: BTreeMap::from([(late, Seq(3))]), ..settled_at(40) },
        Checkpoint { full_pull: Some(floor), ..settled_at(40) },
        settled_at(39),
        settled_at(41),
    ];
    for checkpoint in checkpoints {
        let head = if checkpoint.position == Seq(0) { Seq(0) } else { Seq(40) };
        let mut s = greeted(PULL, checkpoint.clone(), |g| g.head = head);
        assert!(has_pull(&s.commands()), "{checkpoint:?}");
    }
    let other = Epoch([8; 16]);
    assert!(has_pull(&greeted(PULL, settled_at(40), |g| g.epoch = other).commands()));
    // The cursor was at another position: changes since were not compared with the log.
    let asked = settled_at(39).cursor();
    assert!(has_pull(&greeted(PULL, settled_at(40), |g| g.asked = asked).commands()));
}

#[test]
fn a_reset_in_the_greeting_is_executed_wherever_the_head_is() {
    let reset = Reset { epoch: EPOCH, reason: ResetReason::Requested };
    let mut s = greeted(PULL, settled_at(40), |g| g.reset = Some(reset));
    assert_eq!(s.commands(), [Output::Reset { scope: scope(), reset }]);
    assert!(!s.engine.is_in_sync());
}

#[test]
fn links_that_greet_and_break_are_made_again_later_each_time() {
    let mut s = greeted(FOLLOW, settled_at(40), |_| {});
    let mut longest = 0;
    for _ in 0..12 {
        let commands = s.commands();
        let connected = s.engine.connection().unwrap();
        assert!(!has_pull(&commands));
        let failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
        s.input(Input::LinkLost { ticket: connected, failure });
        let due = s.engine.next_deadline().unwrap();
        longest = longest.max(due.since(s.now).as_millis());
        s.now = due;
        s.input(Input::Tick);
        let commands = s.commands();
        let ticket = commands.iter().find_map(|o| match o {
            Output::Connect { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let greeting = ScopeGreeting {
            scope: scope(),
            asked: settled_at(40).cursor(),
            epoch: EPOCH,
            head: Seq(40),
            reset: None,
            last_push: PushId(0),
        };
        let (ticket, last_push) = (ticket.unwrap(), PushId(0));
        s.input(Input::Connected { ticket, scopes: vec![greeting], last_push });
    }
    assert!(longest > 2_000, "{longest}");
}

#[test]
fn documents_that_differ_in_a_greeting_are_pulled_again_once_and_then_reported() {
    let reset = Reset { epoch: EPOCH, reason: ResetReason::DigestDiffers };
    let mut s = greeted(PULL, settled_at(40), |g| g.reset = Some(reset));
    assert!(s.commands().contains(&Output::Reset { scope: scope(), reset }));
    let stands = Checkpoint { epoch: Some(EPOCH), ..Checkpoint::default() };
    s.input(Input::ResetDone { scope: scope(), result: Ok(stands) });
    let (pull, after) = s.pull_in();
    s.pulled(pull, after.0, 40, 40);
    let (ticket, _) = told(&s.commands());
    s.input(Input::Acknowledged { scope: scope(), ticket, result: Ok(Some(reset)) });
    let outputs: Vec<_> = std::iter::from_fn(|| s.engine.poll_output()).collect();
    assert!(outputs.contains(&Output::Emit(Event::Diverged(scope()))), "{outputs:?}");
    assert_eq!(s.engine.progress().refused, Some(ErrorKind::Internal));
}

#[test]
fn a_scope_that_comes_back_is_pulled_with_the_collections_that_were_chosen() {
    let chosen = Some([Collection::new("notes").unwrap()].into());
    let checkpoint = Checkpoint { collections: chosen.clone(), ..settled_at(40) };
    let mut s = greeted(PULL, checkpoint, |greeting| greeting.scope = Scope::new("other").unwrap());
    assert!(s.commands().contains(&Output::Forget { scope: scope() }));
    s.input(Input::Forgotten { scope: scope(), result: Ok(()) });
    s.commands();
    s.input(Input::Stop);
    s.commands();
    s.input(Input::Run(PULL));
    let Output::Connect { ticket, .. } = s.one() else { panic!("it should connect") };
    s.greet(ticket, 40, 0);
    let asked = s.commands().into_iter().find_map(|o| match o {
        Output::Pull { cursor, .. } => Some(cursor.collections),
        _ => None,
    });
    assert_eq!(asked, Some(chosen));
}

#[test]
fn a_replica_with_partial_access_pulls_at_the_head_to_detect_more_access() {
    let covered = Some([Collection::new("notes").unwrap()].into());
    let checkpoint = Checkpoint { covered, ..settled_at(40) };
    let mut s = greeted(FOLLOW, checkpoint, |_| {});
    assert!(has_pull(&s.commands()));
}

#[test]
fn a_greeting_during_a_reset_does_not_confirm_the_discarded_position() {
    let reset = Reset { epoch: EPOCH, reason: ResetReason::Requested };
    let mut s = greeted(PULL, settled_at(40), |g| g.reset = Some(reset));
    s.commands();
    let ticket = s.engine.connection().unwrap();
    let failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
    s.input(Input::LinkLost { ticket, failure });
    s.commands();
    s.input(Input::Run(PULL));
    let Output::Connect { ticket, .. } = s.one() else { panic!("it should connect") };
    let greeting = ScopeGreeting {
        scope: scope(),
        asked: settled_at(40).cursor(),
        epoch: EPOCH,
        head: Seq(40),
        reset: None,
        last_push: PushId(0),
    };
    s.input(Input::Connected { ticket, scopes: vec![greeting], last_push: PushId(0) });
    assert_eq!(s.commands(), []);
}
