//! A run that requests the current state is not satisfied by a silent live stream.

use super::*;

/// Following live from position 2, with the stream's ticket.
fn following() -> (Script, Ticket) {
    let mut s = Script::new();
    s.connect(FOLLOW, 2);
    let (first, _) = s.pull_in();
    let payload = s.deliver(first, 0, 2, 2);
    s.applied(payload, 2);
    assert!(s.engine.is_in_sync());
    let commands = s.commands();
    let stream = commands.iter().find_map(|o| match o {
        Output::Subscribe { ticket, .. } => Some(*ticket),
        _ => None,
    });
    (s, stream.unwrap_or_else(|| panic!("it follows: {commands:?}")))
}

/// Runs it again; returns the ticket of the pull beside the stream.
fn check(s: &mut Script) -> Ticket {
    s.input(Input::Run(FOLLOW));
    assert!(!s.engine.is_in_sync());
    let Output::Pull { ticket, .. } = s.one() else { panic!("it should ask") };
    ticket
}

fn ends(commands: &[Output], stream: Ticket) -> bool {
    commands.contains(&Output::Unsubscribe { scope: scope(), ticket: stream })
}

#[test]
fn an_answer_without_news_leaves_the_stream_as_it_is() {
    let (mut s, stream) = following();
    let asked = check(&mut s);
    let payload = s.deliver(asked, 2, 2, 2);
    assert_eq!(s.one(), Output::Apply { scope: scope(), payload });
    s.applied(payload, 2);
    assert!(s.engine.is_in_sync());
    assert_eq!(s.commands(), []);
    // What it delivers later is applied as usual.
    let payload = s.deliver(stream, 2, 3, 3);
    assert_eq!(s.commands()[0], Output::Apply { scope: scope(), payload });
}

#[test]
fn an_answer_with_news_ends_the_stream_and_catches_up() {
    let (mut s, stream) = following();
    let asked = check(&mut s);
    let payload = s.deliver(asked, 2, 4, 9);
    let commands = s.commands();
    assert!(ends(&commands, stream), "{commands:?}");
    assert!(commands.contains(&Output::Apply { scope: scope(), payload }), "{commands:?}");
    let next = commands.iter().find_map(|o| match o {
        Output::Pull { ticket, cursor, .. } => Some((*ticket, cursor.after)),
        _ => None,
    });
    assert_eq!(next.map(|(_, after)| after), Some(Seq(4)));
    assert!(!s.engine.is_in_sync());
    // The stream's own chunk arrives too late.
    let late = s.deliver(stream, 2, 4, 9);
    assert_eq!(s.one(), Output::Discard { payload: late });
}

#[test]
fn an_answer_with_all_changes_or_with_more_to_follow_ends_the_stream_too() {
    for (next, head) in [(3, 3), (2, 3)] {
        let (mut s, stream) = following();
        let asked = check(&mut s);
        s.deliver(asked, 2, next, head);
        let commands = s.commands();
        assert!(ends(&commands, stream), "{next} of {head}: {commands:?}");
    }
}

#[test]
fn a_chunk_of_the_stream_is_not_the_answer_to_the_check() {
    let (mut s, stream) = following();
    let asked = check(&mut s);
    let payload = s.deliver(stream, 2, 3, 3);
    s.applied(payload, 3);
    assert!(!s.engine.is_in_sync(), "nobody has said that the log ends there");
    s.commands();
    // The answer is about a position that the replica has left, so another one is pulled.
    let payload = s.deliver(asked, 2, 3, 3);
    let commands = s.commands();
    assert!(commands.contains(&Output::Discard { payload }) && ends(&commands, stream));
    let asked = commands.iter().find_map(|o| match o {
        Output::Pull { ticket, cursor, .. } if cursor.after == Seq(3) => Some(*ticket),
        _ => None,
    });
    let payload = s.deliver(asked.unwrap(), 3, 3, 3);
    s.applied(payload, 3);
    assert!(s.engine.is_in_sync());
}

#[test]
fn an_answer_to_an_earlier_check_does_not_answer_a_later_one() {
    let (mut s, _) = following();
    let (first, second) = (check(&mut s), check(&mut s));
    let payload = s.deliver(first, 2, 2, 2);
    assert_eq!(s.one(), Output::Discard { payload });
    assert!(!s.engine.is_in_sync());
    let payload = s.deliver(second, 2, 2, 2);
    s.applied(payload, 2);
    assert!(s.engine.is_in_sync());
}

#[test]
fn an_answer_that_does_not_come_in_time_costs_the_link() {
    let (mut s, stream) = following();
    check(&mut s);
    s.now = s.engine.next_deadline().expect("it waits for an answer");
    s.input(Input::Tick);
    let commands = s.commands();
    assert!(ends(&commands, stream), "{commands:?}");
    assert!(commands.iter().any(|o| matches!(o, Output::Disconnect { .. })), "{commands:?}");
}

#[test]
fn a_goal_that_no_longer_follows_live_ends_the_stream() {
    let (mut s, stream) = following();
    s.input(Input::Run(Goal { live: false, ..FOLLOW }));
    let commands = s.commands();
    assert!(ends(&commands, stream), "{commands:?}");
    assert!(commands.iter().any(|o| matches!(o, Output::Pull { .. })), "{commands:?}");
}
