//! `simulate`: many clients under virtual time, and the findings of the oracles.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use testkit::sim::diagram::{html, html_of, text};
use testkit::sim::{
    Builder, ClientPhase, Failure as Failed, FaultKind, Plan, Report, Simulation, Tally,
};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::output::print;
use crate::simulate_args::SimulateArgs;
use crate::stderr::tell;

/// The number of moments shown at the end of a run, in a terminal and on a page.
const LINES: usize = 60;
const MOMENTS: usize = 600;

/// What a simulation prints.
#[derive(Serialize)]
struct Line<'a> {
    verdict: &'a str,
    runs: u64,
    simulated_hours: f64,
    hours_per_second: f64,
    writes: u64,
    conflicts: u64,
    faults: u64,
    events: u64,
    /// The number of pairs of a kind of fault and the phase of a client in which it occurred.
    pairs: usize,
    pairs_of: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oracle: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Plan>,
}

pub(crate) async fn run(args: SimulateArgs) -> Result<(), Failure> {
    // The simulation never waits, so it would block an async thread.
    let job = move || simulate(&args);
    tokio::task::spawn_blocking(job).await.map_err(|e| Failure::failed(e.to_string()))?
}

fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    let builder = set_up(args)?;
    match &args.replay {
        Some(file) => replay(args, &builder, file),
        None => run_seeds(args, builder),
    }
}

fn set_up(args: &SimulateArgs) -> Result<Builder, Failure> {
    let hours = args.hours.unwrap_or(300.0 / 3_600.0);
    if !hours.is_finite() || !(0.0..=10_000.0).contains(&hours) || hours * 3_600.0 < 1.0 {
        return Err(Failure::usage("--hours takes at least a second and at most 10000 hours"));
    }
    let jobs =
        args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut builder = Simulation::builder()
        .clients(args.clients.into())
        .scopes(args.scopes.into())
        .documents(args.documents.into())
        .seconds((hours * 3_600.0) as u64)
        .seeds(args.seeds.clone())
        .faults(args.faults.clone())
        .jobs(jobs);
    if let Some(kind) = args.resolver {
        builder = builder.resolver_kind(kind);
    }
    Ok(builder)
}

fn run_seeds(args: &SimulateArgs, builder: Builder) -> Result<(), Failure> {
    let bar = progress_bar(args.seeds.end - args.seeds.start)?;
    let shown = bar.clone();
    let builder = builder.on_progress(move |tally| {
        shown.set_position(tally.runs);
        let rate = hours(tally) / shown.elapsed().as_secs_f64().max(0.001);
        shown.set_message(format!("{:.1} simulated hours, {rate:.2} a second", hours(tally)));
    });
    let began = Instant::now();
    let report = builder.run();
    bar.finish_and_clear();
    tell_outcome(args, &report, began.elapsed())
}

fn replay(args: &SimulateArgs, builder: &Builder, file: &Path) -> Result<(), Failure> {
    let about = |e: Failure| e.about(file.display());
    let json = std::fs::read_to_string(file).map_err(|e| about(e.into()))?;
    let plan = Plan::from_json(&json).map_err(|e| about(e.into()))?;
    let simulation = builder.clone().build();
    let began = Instant::now();
    let report = match simulation.replay(&plan) {
        Ok(tally) => {
            if let Some(file) = &args.html {
                let page = html_of(&plan, &simulation.trace(&plan), MOMENTS);
                write_page(file, page)?;
            }
            Report { tally, failures: Vec::new() }
        }
        Err(failure) => {
            Report { tally: Tally { runs: 1, ..Tally::default() }, failures: vec![*failure] }
        }
    };
    tell_outcome(args, &report, began.elapsed())
}

/// Reports the findings: a line for programs, a diagram for people.
fn tell_outcome(args: &SimulateArgs, report: &Report, took: Duration) -> Result<(), Failure> {
    let Tally { runs, writes, conflicts, faults, events, .. } = report.tally;
    let kinds = args.faults.kinds();
    let missing = report.tally.coverage.missing(&kinds);
    let pairs_of = kinds.len() * ClientPhase::ALL.len();
    let failure = report.failures.first();
    let simulated_hours = hours(&report.tally);
    let printed = print(&Line {
        verdict: if failure.is_some() { "failed" } else { "sound" },
        runs,
        simulated_hours,
        hours_per_second: simulated_hours / took.as_secs_f64().max(0.001),
        writes,
        conflicts,
        faults,
        events,
        pairs: pairs_of - missing.len(),
        pairs_of,
        seed: failure.map(|f| f.seed),
        oracle: failure.map(|f| f.violation.oracle),
        what: failure.map(|f| f.violation.what.as_str()),
        plan: failure.map(|f| &f.plan),
    });
    let Some(failure) = failure else {
        tell(format_args!("{runs} runs, {simulated_hours:.1} simulated hours: nothing was found"));
        return check_cover(args, &missing).and(printed);
    };
    show(args, failure)?;
    Err(Failure::failed(format!("seed {} fails: {}", failure.seed, failure.shrunk.oracle)))
}

fn check_cover(args: &SimulateArgs, missing: &[(FaultKind, ClientPhase)]) -> Result<(), Failure> {
    if !args.cover || missing.is_empty() {
        return Ok(());
    }
    let told: Vec<String> =
        missing.iter().map(|(kind, phase)| format!("{} in {phase:?}", kind.as_str())).collect();
    Err(Failure::failed(format!("never met: {}", told.join(", "))))
}

fn show(args: &SimulateArgs, failure: &Failed) -> Result<(), Failure> {
    tell(text(&failure.trace, LINES));
    tell(format_args!("seed {} fails: {}", failure.seed, failure.violation));
    tell(format_args!(
        "shrunk to {} actions:\n{}",
        failure.plan.actions.len(),
        failure.plan.to_json()
    ));
    if let Some(file) = &args.save {
        write(file, failure.plan.to_json())?;
        tell(format_args!("again: twotide simulate --replay {}", file.display()));
    }
    if let Some(file) = &args.html {
        write_page(file, html(failure, MOMENTS))?;
    }
    Ok(())
}

fn write_page(file: &Path, page: String) -> Result<(), Failure> {
    write(file, page)?;
    tell(format_args!("as a page: {}", file.display()));
    Ok(())
}

fn write(file: &Path, text: String) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|e| Failure::from(e).about(file.display()))
}

fn hours(tally: &Tally) -> f64 {
    tally.millis as f64 / 3_600_000.0
}

fn progress_bar(total: u64) -> Result<ProgressBar, Failure> {
    let template = "{bar:30} {pos}/{len} runs, {msg}, {eta} left";
    let style =
        ProgressStyle::with_template(template).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(ProgressBar::new(total).with_style(style))
}
