//! `serve`: a server over WebSocket, with a few plain HTTP routes to look at it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use twotide::core::environment::System;
use twotide::core::framed::Compression;
use twotide::core::model::{Digest, Epoch, Scope, Seq};
use twotide::core::server::{Hooks, Server, ServerOptions, StaticTokens};
use twotide::sqlite::{SqliteConfig, open_server};
use twotide::{Error, ErrorKind, net, ws};

use super::asked_to_end;
use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::output::print;

/// How long sessions may take to end when the server is asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the server that keeps its data in that file. With tokens, only who has one gets in.
pub(crate) async fn open(path: &Path, tokens: Vec<(String, String)>) -> Result<Server, Failure> {
    let config = SqliteConfig::new(path);
    let opened = tokio::task::spawn_blocking(move || open_server(&config)).await;
    let storage =
        opened.map_err(|e| Failure::failed(format!("opening the storage broke off: {e}")))??;
    let mut hooks = Hooks::default();
    if !tokens.is_empty() {
        hooks.authenticate = Arc::new(StaticTokens::new(tokens));
    }
    let mut options = ServerOptions::default();
    options.compressions = vec![Arc::new(ws::Zstd) as Arc<dyn Compression>];
    Ok(Server::new(Arc::new(storage), hooks, options, Arc::new(System)))
}

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let tokens = args.tokens()?;
    if tokens.is_empty() && !args.listen.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "without a token the server listens on loopback only, and {} is not: give --token NAME=SECRET",
            args.listen
        )));
    }
    let socket = TcpListener::bind(args.listen)
        .await
        .map_err(|e| Failure::from(e).about(format!("cannot listen on {}", args.listen)))?;
    let address = socket.local_addr()?;
    let server = open(args.storage.path(), tokens).await?;
    print(&serde_json::json!({ "listening": address, "storage": args.storage.path() }))?;
    eprintln!("serving {} on ws://{address}", args.storage.path().display());
    let stopping = server.clone();
    let stop = async move {
        if let Err(failure) = asked_to_end().await {
            tracing::error!(?failure, "the signals cannot be heard");
        }
        eprintln!("ending: no new connections, and what is served is finished");
        stopping.drain();
    };
    let mut draining = server.draining();
    let listening = net::listen(socket, app(&server), stop);
    tokio::pin!(listening);
    tokio::select! {
        ended = &mut listening => ended?,
        // Connections that are only kept alive are not waited for.
        () = async {
            let _ = draining.wait_for(|d| *d).await;
            let _ = tokio::time::timeout(PATIENCE, server.drained()).await;
        } => {}
    }
    Ok(server.storage().close().await?)
}

/// Everything that is served on the port.
pub(crate) fn app(server: &Server) -> Router {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/v1/scopes/{scope}", get(scope))
        .with_state(server.clone());
    ws::router(server.clone()).merge(routes)
}

async fn healthz() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "ok" }))
}

#[derive(Serialize)]
struct Shown {
    scope: Scope,
    epoch: Epoch,
    head: Seq,
    documents: u64,
    digest: Digest,
}

async fn scope(
    State(server): State<Server>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    match look_at(&server, &name, &headers).await {
        Ok(shown) => Json(shown).into_response(),
        Err(error) => refused(&error),
    }
}

async fn look_at(server: &Server, name: &str, headers: &HeaderMap) -> Result<Shown, Error> {
    let scope = Scope::new(name)?;
    let bearer = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
    let token = bearer.and_then(|b| b.strip_prefix("Bearer "));
    let row = server.look_at(token, &scope).await?;
    Ok(Shown {
        scope,
        epoch: row.epoch,
        head: row.head,
        documents: row.documents,
        digest: row.digest,
    })
}

fn refused(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Overloaded | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = serde_json::json!({ "error": error.kind().as_str(), "message": error.message() });
    (status, Json(body)).into_response()
}
