//! Twotide keeps copies of an app's data equal across devices and a server, offline first.
//!
//! Writes are local and immediate, wait in a durable outbox, and sync when there is a network. A
//! replica catches up in chunks from its position and then follows live; concurrent edits go to a
//! conflict resolver.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use twotide::prelude::*;
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Note {
//!     text: String,
//! }
//!
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> twotide::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("notes.db");
//! let replica = Replica::builder().sqlite(path).open().await?;
//! let notes = replica.collection::<Note>("notes")?;
//! let note = notes.insert(&Note { text: "buy milk".into() }).await?;
//! assert_eq!(notes.get(note.id()).await?.unwrap().value().text, "buy milk");
//! replica.close().await
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! Set a server on the builder and call [`Replica::start`] to sync the note. An app that already
//! has a REST API passes two closures instead: see [`custom_backend`].
//!
//! Backends are picked by Cargo features (`sqlite` and `ws` by default, `server` for serving);
//! [`backend`] has the traits that they implement, and `server` the API of a server.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(not(any(
    feature = "sqlite",
    feature = "sled",
    feature = "ws",
    feature = "http",
    feature = "own-backends"
)))]
compile_error!(
    "no storage and no transport is compiled in: enable one of the features `sqlite`, `sled`, `ws` \
     and `http` of twotide, or `own-backends` for an app that brings both itself"
);
#[cfg(all(
    feature = "server",
    not(any(feature = "ws", feature = "http", feature = "own-backends"))
))]
compile_error!(
    "the feature `server` of twotide serves nothing by itself: enable `ws`, `http` or both beside it, \
     or `own-backends` for a server that is reached over a transport of the app's own"
);

pub mod backend;
mod builder;
mod changes;
mod collection;
mod config;
mod dial;
mod document;
mod events;
mod listeners;
mod replica;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
pub mod server;
mod status;
mod status_watch;
mod storage_url;
mod sync_state;
mod transaction;
mod unix_millis;
mod unsettled;
mod versions;
mod watch;
mod yielding;

pub use sync_core::resolver;
pub use transport_kit::custom_backend;

#[cfg(feature = "sled")]
pub use storage_sled as sled;
#[cfg(feature = "sqlite")]
pub use storage_sqlite as sqlite;
#[cfg(feature = "http")]
pub use transport_http as http;
pub use transport_kit as net;
#[cfg(feature = "ws")]
pub use transport_ws as ws;

pub use builder::ReplicaBuilder;
pub use changes::{Change, Changes};
pub use collection::{Collection, Documents, Page, UnreadableDocument};
pub use config::{ReplicaConfig, Strategy};
pub use document::Document;
pub use events::{EventFilter, EventKind, EventStream, SyncEvent};
pub use replica::Replica;
#[cfg(feature = "server")]
pub use serve::{routes, routes_with};
pub use status::{Activity, Statistics, Status};
pub use status_watch::StatusWatch;
pub use storage_url::StorageUrl;
pub use sync_core::driver::{TokenProvider, tokens_from};
pub use sync_core::engine::{Direction, RetryPolicy};
pub use sync_core::error::{Error, ErrorKind, Result, Retry};
pub use sync_core::model::{
    Body, DocumentId, DocumentKey, DocumentState, Limits, Rejection, RejectionCode, Reset,
    ResetReason, Revision, Scope, Seq,
};
pub use sync_core::replica::{Decided, Operation, Origin, OutboxCounts, ReplicaState};
pub use sync_core::resolver::ResolveOn;
pub use sync_state::{FailedAttempt, SyncState, WaitingEdit};
pub use transaction::Transaction;
pub use unsettled::{
    Conflicts, NextPage, Quarantine, QuarantinedEdit, UnsettledPage, WaitingConflict,
};
pub use watch::{CollectionWatch, DocumentWatch, InboxEvent, InboxWatch, WatchEvent};

/// The types that an app usually needs.
pub mod prelude {
    pub use crate::{
        Activity, Change, Collection, Document, Error, ErrorKind, EventFilter, EventKind, Replica,
        Result, Status, SyncEvent, WatchEvent,
    };
    pub use crate::{Body, Operation, Origin};
    pub use sync_core::resolver::{
        ClientWins, Conflict, ConflictResolver, FieldMerge, FieldRule, LastWriteWins, OnDelete,
        Resolution, ServerWins, TypedConflict, TypedResolution, resolve_typed, resolve_with,
    };
}

/// Runs the README's example as a test.
#[cfg(all(doctest, feature = "sqlite", feature = "ws"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Runs the examples of the page about custom backends as tests.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/bring-your-own-backend.md")]
struct BringYourOwnBackend;
