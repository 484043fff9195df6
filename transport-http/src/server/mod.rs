//! The server's side: routes for an axum app.

mod answer;
mod config;
mod events;
mod exchange;
mod held;
mod negotiate;
mod routes;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any, get, post};
use sync_core::framed::COMPRESS_OVER;
use sync_core::server::Server;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::decompression::RequestDecompressionLayer;

use crate::api;
use exchange::App;

pub use config::HttpServerConfig;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Routes that serve replicas and readers over HTTP, under the paths of [`api`](crate::api). They can be merged into an
/// app's own router, nested in it, and stand beside those of other transports on the same port.
///
/// Requests from pages of another origin are the app's to allow, with `CorsLayer` of tower-http around this router: the
/// headers `Authorization`, `Content-Type`, `If-None-Match`, `Last-Event-ID` and `Twotide-Replica` are asked with, and `ETag`
/// and `Retry-After` are to be exposed.
///
/// ```
/// # use std::sync::Arc;
/// # use sync_core::environment::System;
/// # use sync_core::kv::{KvOptions, MemoryKv, open_server};
/// # use sync_core::server::{Hooks, Server, ServerOptions};
/// let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default())?;
/// let server = Server::new(Arc::new(storage), Hooks::default(), ServerOptions::default(), Arc::new(System));
/// let app: axum::Router = axum::Router::new().merge(transport_http::router(server));
/// # Ok::<(), sync_core::error::Error>(())
/// ```
pub fn router(server: Server) -> Router {
    router_with(server, HttpServerConfig::default())
}

/// The same with other settings.
pub fn router_with(server: Server, config: HttpServerConfig) -> Router {
    // Streams are not compressed: what packs them would hold them back.
    let worth_it = SizeAbove::new(COMPRESS_OVER as u16).and(NotForContentType::SSE);
    let compression =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it);
    let all = table().into_iter().fold(Router::new(), |all, (path, allow, methods)| {
        let options = move || async move {
            (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response()
        };
        all.route(path, methods.options(options))
    });
    all.route("/v1/scopes/{scope}/{*nothing}", any(routes::nothing))
        .with_state(Arc::new(App::new(server, config)))
        .layer(RequestDecompressionLayer::new())
        .layer(compression)
        .layer(map_response(answer::finish))
}

/// Every path that is served, with the methods that it takes as the header `Allow` lists them: for who documents, limits or
/// forwards the routes.
pub fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    table().into_iter().map(|(path, allow, _)| (path, allow))
}

fn table() -> [(&'static str, &'static str, MethodRouter<Arc<App>>); 6] {
    let changes = get(routes::changes).post(routes::changes);
    [
        (api::HELLO, "POST, OPTIONS", post(routes::hello)),
        (api::SCOPE, "GET, HEAD, OPTIONS", get(routes::scope)),
        (api::CHANGES, "GET, HEAD, POST, OPTIONS", changes),
        (api::PUSHES, "POST, OPTIONS", post(routes::pushes)),
        (api::ACKNOWLEDGEMENTS, "POST, OPTIONS", post(routes::acknowledgements)),
        (api::OPENAPI, "GET, HEAD, OPTIONS", get(routes::document)),
    ]
}
