//! The state shared by the requests of one connection: the replica, its token, and whether the
//! server is still reachable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{Chunk, Collection, Cursor, ReplicaId, Scope, Seq};
use sync_core::protocol::{Hello, Pull, Welcome};
use tokio::sync::watch;

use super::Way;
use super::http::{Ask, Http, Token};
use crate::api;
use crate::error::{Trouble, What, broken};
use crate::format::{Changes, Content, entity_tag, write_cursor};

/// Longer cursors are sent in a body.
const LONGEST_IN_ADDRESS: usize = 4_000;

/// The slowest link, in bytes per second, on which the time for a request with a body is enough.
const SLOWEST: usize = 2 << 10;

/// How the changes of a scope are requested.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    /// One chunk, for which the server may wait that many seconds.
    Chunk { wait: u64 },
    /// A stream.
    Stream,
}

/// The answer to a request for a chunk.
pub(super) enum Brought {
    Changes(Changes),
    /// Nothing follows the cursor.
    Nothing,
}

/// The end of the last chunk of a scope.
#[derive(Clone, Debug)]
struct Known {
    after: Cursor,
    horizon: Seq,
    covers: Option<BTreeSet<Collection>>,
}

/// The state of one connection: see the module.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) way: Arc<Way>,
    greeting: Hello,
    token: Mutex<Token>,
    pub(super) heartbeat: Duration,
    known: Mutex<BTreeMap<Scope, Known>>,
    fate: watch::Sender<Option<Error>>,
}

impl Line {
    pub(super) fn new(way: Arc<Way>, hello: &Hello, token: Token) -> Self {
        Self {
            way,
            greeting: Hello { scopes: Vec::new(), ..hello.clone() },
            token: Mutex::new(token),
            heartbeat: Duration::ZERO,
            known: Mutex::default(),
            fate: watch::Sender::new(None),
        }
    }

    pub(super) fn with_heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    pub(super) fn http(&self) -> &Http {
        &self.way.http
    }

    pub(super) fn replica(&self) -> ReplicaId {
        self.greeting.replica
    }

