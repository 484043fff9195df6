//! The program `twotide`: serves, syncs, and reads and writes replicas.
//!
//! Output for programs goes to standard output, as JSON; output for people goes to standard error.
//! The exit code is 0 on success, 1 if the operation failed or something was not found, and 2 for
//! wrong usage. It is also 0 if the reader of standard output closes it.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod failure;
mod output;
mod process;
mod serve_args;
mod simulate_args;
mod stderr;
mod text;
mod tokens;
mod values;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_standard_error(cli.verbose);
    process::prepare();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return Failure::failed(format!("the runtime cannot be started: {e}")).report(),
    };
    let result = runtime.block_on(run(cli.command));
    // A thread that reads standard input cannot be waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Colours are for terminals only. A log that cannot be written does not end the program.
fn log_to_standard_error(verbose: bool) {
    let level = if verbose { tracing::Level::DEBUG } else { tracing::Level::WARN };
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(wanted && std::io::stderr().is_terminal())
        .log_internal_errors(false)
        .init();
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => commands::serve::run(args).await,
        Command::Sync(args) => commands::sync::run(args).await,
        Command::Put(args) => commands::data::put(args).await,
        Command::Get(args) => commands::data::get(args).await,
        Command::Rm(args) => commands::data::rm(args).await,
        Command::Ls(args) => commands::data::ls(args).await,
        Command::Import(args) => commands::import::run(args).await,
        Command::Export(args) => commands::export::run(args).await,
        Command::Watch(args) => commands::watch::run(args).await,
        Command::Status(args) => commands::status::run(args).await,
        Command::Conflicts(command) => commands::decide::conflicts(command).await,
        Command::Quarantine(command) => commands::decide::quarantine(command).await,
        Command::Why(args) => commands::decide::why(args).await,
        Command::Simulate(args) => commands::simulate::run(args).await,
        Command::Demo(args) => commands::demo::run(args).await,
    }
}
