//! A server that a test plays: each request of the driver waits until the test answers it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::support::{welcome, within};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{PushBatch, Reset, Verdicts};
use sync_core::protocol::{Ack, Goodbye, Hello, Pull, Welcome};
use sync_core::transport::{Connection, Delivery, Moved, Transport};

/// A request, and the sender of its answer.
#[derive(Debug)]
pub(super) struct Asked<Q, A> {
    pub(super) what: Q,
    reply: oneshot::Sender<Result<A>>,
}

impl<Q: fmt::Debug, A: fmt::Debug> Asked<Q, A> {
    pub(super) fn answer(self, answer: A) {
        self.reply.send(Ok(answer)).expect("the driver waits for the answer");
    }

    pub(super) fn fail(self, error: Error) {
        self.reply.send(Err(error)).expect("the driver waits for the answer");
    }

    /// Waits until the driver has dropped the request.
    pub(super) async fn dropped(mut self) {
        within("the request is dropped", self.reply.closed()).await;
    }
}

/// An attempt to connect.
pub(super) type Attempt = Asked<Hello, (Arc<Link>, Welcome)>;

impl Attempt {
    /// Accepts the replica; the log of each scope ends at that position.
    pub(super) fn welcome(self, head: u64) -> Arc<Link> {
        let welcome = welcome(&self.what, head);
        self.welcome_with(welcome)
    }

    /// Accepts the replica and serves none of its scopes.
    pub(super) fn welcome_without_scopes(self) {
        let served = welcome(&self.what, 0);
        self.welcome_with(Welcome { scopes: Vec::new(), ..served });
    }

    pub(super) fn welcome_with(self, welcome: Welcome) -> Arc<Link> {
        let link = Arc::new(Link::default());
        self.answer((Arc::clone(&link), welcome));
        link
    }
}

/// A live stream that the driver opened.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) pull: Pull,
    items: mpsc::Sender<Result<Delivery>>,
}

impl Live {
    pub(super) fn bring(&self, item: Result<Delivery>) {
        self.items.try_send(item).expect("the driver reads the stream");
    }

    /// Waits until the driver has dropped the stream.
    pub(super) async fn dropped(self) {
        within("the stream is dropped", self.items.closed()).await;
    }
}

#[derive(Debug)]
pub(super) enum Request {
    Connect(Attempt),
    Pull(Asked<Pull, Delivery>),
    Live(Live),
    Push(Asked<PushBatch, Verdicts>),
    Acknowledge(Asked<Ack, Option<Reset>>),
    Renew(Asked<String, ()>),
    Close(Goodbye),
}

/// Receives the requests of the driver.
#[derive(Debug)]
pub(super) struct Peer {
    requests: mpsc::Receiver<Request>,
    /// Requests that arrived before the one that a test waited for.
    earlier: VecDeque<Request>,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident: $kind:ident -> $answer:ty;)*) => {$(
        $(#[$doc])*
        pub(super) async fn $name(&mut self) -> $answer {
            let is_one = |request: &Request| matches!(request, Request::$kind(_));
            match self.next(stringify!($name), is_one).await {
                Request::$kind(request) => request,
                other => panic!("{other:?}"),
            }
        }
    )*};
}

impl Peer {
    /// Makes the peer, and the transport that leads to it.
    pub(super) fn new() -> (Self, Arc<dyn Transport>) {
        let (ask, requests) = mpsc::channel(256);
        (Self { requests, earlier: VecDeque::new() }, Arc::new(ToPeer(ask)))
    }

    requests! {
        /// Returns the next attempt to connect that was not read yet; the other requests likewise.
        connect: Connect -> Attempt;
        pull: Pull -> Asked<Pull, Delivery>;
        live: Live -> Live;
        push: Push -> Asked<PushBatch, Verdicts>;
        acknowledge: Acknowledge -> Asked<Ack, Option<Reset>>;
        renew: Renew -> Asked<String, ()>;
        close: Close -> Goodbye;
    }

