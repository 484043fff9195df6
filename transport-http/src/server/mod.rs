//! The server's side: routes for an axum app.

mod answer;
mod config;
mod events;
mod exchange;
mod negotiate;
mod permits;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use sync_server::Server;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;
use transport_kit::BrowserPolicy;
use transport_kit::framed::COMPRESS_OVER;

use crate::api;
use crate::format::Format;
use exchange::App;

pub use config::HttpServerConfig;

/// How long a browser may cache the answer to a preflight request.
const PREFLIGHT: Duration = Duration::from_secs(600);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Returns routes that serve replicas and readers over HTTP, under the paths of
/// [`api`](crate::api). They can be merged into an app's own router, nested in it, and combined
/// with those of other transports on the same port.
///
/// Requests from pages of another origin are refused unless [`HttpServerConfig::browsers`] allows
/// them.
///
/// ```
/// # use std::sync::Arc;
/// # use sync_core::environment::System;
/// # use storage_kit::kv::{KvOptions, MemoryKv, open_server};
/// # use sync_server::{Hooks, Server, ServerOptions};
/// let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default())?;
/// let server = Server::builder(Arc::new(storage)).build();
/// let app: axum::Router = axum::Router::new().merge(transport_http::router(server));
/// # Ok::<(), sync_core::error::Error>(())
/// ```
pub fn router(server: Server) -> Router {
    router_with(server, HttpServerConfig::default())
}

/// Returns the same routes with other settings.
pub fn router_with(server: Server, config: HttpServerConfig) -> Router {
    // Streams are not compressed: a compressor would buffer them.
    let worth_it = SizeAbove::new(COMPRESS_OVER as u16).and(NotForContentType::SSE);
    let compression =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it);
    let all = table().into_iter().fold(Router::new(), |all, (path, allow, methods)| {
        let options = move || async move {
            (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response()
        };
        all.route(path, methods.options(options))
    });
    let browsers = Arc::new(config.browsers.clone());
    let all = all
        .route("/v1/scopes/{scope}/{*nothing}", any(routes::nothing))
        .with_state(Arc::new(App::new(server, config)))
        .layer(RequestDecompressionLayer::new())
        .layer(compression)
        .layer(map_response(answer::finish));
    let all = if browsers.has_foreign() { all.layer(cors(Arc::clone(&browsers))) } else { all };
    all.layer(from_fn_with_state(browsers, refuse_foreign))
}

/// Adds the CORS headers that the policy allows.
fn cors(browsers: Arc<BrowserPolicy>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| browsers.allows_foreign(origin)))
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            LAST_EVENT_ID,
            HeaderName::from_static(api::REPLICA),
        ])
        .expose_headers([header::ETAG, header::RETRY_AFTER])
        .max_age(PREFLIGHT)
}

/// Rejects requests from origins and for host names that the policy does not allow.
async fn refuse_foreign(
    State(browsers): State<Arc<BrowserPolicy>>,
    request: Request,
    next: Next,
) -> Response {
    match browsers.check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(error) => answer::Failure::from(error).answer(Format::Json),
    }
}

/// Returns every path that is served, with its methods as the header `Allow` lists them: for code
/// that documents, limits or forwards the routes.
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
