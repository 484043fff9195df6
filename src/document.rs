//! Documents as an app reads them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::error::Result;
use sync_core::model::{Body, DocumentState, Revision, Stamp};
use sync_core::replica::Stored;

use crate::unix_millis;
use crate::versions::Versions;

/// A document: its value, and its sync metadata.
///
/// Serialized, its times are milliseconds since 1970:
/// `{"id":"n1","value":…,"revision":"…","created":1800000000000,"updated":…,"is_synced":true}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document<T = Body> {
    id: String,
    value: T,
    revision: Revision,
    #[serde(serialize_with = "unix_millis::stamp")]
    created: Stamp,
    #[serde(serialize_with = "unix_millis::stamp")]
    updated: Stamp,
    is_synced: bool,
}

impl<T> Document<T> {
    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns its value.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns its value, without the metadata.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }

    /// Returns the revision of its state.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns when the document was first written, by the writer's clock.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        time_of(self.created)
    }

    /// Returns when the document was last written, by the writer's clock.
    #[must_use]
    pub fn updated(&self) -> SystemTime {
        time_of(self.updated)
    }

    /// Returns whether the server has settled this state; never in a local-only collection.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }
}

/// The id, so that a document may be passed where an id is expected.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> twotide::Result<()> {
/// use twotide::prelude::*;
///
/// let replica = Replica::builder().memory().open().await?;
/// let numbers = replica.collection::<u32>("numbers")?;
/// let seven = numbers.insert(&7).await?;
/// numbers.delete(&seven).await?;
/// assert!(numbers.get(&seven).await?.is_none());
/// # replica.close().await
/// # }
/// ```
impl<T> AsRef<str> for Document<T> {
    fn as_ref(&self) -> &str {
        self.id()
    }
}

impl<T: DeserializeOwned> Document<T> {
    /// Decodes a stored document, upgraded if there are versions; none for a tombstone.
    pub(crate) fn of(stored: &Stored, versions: Option<&Versions>) -> Result<Option<Self>> {
        Document::raw(stored).map(|document| document.decode(versions)).transpose()
    }
}

impl Document<Body> {
    pub(crate) fn new(id: String, state: &DocumentState, body: &Body, is_synced: bool) -> Self {
        let (revision, created, updated) = (state.revision, state.created, state.author.stamp);
        Self { id, value: body.clone(), revision, created, updated, is_synced }
    }

    /// Returns a stored document as it is; none for a tombstone.
    fn raw(stored: &Stored) -> Option<Self> {
        let body = stored.state.body.as_ref()?;
        let id = stored.key.id.as_str().to_owned();
        let is_synced = !stored.dirty && !stored.key.scope.is_local();
        Some(Self::new(id, &stored.state, body, is_synced))
    }

    /// Returns the document with its body read into a type, upgraded first if there are versions.
    pub(crate) fn decode<T: DeserializeOwned>(
        self,
        versions: Option<&Versions>,
    ) -> Result<Document<T>> {
        let Self { id, value, revision, created, updated, is_synced } = self;
        let read = match versions {
            Some(versions) => versions.upgraded(&value).and_then(|body| body.to()),
            None => value.to(),
        };
        let value = read.map_err(|e| e.with("document", &id))?;
        Ok(Document { id, value, revision, created, updated, is_synced })
    }
}

pub(crate) fn time_of(stamp: Stamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(stamp.millis())
}