    fn token(&self) -> Token {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_token(&self, token: Token) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Ends the connection, if it has not ended before.
    pub(super) fn end(&self, why: Error) {
        self.fate.send_if_modified(|fate| {
            let is_first = fate.is_none();
            fate.get_or_insert(why);
            is_first
        });
    }

    /// Completes when the connection has ended, with the reason.
    pub(super) async fn ended(&self) -> Error {
        let gone = || Error::new(ErrorKind::Closed, "the connection is gone");
        let mut fate = self.fate.subscribe();
        match fate.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    /// Decides about a failed request. One that does not reach the server, or whose answer breaks
    /// the protocol, ends the connection. An error that the server returns affects only that
    /// request, whatever its advice is.
    pub(super) fn judge(&self, trouble: Trouble) -> Error {
        let Trouble { error, what } = trouble;
        if !matches!(what, What::Refused(_)) && error.retry() == Retry::Reconnect {
            self.end(error.clone());
        }
        error
    }

    /// Returns the error for a violation of the protocol, and ends the connection.
    pub(super) fn broken(&self, message: &'static str) -> Error {
        self.judge(Trouble::new(What::Broken, broken(message)))
    }

    /// Runs one request within the limit of concurrent requests and its timeout, while the
    /// connection lasts.
    pub(super) async fn within<T>(
        &self,
        request: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T> {
        self.within_with(0, request).await
    }

    /// The same for a request with a large body. How much of it was sent is not known here, so it
    /// gets the time that it takes on a slow link.
    pub(super) async fn within_with<T>(
        &self,
        body: usize,
        request: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T> {
        let http = self.http();
        let more = Duration::from_secs((body / SLOWEST) as u64);
        let limit = http.config.request_timeout.saturating_add(more);
        let request = async {
            let _turn = http.requests.acquire().await;
            http.while_it_gets_on(limit, request).await
        };
        tokio::select! {
            biased;
            why = self.ended() => Err(why),
            result = request => result.map_err(|trouble| self.judge(trouble)),
        }
    }

    fn ask(&self, method: Method, url: reqwest::Url) -> Ask {
        Ask {
            method,
            url,
            token: self.token(),
            replica: self.replica(),
            accept: self.http().format().content_type(),
            if_none_match: None,
            body: None,
        }
    }

    fn encode(&self, content: impl Content) -> Result<Bytes, Trouble> {
        let encoded = self.http().format().encode(content);
        encoded.map_err(|error| Trouble::new(What::Broken, error))
    }

    /// Sends a request, and returns the answer before its body is read.
    pub(super) async fn post(
        &self,
        route: &str,
        scope: Option<&Scope>,
        content: impl Content,
    ) -> Result<Response, Trouble> {
        self.http().send(self.posted(route, scope, content)?).await
    }

    fn posted(
        &self,
        route: &str,
        scope: Option<&Scope>,
        content: impl Content,
    ) -> Result<Ask, Trouble> {
        let url = self.http().url(route, scope);
        let url = url.map_err(|error| Trouble::new(What::Unreachable, error))?;
        let body = Some(self.encode(content)?);
        Ok(Ask { body, ..self.ask(Method::POST, url) })
    }

    pub(super) async fn greet(&self, hello: Hello, token: Token) -> Result<Welcome> {
        self.within(async {
            let ask = Ask { token, ..self.posted(api::HELLO, None, hello)? };
            let answer = self.http().send(ask).await?;
            self.http().read(answer).await
        })
        .await
    }

    /// Sends the greeting without scopes: the cheapest request that a wrong token is rejected for.
    pub(super) fn short_greeting(&self) -> Hello {
        self.greeting.clone()
    }

    /// Requests the changes after a cursor. The answer is 304, or its body has not been read.
    pub(super) async fn changes(&self, pull: &Pull, by: By) -> Result<Response, Trouble> {
        let cursor = write_cursor(&pull.cursor);
        let mut ask = if cursor.len() > LONGEST_IN_ADDRESS {
            self.posted(api::CHANGES, Some(&pull.scope), pull.clone())?
        } else {
            let url = self.http().url(api::CHANGES, Some(&pull.scope));
            let mut url = url.map_err(|error| Trouble::new(What::Unreachable, error))?;
            let mut query = url.query_pairs_mut();
            if pull.cursor != Cursor::default() {
                query.append_pair("cursor", &cursor);
            }
            query.append_pair("documents", &pull.limits.documents.to_string());
            query.append_pair("bytes", &pull.limits.bytes.to_string());
            drop(query);
            self.ask(Method::GET, url)
        };
        match by {
            By::Chunk { wait } => {
                ask.if_none_match = tag(&pull.cursor);
                if wait > 0 {
                    ask.url.query_pairs_mut().append_pair("wait", &wait.to_string());
                }
            }
            By::Stream => {
                ask.accept = api::EVENTS;
                if self.http().format() == crate::format::Format::Frame {
                    ask.url.query_pairs_mut().append_pair("data", "frame");
                }
            }
        }
        self.http().send(ask).await
    }

    /// Reads the answer to a request for a chunk.
    pub(super) async fn brought(&self, pull: &Pull, answer: Response) -> Result<Brought, Trouble> {
        if answer.status() == reqwest::StatusCode::NOT_MODIFIED {
            if tag(&pull.cursor).is_some() {
                return Ok(Brought::Nothing);
            }
            let error = broken("the server said that nothing changed where that was not asked");
            return Err(Trouble::new(What::Broken, error));
        }
        Ok(Brought::Changes(self.http().read(answer).await?))
    }

    /// Records the end of a chunk that was requested with that cursor.
    pub(super) fn remember(&self, chunk: &Chunk, cursor: &Cursor) {
        if chunk.after != cursor.after {
            return;
        }
        let covers = chunk.covers.clone();
        let known = Known { after: cursor.following(chunk), horizon: chunk.horizon, covers };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(chunk.scope.clone(), known);
    }

    /// Adds the missing mark to a cursor that follows a chunk of this connection: requests are
    /// independent, and only the mark shows that the server was restored in between.
    pub(super) fn complete(&self, pull: &mut Pull) {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Known { after, .. }) = all.get(&pull.scope)
            && pull.cursor.mark.is_none()
            && (after.epoch, after.after, after.position)
                == (pull.cursor.epoch, pull.cursor.after, pull.cursor.position)
        {
            pull.cursor.mark.clone_from(&after.mark);
        }
    }

    /// Returns the chunk for a 304: an empty one, read at the head.
    pub(super) fn nothing_after(&self, pull: &Pull) -> Option<Chunk> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = pull.cursor.position;
        Some(Chunk {
            scope: pull.scope.clone(),
            epoch: pull.cursor.epoch?,
            after: at,
            next: at,
            head: at,
            horizon: all.get(&pull.scope).map_or(Seq(0), |known| known.horizon),
            mark: pull.cursor.mark.clone(),
            covers: all.get(&pull.scope).and_then(|known| known.covers.clone()),
            entries: Vec::new(),
            left_out: Default::default(),
            bookmarks: None,
        })
    }
}

/// Returns the entity tag of a cursor, if 304 is a sufficient answer to it. A full pull, at its
/// start or in progress, needs the head; a back-fill is not described by the position; and a cursor
/// without the mark of its position could not be compared with the log.
fn tag(cursor: &Cursor) -> Option<String> {
    let is_whole = cursor.backfills.is_empty() && cursor.floor.is_none();
    let stands = cursor.after == cursor.position && cursor.position > Seq(0);
    let is_marked = cursor.mark.as_ref().is_some_and(|mark| mark.at >= cursor.position);
    let epoch = cursor.epoch.filter(|_| is_whole && stands && is_marked)?;
    Some(entity_tag(epoch, cursor.position))
}
