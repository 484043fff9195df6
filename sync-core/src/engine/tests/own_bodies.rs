//! Bodies that the server left out of a chunk, because this replica pushed them.

use super::*;

#[test]
fn a_missing_body_is_requested_at_once_and_up_to_the_head() {
    let mut s = Script::new();
    s.connect(FOLLOW, 300);
    let asked = |s: &mut Script| {
        let commands = s.commands();
        let found = commands.iter().find_map(|o| match o {
            Output::Pull { ticket, cursor, .. } => Some((*ticket, cursor.after, cursor.has_own)),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no pull in {commands:?}"))
    };
    let (first, after, has_own) = asked(&mut s);
    assert_eq!((after, has_own), (Seq(0), true));
    let payload = s.deliver(first, 0, 100, 300);
    s.commands();
    let lacks = Checkpoint { lacks_own: true, ..Checkpoint::default() };
    s.input(Input::Applied { scope: scope(), payload, result: Ok((false, lacks)) });
    for (at, next) in [(0, 100), (100, 200), (200, 300)] {
        let (ticket, after, has_own) = asked(&mut s);
        assert_eq!((after, has_own), (Seq(at), false), "all bodies, up to the head");
        let payload = s.deliver(ticket, at, next, 300);
        s.applied(payload, next);
    }
    let commands = s.commands();
    let follows = |o: &Output| matches!(o, Output::Subscribe { cursor, .. } if cursor.has_own);
    assert!(commands.iter().any(follows), "{commands:?}");
}