    /// Accepts the replica when it connects next; the log of each scope ends at that position.
    pub(super) async fn greet(&mut self, head: u64) -> Arc<Link> {
        self.connect().await.welcome(head)
    }

    async fn next(&mut self, what: &str, is_one: impl Fn(&Request) -> bool) -> Request {
        if let Some(place) = self.earlier.iter().position(&is_one) {
            return self.earlier.remove(place).unwrap();
        }
        // The bound is that of the whole wait: a driver that connects again and again sends
        // requests forever.
        within(what, async {
            loop {
                let request = self.requests.recv().await.expect("the driver holds the transport");
                if is_one(&request) {
                    return request;
                }
                self.earlier.push_back(request);
            }
        })
        .await
    }

    /// Asserts that no request is unread, and that none arrives for so long.
    pub(super) async fn is_quiet_for(&mut self, time: Duration) {
        assert!(self.earlier.is_empty(), "{:?}", self.earlier);
        let asked = timeout(time, self.requests.recv()).await;
        assert!(asked.is_err(), "{asked:?}");
    }
}

#[derive(Clone)]
struct ToPeer(mpsc::Sender<Request>);

impl fmt::Debug for ToPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToPeer")
    }
}

impl ToPeer {
    async fn ask<Q, A>(&self, what: Q, request: impl FnOnce(Asked<Q, A>) -> Request) -> Result<A> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(Asked { what, reply }));
        // A test that drops a request never answers it.
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    fn tell(&self, request: Request) {
        // A test that is over has dropped the peer.
        let _ = self.0.try_send(request);
    }
}

#[async_trait]
impl Transport for ToPeer {
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        let (link, welcome) = self.ask(hello, Request::Connect).await?;
        Ok((Arc::new(OnLink { peer: self.clone(), link }), welcome))
    }
}

/// The answers of a test for one connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    ended: watch::Sender<Option<Error>>,
    pub(super) moved: Mutex<Option<Moved>>,
}

impl Link {
    /// Ends the connection: whatever is pending on it fails with that error.
    pub(super) fn lose(&self, error: Error) {
        self.ended.send_replace(Some(error));
    }

    async fn lost(&self) -> Error {
        let mut ended = self.ended.subscribe();
        ended.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }
}

#[derive(Clone, Debug)]
struct OnLink {
    peer: ToPeer,
    link: Arc<Link>,
}

impl OnLink {
    async fn ask<Q, A>(&self, what: Q, request: impl FnOnce(Asked<Q, A>) -> Request) -> Result<A> {
        if let Some(error) = self.link.ended.borrow().clone() {
            return Err(error);
        }
        tokio::select! {
            biased;
            answer = self.peer.ask(what, request) => answer,
            error = self.link.lost() => Err(error),
        }
    }
}

#[async_trait]
impl Connection for OnLink {
    async fn pull(&self, pull: Pull) -> Result<Delivery> {
        self.ask(pull, Request::Pull).await
    }

    async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        self.ask(batch, Request::Push).await
    }

    fn live(&self, pull: Pull) -> BoxStream<'static, Result<Delivery>> {
        let (items, next) = mpsc::channel(8);
        self.peer.tell(Request::Live(Live { pull, items }));
        let link = Arc::clone(&self.link);
        let stream = stream::unfold((next, link), |(mut next, link)| async {
            let item = tokio::select! {
                biased;
                item = next.recv() => item?,
                error = link.lost() => Err(error),
            };
            Some((item, (next, link)))
        });
        stream.boxed()
    }

    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>> {
        self.ask(ack, Request::Acknowledge).await
    }

    async fn renew(&self, token: String) -> Result<()> {
        self.ask(token, Request::Renew).await
    }

    fn moved(&self) -> Option<Moved> {
        *self.link.moved.lock().unwrap()
    }

    async fn lost(&self) -> Error {
        self.link.lost().await
    }

    async fn close(&self, why: Goodbye) {
        self.peer.tell(Request::Close(why));
        let closed = Error::new(ErrorKind::Closed, "the connection was closed");
        self.link.lose(closed.retrying(sync_core::error::Retry::Reconnect));
    }
}
