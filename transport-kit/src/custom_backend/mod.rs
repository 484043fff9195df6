//! Bring your own backend: a transport made from two closures, for apps whose data is behind a REST
//! API already.
//!
//! ```
//! use std::time::Duration;
//! use transport_kit::custom_backend::{FnTransport, Document, FetchRequest, Outcome, Outgoing, Page, Version};
//!
//! # fn main() -> sync_core::error::Result<()> {
//! let transport = FnTransport::builder("notes.example.org")
//!     // Everything that changed after the bookmark of the last page, oldest first.
//!     .fetch(|request: FetchRequest| async move {
//!         let _since = request.bookmark.as_ref().map(|b| b.as_str().to_owned());
//!         let note = serde_json::json!({ "text": "from the service" });
//!         let version = Version::new(1_770_000_000_000, "v7");
//!         let documents = vec![Document::live("notes", "n1", version, &note)?];
//!         Ok(Page::last(documents).bookmark("1770000000000,n1")?)
//!     })
//!     // One change; the answer says what the service holds now.
//!     .send_each(|change: Outgoing| async move {
//!         let _condition = change.base.as_ref().and_then(|b| b.tag());
//!         Ok(Outcome::Stored(Version::new(1_770_000_000_123, "v8")))
//!     })
//!     .poll_every(Duration::from_secs(20), Duration::from_secs(5))
//!     .build()?;
//! # let _ = transport;
//! # Ok(())
//! # }
//! ```
//!
//! # What the closures promise
//!
//! **Fetch** gets a [bookmark](sync_core::model::Bookmark), none at the beginning, and answers a
//! [`Page`]: documents as they are now, and the bookmark to ask with next.
//! - Pages that follow each other from the beginning, until one says that no more follows, hold
//!   every document that was there when the first was asked for. The page after a bookmark holds
//!   every document that changed since that bookmark was given out. A document may come twice; none
//!   may be passed over. A bookmark that is a time alone loses what changed in the same instant:
//!   use time and id, or a counter of changes.
//! - A fetch that begins after a send was answered sees what that send stored.
//! - At the end of a listing the bookmark may be missing: the service cannot tell what changed.
//!   Then everything is fetched each time, and what is not there any more is deleted.
//!   [`Fetched::Expired`] says the same once, for a bookmark that the service does not know any
//!   more.
//! - Deletions come as [`Document::deleted`]. If the service tells of none, let everything be
//!   fetched now and then ([`refetch_every`](FnTransportBuilder::refetch_every)); until then
//!   deletions by others are not seen.
//! - A document comes with a body in the very bytes that the app writes: read what the service says
//!   into the type that the app uses, and hand that over. Else an edit that is made right after a
//!   send may meet its own echo as a conflict.
//!
//! **Send** gets [`Outgoing`] changes and answers an [`Outcome`] for each: what the service holds
//! *now*. An endpoint that remembers idempotency keys and tells an old answer again has to look
//! whether that is still the current state, and answer [`Outcome::Superseded`] if it is not. An
//! error is for the call as a whole: the same changes are sent again, with the same
//! [keys](Outgoing::key). What can never be stored is [`Outcome::Rejected`], or it would be tried
//! for ever.
//!
//! **Tokens** are between the closures and the service: a token that a replica is given goes
//! nowhere. A closure that is told that its token is no good renews it, or fails with
//! `Unauthenticated`, which stops the sync until it is run again. A closure may be dropped in the
//! middle, may hang and may panic: the first two cost another attempt, the last is an error like
//! others.
//!
//! # Which guarantees hold
//!
//! That depends on what the service offers for writing. The columns are ways of sending.
//!
#![doc = include_str!("guarantees.md")]
//!
//! # How it works
//!
//! A replica compares positions; a foreign service has none. So this transport generates them, one
//! line of positions for each replica and scope. A page's documents get the next ones, and so does
//! every answer to a send. **A fetch and a send of one scope never overlap**, so the order of
//! positions is the order of the calls to the service:
//! - what a page contained *before* a send has a lower position than the answer. If it is applied
//!   after the answer was settled (it waited while another chunk was applied), it is not newer than
//!   what is known, and changes nothing: the service has replaced it;
//! - what a page contains *after* a send has a higher position and is applied: it is the echo, or a
//!   newer write of another client. That holds also while later edits of the document are in
//!   flight: it waits for the verdict, as always;
//! - an answer has a higher position than everything that was delivered, also than the document's
//!   current state: the replica always applies it. (The position of the last chunk would not do: it
//!   can be that of the document itself, and the verdict would then leave it dirty for ever.)
//!
//! After a restart positions continue above all that the replica has received, also in verdicts,
//! because it keeps the highest ([`Checkpoint::seen`](sync_core::model::Checkpoint::seen)). The
//! replica's place is position and bookmark together, and a chunk is applied only if it began at
//! both.
//!
//! Revisions are made of a [`Version`]: the same version has the same revision, whatever way it
//! comes. An answer to a send settles the edit in that revision, so its echo is recognised, and a
//! later edit names it as its base.
//!
//! While everything is fetched in several pages, nothing is sent: a listing that has passed the
//! place of a new document would not hold it, and at the end it would be taken for deleted.
//!
//! The epoch is made of the backend's name: another name is another backend, to which everything
//! that the replica holds is offered.

mod builder;
mod connection;
mod request_context;
mod types;
mod version;

pub use builder::{FnTransport, FnTransportBuilder};
pub use types::{Base, Document, FetchRequest, Fetched, Held, Outcome, Outgoing, Page};
pub use version::Version;

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_for_apps_has_the_same_table() {
        let page = include_str!("../../../docs/bring-your-own-backend.md");
        assert!(page.contains(include_str!("guarantees.md")));
    }
}
