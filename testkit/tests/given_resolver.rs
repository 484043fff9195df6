//! Simulations with a resolver that the test provides.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::Arc;

use sync_core::error::Result;
use sync_core::resolver::{Conflict, ConflictResolver, Resolution};
use testkit::sim::{Decider, Plan, Simulation};

/// Chooses the greater body, or a deletion if there is one: from either side the result is a merge
/// or a deletion.
#[derive(Debug)]
struct Greatest;

impl ConflictResolver for Greatest {
    fn name(&self) -> &str {
        "greatest"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let remote = conflict.remote.and_then(|state| state.body.clone());
        Ok(match (conflict.local.body.clone(), remote) {
            (Some(local), Some(remote)) if local.as_str() > remote.as_str() => {
                Resolution::Merge(local)
            }
            (Some(_), Some(remote)) => Resolution::Merge(remote),
            _ => Resolution::Delete,
        })
    }
}

#[test]
fn a_resolution_equal_to_the_servers_state_loses_no_write() {
    let seeds = 0..12;
    let report = Simulation::builder().resolver(Arc::new(Greatest)).seeds(seeds).run();
    assert!(report.tally.conflicts > 100, "{report}");
    report.assert_sound();
}

#[test]
fn a_plan_names_its_resolver() {
    let given = Simulation::builder().resolver(Arc::new(Greatest)).seconds(5).build();
    let plan = given.plan(7);
    assert_eq!(plan.setting.resolver, Decider::Given { given: "greatest".to_owned() });
    let text = plan.to_json();
    assert!(text.contains(r#""resolver":{"given":"greatest"}"#), "{text}");
    assert_eq!(Plan::from_json(&text).unwrap(), plan);
    given.replay(&plan).expect("it is sound");
    let failure = Simulation::builder().build().replay(&plan).unwrap_err();
    assert!(failure.violation.what.contains("`greatest`"), "{}", failure.violation);
}
