//! The two closures. This is all that an app writes to sync with its own backend.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use twotide::RejectionCode;
use twotide::custom_backend::{
    BackendDocument, BackendPage, FetchRequest, FnTransport, Held, Outgoing, PushOutcome, Version,
};
use twotide::prelude::Body;
use twotide::{Error, ErrorKind, Result, Retry};

use crate::notes::Note;
use crate::service::{Row, Rows};

/// The collection that the notes are in.
pub const NOTES: &str = "notes";

/// Returns the transport to a notes service, `http://host:port`.
///
/// # Errors
/// `InvalidInput` for an invalid address, `Internal` if the HTTP client cannot be created.
pub fn notes_service(address: &str, poll: Duration) -> Result<FnTransport> {
    // The service of this example is on this machine, which no proxy can reach.
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
    let client =
        client.map_err(|e| Error::new(ErrorKind::Internal, "no HTTP client").because(e))?;
    let bad = |e| {
        Error::new(ErrorKind::InvalidInput, "not an address").because(e).with("address", address)
    };
    let service = Service { client, notes: Url::parse(&format!("{address}/notes")).map_err(bad)? };
    let sends = service.clone();
    // The name identifies the service's data, not its address, which may change.
    FnTransport::builder("notes of the example")
        .fetch(move |request| service.clone().fetch(request))
        .send_each(move |change| sends.clone().send(change))
        .poll_every(poll, poll / 4)
        .build()
}

#[derive(Clone)]
struct Service {
    client: Client,
    notes: Url,
}

impl Service {
    async fn fetch(self, request: FetchRequest) -> Result<BackendPage> {
        // The bookmark is the service's number of the last change that was listed.
        let since = request.bookmark.map_or_else(|| "0".to_owned(), |b| b.to_string());
        let query = [("since", since), ("limit", request.limit.to_string())];
        let response = ask(self.client.get(self.notes).query(&query)).await?;
        let rows: Rows = json(expect(response, StatusCode::OK)?).await?;
        let documents = rows.notes.into_iter().map(document).collect::<Result<_>>()?;
        BackendPage::last(documents).more(rows.more).bookmark(rows.next.to_string())
    }

    async fn send(self, change: Outgoing) -> Result<PushOutcome> {
        let mut address = self.notes;
        if let Ok(mut path) = address.path_segments_mut() {
            path.push(change.id.as_str());
        }
        let request = match &change.body {
            Some(body) => self.client.put(address).json(&body.to::<Note>()?),
            None => self.client.delete(address),
        };
        // Only if the state is still the one that the edit was made on, so that no other client's
        // edit is lost.
        let request = match change.base.as_ref().filter(|b| !b.deleted).and_then(|b| b.tag()) {
            Some(tag) => request.header(header::IF_MATCH, format!("\"{tag}\"")),
            None => request.header(header::IF_NONE_MATCH, "*"),
        };
        let response = ask(request).await?;
        match response.status() {
            StatusCode::OK => Ok(PushOutcome::Stored(version(&json(response).await?))),
            // It is deleted already, as intended.
            StatusCode::NOT_FOUND if change.body.is_none() => Ok(PushOutcome::Deleted),
            StatusCode::PRECONDITION_FAILED => Ok(PushOutcome::Conflict(current(response).await?)),
            StatusCode::UNPROCESSABLE_ENTITY => {
                let why = response.text().await.unwrap_or_default();
                Ok(PushOutcome::rejected(RejectionCode::Invalid, why))
            }
            _ => Err(unexpected(&response)),
        }
    }
}

fn version(row: &Row) -> Version {
    Version::new(row.updated_at, row.change)
}

/// Returns a note of the service in the app's own type, which has exactly the bytes that the app
/// writes.
fn note(row: &Row) -> Note {
    Note { title: row.title.clone(), text: row.text.clone() }
}

fn document(row: Row) -> Result<BackendDocument> {
    match row.deleted {
        true => BackendDocument::deleted(NOTES, &row.id, Some(version(&row))),
        false => BackendDocument::live(NOTES, &row.id, version(&row), &note(&row)),
    }
}

/// Returns the current state of the service, which differs from the base of the edit.
async fn current(response: Response) -> Result<Held> {
    if response.content_length() == Some(0) {
        return Ok(Held::Deleted { version: None });
    }
    let row: Row = json(response).await?;
    match row.deleted {
        true => Ok(Held::Deleted { version: Some(version(&row)) }),
        false => Ok(Held::Live { version: version(&row), body: Body::from_value(&note(&row))? }),
    }
}

fn broken(error: reqwest::Error) -> Error {
    Error::new(ErrorKind::Network, "the notes service did not answer").because(error)
}

async fn ask(request: RequestBuilder) -> Result<Response> {
    request.send().await.map_err(broken)
}

async fn json<T: serde::de::DeserializeOwned>(response: Response) -> Result<T> {
    response.json().await.map_err(broken)
}

fn expect(response: Response, status: StatusCode) -> Result<Response> {
    if response.status() == status { Ok(response) } else { Err(unexpected(&response)) }
}

/// Returns the error for an unexpected status, with retry advice.
fn unexpected(response: &Response) -> Error {
    let status = response.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        StatusCode::FORBIDDEN => ErrorKind::PermissionDenied,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Overloaded,
        _ if status.is_server_error() => ErrorKind::Overloaded,
        _ => ErrorKind::Protocol,
    };
    let error = Error::new(kind, format!("the notes service answered {status}"));
    let seconds =
        response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
    match (kind, seconds) {
        (ErrorKind::Overloaded, Some(seconds)) => {
            error.retrying(Retry::Later(Some(Duration::from_secs(seconds))))
        }
        (ErrorKind::Protocol, _) => error.retrying(Retry::Never),
        _ => error,
    }
}
