//! Follows a scope: a cursor that moves with the returned chunks, received as the ladder decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use sync_core::environment::{Environment, System};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::Chunk;
use sync_core::protocol::Pull;
use sync_core::transport::{Delivery, LinkActivity};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::events::{EventReader as Lines, Item};
use super::ladder::{self, Ladder, News};
use super::line::{Brought, By, Line};
use crate::api;
use crate::error::{Trouble, What, foreign, of_client, too_late};
use crate::format::{Changes, EventReader, Format, StreamEvent};

/// How many chunks in a row may not start at the cursor. Each is discarded and requested again.
const MISPLACED: u32 = 5;

/// Returns the chunks after a cursor. Requests are sent and answers are read only while the stream
/// is polled.
pub(super) fn live(line: Arc<Line>, pull: Pull) -> BoxStream<'static, Result<Delivery>> {
    let ladder = line.way.ladder();
    let live = Live { ladder, line, pull, open: None, misplaced: 0 };
    let next = |live: Option<Live>| async move {
        let mut live = live?;
        let next = live.next().await;
        let goes_on = matches!(next, Ok(Delivery::Chunk(_)));
        Some((next.map_err(|e| e.during("follow")), goes_on.then_some(live)))
    };
    stream::unfold(Some(live), next).boxed()
}

struct Live {
    line: Arc<Line>,
    pull: Pull,
    ladder: Ladder,
    open: Option<Open>,
    misplaced: u32,
}

/// An open stream of events.
struct Open {
    answer: Response,
    /// Received bytes that are not parsed yet.
    bytes: Bytes,
    lines: Lines,
    events: EventReader,
    since: Instant,
    _place: OwnedSemaphorePermit,
}

/// The result of reading a stream of events.
enum Heard {
    Event(StreamEvent),
    Life,
    /// No byte for too long.
    Nothing,
    /// The stream is over: broken, or closed by a gateway.
    End,
}

/// How to handle a failed request.
enum Remedy {
    /// Report it to the replica.
    GiveUp(Trouble),
    /// A gateway requests a retry.
    ComeBack(Duration),
    /// This way does not work here.
    NotThisWay,
    /// The connection was cut.
    Again,
}

impl Remedy {
    fn of(trouble: Trouble) -> Self {
        match (trouble.what, trouble.error.retry()) {
            (What::Foreign | What::Refused(406) | What::Denied(405 | 406 | 415), _) => {
                Self::NotThisWay
            }
            (What::Cut | What::Denied(408 | 502 | 504), _) => Self::Again,
            (What::Denied(_), Retry::Later(after)) => Self::ComeBack(after.unwrap_or_default()),
            (What::Unreachable | What::Broken | What::Refused(_) | What::Denied(_), _) => {
                Self::GiveUp(trouble)
            }
        }
    }
}

impl Live {
    async fn next(&mut self) -> Result<Delivery> {
        let line = Arc::clone(&self.line);
        tokio::select! {
            biased;
            why = line.ended() => Err(why),
            delivery = self.find() => delivery,
        }
    }

    async fn find(&mut self) -> Result<Delivery> {
        loop {
            let found = match self.open.take() {
                Some(open) => self.listen(open).await?,
                None => self.ask().await?,
            };
            match found {
                Some(Changes::Reset(reset)) => return Ok(Delivery::Reset(reset)),
                Some(Changes::Chunk(page)) => {
                    if let Some(chunk) = self.take(page.chunk)? {
                        return Ok(Delivery::Chunk(chunk));
                    }
                }
                None => {}
            }
        }
    }

    /// Moves the cursor by a chunk that starts at it. Returns no other chunks, and no empty ones.
    fn take(&mut self, chunk: Chunk) -> Result<Option<Chunk>> {
        let cursor = &self.pull.cursor;
        if chunk.scope != self.pull.scope || chunk.next < chunk.after {
            return Err(self.line.broken("the server sent a chunk that was not asked for"));
        }
        if chunk.after != cursor.after || cursor.epoch.is_some_and(|e| e != chunk.epoch) {
            self.misplaced += 1;
            if self.misplaced > MISPLACED {
                return Err(self.line.broken("the server sends chunks out of their places"));
            }
            // Requested again, from the cursor.
            self.open = None;
            return Ok(None);
        }
        self.misplaced = 0;
        let is_news = chunk.next > chunk.after || cursor.epoch.is_none();
        self.line.remember(&chunk, cursor);
        self.pull.cursor = cursor.following(&chunk);
        Ok(is_news.then_some(chunk))
    }

