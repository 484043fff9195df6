//! Wrong clocks of devices and of the server: the stamps that they produce are bounded, and no
//! replica is kept from writing.

use sync_core::clock::{DRIFT_BOUND, Now};
use sync_core::model::{Revision, Seq, Stamp, VerdictKind};

use super::{batch, decided, world_with};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::World;

const HOUR: i64 = 3_600_000;

fn stamp<C: Cores>(world: &mut World<C>, replica: usize, name: &str) -> Stamp {
    world.record(replica, name).current.map_or(Stamp::ZERO, |state| state.revision.stamp)
}

/// Returns whether a stamp is close to the true time.
fn is_of_now<C: Cores>(world: &World<C>, stamp: Stamp) -> bool {
    stamp.millis().abs_diff(world.now().0) <= u64::try_from(DRIFT_BOUND.as_millis()).unwrap_or(0)
}

/// The server's clock was two hours ahead, and is corrected. Both the replica that wrote meanwhile
/// and the one that only pulled can still push. A stamp that the log accepted may be followed by a
/// later edit of that document; other documents get stamps of the right time.
pub fn a_servers_clock_that_was_ahead_blocks_no_replica<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.skew_server(2 * HOUR);
    world.tell_time(0);
    world.put(0, "notes/a", "ahead");
    world.sync_all();
    let ahead = stamp(&mut world, 1, "notes/a");
    assert!(!is_of_now(&world, ahead));
    world.skew_server(0);
    for replica in [0, 1] {
        world.tell_time(replica);
        let new = format!("notes/new-{replica}");
        world.put(replica, "notes/a", "followed");
        world.put(replica, &new, "new");
        let pushed = batch(&mut world, replica);
        let verdicts = world.deliver(&pushed);
        let kinds: Vec<_> = decided(&verdicts).iter().map(|v| v.kind.clone()).collect();
        assert_eq!(kinds, [VerdictKind::Accepted, VerdictKind::Accepted], "replica {replica}");
        world.settle(replica, pushed.id, &verdicts);
        world.sync_all();
        let (followed, new) = (stamp(&mut world, 0, "notes/a"), stamp(&mut world, 0, &new));
        assert_eq!(followed.millis(), ahead.millis(), "a child takes its parent's millisecond");
        assert!(is_of_now(&world, new), "{new} is carried ahead by another document");
    }
    world.assert_converged();
}

/// The server's clock is set back an hour: replicas can still push edits on earlier states.
pub fn a_servers_clock_that_goes_back_blocks_no_replica<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.skew_server(-HOUR);
    for (replica, text) in [(0, "two"), (1, "three")] {
        world.tell_time(replica);
        world.put(replica, "notes/a", text);
        world.put(replica, &format!("notes/{text}"), text);
        world.sync_all();
        assert_eq!(world.server_text("notes/a").as_deref(), Some(text));
    }
    world.assert_converged();
    assert_eq!(world.server_scope().documents, 3);
}

/// The server's clock is set back an hour, and it rejects an edit that a device made ten minutes
/// after its base. The server holds the base, and the erasure before it: the edit gets a new stamp
/// after both, and is not treated as older than they are.
pub fn a_refused_edit_follows_what_the_server_holds<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.erase(0, "notes/a");
    world.put(0, "notes/a", "two");
    world.sync_all();
    let base = stamp(&mut world, 1, "notes/a");
    world.tick(600_000);
    world.put(1, "notes/a", "three");
    world.skew_server(-HOUR);
    let pushed = batch(&mut world, 1);
    let verdicts = world.deliver(&pushed);
    assert!(matches!(decided(&verdicts)[0].kind, VerdictKind::Rejected(_)), "{verdicts:?}");
    world.settle(1, pushed.id, &verdicts);
    assert_eq!(stamp(&mut world, 1, "notes/a").millis(), base.millis());
    world.sync_all();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("three"));
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("three"));
    world.assert_converged();
}

/// A device whose clock is a day behind writes again after an erasure, while its earlier write is
/// in flight. The verdict does not remove its knowledge of the erasure: the conflict with another
/// device's write after the erasure goes to the resolver.
pub fn a_settled_erasure_stays_known_to_a_clock_that_is_behind<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.skew(0, -24 * HOUR);
    world.put(0, "notes/a", "two");
    let pushed = batch(&mut world, 0);
    world.tick(1_000);
    world.erase(1, "notes/a");
    world.push_all(1);
    world.pull_all(0);
    world.tick(1_000);
    world.put(1, "notes/a", "three");
    world.push_all(1);
    world.put(0, "notes/a", "four");
    let verdicts = world.deliver(&pushed);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Superseded);
    world.settle(0, pushed.id, &verdicts);
    world.sync_all();
    let text = world.server_text("notes/a").unwrap_or_default();
    assert!(text.contains("three") && text.contains("four"), "{text}");
    world.assert_converged();
}

