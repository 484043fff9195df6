//! Catching up: its events, and the effect of the storage's answers.

use super::*;
use crate::model::Collection;

/// The events of a catch-up, and the commands.
fn told_of_catch_up(s: &mut Script) -> (Vec<Event>, Vec<Output>) {
    let (mut events, mut commands) = (Vec::new(), Vec::new());
    while let Some(output) = s.engine.poll_output() {
        match output {
            Output::Emit(event @ (Event::CatchUpStarted(_) | Event::CatchUpDone(_))) => {
                events.push(event);
            }
            Output::Emit(_) => {}
            command => commands.push(command),
        }
    }
    (events, commands)
}

/// The pull that is requested, and whether it declares that the replica has its own bodies.
fn asked(s: &mut Script) -> (Ticket, Seq, bool) {
    let commands = s.commands();
    let found = commands.iter().find_map(|o| match o {
        Output::Pull { ticket, cursor, .. } => Some((*ticket, cursor.after, cursor.has_own)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no pull in {commands:?}"))
}

#[test]
fn a_catch_up_is_reported_once_at_its_start_and_once_at_its_end() {
    let mut s = Script::new();
    s.connect(FOLLOW, 300);
    let (mut ticket, mut after) = s.pull_in();
    let mut told = Vec::new();
    for next in [100, 200, 300] {
        let payload = s.deliver(ticket, after.0, next, 300);
        let (events, commands) = told_of_catch_up(&mut s);
        told.extend(events);
        s.applied(payload, next);
        let (events, more) = told_of_catch_up(&mut s);
        told.extend(events);
        let found = commands.iter().chain(&more).find_map(|o| match o {
            Output::Pull { ticket, cursor, .. } | Output::Subscribe { ticket, cursor, .. } => {
                Some((*ticket, cursor.after))
            }
            _ => None,
        });
        (ticket, after) = found.unwrap();
    }
    assert_eq!(told, [Event::CatchUpStarted(scope()), Event::CatchUpDone(scope())]);
    // A chunk of the live stream is at the head at once.
    let payload = s.deliver(ticket, 300, 301, 301);
    s.applied(payload, 301);
    assert_eq!(told_of_catch_up(&mut s).0, []);
    // A stream that falls behind catches up again.
    let payload = s.deliver(ticket, 301, 302, 303);
    s.applied(payload, 302);
    assert_eq!(told_of_catch_up(&mut s).0, [Event::CatchUpStarted(scope())]);
}

#[test]
fn a_pull_that_reaches_the_head_at_once_is_no_catch_up() {
    let mut s = Script::new();
    s.connect(PULL, 100);
    let (ticket, _) = s.pull_in();
    let payload = s.deliver(ticket, 0, 100, 100);
    s.applied(payload, 100);
    assert_eq!(told_of_catch_up(&mut s).0, []);
}

/// A first chunk is being applied, and a second one waits for that.
fn one_applied_and_one_waiting() -> (Script, Ticket, Ticket) {
    let mut s = Script::new();
    s.connect(PULL, 300);
    let (first, _) = s.pull_in();
    let one = s.deliver(first, 0, 100, 300);
    let (second, _) = s.pull_in();
    let two = s.deliver(second, 100, 200, 300);
    s.commands();
    (s, one, two)
}

#[test]
fn after_a_checkpoint_that_moves_back_the_pull_continues_from_there() {
    let (mut s, one, two) = one_applied_and_one_waiting();
    // More may be seen now: the storage begins a collection from its beginning.
    let late = Collection::new("late").unwrap();
    let goes_back = Checkpoint {
        epoch: Some(EPOCH),
        position: Seq(100),
        backfills: [(late, Seq(0))].into(),
        ..Checkpoint::default()
    };
    s.input(Input::Applied { scope: scope(), payload: one, result: Ok((true, goes_back)) });
    let commands = s.commands();
    assert_eq!(commands[0], Output::Discard { payload: two });
    let from_there =
        |o: &Output| matches!(o, Output::Pull { cursor, .. } if cursor.after == Seq(0));
    assert!(commands.iter().any(from_there), "{commands:?}");
}

#[test]
fn a_checkpoint_that_moves_forward_discards_nothing() {
    let (mut s, one, two) = one_applied_and_one_waiting();
    s.applied(one, 100);
    assert_eq!(s.one(), Output::Apply { scope: scope(), payload: two });
}

#[test]
fn an_answer_of_the_storage_about_another_chunk_changes_nothing() {
    let mut s = Script::new();
    s.connect(PULL, 300);
    let (first, _) = s.pull_in();
    let one = s.deliver(first, 0, 100, 300);
    s.commands();
    let before = s.engine.clone();
    s.applied(Ticket(one.0 + 1_000), 250);
    assert_eq!(s.engine, before);
    s.applied(one, 100);
    assert_eq!(s.engine.progress().scopes[0].1.position, Seq(100));
}

#[test]
fn all_bodies_are_requested_up_to_the_head_wherever_the_pull_restarts() {
    let mut s = Script::new();
    s.connect(PULL, 300);
    let (first, ..) = asked(&mut s);
    let payload = s.deliver(first, 0, 100, 300);
    s.commands();
    let lacks = Checkpoint { lacks_own: true, ..Checkpoint::default() };
    s.input(Input::Applied { scope: scope(), payload, result: Ok((false, lacks)) });
    let (again, after, has_own) = asked(&mut s);
    assert_eq!((after, has_own), (Seq(0), false));
    let payload = s.deliver(again, 0, 100, 300);
    s.applied(payload, 100);
    // A chunk out of its place starts the pull again from the checkpoint.
    let (rest, ..) = asked(&mut s);
    s.deliver(rest, 7, 8, 300);
    let (rest, after, has_own) = asked(&mut s);
    assert_eq!((after, has_own), (Seq(100), false), "the head was not reached");
    let payload = s.deliver(rest, 100, 300, 300);
    s.applied(payload, 300);
    s.commands();
    s.input(Input::Run(PULL));
    let (more, ..) = asked(&mut s);
    s.deliver(more, 7, 8, 300);
    let (_, after, has_own) = asked(&mut s);
    assert_eq!((after, has_own), (Seq(300), true), "what follows on the head is new");
}

#[test]
fn a_log_that_ends_at_the_last_verdict_is_not_pulled_again() {
    let mut s = Script::new();
    s.connect(Goal::ONCE, 2);
    let (pull, _) = s.pull_in();
    s.pulled(pull, 0, 2, 2);
    s.formed(Some(1));
    s.answer_push(Ok(Answer::Decided(Seq(2))));
    s.input(settled(1));
    s.formed(None);
    s.commands();
    s.input(Input::Run(Goal::ONCE));
    let (pull, _) = s.pull_in();
    s.pulled(pull, 2, 2, 2);
    let commands = s.commands();
    assert!(!commands.iter().any(|o| matches!(o, Output::Pull { .. })), "{commands:?}");
}

#[test]
fn every_ticket_is_another_one() {
    let mut engine = Engine::new(EngineOptions::default(), 1);
    let tickets: std::collections::BTreeSet<_> = (0..100).map(|_| engine.ticket().0).collect();
    assert_eq!(tickets.len(), 100);
}
