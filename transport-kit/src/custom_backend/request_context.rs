//! The positions of one scope of one replica, generated in the order of the calls to the service.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::Instant;

use super::types::{
    BackendDocument, BackendPage, FetchRequest, Fetched, Held, Outgoing, PushOutcome,
};
use super::version::state;
use sync_core::clock::Now;
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{
    Bookmark, Bookmarks, Chunk, Cursor, Epoch, LogEntry, PushId, Reset, ResetReason, Seq,
    ServerState, Verdict, VerdictKind,
};
use sync_core::protocol::Pull;
use sync_core::transport::Delivery;

/// The most bytes that a page may hold.
const PAGE_BYTES: usize = 32 << 20;

/// How long a send waits for the end of a listing of everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// The signals that other tasks wait for.
#[derive(Clone, Copy, Debug, Default)]
struct Signals {
    /// The newest position that was assigned, or received.
    high: Seq,
    /// Whether a listing of everything has begun and not ended.
    listing: bool,
}

/// The state behind the line's lock; only the holder of the lock calls the service.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When the service last discarded a bookmark.
    expired: Option<Instant>,
    /// When a listing of everything last began.
    listed: Option<Instant>,
    /// The known results of a batch that is sent change by change.
    pub(super) progress: Option<Progress>,
}

/// The verdicts on the first changes of a batch.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) push: PushId,
    pub(super) verdicts: Vec<Verdict>,
}

/// The sequence of positions. The lock is held during a call to the service: a fetch and a send
/// never overlap.
#[derive(Debug)]
pub(super) struct Line {
    turn: Mutex<Turn>,
    signals: watch::Sender<Signals>,
}

impl Default for Line {
    fn default() -> Self {
        Self { turn: Mutex::default(), signals: watch::Sender::new(Signals::default()) }
    }
}

fn protocol(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, what).retrying(Retry::Never)
}

impl Line {
    /// Raises the next position above all that a replica has received.
    pub(super) fn raise(&self, cursor: &Cursor) {
        let known = cursor.seen.max(cursor.position).max(cursor.after);
        self.signals.send_if_modified(|s| {
            let raised = s.high < known;
            s.high = s.high.max(known);
            // A listing that was interrupted by the end of the process continues.
            let listing = s.listing || cursor.floor.is_some();
            raised | (std::mem::replace(&mut s.listing, listing) != listing)
        });
    }

    fn high(&self) -> Seq {
        self.signals.borrow().high
    }

    /// Waits until no call to the service is under way.
    pub(super) async fn fetching(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().await
    }

    /// As [`fetching`](Self::fetching), when no listing is under way.
    ///
    /// # Errors
    /// `Overloaded` if it does not end soon.
    pub(super) async fn sending(&self) -> Result<MutexGuard<'_, Turn>> {
        let turn = async {
            let mut signals = self.signals.subscribe();
            loop {
                // This line owns the sender, so it is not dropped.
                let _ = signals.wait_for(|s| !s.listing).await;
                let turn = self.turn.lock().await;
                if !self.signals.borrow().listing {
                    return turn;
                }
            }
        };
        tokio::time::timeout(PATIENCE, turn).await.map_err(|_| {
            Error::new(ErrorKind::Overloaded, "nothing is sent while everything is being fetched")
        })
    }

    /// Completes when a higher position than that was assigned: there are changes.
    pub(super) async fn passes(&self, position: Seq) {
        let _ = self.signals.subscribe().wait_for(|s| s.high > position).await;
    }

    /// Returns whether the last listing of everything is that long ago. The time counts from the
    /// first call.
    pub(super) async fn is_older(&self, than: Duration) -> bool {
        let mut turn = self.turn.lock().await;
        turn.listed.get_or_insert_with(Instant::now).elapsed() >= than
    }

    /// Returns the position of an answer that has just arrived.
    fn answered(&self) -> Seq {
        self.signals.send_modify(|s| s.high = s.high.next());
        self.high()
    }

    /// Makes a chunk from the result of a fetch.
    pub(super) fn delivery(
        &self,
        turn: &mut Turn,
        pull: &Pull,
        fetched: Fetched,
        at: At,
    ) -> Result<Delivery> {
        let page = match fetched {
            Fetched::BackendPage(page) => page,
            Fetched::Expired => return self.expired(turn, pull, at),
        };
        let Cursor { after, position, bookmark, floor, .. } = &pull.cursor;
        check(&page, bookmark.as_ref(), pull.limits.documents)?;
        let begins = *position == Seq(0);
        if begins {
            turn.listed = Some(Instant::now());
        }
        let base = self.high().max(*after);
        let entries: Vec<LogEntry> =
            (1..).zip(page.documents).map(|(n, d)| entry(Seq(base.0 + n), d, at.now)).collect();
        // The first page moves past position 0, from where everything would be listed.
        let next = entries.last().map_or(base, |e| e.seq).max(Seq(1));
        self.signals.send_modify(|s| {
            s.high = next;
            s.listing = page.more && (begins || s.listing || floor.is_some());
        });
        Ok(Delivery::Chunk(Chunk {
            next,
            head: if page.more { next.next() } else { next },
            entries,
            bookmarks: Some(Bookmarks { after: bookmark.clone(), next: page.bookmark }),
            ..Chunk::empty(pull.scope.clone(), at.epoch, *after)
        }))
    }

    /// Handles a bookmark that the service discarded. Discarding it again at once is an error,
    /// because the sync would never end.
    fn expired(&self, turn: &mut Turn, pull: &Pull, at: At) -> Result<Delivery> {
        if pull.cursor.bookmark.is_none() {
            return Err(protocol("there was no bookmark that could have expired"));
        }
        let lately = turn.expired.is_some_and(|e| e.elapsed() < at.interval);
        turn.expired = Some(Instant::now());
        if lately {
            let what = "the bookmarks of the service expire before they can be used";
            return Err(
                Error::new(ErrorKind::Overloaded, what).retrying(Retry::Later(Some(at.interval)))
            );
        }
        Ok(everything(at.epoch))
    }

    /// Makes a verdict from an outcome that has just arrived.
    pub(super) fn verdict(
        &self,
        change: &Outgoing,
        outcome: PushOutcome,
        now: Now,
    ) -> Result<Verdict> {
        let seq = self.answered();
        let told = |state| Some(ServerState { seq, state: Some(state) });
        let accepted =
            |version: Option<&_>, body| (VerdictKind::Accepted, told(state(version, body, now)));
        let (kind, current) = match outcome {
            PushOutcome::Stored(version) => accepted(Some(&version), change.body.clone()),
            PushOutcome::StoredAs(version, body) => accepted(Some(&version), Some(body)),
            PushOutcome::Deleted if change.body.is_none() => accepted(None, None),
            PushOutcome::Deleted => {
                return Err(protocol("a change that deletes nothing was answered with `Deleted`")
                    .with("id", &change.id));
            }
            PushOutcome::Conflict(held) if shows_the_same(&held, change) => {
                let (version, body) = parts(held);
                // In the service's bytes, which the next fetch returns.
                accepted(version.as_ref(), body)
            }
            PushOutcome::Conflict(held) => (VerdictKind::Conflict, told(state_of(held, now))),
            PushOutcome::Superseded(held) => (VerdictKind::Superseded, told(state_of(held, now))),
            PushOutcome::Rejected(rejection) => (VerdictKind::Rejected(rejection), None),
        };
        Ok(Verdict { seq, kind, current })
    }
}

