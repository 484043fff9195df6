//! A connection: requests with one token, and the handling of those that do not reach the server.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use reqwest::StatusCode;
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{PushBatch, Reset, Verdicts};
use sync_core::protocol::{Ack, Goodbye, Pull};
use sync_core::transport::{Connection, Delivery, Moved};

use super::http;
use super::line::{Brought, By, Line};
use super::live::live;
use crate::api;
use crate::format::Changes;

/// A connection over HTTP. Nothing is open between requests.
#[derive(Debug)]
pub(super) struct HttpConnection(Arc<Line>);

impl HttpConnection {
    pub(super) fn new(line: Line) -> Self {
        Self(Arc::new(line))
    }

    fn hang_up(&self, why: &str) {
        let error = Error::new(ErrorKind::Closed, format!("the connection was closed: {why}"));
        self.0.end(error.retrying(Retry::Reconnect));
    }
}

#[async_trait]
impl Connection for HttpConnection {
    /// Pulls. At the head of a scope this is a condition without a body in either direction.
    async fn pull(&self, mut pull: Pull) -> Result<Delivery> {
        let line = &self.0;
        line.complete(&mut pull);
        let brought = line.within(async {
            let answer = line.changes(&pull, By::Chunk { wait: 0 }).await?;
            line.brought(&pull, answer).await
        });
        match brought.await.map_err(|e| e.during("pull"))? {
            Brought::Changes(Changes::Reset(reset)) => Ok(Delivery::Reset(reset)),
            Brought::Changes(Changes::Chunk(page)) if page.chunk.scope != pull.scope => {
                Err(line.broken("the server sent a chunk of another scope"))
            }
            Brought::Changes(Changes::Chunk(page)) => {
                line.remember(&page.chunk, &pull.cursor);
                Ok(Delivery::Chunk(page.chunk))
            }
            Brought::Nothing => {
                let chunk = line.nothing_after(&pull);
                Ok(Delivery::Chunk(
                    chunk.ok_or_else(|| line.broken("nothing follows on no epoch"))?,
                ))
            }
        }
    }

    async fn push(&self, batch: PushBatch) -> Result<Verdicts> {
        let (line, changes) = (&self.0, batch.changes.len());
        let verdicts = line.within_with(batch.weight(), async {
            let scope = batch.scope.clone();
            let answer = line.post(api::PUSHES, Some(&scope), batch).await?;
            line.http().read(answer).await
        });
        match verdicts.await.map_err(|e| e.during("push"))? {
            Verdicts::Decided { verdicts, .. } if verdicts.len() != changes => {
                Err(line
                    .broken("the server gave another number of verdicts than there were changes"))
            }
            verdicts => Ok(verdicts),
        }
    }

    /// The first request is sent when the stream is polled for the first time.
    fn live(&self, mut pull: Pull) -> BoxStream<'static, Result<Delivery>> {
        self.0.complete(&mut pull);
        live(Arc::clone(&self.0), pull)
    }

    async fn acknowledge(&self, ack: Ack) -> Result<Option<Reset>> {
        let line = &self.0;
        let answer = line.within(async {
            let scope = ack.scope.clone();
            let answer = line.post(api::ACKNOWLEDGEMENTS, Some(&scope), ack).await?;
            if answer.status() == StatusCode::NO_CONTENT {
                return Ok(None);
            }
            line.http().read(answer).await.map(Some)
        });
        answer.await.map_err(|e| e.during("acknowledge"))
    }

    /// Tries the new token before using it.
    async fn renew(&self, token: String) -> Result<()> {
        let token = http::token(Some(&token))?;
        let greeted = self.0.greet(self.0.short_greeting(), token.clone()).await;
        greeted.map_err(|e| e.during("renew the token"))?;
        self.0.set_token(token);
        Ok(())
    }

    fn moved(&self) -> Option<Moved> {
        Some(self.0.http().activity.moved())
    }

    async fn lost(&self) -> Error {
        self.0.ended().await
    }

    /// Ends the connection. The server keeps no state of it, so nothing is sent.
    async fn close(&self, why: Goodbye) {
        self.hang_up(&why.reason);
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.hang_up("the replica dropped the connection");
    }
}
