//! `sync`: a replica with a server.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use tokio::sync::watch;
use twotide::core::model::Limits;
use twotide::core::replica::OutboxCounts;
use twotide::http::LiveBy;
use twotide::net::tls::Trust;
use twotide::prelude::*;

use super::asked_to_end;
use crate::args::{self, SyncArgs};
use crate::failure::Failure;
use crate::output::print;

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
        error: status.error.as_ref().map(ToString::to_string),
    }
}

pub(crate) async fn run(args: SyncArgs) -> Result<(), Failure> {
    let how = if args.live { "sync --live" } else { "sync --once" };
    let limits = Limits { documents: args.chunk as usize, ..Limits::CHUNK };
    let mut builder = Replica::builder()
        .storage_at(args.db.db.clone())
        .scope(&args.db.scope)
        .server(&args.server)
        .chunk_limits(limits)
        .compression(args.compress)
        .direction(args.direction)
        .strategy(args.resolver.into())
        .holder(format!("process {} (twotide {how})", std::process::id()));
    if !args.collections.is_empty() {
        builder = builder.collections(&args.collections);
    }
    if let Some(file) = args.trust {
        builder = builder.trust(Trust::Web { extra: vec![args::read_file(&file)?] });
    }
    if let Some(live_by) = args.live_by {
        if !args.server.starts_with("http") {
            return Err(Failure::usage("--live-by is for servers at http:// and https://"));
        }
        builder = builder.live_by(match live_by {
            args::LiveBy::Sse => LiveBy::Sse,
            args::LiveBy::LongPoll => LiveBy::LongPoll,
            args::LiveBy::Poll => LiveBy::Poll,
        });
    }
    if let Some(proxy) = args.proxy {
        if !args.server.starts_with("http") {
            return Err(Failure::usage("--proxy is for servers at http:// and https://"));
        }
        builder = builder.proxy(proxy);
    }
    if let Some(token) = args.token.read()? {
        builder = builder.token(token);
    }
    if let Some(provider) = args.token.provider().filter(|_| args.live) {
        builder = builder.token_provider(provider);
    }
    let replica = builder.open().await?;
    let result = if args.live { live(&replica).await } else { once(&replica).await };
    replica.close().await?;
    result
}

async fn once(replica: &Replica) -> Result<(), Failure> {
    let bar = tokio::spawn(show_progress(replica.status()));
    let end = asked_to_end();
    let result = tokio::select! {
        result = replica.sync_now() => result.map_err(Failure::from),
        ended = end => ended.and(Err(Failure::failed("interrupted before it was in sync"))),
    };
    bar.abort();
    let mut status = replica.status().borrow().clone();
    status.outbox = replica.state().await?.outbox(replica.scope());
    let mut line = shown(replica, &status);
    line.in_sync = result.is_ok();
    line.status = if result.is_ok() { "idle" } else { "error" };
    print(&line)?;
    let OutboxCounts { quarantined, deferred, .. } = status.outbox;
    if result.is_ok() && quarantined + deferred > 0 {
        return Err(Failure::failed(format!(
            "everything else is in sync, but {quarantined} edits are quarantined and {deferred} conflicts wait for a decision"
        )));
    }
    result
}

/// Positions are left, so there is something to show; nothing is drawn where nobody looks.
async fn show_progress(mut status: watch::Receiver<Status>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let mut bar = Bar::default();
    while status.changed().await.is_ok() {
        bar.show(&status.borrow_and_update());
    }
}

/// A bar for documents that are pulled; there is none before there is something to pull.
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
            // Where nothing can be written there is nobody to read it.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

async fn live(replica: &Replica) -> Result<(), Failure> {
    let mut status = replica.status();
    replica.start().await?;
    let end = asked_to_end();
    tokio::pin!(end);
    loop {
        tokio::select! {
            ended = &mut end => {
                ended?;
                replica.stop().await;
                return Ok(());
            }
            changed = status.changed() => {
                if changed.is_err() {
                    return Err(Failure::failed("the replica was closed"));
                }
                let now = status.borrow_and_update().clone();
                print(&shown(replica, &now))?;
                if now.activity == Activity::Error && !now.retries {
                    let unknown = || Failure::failed("the server refused the replica");
                    return Err(now.error.map_or_else(unknown, Failure::from));
                }
            }
        }
    }
}
