//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use twotide::backend::model::{Collection, DocumentId, Scope};
use twotide::{Direction, StorageUrl, Strategy};

use crate::serve_args::ServeArgs;
use crate::simulate_args::SimulateArgs;
use crate::tokens::TokenArgs;
use crate::values::{listed, scope, storage};

/// Copies of an app's data that stay equal across devices and a server, offline first.
#[derive(Debug, Parser)]
#[command(name = "twotide", version, propagate_version = true)]
pub(crate) struct Cli {
    /// Log details to standard error
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job: a server, three replicas, a partition, and all equal at the end
    Demo(DemoArgs),
    /// Serve replicas over WebSocket and HTTP
    Serve(ServeArgs),
    /// Sync a replica with a server
    Sync(SyncArgs),
    /// Write a document
    Put(PutArgs),
    /// Print a document
    Get(KeyArgs),
    /// Delete a document
    Rm(RmArgs),
    /// List the documents of a collection, or the collections
    Ls(LsArgs),
    /// Write the lines of a JSON Lines file as documents
    Import(ImportArgs),
    /// Print documents as JSON Lines, by collection and id
    Export(ExportArgs),
    /// Print changes as they happen, other processes' included
    Watch(WatchArgs),
    /// Print the state of a replica
    Status(StatusArgs),
    /// List conflicts that wait for a decision, and resolve them
    #[command(subcommand)]
    Conflicts(ConflictsCommand),
    /// List edits that the server refused, and decide about them
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Print why a document is or is not synced
    Why(KeyArgs),
    /// Simulate many clients, partitions, crashes and wrong clocks, and check that nothing is lost
    /// and all are equal
    Simulate(SimulateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConflictsCommand {
    /// List the conflicts that wait
    Ls(DbArgs),
    /// Print a conflict: both versions and their base
    Show(KeyArgs),
    /// Resolve a conflict
    Resolve(ResolveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    #[command(flatten)]
    pub(crate) how: How,
}

/// How a conflict is resolved.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct How {
    /// Keep the local edit, and push it
    #[arg(long)]
    pub(crate) local: bool,
    /// Keep the server's version
    #[arg(long)]
    pub(crate) remote: bool,
    /// Delete the document
    #[arg(long)]
    pub(crate) delete: bool,
    /// Keep this body, and push it
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) with: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List the refused edits, the oldest first
    Ls(DbArgs),
    /// Write the refused edits of a document again, so that they are pushed once more
    Retry(KeyArgs),
    /// Drop the refused edits of a document permanently
    Discard(KeyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DbArgs {
    /// The replica: a SQLite file, or sqlite:PATH, sled:PATH
    #[arg(long, value_name = "STORAGE", value_parser = storage)]
    pub(crate) db: StorageUrl,
    /// The scope
    #[arg(long, default_value = "default", value_parser = scope)]
    pub(crate) scope: Scope,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) db: DbArgs,
    /// The server: ws://host:port or wss://host:port, http://host:port or https://host:port
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// Follow live over HTTP only in this way; by default in the best way that the network allows
    #[arg(long, value_name = "HOW", requires = "live")]
    pub(crate) live_by: Option<LiveBy>,
    /// Which proxy to go through over HTTP: system (HTTPS_PROXY, HTTP_PROXY, NO_PROXY, and none to
    /// this machine), none, or http://host:port; system by default
    #[arg(long, value_name = "PROXY")]
    pub(crate) proxy: Option<String>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    /// Trust these authorities too, or this server: a file with certificates in PEM or DER
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Push everything and pull up to the head, as far as --direction allows, and end; this is the
    /// default
    #[arg(long, conflicts_with = "live")]
    pub(crate) once: bool,
    /// Keep running, and follow live
    #[arg(long)]
    pub(crate) live: bool,
    /// Which way to sync; edits that are not pushed stay in the outbox
    #[arg(long, value_name = "push|pull|both", default_value_t)]
    pub(crate) direction: Direction,
    /// Sync only these collections, separated by commas; others leave this replica, and edits of
    /// them wait
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = listed)]
    pub(crate) collections: Vec<Collection>,
    /// Let collections leave that --collections does not name, also with unsynced edits, which go
    /// to the quarantine, and also if it names others that hold nothing here
    #[arg(long, requires = "collections")]
    pub(crate) drop: bool,
    /// How conflicts are decided
    #[arg(long, value_name = "WHO", default_value = "lww")]
    pub(crate) resolver: Decider,
    /// Offer compression, which pays on slow links
    #[arg(long)]
    pub(crate) compress: bool,
    /// The most documents in a chunk
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) chunk: u32,
}

