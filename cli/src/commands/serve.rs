//! `serve`: a server over WebSocket and HTTP, on one port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::FutureExt;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;
use twotide::backend::framed::Compression;
use twotide::net::BrowserPolicy;
use twotide::server::{Hooks, Server, ServerOptions, StaticTokens};
use twotide::{StorageUrl, net, ws};

use super::Signals;
use super::health::{self, Health};
use crate::failure::Failure;
use crate::output::print;
use crate::serve_args::ServeArgs;
use crate::stderr::tell;

/// How long sessions may take to end when the server stops.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens a server over that storage. If there are tokens, clients must send one of them.
pub(crate) async fn open(
    storage: &StorageUrl,
    tokens: Vec<(String, String)>,
) -> Result<Server, Failure> {
    let storage = storage.open_server().await?;
    let mut hooks = Hooks::default();
    if !tokens.is_empty() {
        hooks.authenticate = Arc::new(StaticTokens::new(tokens));
    }
    let mut options = ServerOptions::default();
    options.compressions = vec![Arc::new(ws::Zstd) as Arc<dyn Compression>];
    Ok(Server::builder(storage).hooks(hooks).options(options).build())
}

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let tokens = args.tokens.read()?;
    let browsers = browsers(&args, tokens.is_empty())?;
    let addresses = resolve(&args.listen).await?;
    if tokens.is_empty() && !addresses.iter().all(|a| a.ip().is_loopback()) {
        return Err(Failure::usage(format!(
            "without a token the server listens on loopback only, and {} is not: give --token NAME=SECRET",
            args.listen
        )));
    }
    let tls = args.tls.read()?;
    let socket = TcpListener::bind(&addresses[..])
        .await
        .map_err(|e| Failure::from(e).about(format!("cannot listen on {}", args.listen)))?;
    let address = socket.local_addr()?;
    // Before the storage is open: a signal from here on closes it.
    let signals = Signals::catch()?;
    let server = open(&args.storage, tokens).await?;
    let (publish, health) = watch::channel(Health::default());
    let routes = app(&server, browsers, health);
    let storage = server.storage();
    // Names of scopes are not cached in memory: every call reads the files.
    let ask = || async { storage.scopes(None, 1).await.map(drop) };
    let ended = match announce(&args.storage, address, tls.is_some()) {
        Err(failure) => Err(failure),
        Ok(()) => tokio::select! {
            ended = listen(socket, tls, routes, &server, signals) => ended,
            // Further requests would only fail: the server ends, so that its supervisor restarts
            // it, and waits first, so that the supervisor can read the reason.
            error = async {
                let error = health::follow(ask, &publish).await;
                tokio::time::sleep(Duration::from_secs(args.failing_for.into())).await;
                error
            } => Err(broken(&args.storage, error)),
        },
    };
    if ended.is_err() {
        // A storage that failed may not close; acknowledged data is kept all the same.
        let _ = tokio::time::timeout(PATIENCE, storage.close()).await;
        return ended;
    }
    Ok(storage.close().await?)
}

/// Prints the address. The server continues if nothing reads it.
fn announce(storage: &StorageUrl, address: SocketAddr, is_tls: bool) -> Result<(), Failure> {
    print(&serde_json::json!({ "listening": address, "storage": storage.to_string() }))
        .or_else(Failure::unless_unread)?;
    let s = if is_tls { "s" } else { "" };
    tell(format_args!("serving {storage} on ws{s}://{address} and http{s}://{address}"));
    Ok(())
}

/// Serves until a signal ends the program.
async fn listen(
    socket: TcpListener,
    tls: Option<Arc<net::tls::rustls::ServerConfig>>,
    routes: Router,
    server: &Server,
    mut signals: Signals,
) -> Result<(), Failure> {
    let stopping = server.clone();
    let stop = async move {
        if let Err(failure) = signals.asked_to_end().await {
            tracing::error!(?failure, "the signals cannot be heard");
        }
        tell("ending: no new connections, and what is served is finished");
        stopping.drain();
    };
    let mut config = net::ListenConfig::default();
    let room = crate::process::connections().unwrap_or(config.connections);
    config.connections = config.connections.min(room);
    let mut listening = match tls {
        Some(tls) => net::listen_tls_with(socket, tls, routes, config, stop).boxed(),
        None => net::listen_with(socket, routes, config, stop).boxed(),
    };
    let mut draining = server.draining();
    tokio::select! {
        ended = &mut listening => Ok(ended?),
        // Connections that are only kept alive are not waited for.
        () = async {
            let _ = draining.wait_for(|d| *d).await;
            let _ = tokio::time::timeout(PATIENCE, server.drained()).await;
        } => Ok(()),
    }
}

/// Returns the failure for a storage that failed permanently.
fn broken(storage: &StorageUrl, error: twotide::Error) -> Failure {
    Failure::from(error).about(format!("the storage {storage} failed, and the server ends"))
}

/// Returns the addresses of a name and a port; at least one.
async fn resolve(listen: &str) -> Result<Vec<SocketAddr>, Failure> {
    let wrong = |e: std::io::Error| {
        let example = "an address and a port, such as 127.0.0.1:8787 or localhost:8787";
        Failure::usage(format!("--listen {listen:?} is not {example}: {e}"))
    };
    let addresses: Vec<_> = lookup_host(listen).await.map_err(wrong)?.collect();
    if addresses.is_empty() {
        return Err(Failure::usage(format!("--listen {listen:?} stands for no address")));
    }
    Ok(addresses)
}

/// Returns the policy for pages and host names.
fn browsers(args: &ServeArgs, is_open: bool) -> Result<BrowserPolicy, Failure> {
    let mut policy = BrowserPolicy::default();
    if is_open {
        policy = policy.local_hosts();
    }
    let wrong = |e: twotide::Error| Failure::usage(e.report().to_string());
    for origin in &args.origins {
        policy = policy.allow_origin(origin).map_err(wrong)?;
    }
    for host in &args.hosts {
        policy = policy.allow_host(host).map_err(wrong)?;
    }
    Ok(policy)
}

/// Returns all routes of the port.
fn app(server: &Server, browsers: BrowserPolicy, health: watch::Receiver<Health>) -> Router {
    let healthz = async move || *health.borrow();
    twotide::routes_with(server, browsers).route("/healthz", get(healthz))
}
