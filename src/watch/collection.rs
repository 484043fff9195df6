//! A watch of a collection.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sync_core::error::Result;
use sync_core::model::{Collection as Name, DocumentId, DocumentKey, Limits, LocalSeq, Scope};
use sync_core::replica::{Scan, Stored};
use sync_core::storage::Storage;
use tokio::sync::watch;

use super::shown::Shown;
use crate::versions::Versions;
use crate::yielding::{Source, Yielding, more, stream};
use crate::{Collection, Document};

/// The limits of one read of the storage.
const PAGE: Limits = Limits { documents: 256, bytes: 1 << 20 };

/// The most changed documents that are gathered before they are yielded.
const DUE: usize = 256;

/// The most pages of the feed that are read before known changes are yielded.
const PAGES: usize = 64;

pub(super) type Filter<T> = Box<dyn Fn(&Document<T>) -> bool + Send + Sync>;

/// An event of a watch of a collection.
///
/// An app that keeps a map by id inserts what is [`Current`](Self::Current) or
/// [`Changed`](Self::Changed), removes what is [`Removed`](Self::Removed) and clears the map at
/// [`Resync`](Self::Resync). The map then equals the documents whenever the watch has no further
/// event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WatchEvent<T> {
    /// An existing document, before [`Complete`](Self::Complete). In order of the ids.
    Current(Document<T>),
    /// Every existing document has been yielded; changes follow.
    Complete,
    /// A document that is new or has changed, in its newest state.
    Changed(Document<T>),
    /// A document that was deleted, or that the filter does not accept any more. Once more than
    /// 4,096 documents were yielded, this may also name one that was never yielded.
    Removed(String),
    /// Earlier events are not valid any more, because documents left the device without a trace:
    /// all existing documents follow again, up to the next [`Complete`](Self::Complete).
    Resync,
}

#[derive(Debug)]
enum Stage {
    /// Nothing was read yet.
    New,
    /// The existing documents are yielded, page by page.
    Listing { page: VecDeque<Stored>, after: Option<(Name, DocumentId)>, more: bool },
    /// Changes are yielded.
    Following,
}

/// The result of reading the feed.
enum Read {
    /// To its end: there is nothing to yield.
    End,
    /// Some documents are due.
    Some,
    /// It is not complete.
    Gap,
}

/// Watches a collection: created by [`Collection::watch_all`](crate::Collection::watch_all) and
/// [`watch_where`](crate::Collection::watch_where).
///
/// A [`Stream`](futures_util::Stream), which ends when the replica is closed.
///
/// It yields the existing documents first, then [`Complete`](WatchEvent::Complete), then changes.
/// Several changes of one document since the last event are one event, with the newest state. Only
/// changes of the document's content are events. When the server settles an edit, only a [watch of
/// the document](crate::Collection::watch) yields it.
///
/// It holds at most a page of documents (256, 1 MiB or one larger document), 511 ids that are due,
/// and 4,096 ids that were yielded. Like every handle, it keeps the storage open until it is
/// dropped or the replica is closed.
pub struct CollectionWatch<T>(Yielding<Collected<T>, WatchEvent<T>>);

stream!(CollectionWatch<T>, [T: DeserializeOwned + Send + 'static], WatchEvent<T>);

/// The collection, and what was yielded of it.
struct Collected<T> {
    storage: Arc<dyn Storage>,
    versions: Option<Versions>,
    commits: watch::Receiver<u64>,
    scope: Scope,
    collection: Name,
    filter: Option<Filter<T>>,
    stage: Stage,
    /// The place up to which the feed was read.
    place: LocalSeq,
    /// Documents that changed up to there and were not yielded yet.
    due: BTreeSet<DocumentId>,
    shown: Shown,
}

impl<T> fmt::Debug for CollectionWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CollectionWatch").field(&self.0).finish()
    }
}

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("scope", &self.scope)
            .field("collection", &self.collection)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl<T> CollectionWatch<T> {
    pub(super) fn new(of: &Collection<T>, filter: Option<Filter<T>>) -> Self {
        let storage = Arc::clone(of.replica().storage());
        Self(Yielding::new(Collected {
            commits: storage.commits(),
            storage,
            scope: of.scope().clone(),
            collection: of.name_of().clone(),
            versions: of.versions().cloned(),
            filter,
            stage: Stage::New,
            place: LocalSeq(0),
            due: BTreeSet::new(),
            shown: Shown::new(),
        }))
    }

    /// Returns how many documents and due ids it holds.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        let Some(source) = self.0.source() else { return (0, 0) };
        let page = if let Stage::Listing { page, .. } = &source.stage { page.len() } else { 0 };
        (page, source.due.len())
    }
}