/// How conflicts are decided.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Decider {
    /// The last write wins
    Lww,
    /// The server's version wins
    Server,
    /// The replica's version wins
    Client,
    /// JSON objects are merged field by field; for a field that both changed, the last write wins
    Merge,
    /// No resolver: conflicts wait for `conflicts resolve`
    Defer,
}

impl From<Decider> for Strategy {
    fn from(decider: Decider) -> Self {
        match decider {
            Decider::Lww => Self::Lww,
            Decider::Server => Self::Server,
            Decider::Client => Self::Client,
            Decider::Merge => Self::Merge,
            Decider::Defer => Self::Defer,
        }
    }
}

/// How to follow live over HTTP.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LiveBy {
    /// By server-sent events
    Sse,
    /// By requests that wait for changes
    LongPoll,
    /// By periodic requests
    Poll,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// The document's body
    #[arg(allow_hyphen_values = true)]
    pub(crate) json: String,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    pub(crate) db: DbArgs,
    /// The collection
    pub(crate) collection: Collection,
    /// The document's id
    #[arg(allow_hyphen_values = true)]
    pub(crate) id: DocumentId,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Erase it: no body of it remains, here at once, on the server and on other replicas once they
    /// are synced
    #[arg(long)]
    pub(crate) erase: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) db: DbArgs,
    /// The collection; without one the collections are listed
    pub(crate) collection: Option<Collection>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) db: DbArgs,
    /// The collection of the documents; without one, each line must be one that `export` prints
    #[arg(long)]
    pub(crate) collection: Option<Collection>,
    /// The field that holds a document's id; without one it is `id` if there is such a field, else
    /// a new id
    #[arg(long, value_name = "FIELD", requires = "collection")]
    pub(crate) id_field: Option<String>,
    /// Skip documents that exist, and count them; each line then needs an id. A document that was
    /// deleted does not exist
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// The file, or - for standard input
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) db: DbArgs,
    /// Only this collection
    #[arg(long)]
    pub(crate) collection: Option<Collection>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) db: DbArgs,
    /// Begin after this local sequence number instead of now
    #[arg(long, value_name = "N")]
    pub(crate) after: Option<u64>,
    /// End after that many changes
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The replica: a SQLite file, or sqlite:PATH, sled:PATH
    #[arg(long, value_name = "STORAGE", value_parser = storage)]
    pub(crate) db: StorageUrl,
    /// Only this scope
    #[arg(long, value_parser = scope)]
    pub(crate) scope: Option<Scope>,
    /// Read every document, and compare the documents and digests with those that are stored; exit
    /// with 1 if they differ
    #[arg(long)]
    pub(crate) check: bool,
    /// Print JSON, which is printed without this option, too
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the files in this folder instead of a temporary one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_path_is_sqlite_and_an_unknown_storage_is_refused_with_the_known_ones() {
        assert_eq!(storage("a.db").unwrap(), StorageUrl::sqlite("a.db"));
        assert_eq!(storage("sqlite:a.db").unwrap(), StorageUrl::sqlite("a.db"));
        assert_eq!(storage("sled:a.sled").unwrap(), StorageUrl::sled("a.sled"));
        assert_eq!(storage("./odd:name.db").unwrap(), StorageUrl::sqlite("./odd:name.db"));
        let told = storage("redis:a").unwrap_err();
        assert!(told.contains("sqlite:PATH, sled:PATH, memory:"), "{told}");
        assert!(storage("").is_err());
        assert!(storage(":memory:").unwrap_err().contains("`memory:`"));
    }
}
