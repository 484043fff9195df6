//! Bring your own backend: a transport made from two closures, for apps whose data is behind an
//! existing REST API.
//!
//! ```
//! use std::time::Duration;
//! use transport_kit::custom_backend::{
//!     BackendDocument, BackendPage, FetchRequest, FnTransport, Outgoing, PushOutcome, Version,
//! };
//!
//! # fn main() -> sync_core::error::Result<()> {
//! let transport = FnTransport::builder("notes.example.org")
//!     // Everything that changed after the bookmark of the last page, oldest first.
//!     .fetch(|request: FetchRequest| async move {
//!         let _since = request.bookmark.as_ref().map(|b| b.as_str().to_owned());
//!         let note = serde_json::json!({ "text": "from the service" });
//!         let version = Version::new(1_770_000_000_000, "v7");
//!         let documents = vec![BackendDocument::live("notes", "n1", version, &note)?];
//!         Ok(BackendPage::last(documents).bookmark("1770000000000,n1")?)
//!     })
//!     // One change; the result is the current state of the service.
//!     .send_each(|change: Outgoing| async move {
//!         let _condition = change.base.as_ref().and_then(|b| b.tag());
//!         Ok(PushOutcome::Stored(Version::new(1_770_000_000_123, "v8")))
//!     })
//!     .poll_every(Duration::from_secs(20), Duration::from_secs(5))
//!     .build()?;
//! # let _ = transport;
//! # Ok(())
//! # }
//! ```
//!
//! # Requirements on the closures
//!
//! **Fetch** receives a [bookmark](sync_core::model::Bookmark), none at the beginning, and returns
//! a [`BackendPage`]: documents in their current state, and the bookmark of the next page.
//! - Consecutive pages from the beginning, up to the one after which no more follows, hold every
//!   document that existed at the first fetch. The page after a bookmark holds every document that
//!   changed since that bookmark was returned. A document may be repeated; none may be left out. A
//!   bookmark that is a time alone loses changes of the same instant: use time and id, or a counter
//!   of changes.
//! - A fetch that begins after a send has returned contains what that send stored.
//! - At the end of a listing the bookmark may be missing, if the service cannot list what changed.
//!   Then everything is fetched each time, and documents that do not exist any more are deleted.
//!   [`Fetched::Expired`] has the same effect once, for a bookmark that the service has discarded.
//! - Deletions are [`BackendDocument::deleted`]. If the service does not report deletions, fetch
//!   everything at an interval ([`refetch_every`](FnTransportBuilder::refetch_every)); until then
//!   deletions by others are not detected.
//! - A document has a body in exactly the bytes that the app writes: parse the service's response
//!   into the type that the app uses, and pass that on. Otherwise an edit that is made right after
//!   a send may be in conflict with its own echo.
//!
//! **Send** receives [`Outgoing`] changes and returns a [`PushOutcome`] for each: the *current*
//! state of the service. An endpoint that stores idempotency keys and repeats an old response must
//! check whether that is still the current state, and return [`PushOutcome::Superseded`] if it is
//! not. An error fails the call as a whole: the same changes are sent again, with the same
//! [keys](Outgoing::key). A change that can never be stored is [`PushOutcome::Rejected`], otherwise
//! it would be retried forever.
//!
//! **Tokens** concern only the closures and the service: the token of a replica is not used. A
//! closure whose token the service refuses renews it, or fails with `Unauthenticated`, which stops
//! the sync until it is started again. A closure may be dropped before it completes, may hang and
//! may panic. The first two cost another attempt; the last is an ordinary error.
//!
//! # Guarantees
//!
//! They depend on the service's endpoint for writing. The columns are kinds of endpoints.
//!
#![doc = include_str!("guarantees.md")]
//!
//! # How it works
//!
//! A replica compares positions; a foreign service has none. So this transport generates them, one
//! sequence for each replica and scope. A page's documents and every result of a send get the next
//! ones. **A fetch and a send of one scope never overlap**, so the order of positions is the order
//! of the calls to the service:
//! - a document of a page *before* a send has a lower position than the result of the send. If it
//!   is applied after the result was settled (it waited while another chunk was applied), it is not
//!   newer than the known state, and changes nothing: the service has replaced it;
//! - a document of a page *after* a send has a higher position and is applied: it is the echo, or a
//!   newer write of another client. That holds also while later edits of the document are in
//!   flight: it waits for the verdict, as always;
//! - the result of a send has a higher position than everything that was delivered, also than the
//!   document's current state: the replica always applies it. (The position of the last chunk would
//!   not be enough: it can be that of the document itself, and the verdict would then leave it
//!   unsettled forever.)
//!
//! After a restart positions continue above all that the replica has received, also in verdicts,
//! because it stores the highest ([`Checkpoint::seen`](sync_core::model::Checkpoint::seen)). The
//! replica's place is position and bookmark together, and a chunk is applied only if it began at
//! both.
//!
//! Revisions are derived from a [`Version`]: the same version has the same revision, from a page or
//! from a send. The result of a send settles the edit in that revision, so its echo is recognised,
//! and a later edit names it as its base.
//!
//! While everything is fetched in several pages, nothing is sent: a listing that has passed the
//! place of a new document would not contain it, and at the end it would count as deleted.
//!
//! The epoch is derived from the backend's name: another name is another backend, to which the
//! replica sends everything that it holds.

mod backend;
mod builder;
mod connection;
mod request_context;
mod types;
mod version;

pub use builder::{FnTransport, FnTransportBuilder};
pub use types::{
    BackendDocument, BackendPage, Base, FetchRequest, Fetched, Held, Outgoing, PushOutcome,
};
pub use version::Version;

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_for_apps_has_the_same_table() {
        let page = include_str!("../../../docs/bring-your-own-backend.md");
        assert!(page.contains(include_str!("guarantees.md")));
    }
}
