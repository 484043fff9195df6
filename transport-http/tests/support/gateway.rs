//! A gateway between client and server that handles streams and long requests as gateways do.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::Uri;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// The behaviour of the gateway. The default passes everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Streams are cut at that age.
    pub cuts_streams: Option<Duration>,
    /// Streams are buffered until they end, which they never do.
    pub collects_streams: bool,
    /// Requests that may wait are answered with 504 after that time. Others are not limited.
    pub patience: Option<Duration>,
}

/// The counts of the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    pub requests: usize,
    pub streams: usize,
    pub given_up: usize,
}

pub struct Gateway {
    pub url: String,
    pub habits: watch::Sender<Habits>,
    pub passed: watch::Sender<Passed>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    pub async fn start(server: SocketAddr, habits: Habits) -> Self {
        let (habits, passed) = (watch::Sender::new(habits), watch::Sender::default());
        let client = reqwest::Client::builder()
            .no_proxy()
            .no_gzip()
            .no_zstd()
            .tls_backend_preconfigured(
                (*transport_http::tls::Trust::default().client_config().unwrap()).clone(),
            )
            .build()
            .unwrap();
        let (now, count) = (habits.clone(), passed.clone());
        let app = Router::new().fallback(move |request: Request| {
            let (now, count, client) = (now.clone(), count.clone(), client.clone());
            async move { pass(request, server, &client, &now, &count).await }
        });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(socket, app).await.unwrap() });
        Self { url, habits, passed, task }
    }

    pub fn passed(&self) -> Passed {
        *self.passed.borrow()
    }
}

fn lost_patience() -> Response {
    Response::builder()
        .status(504)
        .header("content-type", "text/html")
        .body(Body::from("<html>504 Gateway Time-out</html>"))
        .unwrap()
}

async fn pass(
    request: Request,
    server: SocketAddr,
    client: &reqwest::Client,
    habits: &watch::Sender<Habits>,
    passed: &watch::Sender<Passed>,
) -> Response {
    let habit = *habits.borrow();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let uri: Uri = format!("http://{server}{path}").parse().unwrap();
    let is_stream = parts.headers.get("accept").is_some_and(|a| a == "text/event-stream");
    passed.send_modify(|p| {
        p.requests += 1;
        p.streams += usize::from(is_stream);
    });
    let mut headers = parts.headers;
    headers.remove("host");
    let sent = client
        .request(parts.method, uri.to_string())
        .headers(headers)
        .body(to_bytes(body, 64 << 20).await.unwrap())
        .send();
    let patience = habit.patience.filter(|_| path.contains("wait=")).unwrap_or(Duration::MAX);
    let Ok(answer) = timeout(patience, sent).await else {
        passed.send_modify(|p| p.given_up += 1);
        return lost_patience();
    };
    let answer = answer.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let parts = answer.bytes_stream();
    let body = match is_stream {
        false => Body::from_stream(parts),
        true if habit.collects_streams => {
            let whole = parts.filter_map(async |part| part.ok()).collect::<Vec<_>>();
            Body::from_stream(stream::once(whole).map(|all| Ok::<_, reqwest::Error>(all.concat())))
        }
        true => {
            let born = Instant::now();
            let (now, parts) = (habits.subscribe(), Box::pin(parts));
            let cut = stream::unfold((now, parts), move |(mut now, mut parts)| async move {
                loop {
                    // The behaviour may change while the stream is open.
                    let age = now.borrow_and_update().cuts_streams;
                    let end = age.map_or_else(|| born + Duration::from_secs(1_000), |a| born + a);
                    tokio::select! {
                        part = timeout_at(end, parts.next()) => {
                            let part = match part {
                                Ok(Some(Ok(part))) => Ok(part),
                                Ok(Some(Err(_)) | None) | Err(_) => Err(std::io::Error::other("cut")),
                            };
                            return Some((part, (now, parts)));
                        }
                        Ok(()) = now.changed() => {}
                    }
                }
            });
            Body::from_stream(cut)
        }
    };
    response.body(body).unwrap()
}
