//! The model check. `TESTKIT_MODEL=10000` explores about that many states of each case,
//! `TESTKIT_MODEL=all` every state; `TESTKIT_MODEL_CASE=engines` selects the cases with that word
//! in their names, `TESTKIT_MUTANT` the rule.

use verification::model::cases;

/// Returns how many states of each case are explored; none for all.
fn most() -> Option<usize> {
    let usual = if cfg!(debug_assertions) { 200 } else { 100_000 };
    match std::env::var("TESTKIT_MODEL") {
        Ok(all) if all == "all" => None,
        Ok(text) => Some(text.parse().unwrap_or(usual)),
        Err(_) => Some(usual),
    }
}

#[test]
fn no_explored_state_breaks_a_promise() {
    let only = std::env::var("TESTKIT_MODEL_CASE").unwrap_or_default();
    let (most, mut total) = (most(), 0);
    for case in cases().into_iter().filter(|case| case.name.contains(&only)) {
        let outcome = case.explore(most);
        println!("{outcome}");
        assert!(outcome.is_sound(), "{outcome}");
        assert!(outcome.rests || !outcome.complete, "nothing comes to rest: {outcome}");
        total += outcome.states;
    }
    println!("{total} different states");
    let is_usual = std::env::var_os("TESTKIT_MODEL").is_none() && only.is_empty();
    assert!(cfg!(debug_assertions) || !is_usual || total >= 1_000_000, "only {total} states");
}

/// Shows why each rule is needed: without it there is a counter-example, which is printed.
#[cfg(feature = "planted")]
#[test]
fn every_rule_taken_away_gives_a_counter_example() {
    let only = std::env::var("TESTKIT_MUTANT").ok();
    let mut alive = Vec::new();
    for hunt in verification::model::planted::hunts() {
        if only.as_deref().is_some_and(|only| only != hunt.mutant.as_str()) {
            continue;
        }
        let outcome = hunt.run(100_000);
        let Some(found) = &outcome.found else {
            println!("{outcome}");
            alive.push(hunt.mutant);
            continue;
        };
        let (states, steps) = (outcome.states, found.steps.len());
        println!("{}: {} ({states} states, {steps} steps)", hunt.rule, hunt.mutant);
        println!("{found}\n");
    }
    assert!(alive.is_empty(), "no counter-example without the rules of {alive:?}");
}
