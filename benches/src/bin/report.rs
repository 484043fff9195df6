//! Measures Twotide and its raw baselines in turn, and prints the ratios.
//!
//! ```sh
//! cargo run --release -p benches --bin report -- --quick
//! cargo run --release -p benches --bin report -- --goal 1 --json report.json --html report.html
//! ```

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use benches::goal::Goal;
use benches::measure::Bench;
use benches::{Outcome, child, meter, report};
use clap::Parser;

/// Compares Twotide with what is underneath it.
#[derive(Debug, Parser)]
#[command(name = "report")]
struct Args {
    /// Fewer rounds (never fewer than five), to end within 10 minutes on two processors without
    /// other load.
    #[arg(long)]
    quick: bool,
    /// Only this goal, by its number; may be given several times.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=10))]
    goal: Vec<u8>,
    /// Also writes the rows as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also writes a page to this file.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Is another process of a measurement.
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    child: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("the runtime cannot be started: {e}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match &args.child {
            Some(words) => child::run(words).await,
            None => run(&args).await,
        }
    });
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("the report was interrupted: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Outcome {
    let mut bench = Bench::new(args.quick)?;
    let all = meter::Meter::start();
    let wanted = |goal: &Goal| {
        args.goal.is_empty() || args.goal.iter().any(|n| usize::from(*n) == goal.number())
    };
    for goal in Goal::ALL.into_iter().filter(wanted) {
        eprintln!("goal {}: {}", goal.number(), goal.title());
        let meter = meter::Meter::start();
        if let Err(e) = goal.measure(&mut bench).await {
            return Err(format!("goal {}: {e}", goal.number()).into());
        }
        eprintln!("  took {:.0} s", meter.cost().wall.as_secs_f64());
    }
    eprintln!("all of it took {:.0} s", all.cost().wall.as_secs_f64());
    print!("{}", report::table(&bench.rows));
    if let Some(path) = &args.json {
        report::write_json(path, &bench.rows)?;
    }
    if let Some(path) = &args.html {
        report::write_html(path, &bench)?;
    }
    Ok(())
}
