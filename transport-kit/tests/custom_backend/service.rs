//! A foreign service: documents, each with a version and a place in the order of changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Body, RejectionCode};
use transport_kit::custom_backend::{
    BackendDocument, BackendPage, FetchRequest, Fetched, FnTransport, FnTransportBuilder, Held,
    Outgoing, PushOutcome, Version,
};

/// The time from which versions count their milliseconds.
pub(crate) const EPOCH_MS: u64 = 1_770_000_000_000;

/// How the service handles writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Each creates a new document, under an id of the service. Deletions are by id.
    Post,
    /// The last one wins.
    Put,
    /// A write succeeds only on the version that it was made on.
    Conditional,
    /// As before, and the service stores its answers by key.
    Keyed,
}

#[derive(Clone, Debug)]
struct Row {
    text: Option<String>,
    change: u64,
}

impl Row {
    fn version(&self) -> Version {
        Version::new(EPOCH_MS + self.change, self.change)
    }

    fn held(&self) -> Held {
        let version = self.version();
        match &self.text {
            Some(text) => Held::Live { version, body: Body::from_value(text).unwrap() },
            None => Held::Deleted { version: Some(version) },
        }
    }
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<String, Row>,
    changes: u64,
    answers: BTreeMap<String, u64>,
    keys: Vec<String>,
    fetches: usize,
    lose: usize,
    fail_after: Option<usize>,
    no_bookmark: bool,
    expired: bool,
}

#[derive(Debug)]
pub(crate) struct Service {
    writes: Writes,
    state: Mutex<State>,
}

impl Service {
    pub(crate) fn new(writes: Writes) -> Arc<Self> {
        Arc::new(Self { writes, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn transport(self: &Arc<Self>) -> FnTransport {
        self.builder("service").build().unwrap()
    }

    pub(crate) fn builder(self: &Arc<Self>, name: &str) -> FnTransportBuilder {
        let (fetching, sending) = (Arc::clone(self), Arc::clone(self));
        FnTransport::builder(name)
            .fetch(move |request| {
                let fetched = fetching.fetch(&request);
                async move { fetched }
            })
            .send_each(move |change| {
                let outcome = sending.send(&change);
                async move { outcome }
            })
    }

    /// Writes or deletes as another client.
    pub(crate) fn store(&self, id: &str, text: Option<&str>) -> Version {
        let mut state = self.state();
        state.changes += 1;
        let row = Row { text: text.map(str::to_owned), change: state.changes };
        let version = row.version();
        state.rows.insert(id.to_owned(), row);
        version
    }

    /// Removes a document without a trace.
    pub(crate) fn forget(&self, id: &str) {
        self.state().rows.remove(id);
    }

    pub(crate) fn text(&self, id: &str) -> Option<String> {
        self.state().rows.get(id).and_then(|r| r.text.clone())
    }

    /// Returns the ids of all documents, with their texts.
    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        let live = |(id, row): (&String, &Row)| row.text.clone().map(|text| (id.clone(), text));
        self.state().rows.iter().filter_map(live).collect()
    }

    /// Loses the next answers, after the service has handled the requests.
    pub(crate) fn lose_answers(&self, answers: usize) {
        self.state().lose = answers;
    }

    /// Lets one send fail, after that many successful ones.
    pub(crate) fn fail_after(&self, sends: usize) {
        self.state().fail_after = Some(sends);
    }

    pub(crate) fn tell_no_bookmark(&self) {
        self.state().no_bookmark = true;
    }

    pub(crate) fn expire_bookmarks(&self) {
        self.state().expired = true;
    }

    /// Returns the idempotency keys that were received, in their order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.state().keys.clone()
    }

    pub(crate) fn fetches(&self) -> usize {
        self.state().fetches
    }

    fn fetch(&self, request: &FetchRequest) -> Result<Fetched> {
        let mut state = self.state();
        state.fetches += 1;
        let after: u64 = request.bookmark.as_ref().map_or(0, |b| b.as_str().parse().unwrap());
        if state.expired && request.bookmark.is_some() {
            return Ok(Fetched::Expired);
        }
        let mut found: Vec<_> = state.rows.iter().filter(|(_, r)| r.change > after).collect();
        found.sort_by_key(|(_, row)| row.change);
        let more = found.len() > request.limit;
        found.truncate(request.limit);
        let bookmark = found.last().map_or(after, |(_, row)| row.change);
        let document = |(id, row): (&String, &Row)| match row.text.as_ref() {
            Some(text) => BackendDocument::live("notes", id, row.version(), text),
            None => BackendDocument::deleted("notes", id, Some(row.version())),
        };
        let documents = found.into_iter().map(document).collect::<Result<_>>()?;
        let page = BackendPage::last(documents).more(more);
        if state.no_bookmark && !more {
            return Ok(page.into());
        }
        Ok(page.bookmark(bookmark.to_string())?.into())
    }

    pub(crate) fn send(&self, change: &Outgoing) -> Result<PushOutcome> {
        let lost = |what| Err(Error::new(ErrorKind::Network, what));
        self.state().keys.push(change.key.clone());
        let fails = self.state().fail_after.take();
        match fails {
            Some(0) => return lost("the connection was refused"),
            Some(n) => self.state().fail_after = Some(n - 1),
            None => {}
        }
        let outcome = self.store_sent(change);
        let mut state = self.state();
        if state.lose > 0 {
            state.lose -= 1;
            return lost("the answer got lost");
        }
        Ok(outcome)
    }

    fn store_sent(&self, change: &Outgoing) -> PushOutcome {
        let id = change.id.as_str();
        let text: Option<String> = change.body.as_ref().map(|b| b.to().unwrap());
        if text.as_deref() == Some("bad") {
            return PushOutcome::rejected(RejectionCode::Invalid, "it is bad");
        }
        let current = self.state().rows.get(id).cloned();
        if self.writes == Writes::Keyed
            && let Some(answered) = self.state().answers.get(&change.key).copied()
        {
            let current = current.expect("it was stored");
            return match current.change == answered {
                true => PushOutcome::Stored(current.version()),
                false => PushOutcome::Superseded(current.held()),
            };
        }
        let is_current = match (&current, &change.base) {
            (None, None) => true,
            (Some(row), None) => row.text.is_none(),
            (Some(row), Some(base)) => base.is(&row.version()),
            (None, Some(base)) => base.deleted,
        };
        let looks = matches!(self.writes, Writes::Conditional | Writes::Keyed);
        if looks && !is_current {
            return PushOutcome::Conflict(
                current.map_or(Held::Deleted { version: None }, |r| r.held()),
            );
        }
        let own = format!("s{}", self.state().changes + 1);
        let makes = self.writes == Writes::Post && text.is_some();
        let version = self.store(if makes { &own } else { id }, text.as_deref());
        let mut state = self.state();
        let change_number = state.changes;
        state.answers.insert(change.key.clone(), change_number);
        PushOutcome::Stored(version)
    }
}