    async fn ask(&mut self) -> Result<Option<Changes>> {
        if self.ladder.is_stuck() {
            // Either this way of following fails, or the whole link: a request that does not wait
            // distinguishes the two.
            self.poll().await?;
            let error = Error::new(
                ErrorKind::Network,
                "the server does not send changes in the required way",
            )
            .with("live_by", format!("{:?}", self.line.http().config.live));
            let pause = self.line.http().config.poll_interval;
            return Err(error.retrying(Retry::Later(Some(pause))));
        }
        let step = self.ladder.step(self.line.way.now());
        self.line.way.learn(&self.ladder);
        let place = Arc::clone(&self.line.http().streams).try_acquire_owned();
        match (step.ask, place) {
            (ladder::Ask::Stream, Ok(place)) => {
                sleep(between(step.least, step.most)).await;
                self.open_stream(place).await?;
                Ok(None)
            }
            (ladder::Ask::Chunk { wait }, Ok(place)) if !wait.is_zero() => {
                sleep(between(step.least, step.most)).await;
                let found = self.long_poll(wait).await;
                drop(place);
                found
            }
            (ladder::Ask::Chunk { .. }, Ok(_)) => {
                sleep(between(step.least, step.most)).await;
                self.poll().await
            }
            // The limit of open streams is reached: this one polls for now.
            (_, Err(_)) => {
                let interval = self.line.http().config.poll_interval;
                sleep(between(step.least.max(interval), step.most.max(interval * 2))).await;
                self.poll().await
            }
        }
    }

    /// Requests a chunk without waiting. If this does not reach the server, the link is lost.
    async fn poll(&mut self) -> Result<Option<Changes>> {
        let line = &self.line;
        let brought = line.within(async {
            let answer = line.changes(&self.pull, By::Chunk { wait: 0 }).await?;
            line.brought(&self.pull, answer).await
        });
        let brought = brought.await?;
        Ok(self.answered(Duration::ZERO, Duration::ZERO, brought))
    }

    fn answered(&mut self, wait: Duration, waited: Duration, brought: Brought) -> Option<Changes> {
        let news = match &brought {
            Brought::Changes(Changes::Chunk(page)) if page.chunk.has_more() => News::More,
            Brought::Changes(Changes::Chunk(page)) if page.chunk.next > page.chunk.after => {
                News::Some
            }
            Brought::Changes(Changes::Reset(_)) => News::Some,
            Brought::Changes(Changes::Chunk(_)) | Brought::Nothing => News::Nothing,
        };
        self.ladder.answered(self.line.way.now(), wait, waited, news);
        match brought {
            Brought::Changes(changes) => Some(changes),
            Brought::Nothing => None,
        }
    }

    /// Sends a long poll.
    async fn long_poll(&mut self, wait: Duration) -> Result<Option<Changes>> {
        let (line, asked) = (&self.line, Instant::now());
        let seconds = wait.as_secs().max(1);
        let wait = Duration::from_secs(seconds);
        let config = &line.http().config;
        let brought = async {
            let answer = line.changes(&self.pull, By::Chunk { wait: seconds });
            // The time limit for the first bytes of a stream is also the tolerance for a late
            // answer.
            let answer = timeout(wait + config.fallback.first_bytes, answer).await;
            let answer = answer.unwrap_or_else(|_| Err(too_late()))?;
            let brought = line.brought(&self.pull, answer);
            line.http().while_it_gets_on(config.request_timeout, brought).await
        };
        let trouble = match brought.await {
            Ok(brought) => return Ok(self.answered(wait, asked.elapsed(), brought)),
            Err(trouble) => trouble,
        };
        tracing::debug!(error = %trouble.error, "a long poll failed");
        let now = self.line.way.now();
        match self.remedy(trouble)? {
            Some(after) => self.ladder.asked_to_come_back(now, after),
            None => self.ladder.cut(now),
        }
        Ok(None)
    }

    /// Returns the error if it cannot be handled here; else the delay that the server requests, if
    /// any.
    fn remedy(&self, trouble: Trouble) -> Result<Option<Duration>> {
        match Remedy::of(trouble) {
            Remedy::GiveUp(trouble) => Err(self.line.judge(trouble)),
            Remedy::ComeBack(after) => Ok(Some(after)),
            Remedy::NotThisWay | Remedy::Again => Ok(None),
        }
    }

