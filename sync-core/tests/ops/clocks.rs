//! Leases, and what a replica records of the server's time.

use std::collections::BTreeSet;

use super::*;
use sync_core::clock::{DRIFT_BOUND, ServerTime};
use sync_core::error::ErrorKind;
use sync_core::replica::ops::{claim, note_server, set_collections};

const HOUR: u64 = 3_600_000;

/// Passes the server's time, which is [`NOW`], while the clock of this machine shows that one.
fn told(replica: &mut Replica, shows: Now) {
    let time = ServerTime { sent: shows, server: NOW };
    let (lease, limits) = (replica.cx.lease, WriteLimits::default());
    note_server(&mut replica.rows, shows, lease, time, limits).unwrap();
}

fn is_right(replica: &Replica, id: &str) -> bool {
    let stamp = replica.record(id).unwrap().current.unwrap().revision.stamp;
    stamp.millis() <= NOW.plus(DRIFT_BOUND).0
}

#[test]
fn a_lease_ends_the_one_before() {
    let mut replica = Replica::new();
    let first = claim(&mut replica.rows, "first").unwrap();
    let second = claim(&mut replica.rows, "second").unwrap();
    assert!(first < second);
    assert_eq!((replica.meta().lease, replica.meta().holder.as_str()), (second, "second"));
    let push = |replica: &mut Replica| {
        let scope = Scope::default();
        next_push(&mut replica.rows, &replica.cx, &scope, Limits::PUSH).map_err(|e| e.kind())
    };
    replica.cx.lease = first;
    assert_eq!(push(&mut replica), Err(ErrorKind::Superseded));
    replica.cx.lease = second;
    assert_eq!(push(&mut replica), Ok(None));
}

#[test]
fn the_limits_of_the_server_are_kept() {
    let mut replica = Replica::new();
    let time = ServerTime { sent: NOW, server: NOW };
    let limits = WriteLimits { body_bytes: 7, ..WriteLimits::default() };
    note_server(&mut replica.rows, NOW, replica.cx.lease, time, limits).unwrap();
    assert_eq!(replica.meta().server_limits, Some(limits));
}

#[test]
fn every_edit_of_a_clock_that_ran_ahead_is_stamped_anew() {
    let mut replica = Replica::new();
    replica.cx.now = Now(NOW.0 + HOUR);
    // More than are read at a time.
    let names: Vec<_> = (0..600).map(|n| format!("d{n}")).collect();
    for name in &names {
        replica.put(name, "early");
    }
    assert!(!is_right(&replica, "d0"));
    told(&mut replica, Now(NOW.0 + HOUR));
    let wrong: Vec<_> = names.iter().filter(|name| !is_right(&replica, name)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn an_edit_of_a_collection_that_is_not_synced_is_stamped_anew_as_well() {
    let mut replica = Replica::new();
    let other: BTreeSet<_> = [collection("other")].into();
    set_collections(&mut replica.rows, &replica.cx, &Scope::default(), Some(&other)).unwrap();
    replica.cx.now = Now(NOW.0 + HOUR);
    replica.put("a", "early");
    assert_eq!((replica.row().pending, replica.row().not_chosen), (0, 1));
    told(&mut replica, Now(NOW.0 + HOUR));
    assert!(is_right(&replica, "a"));
}
