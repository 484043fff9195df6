//! The handlers of the routes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Limits, PushBatch, ReplicaId};
use sync_core::protocol::{Ack, Hello, Pull};
use sync_server::{AuthenticatedClient, Served};
use tokio::time::timeout;

use super::answer::{self, Failure, is_nothing};
use super::events;
use super::exchange::{App, Exchange, Wanted};
use crate::format::{Format, Glance, has_entity_tag, read_cursor};
use crate::openapi;

type Answer = Result<Response, Failure>;

fn wrong(message: &str) -> Failure {
    Error::new(ErrorKind::InvalidInput, message).into()
}

pub(super) async fn hello(State(app): State<Arc<App>>, request: Request) -> Response {
    app.serve(request, Wanted::WHOLE, |mut exchange, body| async move {
        let token = exchange.token()?.map(str::to_owned);
        let mut hello: Hello = if token.is_some() || exchange.server().admits_all() {
            admit(&mut exchange).await?;
            exchange.content(body, None).await?
        } else {
            // The token is in the body, so the client is not authenticated yet.
            exchange.begin_greeting()?;
            let config = &exchange.app.config;
            let (most, time) = (config.greeting_bytes, config.greeting_time);
            exchange.bounded_content(body, None, most, time).await?
        };
        hello.token = token.or(hello.token);
        // HTTP has its own compression.
        hello.compressions.clear();
        let greeted = async { exchange.server().greet(&hello).await.map_err(Failure::of_greeting) };
        let (_, welcome) = exchange.in_time(greeted).await?;
        answer::content(exchange.format(), welcome)
    })
    .await
}

pub(super) async fn scope(State(app): State<Arc<App>>, request: Request) -> Response {
    app.serve(request, Wanted::JSON, |mut exchange, _| async move {
        exchange.begin(None)?;
        let scope = exchange.scope().await?;
        let token = exchange.token()?;
        let row = exchange.in_time(exchange.server().look_at(token, &scope)).await?;
        let glance = serde_json::to_vec(&Glance::new(scope, &row))
            .map_err(|e| Error::new(ErrorKind::Internal, "a scope has no JSON form").because(e))?;
        Ok(answer::json(glance))
    })
    .await
}

/// The query parameters of a read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    cursor: Option<String>,
    documents: Option<usize>,
    bytes: Option<usize>,
    #[serde(default)]
    wait: u64,
    #[serde(default)]
    data: Data,
}

/// The format of an event's data.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Data {
    #[default]
    Json,
    Frame,
}

pub(super) async fn changes(State(app): State<Arc<App>>, request: Request) -> Response {
    app.serve(request, Wanted::ALL, |mut exchange, body| async move {
        let scope = exchange.scope().await?;
        let asked: Asked = exchange.query()?;
        let data = asked.data;
        let wait = Duration::from_secs(asked.wait).min(exchange.app.config.wait);
        let peer = admit(&mut exchange).await?;
        let pull = if exchange.parts.method == Method::POST {
            if asked.cursor.is_some() || asked.documents.is_some() || asked.bytes.is_some() {
                return Err(wrong(
                    "the cursor belongs in the body, and not in the address as well",
                ));
            }
            exchange.content::<Pull>(body, Some(&scope)).await?
        } else {
            let cursor = read_cursor(asked.cursor.as_deref().unwrap_or_default())?;
            let documents = asked.documents.unwrap_or(usize::MAX);
            let limits = Limits { documents, bytes: asked.bytes.unwrap_or(usize::MAX) };
            Pull { scope, cursor, limits }
        };
        let is_head = exchange.parts.method == Method::HEAD;
        if exchange.wanted == Wanted::Events && !is_head {
            return stream(exchange, &peer, pull, data).await;
        }
        once(exchange, &peer, pull, if is_head { Duration::ZERO } else { wait }).await
    })
    .await
}