/// The context of a delivery, besides the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) epoch: Epoch,
    pub(super) now: Now,
    pub(super) interval: Duration,
}

/// Returns a reset, after which everything is fetched and missing documents are deleted.
pub(super) fn everything(epoch: Epoch) -> Delivery {
    Delivery::Reset(Reset { epoch, reason: ResetReason::BelowHorizon })
}

/// Returns the request to the closure; none if the service could not list what changed, and
/// everything has to be fetched.
pub(super) fn request(pull: &Pull) -> Option<FetchRequest> {
    let Cursor { position, bookmark, .. } = &pull.cursor;
    let begins = *position == Seq(0);
    (begins || bookmark.is_some()).then(|| FetchRequest {
        scope: pull.scope.clone(),
        bookmark: bookmark.clone(),
        limit: pull.limits.documents,
    })
}

fn check(page: &BackendPage, asked: Option<&Bookmark>, limit: usize) -> Result<()> {
    let documents = page.documents.len();
    if documents > limit {
        let what = format!("a page of {documents} documents was fetched, and {limit} is the limit");
        return Err(protocol(what));
    }
    let bytes: usize = page.documents.iter().map(BackendDocument::weight).sum();
    if bytes > PAGE_BYTES {
        let what = format!("a page of {bytes} bytes was fetched, and {PAGE_BYTES} is the limit");
        let largest = page.documents.iter().max_by_key(|d| d.weight());
        return Err(protocol(what).with("largest", largest.map_or("", |d| d.id.as_str())));
    }
    if page.more && (page.bookmark.is_none() || page.bookmark.as_ref() == asked) {
        return Err(protocol("more follows after a page, but no new bookmark says from where"));
    }
    Ok(())
}

fn entry(seq: Seq, document: BackendDocument, now: Now) -> LogEntry {
    let BackendDocument { collection, id, held } = document;
    LogEntry { seq, collection, id, state: state_of(held, now) }
}

fn parts(held: Held) -> (Option<super::Version>, Option<sync_core::model::Body>) {
    match held {
        Held::Live { version, body } => (Some(version), Some(body)),
        Held::Deleted { version } => (version, None),
    }
}

fn state_of(held: Held, now: Now) -> sync_core::model::DocumentState {
    let (version, body) = parts(held);
    state(version.as_ref(), body, now)
}

/// Returns whether the service holds what was sent: both deleted, or bodies that are equal as JSON.
fn shows_the_same(held: &Held, change: &Outgoing) -> bool {
    match (held, &change.body) {
        (Held::Deleted { .. }, None) => true,
        (Held::Live { body, .. }, Some(sent)) => {
            let value = |b: &sync_core::model::Body| b.to::<serde_json::Value>().ok();
            body == sent || value(body).is_some_and(|v| value(sent) == Some(v))
        }
        _ => false,
    }
}
