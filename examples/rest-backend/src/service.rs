//! A plain REST service that stores notes. It has no replicas, scopes, positions or pushes.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /notes?since=CHANGE&limit=N` | notes that changed after that change, oldest first, deleted ones among them |
//! | `GET /notes/{id}` | the note |
//! | `PUT /notes/{id}` | stores title and text; `If-Match` and `If-None-Match: *` are kept: else 412, with the note as it is |
//! | `DELETE /notes/{id}` | deletes it, likewise; 404 if there is none |
//!
//! Every change gets the next number of one counter, in the order in which changes become visible.
//! That number is a note's entity tag, and the argument of `since`. A time would not be enough: two
//! notes can change in the same millisecond, and a page that ends between them would lose the
//! second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// The most notes in one page.
const MOST: usize = 100;

/// A note as the service returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// When it was last changed, in Unix milliseconds.
    pub updated_at: u64,
    /// The number of that change.
    pub change: u64,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// A page of notes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rows {
    /// The notes.
    pub notes: Vec<Row>,
    /// The value of `since` for the next page.
    pub next: u64,
    /// Whether any follow now.
    pub more: bool,
}

/// The body of a write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Write {
    /// The title.
    pub title: String,
    /// The text.
    pub text: String,
}

#[derive(Debug, Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
    limit: Option<usize>,
}

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<String, Row>,
    changes: u64,
}

/// The service's clock: Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The service's data. It outlives the process that serves it, like a database.
#[derive(Clone)]
pub struct Store {
    table: Arc<Mutex<Table>>,
    clock: Clock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Creates an empty store.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { table: Arc::default(), clock }
    }

    /// Returns the notes that were not deleted.
    #[must_use]
    pub fn notes(&self) -> Vec<Row> {
        self.with(|table| table.rows.values().filter(|r| !r.deleted).cloned().collect())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        work(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the service's routes.
pub fn router(store: Store) -> Router {
    let one = get(read).put(write).delete(delete);
    Router::new().route("/notes", get(list)).route("/notes/{id}", one).with_state(store)
}

fn tag(row: &Row) -> String {
    format!("\"{}\"", row.change)
}

fn shown(status: StatusCode, row: Row) -> Response {
    (status, [(header::ETAG, tag(&row))], Json(row)).into_response()
}

/// Returns whether the request's conditions refuse a write.
fn refuses(headers: &HeaderMap, current: Option<&Row>) -> bool {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let live = current.filter(|r| !r.deleted);
    let is_other = text(header::IF_MATCH).is_some_and(|t| live.map(tag).as_deref() != Some(t));
    is_other || (headers.contains_key(header::IF_NONE_MATCH) && live.is_some())
}

async fn list(State(store): State<Store>, Query(asked): Query<Since>) -> Json<Rows> {
    let limit = asked.limit.unwrap_or(MOST).clamp(1, MOST);
    Json(store.with(|table| {
        let mut notes: Vec<Row> =
            table.rows.values().filter(|r| r.change > asked.since).cloned().collect();
        notes.sort_by_key(|r| r.change);
        let more = notes.len() > limit;
        notes.truncate(limit);
        let next = notes.last().map_or(asked.since, |r| r.change);
        Rows { notes, next, more }
    }))
}

async fn read(State(store): State<Store>, Path(id): Path<String>) -> Response {
    match store.with(|table| table.rows.get(&id).filter(|r| !r.deleted).cloned()) {
        Some(row) => shown(StatusCode::OK, row),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn write(
    State(store): State<Store>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(write): Json<Write>,
) -> Response {
    if write.title.trim().is_empty() {
        return (StatusCode::UNPROCESSABLE_ENTITY, "a note needs a title").into_response();
    }
    let Write { title, text } = write;
    put(&store, &headers, Row { id, title, text, updated_at: 0, change: 0, deleted: false })
}

async fn delete(
    State(store): State<Store>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if store.with(|table| table.rows.get(&id).is_none_or(|r| r.deleted)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let (title, text) = Default::default();
    put(&store, &headers, Row { id, title, text, updated_at: 0, change: 0, deleted: true })
}

fn put(store: &Store, headers: &HeaderMap, mut row: Row) -> Response {
    let now = (store.clock)();
    store.with(|table| {
        let current = table.rows.get(&row.id);
        if refuses(headers, current) {
            return match current.cloned() {
                Some(current) => shown(StatusCode::PRECONDITION_FAILED, current),
                None => StatusCode::PRECONDITION_FAILED.into_response(),
            };
        }
        table.changes += 1;
        (row.updated_at, row.change) = (now, table.changes);
        table.rows.insert(row.id.clone(), row.clone());
        shown(StatusCode::OK, row)
    })
}