/// Returns one chunk; at the head, waits first if the request has a wait.
async fn once(
    exchange: Exchange,
    peer: &AuthenticatedClient,
    pull: Pull,
    wait: Duration,
) -> Answer {
    let mut served = exchange.in_time(peer.read(&pull)).await?;
    let format = exchange.format();
    let tags = exchange.list(&header::IF_NONE_MATCH);
    let is_idle = matches!(&served, Served::Chunk(chunk) if is_nothing(chunk, &pull.cursor));
    if is_idle && !wait.is_zero() {
        exchange.linger()?;
        let mut follower = peer.follow(pull.clone());
        // If no change arrived, or the server drains, the chunk that was read before is returned.
        if let Ok(found) = timeout(wait, follower.next()).await {
            served = found?.unwrap_or(served);
        }
    }
    answer::changes(format, served, &pull.cursor, |tag| {
        tags.is_some_and(|tags| has_entity_tag(&tags, tag))
    })
}

/// Streams chunks as they are written.
async fn stream(
    exchange: Exchange,
    peer: &AuthenticatedClient,
    mut pull: Pull,
    data: Data,
) -> Answer {
    if let Some(id) = exchange.header(&super::LAST_EVENT_ID).filter(|id| !id.is_empty()) {
        pull.cursor = read_cursor(id)?;
    }
    // A client without access receives a status, not an error within a stream.
    exchange.in_time(peer.check(&pull.scope)).await?;
    exchange.linger()?;
    let format = match data {
        Data::Json => Format::Json,
        Data::Frame => Format::Frame,
    };
    let heartbeat = exchange.server().options().heartbeat;
    let time = exchange.app.config.stream_time;
    Ok(events::answer(peer.follow(pull), format, heartbeat, time))
}

pub(super) async fn pushes(State(app): State<Arc<App>>, request: Request) -> Response {
    app.serve(request, Wanted::WHOLE, |mut exchange, body| async move {
        let scope = exchange.scope().await?;
        exchange.query::<Nothing>()?;
        let peer = admit(&mut exchange).await?;
        let batch: PushBatch = exchange.content(body, Some(&scope)).await?;
        if exchange.replica()?.is_some_and(|r| r != batch.replica) {
            return Err(wrong("the batch belongs to another replica than the request"));
        }
        if batch.id.0 == 0 {
            return Err(wrong("batches are numbered from 1; 0 means none"));
        }
        let peer = peer.with_replica(batch.replica);
        let verdicts = exchange.in_time(peer.push(batch)).await?;
        answer::content(exchange.format(), verdicts)
    })
    .await
}

pub(super) async fn acknowledgements(State(app): State<Arc<App>>, request: Request) -> Response {
    app.serve(request, Wanted::WHOLE, |mut exchange, body| async move {
        let scope = exchange.scope().await?;
        exchange.query::<Nothing>()?;
        let peer = admit(&mut exchange).await?;
        if exchange.replica()?.is_none() {
            return Err(wrong(
                "the header Twotide-Replica has to name the replica that acknowledges",
            ));
        }
        let ack: Ack = exchange.content(body, Some(&scope)).await?;
        match exchange.in_time(peer.acknowledge(&ack)).await? {
            Some(reset) => answer::content(exchange.format(), reset),
            None => Ok(StatusCode::NO_CONTENT.into_response()),
        }
    })
    .await
}

/// No parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn document(State(app): State<Arc<App>>, request: Request) -> Response {
    app.serve(request, Wanted::JSON, |mut exchange, _| async move {
        exchange.begin(None)?;
        Ok(answer::json(openapi::DOCUMENT))
    })
    .await
}

/// Answers an unknown path below a scope.
pub(super) async fn nothing(State(app): State<Arc<App>>, request: Request) -> Response {
    app.serve(request, Wanted::WHOLE, |_, _| async move {
        Err(Error::new(ErrorKind::NotFound, "there is nothing at this address").into())
    })
    .await
}

/// Authenticates the client of a request by its header alone. The body is read afterwards, so that
/// only admitted clients use memory and a place.
async fn admit(exchange: &mut Exchange) -> Result<AuthenticatedClient, Failure> {
    // Most requests only read; their replica does not matter.
    let replica = exchange.replica()?.unwrap_or(ReplicaId([0; 16]));
    exchange.begin_authentication()?;
    let token = exchange.token()?;
    let peer = exchange.in_time(exchange.server().admit(token, replica)).await?;
    exchange.begin(Some(&peer.principal().name))?;
    Ok(peer)
}
