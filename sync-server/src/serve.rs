//! Serving a link: the loop that executes a session's commands.

mod send;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use send::failed;

use super::client::AuthenticatedClient;
use super::own_task::on_its_own;
use super::read::Served;
use super::service::Server;
use super::session::{Found, Request, Session, SessionInput, SessionOptions, SessionOutput};
use super::shared_chunk::SharedChunk;
use super::tail::{Hub, is_all};
use sync_core::clock;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Chunk, Epoch, Seq};
use sync_core::protocol::{Goodbye, Hello, Message, Pull, Welcome};
use sync_core::transport::{Admission, FrameLink, LinkActivity, Moved};
use transport_kit::framed::{Fused, Wire, pick};

/// The most credit of one live stream.
const CREDIT: u32 = 64;

/// The most live streams of a link that read at a time, and so the most of its chunks that wait in
/// memory.
const READS: usize = 2;

/// How long a stream whose head moved waits for the verdicts of a push on the same connection.
const GRACE: Duration = Duration::from_millis(50);

/// The result of finished work.
enum Done {
    Greeted(Box<Result<(AuthenticatedClient, Welcome)>>),
    Served {
        stream: u32,
        answer: Answer,
        renewed: Option<AuthenticatedClient>,
        is_push: bool,
    },
    Read {
        stream: u32,
        result: Result<Served>,
    },
    HeadMoved {
        stream: u32,
    },
    /// The verdicts of a push did not follow soon after the head had moved: another append moved
    /// it.
    WaitedLong {
        stream: u32,
    },
    /// A sleep ended for another reason than a move of the head.
    Roused,
}

enum Answer {
    Message(Box<Message>),
    Chunk(Arc<SharedChunk>),
}

/// The data of a live stream apart from its state.
struct Listener {
    /// Holding it keeps the scope's tail.
    _hub: Arc<Hub>,
    /// The head before the last read.
    head: watch::Receiver<(Epoch, Seq)>,
    /// Ends the sleep, while it sleeps.
    sleep: Option<AbortHandle>,
    /// The result of a read that is not sent yet.
    found: Option<Result<Served>>,
    /// Whether the last read found something, from which the next one continues.
    goes_on: bool,
}

struct Link<'a> {
    server: &'a Server,
    session: Session,
    wire: Wire,
    outgoing: Fused,
    started: Instant,
    peer: Option<AuthenticatedClient>,
    hello: Option<Box<Hello>>,
    /// Requests that arrived and were not passed to the session yet.
    requests: BTreeMap<u32, Box<Message>>,
    listeners: BTreeMap<u32, Box<Listener>>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Pushes that are being served.
    pushing: usize,
    /// Streams whose head moved meanwhile: the entries of a push are sent after its verdicts, which
    /// are small and awaited. No stream waits for longer than [`GRACE`].
    woken: Vec<u32>,
    patience: Duration,
    activity: Option<LinkActivity>,
    /// The heads that had moved at the last check.
    moved: Moved,
    /// Dropped once the client is authenticated.
    admission: Option<Admission>,
}

impl Server {
    /// Serves one link until it ends. Memory is bounded by the options: a replica that reads slowly
    /// costs a cursor.
    ///
    /// # Errors
    /// The reason why it ended, if not by a goodbye.
    pub async fn serve_link(&self, link: FrameLink) -> Result<()> {
        let _open = self.open_session();
        let options = self.options();
        let session = SessionOptions {
            heartbeat: options.heartbeat,
            greeting: options.greeting_timeout,
            requests: options.requests,
            reads: READS,
            streams: options.scopes,
            credit: CREDIT,
        };
        let FrameLink { outgoing, mut incoming, activity, admission } = link;
        let outgoing = Fused::new(outgoing);
        let mut link = Link {
            server: self,
            session: Session::new(session, clock::Instant(0)),
            wire: Wire::new(options.frame_bytes),
            outgoing,
            started: Instant::now(),
            peer: None,
            hello: None,
            requests: BTreeMap::new(),
            listeners: BTreeMap::new(),
            work: FuturesUnordered::new(),
            pushing: 0,
            woken: Vec::new(),
            patience: options.heartbeat.saturating_mul(3),
            moved: Moved::default(),
            activity,
            admission,
        };
        let ended = link.run(&mut incoming).await;
        if let Err(error) = &ended {
            // A client that broke the protocol should receive the reason; a broken link drops it.
            let goodbye = Goodbye { reason: error.message().to_owned(), retry_after: None };
            let _ = link.send(0, Message::Goodbye(goodbye)).await;
        }
        // The client gets time to read the goodbye.
        let _ = timeout(link.patience, link.outgoing.close()).await;
        ended
    }
}

