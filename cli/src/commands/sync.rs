//! `sync`: syncs a replica with a server.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use twotide::backend::model::{Collection as Name, Limits};
use twotide::backend::replica::OutboxCounts;
use twotide::http::{LiveBy, ProxyBy};
use twotide::net::tls::Trust;
use twotide::prelude::*;
use twotide::{ReplicaBuilder, StatusWatch};

use super::{Signals, closing, leaving};
use crate::args::{self, SyncArgs};
use crate::failure::Failure;
use crate::output::print;
use crate::stderr::tell;
use crate::values::read_file;

#[derive(Serialize)]
struct Shown {
    status: &'static str,
    in_sync: bool,
    direction: &'static str,
    pushed: u64,
    pulled: u64,
    conflicts: u64,
    outbox: OutboxCounts,
    error: Option<String>,
}

fn shown(replica: &Replica, status: &Status) -> Shown {
    let statistics = replica.statistics().borrow().clone();
    Shown {
        status: status.activity.as_str(),
        in_sync: status.in_sync,
        direction: status.direction.as_str(),
        pushed: statistics.pushed,
        pulled: statistics.pulled,
        conflicts: statistics.conflicts,
        outbox: status.outbox,
        error: status.error.as_ref().map(|error| error.report().to_string()),
    }
}

pub(crate) async fn run(args: SyncArgs) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    closing(open(&args).await?, async |replica| {
        leaving::check(replica, &args.collections, args.drop).await?;
        if args.live {
            live(replica, &mut signals).await
        } else {
            once(replica, &mut signals).await
        }
    })
    .await
}

async fn open(args: &SyncArgs) -> Result<Replica, Failure> {
    let how = if args.live { "sync --live" } else { "sync --once" };
    let limits = Limits { documents: args.chunk as usize, ..Limits::CHUNK };
    let mut builder = Replica::builder()
        .storage_at(args.db.db.clone())
        .scope(args.db.scope.as_str())
        .server(&args.server)
        .chunk_limits(limits)
        .compression(args.compress)
        .direction(args.direction)
        .strategy(args.resolver.into())
        .holder(format!("process {} (twotide {how})", std::process::id()));
    if !args.collections.is_empty() {
        builder = builder.collections(args.collections.iter().map(Name::as_str));
    }
    if let Some(file) = &args.trust {
        builder = builder.trust(trust(file)?);
    }
    builder = over_http(args, builder)?;
    if let Some(token) = args.token.read()? {
        builder = builder.token(token);
    }
    if let Some(provider) = args.token.provider().filter(|_| args.live) {
        builder = builder.token_provider(provider);
    }
    builder.open().await.map_err(|e| match e.kind() {
        // Here only the address and the proxy can still be invalid.
        ErrorKind::InvalidInput => Failure::argument(&e),
        _ => e.into(),
    })
}

fn trust(file: &Path) -> Result<Trust, Failure> {
    let trust = Trust::Web { extra: vec![read_file(file)?] };
    let config = trust.client_config().map_err(|e| Failure::from(e).about(file.display()))?;
    Ok(Trust::Custom(config))
}

/// Sets the options that only concern HTTP.
fn over_http(args: &SyncArgs, mut builder: ReplicaBuilder) -> Result<ReplicaBuilder, Failure> {
    let is_http = args.server.get(..4).is_some_and(|s| s.eq_ignore_ascii_case("http"));
    if let Some(live_by) = args.live_by {
        if !is_http {
            return Err(Failure::usage("--live-by is for servers at http:// and https://"));
        }
        builder = builder.live_by(match live_by {
            args::LiveBy::Sse => LiveBy::Sse,
            args::LiveBy::LongPoll => LiveBy::LongPoll,
            args::LiveBy::Poll => LiveBy::Poll,
        });
    }
    if let Some(proxy) = &args.proxy {
        if !is_http {
            return Err(Failure::usage("--proxy is for servers at http:// and https://"));
        }
        // It may contain a password: it is not shown.
        let proxy: ProxyBy = proxy.parse().map_err(|e| Failure::argument(&e).about("--proxy"))?;
        builder = builder.proxy(proxy);
    }
    Ok(builder)
}

async fn once(replica: &Replica, signals: &mut Signals) -> Result<(), Failure> {
    let shows = tokio::spawn(show_progress(replica.status()));
    let result = tokio::select! {
        result = replica.sync_now() => result.map_err(Failure::from),
        ended = signals.asked_to_end() => ended.and(Err(Failure::failed("interrupted before it was in sync"))),
    };
    shows.abort();
    let mut status = replica.status().borrow().clone();
    status.outbox = replica.state().await?.outbox(replica.scope());
    let mut line = shown(replica, &status);
    line.in_sync = result.is_ok();
    line.status = if result.is_ok() { "idle" } else { "error" };
    line.error = result.as_ref().err().map(|failure| failure.message().to_owned());
    // The result of the sync matters more than whether its output is read.
    let printed = print(&line);
    result?;
    let OutboxCounts { quarantined, deferred, .. } = status.outbox;
    if quarantined + deferred > 0 {
        return Err(Failure::failed(format!(
            "everything else is in sync, but {quarantined} edits are quarantined and {deferred} conflicts wait for a decision"
        )));
    }
    printed
}

/// Shows on a terminal how many positions are left, and prints the first failure at once, because
/// the attempts after it may take long.
async fn show_progress(mut status: StatusWatch) {
    let mut bar = std::io::stderr().is_terminal().then(Bar::default);
    let mut is_told = false;
    while let Ok(now) = status.changed().await {
        if let Some(bar) = &mut bar {
            bar.show(&now);
        }
        if let Some(error) = now.error.filter(|_| now.retries && !is_told) {
            tell(format_args!("not in sync yet, trying again: {}", error.report()));
            is_told = true;
        }
    }
}

/// A bar for pulled documents, which is drawn once there is something to pull.
#[derive(Debug, Default)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(crate) fn show(&mut self, status: &Status) {
        let (done, all) = (status.pulled, status.pulled + status.remaining);
        if all == 0 {
            return;
        }
        let bar = self.0.get_or_insert_with(progress_bar);
        bar.set_length(all);
        bar.set_position(done);
        let waits = status.outbox.pending + status.outbox.in_flight;
        bar.set_message(if waits > 0 { format!("{waits} to push") } else { String::new() });
    }

    pub(crate) fn clear(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = "   {bar:40} {pos}/{len} documents  {rate}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // A write error only leaves the rate out of the bar.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

async fn live(replica: &Replica, signals: &mut Signals) -> Result<(), Failure> {
    let mut status = replica.status();
    replica.start().await?;
    loop {
        tokio::select! {
            ended = signals.asked_to_end() => {
                ended?;
                replica.stop().await;
                return Ok(());
            }
            now = status.changed() => {
                let now = now?;
                print(&shown(replica, &now))?;
                if now.activity == Activity::Error && !now.retries {
                    let unknown = || Failure::failed("the server refused the replica");
                    return Err(now.error.map_or_else(unknown, Failure::from));
                }
            }
        }
    }
}
