//! Many replicas. The default sizes fit an ordinary test run; `TESTKIT_LARGE=1` selects the full
//! sizes, best in a release build.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use serde_json::json;
use sync_core::model::Body;
use testkit::sim::{Faults, Scenario, Simulation};

fn is_full() -> bool {
    std::env::var_os("TESTKIT_LARGE").is_some()
}

#[test]
fn many_replicas_of_many_scopes_converge_after_a_swarm_of_faults() {
    let (clients, scopes, seconds) = if is_full() { (200, 50, 3_600) } else { (40, 10, 20) };
    let report = Simulation::builder()
        .clients(clients)
        .scopes(scopes)
        .seconds(seconds)
        .faults(Faults::swarm())
        .seeds(0..1)
        .run();
    println!("{report}{} events", report.tally.events);
    report.assert_sound();
}

#[test]
fn fifty_replicas_converge_that_reconnect_at_once_after_a_day_offline() {
    const DAY: u64 = 24 * 3_600;
    let (clients, documents) = if is_full() { (50, 1_000) } else { (50, 60) };
    let names: Vec<String> = (0..=clients).map(|n| format!("device {n}")).collect();
    let body = |n: u64| Body::from_value(&json!({ "n": n })).unwrap();
    let mut scenario = Scenario::new(names.clone()).at(Duration::from_secs(10));
    for name in &names[1..] {
        scenario = scenario.offline(name, Duration::from_secs(DAY));
    }
    for n in 0..documents {
        let at = Duration::from_secs(20 + n * (DAY - 60) / documents);
        scenario = scenario.at(at).write(&names[0], &format!("news {n}"), body(n));
        let device = &names[1 + n as usize % clients];
        scenario =
            scenario.write(device, &format!("own {n}"), body(n)).write(device, "shared", body(n));
    }
    let end = scenario.run().assert_converged();
    for n in 0..documents {
        for name in ["news", "own"] {
            assert_eq!(end.body(&format!("{name} {n}")), Some(&body(n)), "{name} {n}");
        }
    }
    println!("{} events", end.tally().events);
}