/// A document was erased twice, and a restore removes the second erasure from a server whose clock
/// is set back. An edit that knows of both gets a new stamp, which is still later than the first
/// erasure.
pub fn an_edit_stamped_anew_follows_the_erasure_that_is_left<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "one");
    world.sync_all();
    world.erase(0, "notes/a");
    world.sync_all();
    let backup = world.backup();
    world.put(0, "notes/a", "two");
    world.push_all(0);
    world.erase(0, "notes/a");
    world.put(0, "notes/a", "three");
    world.push_all(0);
    world.skew_server(-70 * HOUR / 60);
    world.restore_silently(&backup);
    world.sync_all();
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("three"));
    assert_eq!(world.server_text("notes/a").as_deref(), Some("three"));
    world.assert_converged();
}

/// An erasure removes the state that it was made on, even if that state knows of an erasure with a
/// later stamp: the server's clock was set back, and a restore has lost the state that it followed.
pub fn an_erasure_after_the_clock_went_back_takes_its_base<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    let backup = world.backup();
    world.put(0, "notes/a", "one");
    world.push_all(0);
    world.skew_server(-70 * HOUR / 60);
    world.erase(0, "notes/a");
    world.put(0, "notes/a", "secret");
    world.push_all(0);
    world.restore(&backup);
    world.connect(0);
    let lost = batch(&mut world, 0);
    let verdicts = world.deliver(&lost);
    world.settle(0, lost.id, &verdicts);
    world.tick(1_000);
    let _on_its_way = batch(&mut world, 0);
    world.erase(0, "notes/a");
    let record = world.record(0, "notes/a");
    assert!(!format!("{record:?}").contains("secret"), "{record:?}");
}

/// A device that receives the server's time replaces the stamps of its whole outbox, including
/// edits in collections that are not chosen.
pub fn all_of_the_outbox_is_stamped_anew<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.set_collections(0, Some(&["notes"]));
    world.sync_all();
    world.skew(0, 24 * HOUR);
    world.put(0, "notes/a", "chosen");
    world.put(0, "other/a", "not chosen");
    world.tell_time(0);
    for name in ["notes/a", "other/a"] {
        let made = stamp(&mut world, 0, name);
        assert!(is_of_now(&world, made), "{name} is of {made}");
    }
}

/// The stamp of an author, by which the last write wins, is bounded like the revision's.
pub fn the_stamp_of_an_author_is_bounded<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "first");
    world.sync_all();
    world.put(1, "notes/a", "evil");
    let mut pushed = batch(&mut world, 1);
    let state = &mut pushed.changes[0].state;
    state.author = Revision { stamp: Stamp::new(Stamp::MAX_MILLIS, 0), ..state.revision };
    let verdicts = world.deliver(&pushed);
    let VerdictKind::Rejected(rejection) = &decided(&verdicts)[0].kind else {
        panic!("an author of the year 10889 is {verdicts:?}")
    };
    assert!(rejection.reason.contains("ahead"), "{}", rejection.reason);
    assert_eq!(world.server_text("notes/a").as_deref(), Some("first"));
}

/// A device ten years ahead meets its conflict in a pull, before its edit got a new stamp: it does
/// not win for ten years.
pub fn a_conflict_is_not_decided_by_a_clock_that_ran_ahead<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "base");
    world.sync_all();
    world.skew(1, 10 * 365 * 24 * HOUR);
    world.put(1, "notes/a", "ten years ahead");
    world.skew(1, 0);
    world.put(0, "notes/a", "theirs");
    world.push_all(0);
    world.pull_all(1);
    let author = world.record(1, "notes/a").current.map(|state| state.author.stamp);
    assert!(author.is_some_and(|author| is_of_now(&world, author)), "{author:?}");
    world.sync_all();
    world.tick(10);
    world.put(0, "notes/a", "later");
    world.put(1, "notes/b", "other");
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("later"));
}

/// An edit follows a state far ahead that the server does not hold any more. The server admits no
/// such stamp, so the edit is stamped by the right time, and not by its base again and again.
pub fn a_refused_follower_of_what_is_gone_is_stamped_anew<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    world.skew_server(2 * HOUR);
    world.tell_time(0);
    world.put(0, "notes/a", "ahead");
    world.sync_all();
    world.delete(0, "notes/a");
    world.sync_all();
    world.skew_server(0);
    let head = world.server_scope().head;
    world.purge(head);
    world.put(1, "notes/a", "again");
    world.tell_time(1);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/a").as_deref(), Some("again"));
    assert!(world.server_scope().head > Seq(head.0));
}

/// A device whose clock was ahead received the offset from the server. The clock is set right while
/// the device is offline: from then on the offset is not subtracted any more.
pub fn a_device_whose_clock_is_set_right_is_believed_again<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.skew(0, 5 * HOUR);
    world.tell_time(0);
    world.put(0, "notes/a", "corrected");
    let corrected = stamp(&mut world, 0, "notes/a");
    assert!(is_of_now(&world, corrected), "{corrected}");
    world.skew(0, 0);
    world.put(0, "notes/b", "right");
    let right = stamp(&mut world, 0, "notes/b");
    assert!(is_of_now(&world, right), "{right} at {:?}", Now(world.now().0));
}