    async fn open_stream(&mut self, place: OwnedSemaphorePermit) -> Result<()> {
        let limit = self.line.http().config.fallback.first_bytes;
        let asked = Instant::now();
        let opened = timeout(limit, self.begin_stream(place)).await;
        let now = self.line.way.now();
        let trouble = match opened {
            Ok(Ok(open)) => {
                self.open = Some(open);
                return Ok(());
            }
            Ok(Err(trouble)) => trouble,
            Err(_) => {
                tracing::debug!("the first bytes of a stream do not come: something collects them");
                self.ladder.stream_unsuited(now);
                return Ok(());
            }
        };
        tracing::debug!(error = %trouble.error, "a stream was not opened");
        match Remedy::of(trouble) {
            Remedy::GiveUp(trouble) => return Err(self.line.judge(trouble)),
            Remedy::ComeBack(after) => self.ladder.asked_to_come_back(now, after),
            Remedy::NotThisWay => self.ladder.stream_unsuited(now),
            Remedy::Again => self.ladder.stream_ended(now, asked.elapsed()),
        }
        Ok(())
    }

    /// Opens a stream, and reads until its first bytes have arrived.
    async fn begin_stream(&self, place: OwnedSemaphorePermit) -> Result<Open, Trouble> {
        let http = self.line.http();
        let mut answer = self.line.changes(&self.pull, By::Stream).await?;
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let essence = kind.and_then(|k| k.split(';').next()).unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(api::EVENTS) {
            return Err(foreign(answer.status(), answer.headers()));
        }
        let max = http.config.max_answer_bytes;
        // A third more for base64, and some bytes for the lines around it.
        let longest = match http.format() {
            Format::Frame => max.saturating_add(max / 3 + 1_024),
            Format::Json => max,
        };
        let ended = || Error::new(ErrorKind::Network, "the stream ended before it began");
        let bytes = answer.chunk().await.map_err(of_client)?;
        Ok(Open {
            bytes: bytes.ok_or_else(|| Trouble::new(What::Cut, ended()))?,
            answer,
            lines: Lines::new(longest),
            events: EventReader::new(http.format(), max),
            since: Instant::now(),
            _place: place,
        })
    }

    async fn listen(&mut self, mut open: Open) -> Result<Option<Changes>> {
        let patience = self.line.heartbeat * 3;
        let heard = open.hear(patience, &self.line.http().activity).await;
        let lived = open.since.elapsed();
        let heard = match heard {
            Ok(heard) => heard,
            Err(error) => return Err(self.line.judge(Trouble::new(What::Broken, error))),
        };
        match heard {
            Heard::Nothing => {
                tracing::debug!("a stream is silent");
                self.ladder.stream_silent(self.line.way.now());
            }
            Heard::End => self.ladder.stream_ended(self.line.way.now(), lived),
            Heard::Life => {
                self.ladder.stream_lives(lived);
                self.open = Some(open);
            }
            Heard::Event(StreamEvent::Changes(changes)) => {
                self.ladder.stream_lives(lived);
                self.open = Some(open);
                return Ok(Some(changes));
            }
            Heard::Event(StreamEvent::Gone(why)) => {
                let message = format!("the scope is gone: {}", why.message);
                return Err(Error::new(ErrorKind::PermissionDenied, message));
            }
            Heard::Event(StreamEvent::Failed(error)) => return Err(error.into()),
        }
        Ok(None)
    }
}

impl Open {
    /// Reads the next event. The timeout limits silence: a large event may take longer while its
    /// bytes arrive.
    async fn hear(&mut self, patience: Duration, activity: &LinkActivity) -> Result<Heard> {
        loop {
            match self.lines.next(&mut self.bytes)? {
                Some(Item::Comment) => return Ok(Heard::Life),
                Some(Item::Event { name, data }) => {
                    // An unknown event comes from a later version, and is ignored.
                    let event = self.events.event(&name, &data)?;
                    return Ok(event.map_or(Heard::Life, Heard::Event));
                }
                None => match timeout(patience, self.answer.chunk()).await {
                    Err(_) => return Ok(Heard::Nothing),
                    Ok(Ok(Some(bytes))) => {
                        activity.read(bytes.len());
                        self.bytes = bytes;
                    }
                    Ok(Ok(None)) => return Ok(Heard::End),
                    Ok(Err(error)) => {
                        tracing::debug!(error = %of_client(error).error, "a stream broke");
                        return Ok(Heard::End);
                    }
                },
            }
        }
    }
}

/// Returns a random duration between two, so that clients do not retry at the same time.
fn between(least: Duration, most: Duration) -> Duration {
    let range = most.saturating_sub(least).as_millis() as u64;
    if range == 0 {
        return least;
    }
    let chance = <dyn Environment>::seed(&System) % (range + 1);
    least + Duration::from_millis(chance)
}