impl Link<'_> {
    async fn run(&mut self, incoming: &mut BoxStream<'static, Result<Bytes>>) -> Result<()> {
        let link = self;
        let mut draining = link.server.draining();
        if *draining.borrow_and_update() {
            link.input(SessionInput::Drain);
        }
        // It wakes the task once, not with every message.
        let mut drained = pin!(draining.changed().fuse());
        let mut timer = pin!(sleep_until(link.deadline()));
        while !link.session.is_closed() {
            // Deadlines mostly move later, and an early tick does nothing: the timer is set again
            // when it has expired, not with every message.
            let deadline = link.deadline();
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                Some(done) = link.work.next() => link.finish(done).await?,
                frame = incoming.next(), if link.session.wants_input() => match frame {
                    Some(frame) => {
                        if let Err(error) = frame.and_then(|f| link.receive(f)) {
                            Box::pin(link.hang_up(&error)).await;
                            return Err(error);
                        }
                    }
                    None => return Ok(()),
                },
                Ok(()) = &mut drained => link.input(SessionInput::Drain),
                () = timer.as_mut() => {
                    if link.has_heard() {
                        link.input(SessionInput::Heard);
                    }
                    link.input(SessionInput::Tick);
                }
            }
            link.execute().await?;
        }
        Ok(())
    }

    /// Returns whether bytes arrived since the last call: a large frame may take longer than a
    /// replica may be silent.
    fn has_heard(&mut self) -> bool {
        let down = self.activity.as_ref().map_or(0, |activity| activity.moved().down);
        std::mem::replace(&mut self.moved.down, down) < down
    }

    fn deadline(&self) -> Instant {
        self.started + Duration::from_millis(self.session.next_deadline().0)
    }

    fn now(&self) -> clock::Instant {
        clock::Instant(0).plus(self.started.elapsed())
    }

    fn input(&mut self, input: SessionInput) {
        let now = self.now();
        self.session.handle_input(now, input);
    }

    fn receive(&mut self, frame: Bytes) -> Result<()> {
        let (stream, message) = self.wire.decode(frame)?;
        let request = Request::from(&message);
        match message {
            Message::Hello(hello) => self.hello = Some(Box::new(hello)),
            message if request == Request::Once => {
                self.requests.insert(stream, Box::new(message));
            }
            _ => {}
        }
        self.input(SessionInput::Received { stream, request });
        Ok(())
    }

    async fn execute(&mut self) -> Result<()> {
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Greet => self.greet(),
                SessionOutput::Serve { stream } => self.serve(stream),
                SessionOutput::Read { stream, pull } => self.read(stream, pull),
                SessionOutput::Send { stream } => self.send_found(stream).await?,
                SessionOutput::Sleep { stream } => {
                    // The read returned nothing.
                    self.take_found(stream);
                    self.sleep(stream);
                }
                SessionOutput::End { stream } => {
                    if let Some(sleep) = self.listeners.remove(&stream).and_then(|l| l.sleep) {
                        sleep.abort();
                    }
                }
                SessionOutput::Refuse { stream, why } => {
                    let error = Error::new(ErrorKind::Overloaded, why);
                    self.send(stream, failed(&error)).await?;
                }
                SessionOutput::Pong(n) => self.send(0, Message::Pong(n)).await?,
                SessionOutput::Ping(n) => self.send(0, Message::Ping(n)).await?,
                SessionOutput::Close(why) => {
                    tracing::debug!(why, "closing a connection");
                    let goodbye = Goodbye { reason: why.to_owned(), retry_after: None };
                    self.send(0, Message::Goodbye(goodbye)).await?;
                }
            }
        }
        Ok(())
    }

    fn greet(&mut self) {
        let Some(hello) = self.hello.take() else { return };
        let server = self.server.clone();
        let greet = async move { Done::Greeted(Box::new(server.greet(&hello).await)) };
        self.work.push(greet.boxed());
    }

    fn serve(&mut self, stream: u32) {
        let (Some(message), Some(mut peer)) = (self.requests.remove(&stream), self.peer.clone())
        else {
            return;
        };
        let is_push = matches!(*message, Message::Push(_));
        self.pushing += usize::from(is_push);
        let serve = async move {
            let mut renewed = None;
            let say = |message| Answer::Message(Box::new(message));
            let answer = match *message {
                Message::Pull(pull) => peer.read(&pull).await.map(|served| match served {
                    Served::Chunk(chunk) => Answer::Chunk(chunk),
                    Served::Reset(reset) => say(Message::Reset(reset)),
                }),
                Message::Push(push) => {
                    peer.push(push.batch).await.map(|v| say(Message::Verdicts(v)))
                }
                Message::Ack(ack) => peer
                    .acknowledge(&ack)
                    .await
                    .map(|reset| say(reset.map_or(Message::Done, Message::Reset))),
                Message::Auth(token) => peer.renew(&token).await.map(|()| {
                    renewed = Some(peer);
                    say(Message::Done)
                }),
                _ => Err(Error::new(ErrorKind::Internal, "this is no request")),
            };
            let answer = answer.unwrap_or_else(|e| say(failed(&e)));
            Done::Served { stream, answer, renewed, is_push }
        };
        self.work.push(on_its_own(serve).boxed());
    }

    fn read(&mut self, stream: u32, pull: Arc<Pull>) {
        let Some(peer) = self.peer.clone() else { return };
        let server = self.server;
        let listener = self.listeners.entry(stream).or_insert_with(|| {
            let hub = server.hub(&pull.scope);
            Box::new(Listener {
                head: hub.head(),
                _hub: hub,
                sleep: None,
                found: None,
                goes_on: false,
            })
        });
        // The head is noted before the read, so that nothing falls between the read and the sleep.
        let (epoch, head) = *listener.head.borrow_and_update();
        // A listener that was just sent the newest change need not read the log again: every append
        // wakes all listeners. The first read of a stream checks whether the cursor is valid here,
        // and the read after a heartbeat finds what other processes appended.
        if std::mem::take(&mut listener.goes_on) && is_all(&pull.cursor, epoch, head) {
            let found = Found::Chunk { epoch, next: head, head, mark: None };
            return self.input(SessionInput::Read { stream, found });
        }
        let mut read = async move { peer.read(&pull).await }.boxed();
        // A chunk in memory is ready at once.
        match (&mut read).now_or_never() {
            Some(result) => self.take_read(stream, result),
            None => {
                let read = read.map(move |result| Done::Read { stream, result });
                self.work.push(on_its_own(read).boxed());
            }
        }
    }

    fn sleep(&mut self, stream: u32) {
        let Some(listener) = self.listeners.get_mut(&stream) else { return };
        if let Some(earlier) = listener.sleep.take() {
            earlier.abort();
        }
        let mut head = listener.head.clone();
        let (sleep, handle) = abortable(async move {
            let _ = head.changed().await;
        });
        listener.sleep = Some(handle);
        // If the end of one sleep counted as news, it would begin a read, the read another sleep,
        // and the sleep would end at once: forever.
        let woken = move |ended| match ended {
            Ok(()) => Done::HeadMoved { stream },
            Err(Aborted) => Done::Roused,
        };
        self.work.push(sleep.map(woken).boxed());
    }

    async fn finish(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Greeted(result) => Box::pin(self.welcome(*result)).await?,
            Done::Served { stream, answer, renewed, is_push } => {
                if renewed.is_some() {
                    self.peer = renewed;
                }
                match answer {
                    Answer::Message(message) => self.send(stream, *message).await?,
                    Answer::Chunk(chunk) => self.send_chunk(stream, &chunk).await?,
                }
                self.input(SessionInput::Served { stream });
                self.pushing -= usize::from(is_push);
                if self.pushing == 0 {
                    for stream in std::mem::take(&mut self.woken) {
                        self.input(SessionInput::HeadMoved { stream });
                    }
                }
            }
            Done::Read { stream, result } => self.take_read(stream, result),
            Done::HeadMoved { stream } if self.pushing > 0 => {
                self.woken.push(stream);
                let late = tokio::time::sleep(GRACE).map(move |()| Done::WaitedLong { stream });
                self.work.push(late.boxed());
            }
            Done::WaitedLong { stream } => {
                if let Some(place) = self.woken.iter().position(|woken| *woken == stream) {
                    self.woken.swap_remove(place);
                    self.input(SessionInput::HeadMoved { stream });
                }
            }
            Done::HeadMoved { stream } => self.input(SessionInput::HeadMoved { stream }),
            Done::Roused => {}
        }
        Ok(())
    }

    async fn welcome(&mut self, greeted: Result<(AuthenticatedClient, Welcome)>) -> Result<()> {
        match greeted {
            Ok((peer, welcome)) => {
                let offered = &self.server.options().compressions;
                let agreed = pick(offered, welcome.compression.as_slice());
                self.send(0, Message::Welcome(welcome)).await?;
                self.wire.set_compression(agreed);
                self.peer = Some(peer);
                self.admission = None;
                self.input(SessionInput::Greeted(true));
            }
            Err(error) => {
                self.send(0, failed(&error)).await?;
                self.input(SessionInput::Greeted(false));
            }
        }
        Ok(())
    }

    fn take_read(&mut self, stream: u32, result: Result<Served>) {
        let found = match &result {
            Ok(Served::Chunk(chunk)) => {
                let Chunk { epoch, next, head, ref mark, .. } = *chunk.chunk();
                Found::Chunk { epoch, next, head, mark: mark.clone() }
            }
            Ok(Served::Reset(_)) | Err(_) => Found::End,
        };
        // A stream that ended meanwhile does not need it.
        let Some(listener) = self.listeners.get_mut(&stream) else { return };
        listener.goes_on = matches!(&result, Ok(Served::Chunk(shared))
            if shared.chunk().next > shared.chunk().after);
        listener.found = Some(result);
        self.input(SessionInput::Read { stream, found });
    }

    fn take_found(&mut self, stream: u32) -> Option<Result<Served>> {
        self.listeners.get_mut(&stream)?.found.take()
    }
}
