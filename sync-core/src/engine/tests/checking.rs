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
    // What it brings later is taken as ever.
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
fn an_answer_that_brings_all_there_is_or_says_that_more_follows_ends_the_stream_as_well() {
    for (next, head) in [(3, 3), (2, 3)] {
        let (mut s, stream) = following();
        let asked = check(&mut s);
        s.deliver(asked, 2, next, head);
        let commands = s.commands();
        assert!(ends(&commands, stream), "{next} of {head}: {commands:?}");
    }
}

#[test]
fn what_the_stream_brings_meanwhile_is_no_answer() {
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
fn an_answer_to_an_earlier_question_is_none_to_a_later_one() {
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
fn who_wants_to_follow_no_more_has_the_stream_ended() {
    let (mut s, stream) = following();
    s.input(Input::Run(Goal { live: false, ..FOLLOW }));
    let commands = s.commands();
    assert!(ends(&commands, stream), "{commands:?}");
    assert!(commands.iter().any(|o| matches!(o, Output::Pull { .. })), "{commands:?}");
}
