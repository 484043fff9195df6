//! The arguments and results of the closures.

use serde::Serialize;

use super::version::{Version, mark, tag_of};
use sync_core::error::Result;
use sync_core::model::{
    Body, Bookmark, Collection, DocumentId, Rejection, RejectionCode, Revision, Scope,
};

/// The arguments of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The scope.
    pub scope: Scope,
    /// The bookmark of the last page that was applied; none at the beginning.
    pub bookmark: Option<Bookmark>,
    /// The most documents that a page may hold. One that holds more is refused.
    pub limit: usize,
}

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Documents.
    BackendPage(BackendPage),
    /// The service has discarded the bookmark: everything is fetched again.
    Expired,
}

impl From<BackendPage> for Fetched {
    fn from(page: BackendPage) -> Self {
        Self::BackendPage(page)
    }
}

/// Documents that a fetch found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendPage {
    /// The documents, each in its current state.
    pub documents: Vec<BackendDocument>,
    /// The bookmark of the next page; none at the end of a listing if the service cannot list what
    /// changed since.
    pub bookmark: Option<Bookmark>,
    /// Whether more is available at once. Such a page must have a bookmark that differs from the
    /// one of its request.
    pub more: bool,
}

impl BackendPage {
    /// Creates a page after which nothing follows for now.
    #[must_use]
    pub fn last(documents: Vec<BackendDocument>) -> Self {
        Self { documents, bookmark: None, more: false }
    }

    /// Sets the bookmark.
    ///
    /// # Errors
    /// `InvalidInput` for a bookmark of more than 4 KiB.
    pub fn bookmark(mut self, text: impl AsRef<str>) -> Result<Self> {
        self.bookmark = Some(Bookmark::new(text)?);
        Ok(self)
    }

    /// Sets whether more is available at once.
    #[must_use]
    pub fn more(mut self, more: bool) -> Self {
        self.more = more;
        self
    }
}

/// A document of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendDocument {
    /// The collection it belongs to.
    pub collection: Collection,
    /// Its id.
    pub id: DocumentId,
    /// The state that the service holds.
    pub held: Held,
}

impl BackendDocument {
    /// Creates a document that exists.
    ///
    /// # Errors
    /// `InvalidInput`, with the name, for an invalid collection or id, and for a value that has no
    /// JSON form.
    pub fn live(
        collection: impl AsRef<str>,
        id: impl AsRef<str>,
        version: Version,
        value: &impl Serialize,
    ) -> Result<Self> {
        let body = Body::from_value(value).map_err(|e| e.with("id", id.as_ref()))?;
        Self::new(collection, id, Held::Live { version, body })
    }

    /// Creates a document that was deleted.
    ///
    /// # Errors
    /// `InvalidInput`, with the name, for an invalid collection or id.
    pub fn deleted(
        collection: impl AsRef<str>,
        id: impl AsRef<str>,
        version: Option<Version>,
    ) -> Result<Self> {
        Self::new(collection, id, Held::Deleted { version })
    }

    fn new(collection: impl AsRef<str>, id: impl AsRef<str>, held: Held) -> Result<Self> {
        Ok(Self { collection: Collection::new(collection)?, id: DocumentId::new(id)?, held })
    }

    /// Returns its approximate size in bytes.
    pub(super) fn weight(&self) -> usize {
        let body = match &self.held {
            Held::Live { body, .. } => body.len(),
            Held::Deleted { .. } => 0,
        };
        64 + self.collection.as_bytes().len() + self.id.as_bytes().len() + body
    }
}

/// The state of a document on the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A body.
    Live {
        /// Its version.
        version: Version,
        /// The body.
        body: Body,
    },
    /// The document was deleted, or never existed.
    Deleted {
        /// The version of the deletion, if the service has one. The service must have it both in
        /// pages and in results, or in neither: otherwise a document that is created again right
        /// after its deletion was sent may be in conflict with the echo of the deletion. A deletion
        /// without a version has no time: under last-write-wins an edit wins over it.
        version: Option<Version>,
    },
}

/// A change that is sent to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The scope.
    pub scope: Scope,
    /// The collection.
    pub collection: Collection,
    /// The id.
    pub id: DocumentId,
    /// The new body; none to delete the document.
    pub body: Option<Body>,
    /// The state that the edit was made on; none if the document is new, or if this service never
    /// had that state.
    pub base: Option<Base>,
    /// The same in every attempt to send this change, and in no other: for an endpoint that stores
    /// idempotency keys. About 70 characters of letters, digits and hyphens.
    pub key: String,
    /// When the edit was made, in Unix milliseconds by the replica's clock.
    pub written_ms: u64,
}

/// The state of the service that an edit was made on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub(super) revision: Revision,
    /// Whether the document was deleted then.
    pub deleted: bool,
    /// The body that it had, if the collection's conflicts are resolved on the server and the
    /// resolver reads it.
    pub body: Option<Body>,
}

impl Base {
    /// Returns the tag of its version; none if that is longer than 15 bytes: then get the document,
    /// and compare with [`is`](Self::is). Empty for a deletion without a version.
    #[must_use]
    pub fn tag(&self) -> Option<String> {
        tag_of(self.revision)
    }

    /// Returns whether this is the version that the edit was made on.
    #[must_use]
    pub fn is(&self, version: &Version) -> bool {
        self.revision.replica == mark(&version.tag)
            && [0, version.modified_ms].contains(&self.revision.stamp.millis())
    }
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// The service holds it as it was sent, under this version.
    Stored(Version),
    /// The service holds it under this version, with another body, for example with added fields.
    StoredAs(Version, Body),
    /// The document was deleted, as requested, and the service has no versions of deletions.
    Deleted,
    /// It was stored, and the service holds another state now: another client wrote on top of it,
    /// or the service merged it.
    Superseded(Held),
    /// It was not stored: another client has written since the state that it was made on. The
    /// resolver decides, and the result is sent with this state as its base. If the held state
    /// equals the change, the change counts as stored: it was, and the response was lost. (Numbers
    /// that differ only beyond the precision of a 64-bit float count as equal here.)
    Conflict(Held),
    /// It was not stored, and never will be. It moves to the quarantine.
    Rejected(Rejection),
}

impl PushOutcome {
    /// Returns the outcome of a change that the service refuses permanently.
    #[must_use]
    pub fn rejected(code: RejectionCode, reason: impl Into<String>) -> Self {
        Self::Rejected(Rejection { code, reason: reason.into() })
    }
}