impl<T: DeserializeOwned + Send + 'static> CollectionWatch<T> {
    /// Returns the next event, as soon as there is one; none when the replica was closed. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// `InvalidInput`, naming the document, if one is not of type `T`, and `Incompatible` if it is
    /// of a newer [version](crate::ReplicaBuilder::versioned) of it: the watch continues with the
    /// next one. Else as the storage, and the next call retries.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<T>>> {
        self.0.next().await
    }

    /// The next event that is already available; none if everything was yielded, or the replica was
    /// closed.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_ready(&mut self) -> Result<Option<WatchEvent<T>>> {
        self.0.next_ready().await
    }
}

impl<T: DeserializeOwned + Send + 'static> Source for Collected<T> {
    type Item = WatchEvent<T>;

    async fn look(&mut self) -> Result<Option<WatchEvent<T>>> {
        loop {
            match &mut self.stage {
                Stage::New => {
                    // Later commits are in the feed after this place; earlier ones are in the list.
                    self.place = self.storage.state().await?.last_local;
                    self.stage = Stage::Listing { page: VecDeque::new(), after: None, more: true };
                }
                Stage::Listing { page, more, .. } => {
                    if let Some(stored) = page.pop_front() {
                        if let Some(document) = self.accept(&stored)? {
                            return Ok(Some(WatchEvent::Current(document)));
                        }
                    } else if *more {
                        self.list().await?;
                    } else {
                        self.stage = Stage::Following;
                        return Ok(Some(WatchEvent::Complete));
                    }
                }
                Stage::Following => {
                    if let Some(id) = self.due.first().cloned() {
                        if let Some(event) = self.changed(id).await? {
                            return Ok(Some(event));
                        }
                        continue;
                    }
                    match self.gather().await? {
                        Read::Some => {}
                        Read::End => return Ok(None),
                        Read::Gap => {
                            self.due.clear();
                            (self.stage, self.shown) = (Stage::New, Shown::new());
                            return Ok(Some(WatchEvent::Resync));
                        }
                    }
                }
            }
        }
    }

    fn wait(&self) -> impl Future<Output = bool> + Send + 'static {
        more(&self.commits)
    }
}

impl<T: DeserializeOwned> Collected<T> {
    /// Reads the next page of existing documents.
    async fn list(&mut self) -> Result<()> {
        let Stage::Listing { page, after, more } = &mut self.stage else { return Ok(()) };
        let (scope, collection) = (self.scope.clone(), Some(self.collection.clone()));
        let scan = Scan { scope, collection, after: after.clone(), limits: PAGE };
        let read = self.storage.scan(scan).await?;
        if let Some(last) = read.items.last() {
            *after = Some((last.key.collection.clone(), last.key.id.clone()));
        }
        // A page without documents would be requested again and again.
        *more = read.more && !read.items.is_empty();
        *page = read.items.into();
        Ok(())
    }

    /// Reads the feed further, until it ends or enough changes are gathered. Documents that changed
    /// often are due once.
    async fn gather(&mut self) -> Result<Read> {
        for _ in 0..PAGES {
            // Marked as observed before the read, so that the wait misses no commit.
            self.commits.borrow_and_update();
            let read = self.storage.feed(self.place, PAGE).await?;
            if read.gap {
                return Ok(Read::Gap);
            }
            let Some(last) = read.changes.last() else {
                return Ok(if self.due.is_empty() { Read::End } else { Read::Some });
            };
            self.place = last.at;
            for change in read.changes {
                let key = change.key;
                let is_ours = key.scope == self.scope && key.collection == self.collection;
                if is_ours && !self.shown.has(&key.id, change.at) {
                    self.due.insert(key.id);
                }
            }
            if self.due.len() >= DUE {
                break;
            }
        }
        Ok(Read::Some)
    }

    /// Returns the event for a document that changed.
    async fn changed(&mut self, id: DocumentId) -> Result<Option<WatchEvent<T>>> {
        let key = DocumentKey::new(self.scope.clone(), self.collection.clone(), id.clone());
        let found = self.storage.get(vec![key]).await?.into_iter().next().flatten();
        self.due.remove(&id);
        if let Some(stored) = found {
            if self.shown.has(&id, stored.changed) {
                return Ok(None);
            }
            if let Some(document) = self.accept(&stored)? {
                return Ok(Some(WatchEvent::Changed(document)));
            }
        }
        let removed = WatchEvent::Removed(id.as_str().to_owned());
        Ok(self.shown.remove(&id).then_some(removed))
    }

    /// Reads a document; none if the filter does not accept it. A document of another type counts
    /// as yielded.
    fn accept(&mut self, stored: &Stored) -> Result<Option<Document<T>>> {
        let document = Document::of(stored, self.versions.as_ref());
        let accepts = |d: &Document<T>| self.filter.as_ref().is_none_or(|filter| filter(d));
        let document = document.map(|d| d.filter(accepts));
        if !matches!(document, Ok(None)) {
            self.shown.insert(&stored.key.id, stored.changed);
        }
        document
    }
}
