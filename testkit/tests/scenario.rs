//! Scenarios that are given step by step, and plans that failed once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sync_core::model::Body;
use sync_core::resolver::{FieldMerge, ServerWins};
use testkit::sim::{Plan, Refusal, Scenario, What};

testkit::simtest!(replay "tests/regressions");

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn body(value: &serde_json::Value) -> Body {
    Body::from_value(value).unwrap()
}

#[test]
fn fields_that_were_edited_on_both_sides_of_a_partition_are_merged() {
    let (milk, done, oat) = (
        json!({"title": "milk", "done": false}),
        json!({"title": "milk", "done": true}),
        json!({"title": "oat milk", "done": false}),
    );
    for over_requests in [false, true] {
        let mut scenario = Scenario::new(["phone", "laptop"])
            .resolver(Arc::new(FieldMerge::new()))
            .at(s(1))
            .write("phone", "note", body(&milk))
            .at(s(5))
            .partition(["phone"], s(30))
            .at(s(8))
            .write("phone", "note", body(&done))
            .at(s(9))
            .write("laptop", "note", body(&oat));
        if over_requests {
            scenario = scenario.over_requests();
        }
        let end = scenario.run().assert_converged();
        let merged = body(&json!({"done": true, "title": "oat milk"}));
        let value = |b: Option<&Body>| b.unwrap().to::<serde_json::Value>().unwrap();
        assert_eq!(value(end.body("note")), value(Some(&merged)));
        assert_eq!(end.body_on("phone", "note"), end.body_on("laptop", "note"));
    }
}

#[test]
fn a_concurrent_deletion_and_edit_are_decided_by_the_resolver() {
    let end = Scenario::new(["a", "b"])
        .resolver(Arc::new(ServerWins))
        .at(s(1))
        .write("a", "kept", body(&json!(1)))
        .at(s(3))
        .offline("b", s(10))
        .at(s(4))
        .delete("a", "kept")
        .at(s(5))
        .write("b", "kept", body(&json!(2)))
        .run()
        .assert_converged();
    assert_eq!(end.body("kept"), None);
    assert_eq!(end.body_on("b", "kept"), None);
    assert_eq!(end.body("never written"), None);
}

#[test]
fn crashes_power_failures_and_restarts_keep_acknowledged_writes() {
    let mut scenario = Scenario::new(["a", "b", "c"]);
    for n in 0..20u64 {
        let (client, document) = (["a", "b", "c"][n as usize % 3], format!("d{n}"));
        scenario = scenario.at(s(n)).write(client, &document, body(&json!({ "n": n })));
        scenario = match n % 5 {
            0 => scenario.crash(client, s(2)),
            1 => scenario.power_loss(client, s(2)),
            2 => scenario.server_restart(s(1)),
            3 => scenario.cut(client),
            _ => scenario.step(What::Refuse { client: 0, millis: 500, how: Refusal::TooMany }),
        };
    }
    let end = scenario.run().assert_converged();
    for n in 0..20u64 {
        assert_eq!(end.body(&format!("d{n}")), Some(&body(&json!({ "n": n }))), "d{n}");
    }
}

#[test]
fn a_restored_device_has_the_writes_that_reached_the_server() {
    let scenario = Scenario::new(["a", "b"])
        .at(s(1))
        .write("a", "before", body(&json!(1)))
        .at(s(5))
        .step(What::KeepCopy { client: 0 })
        .at(s(6))
        .write("a", "reached", body(&json!(2)))
        .at(s(10))
        .offline("a", s(3))
        .at(s(11))
        .write("a", "lost", body(&json!(3)))
        .at(s(12))
        .step(What::PutBack { client: 0 });
    let end = scenario.run().assert_converged();
    assert_eq!(end.body_on("a", "before"), Some(&body(&json!(1))));
    assert_eq!(end.body_on("a", "reached"), Some(&body(&json!(2))));
    assert_eq!(end.body("lost"), None);
}

#[test]
fn a_scenario_is_a_plan_that_replays_from_its_text() {
    let scenario = Scenario::new(["a"]).at(s(1)).write("a", "x", body(&json!("text \" and \n")));
    let plan = scenario.plan();
    assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
    let broken = plan.to_json().replace("\"\\\"text", "\"text");
    assert!(Plan::from_json(&broken).unwrap_err().to_string().contains("at 1000"));
}

#[test]
#[should_panic(expected = "there is no client \"c\"")]
fn a_scenario_names_its_clients() {
    let _ = Scenario::new(["a", "b"]).cut("c");
}
