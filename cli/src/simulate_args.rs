//! The arguments of `simulate`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) clients: u16,
    /// How many scopes they share
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) scopes: u16,
    /// The most documents of a scope
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) documents: u16,
    /// The runs: one for each seed, the last one excluded
    #[arg(long, value_name = "A..B", default_value = "0..100", value_parser = seeds)]
    pub(crate) seeds: std::ops::Range<u64>,
    /// Simulated hours of each run; five minutes unless given
    #[arg(long, value_name = "H")]
    pub(crate) hours: Option<f64>,
    /// The faults: swarm (each run has some), all, none, or kinds with commas between them
    #[arg(long, value_name = "WHICH", default_value = "swarm", value_parser = faults)]
    pub(crate) faults: testkit::sim::Faults,
    /// The resolver of conflicts: lww, client, server, join or defer; each run another unless given
    #[arg(long, value_name = "NAME", value_parser = resolver)]
    pub(crate) resolver: Option<testkit::resolvers::ResolverKind>,
    /// How many threads
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Fail also if one of these faults never occurred at a client while it pushed, pulled, caught
    /// up, followed live or rested
    #[arg(long)]
    pub(crate) cover: bool,
    /// Run only this plan
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// Write the shrunk plan of a failure to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Show a failure, or the plan that is replayed, as a page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print JSON, which is printed without this option, too
    #[arg(long)]
    pub(crate) json: bool,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) =
        text.split_once("..").ok_or("seeds are given as A..B, the last one excluded")?;
    let number = |n: &str| n.parse::<u64>().map_err(|e| format!("{n:?} is no seed: {e}"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok(from..to) } else { Err(format!("there is no seed in {from}..{to}")) }
}

fn faults(text: &str) -> Result<testkit::sim::Faults, String> {
    use testkit::sim::Faults;
    match text {
        "swarm" => Ok(Faults::swarm()),
        "all" => Ok(Faults::all()),
        "none" => Ok(Faults::none()),
        kinds => Ok(Faults::only(kinds.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?)),
    }
}

fn resolver(text: &str) -> Result<testkit::resolvers::ResolverKind, String> {
    use testkit::resolvers::ResolverKind;
    match text {
        "lww" => Ok(ResolverKind::LastWriteWins),
        "client" => Ok(ResolverKind::ClientWins),
        "server" => Ok(ResolverKind::ServerWins),
        "join" => Ok(ResolverKind::Joining),
        "defer" => Ok(ResolverKind::Deferring),
        _ => Err("the resolvers are lww, client, server, join and defer".to_owned()),
    }
}
