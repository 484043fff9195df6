//! The results of the engine's commands, as facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DriverTask, Kept, LiveStream, Stream};
use crate::engine::{
    Answer, BatchMeta, ChunkMeta, Delivery as DeliveryMeta, Failure, Input, ScopeGreeting,
    Settlement, Ticket,
};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::model::{
    Checkpoint, Cursor, DocumentKey, PushBatch, PushId, RejectionCode, Reset, Scope, VerdictKind,
    Verdicts,
};
use crate::protocol::{Ack, ScopeWelcome, Welcome};
use crate::replica::{Applied, Committed, ReplicaState};
use crate::transport::{Connection, Delivery};
use futures_util::FutureExt;

/// The result of finished work.
pub(super) enum Done {
    Connected {
        ticket: Ticket,
        result: Result<Connected>,
    },
    GaveUp,
    Lost {
        ticket: Ticket,
        error: Error,
    },
    Delivered {
        scope: Scope,
        ticket: Ticket,
        result: Result<Delivery>,
        stream: Option<LiveStream>,
    },
    Applied {
        scope: Scope,
        payload: Ticket,
        result: Result<Applied>,
    },
    NextBatch {
        scope: Scope,
        result: Result<Option<PushBatch>>,
    },
    Pushed {
        scope: Scope,
        ticket: Ticket,
        result: Result<Verdicts>,
    },
    Settled {
        scope: Scope,
        result: Result<Committed>,
    },
    Acknowledged {
        scope: Scope,
        ticket: Ticket,
        told: Option<(Ticket, Ack)>,
        result: Result<Option<Reset>>,
    },
    WasReset {
        scope: Scope,
        result: Result<(Committed, Checkpoint)>,
    },
    Forgotten {
        scope: Scope,
        result: Result<Committed>,
    },
    Reidentified {
        result: Result<Committed>,
    },
    StateRead {
        result: Result<ReplicaState>,
    },
    Noted {
        result: Result<()>,
    },
    Renewed {
        ticket: Ticket,
        token: String,
        result: Result<()>,
    },
}

pub(super) struct Connected {
    pub(super) connection: Arc<dyn Connection>,
    pub(super) welcome: Welcome,
    /// The positions in the greeting.
    pub(super) asked: BTreeMap<Scope, Cursor>,
    /// The acknowledgements in the greeting.
    pub(super) told: BTreeMap<Scope, Ack>,
    pub(super) last_push: PushId,
}

impl Done {
    /// Returns whether the storage did it.
    pub(super) fn is_storage(&self) -> bool {
        matches!(
            self,
            Self::Applied { .. }
                | Self::NextBatch { .. }
                | Self::Settled { .. }
                | Self::WasReset { .. }
                | Self::Forgotten { .. }
                | Self::Reidentified { .. }
                | Self::Noted { .. }
        )
    }
}

impl DriverTask {
    pub(super) fn finish(&mut self, done: Done) {
        self.storing -= usize::from(done.is_storage());
        match done {
            Done::GaveUp => {}
            Done::Connected { ticket, result } => self.connected(ticket, result),
            Done::Lost { ticket, error } => {
                if self.connection.as_ref().is_some_and(|(t, _)| *t == ticket) {
                    let failure = self.refused_or_failed(&error);
                    self.input(Input::LinkLost { ticket, failure });
                }
            }
            Done::Delivered { scope, ticket, result, stream } => {
                if let Some(stream) = stream
                    && let Some(slot) = self.streams.get_mut(&ticket)
                {
                    *slot = Stream::Idle(stream);
                }
                self.delivered(scope, ticket, result);
            }
            Done::Applied { scope, payload, result } => {
                let result = self.seen(result, |a| &a.committed).map(|a| (a.moved, a.checkpoint));
                self.input(Input::Applied { scope, payload, result });
            }
            Done::NextBatch { scope, result } => {
                let batch = result.map_err(|e| self.failed(&e));
                let result = batch.map(|batch| {
                    let meta = batch.as_ref().map(BatchMeta::from);
                    if let Some(batch) = batch {
                        self.batches.insert(scope.clone(), batch);
                    }
                    meta
                });
                self.input(Input::NextBatch { scope, result });
            }
            Done::Pushed { scope, ticket, result } => {
                let result = match result {
                    Ok(verdicts) => Ok(self.answered(ticket, verdicts)),
                    Err(error) => {
                        if error.kind() == ErrorKind::TooLarge {
                            self.too_large.insert(scope.clone(), error.report().to_string());
                        }
                        Err(self.refused_or_failed(&error))
                    }
                };
                self.input(Input::Pushed { scope, ticket, result });
            }
            Done::Settled { scope, result } => {
                let result = self.seen(result, |c| c).map(|committed| {
                    let settlement = Settlement::from(&committed);
                    if settlement.moved == 0
                        && let Some((key, verdict)) = &committed.unmoved
                    {
                        self.failed(&left_as_it_was(key, verdict));
                    }
                    settlement
                });
                self.status.pushed += result.as_ref().map_or(0, |s| s.applied) as u64;
                self.input(Input::Settled { scope, result });
            }
            Done::Acknowledged { scope, ticket, told, result } => {
                let is_here = |t: &Ticket| self.connection.as_ref().is_some_and(|(o, _)| o == t);
                if let (Some((link, ack)), Ok(None)) = (told, &result)
                    && is_here(&link)
                {
                    self.told.insert(scope.clone(), ack);
                }
                let result = result.map_err(|e| match e.kind() {
                    ErrorKind::Unauthenticated => self.refused_or_failed(&e),
                    _ => Failure::from(&e),
                });
                self.input(Input::Acknowledged { scope, ticket, result });
            }
            Done::WasReset { scope, result } => {
                let result = self.seen(result, |(c, _)| c).map(|(_, checkpoint)| checkpoint);
                self.input(Input::ResetDone { scope, result });
            }
            Done::Forgotten { scope, result } => {
                let result = self.seen(result, |c| c).map(drop);
                self.batches.remove(&scope);
                self.input(Input::Forgotten { scope, result });
            }
            Done::Reidentified { result } => {
                let result = self.seen(result, |c| c).map(drop);
                self.batches.clear();
                self.input(Input::Reidentified { result });
            }
            Done::StateRead { result } => self.looked(result),
            Done::Renewed { ticket, token, result } => self.renewed(ticket, token, result),
            Done::Noted { result: Ok(()) } => {}
            Done::Noted { result: Err(error) } => {
                tracing::debug!(error = %error.report(), "what failed could not be noted");
            }
        }
    }

    fn failed(&mut self, error: &Error) -> Failure {
        tracing::debug!(error = %error.report(), "a step of the sync failed");
        self.status.last_error = Some(error.clone());
        Failure::from(error)
    }

    /// Records a failure of an established connection. If the server refused the token, and there
    /// may be a better one, the failure advises another connection.
    fn refused_or_failed(&mut self, error: &Error) -> Failure {
        if self.connection.is_none() {
            // The connection was closed meanwhile, for an error that is already recorded.
            return Failure::from(error);
        }
        let failure = self.failed(error);
        match (failure.kind, failure.retry) {
            (ErrorKind::Unauthenticated, Retry::Never) if self.tokens.refuse_taken() => {
                return Failure { retry: Retry::Reconnect, ..failure };
            }
            (ErrorKind::Unauthenticated, Retry::Reconnect | Retry::Later(_)) => {
                self.tokens.doubt_taken();
            }
            _ => {}
        }
        failure
    }

    /// Notifies the observer of what was committed.
    fn seen<T>(
        &mut self,
        result: Result<T>,
        committed: impl Fn(&T) -> &Committed,
    ) -> Result<T, Failure> {
        match result {
            Ok(value) => {
                let committed = committed(&value);
                self.status.conflicts += committed.conflicts.len() as u64;
                self.parts.observer.committed(committed);
                Ok(value)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn connected(&mut self, ticket: Ticket, result: Result<Connected>) {
        self.connecting.take_if(|(t, _)| *t == ticket);
        match result {
            Ok(Connected { connection, welcome, mut asked, told, last_push }) => {
                self.push_limits = self.options.push_limits.min(welcome.push_limits);
                let lost = Arc::clone(&connection);
                self.work
                    .push(async move { Done::Lost { ticket, error: lost.lost().await } }.boxed());
                self.moved = connection.moved().unwrap_or_default();
                self.connection = Some((ticket, connection));
                self.told = told;
                let greeting = |s: ScopeWelcome| ScopeGreeting {
                    asked: asked.remove(&s.scope).unwrap_or_default(),
                    scope: s.scope,
                    epoch: s.epoch,
                    head: s.head,
                    reset: s.reset,
                    last_push: s.last_push,
                };
                let scopes = welcome.scopes.into_iter().map(greeting).collect();
                self.input(Input::Connected { ticket, scopes, last_push });
            }
            Err(error) => {
                let failure = self.failed(&error);
                self.input(Input::LinkLost { ticket, failure });
            }
        }
        // When it was given, nothing was refused yet, and no connection could be renewed with it.
        if self.tokens.is_untried() {
            self.use_new_token();
        }
    }

    fn renewed(&mut self, ticket: Ticket, token: String, result: Result<()>) {
        self.renewing = false;
        let is_there = self.connection.as_ref().is_some_and(|(t, _)| *t == ticket);
        match result {
            // The connection after this one was made with the newest token.
            _ if !is_there => {}
            Ok(()) => self.tokens.renewed(token),
            Err(error) => {
                let mut failure = self.failed(&error);
                let is_refused =
                    (failure.kind, failure.retry) == (ErrorKind::Unauthenticated, Retry::Never);
                if is_refused && self.tokens.refuse_renewal(token) {
                    failure.retry = Retry::Reconnect;
                }
                self.input(Input::LinkLost { ticket, failure });
            }
        }
        self.renew();
    }

    fn delivered(&mut self, scope: Scope, ticket: Ticket, result: Result<Delivery>) {
        let payload = self.engine.ticket();
        let result = match result {
            Ok(Delivery::Chunk(chunk)) => {
                let meta = ChunkMeta::from(&chunk);
                self.payloads.insert(payload, Kept::Chunk(chunk));
                Ok(DeliveryMeta::Chunk(meta))
            }
            Ok(Delivery::Reset(reset)) => Ok(DeliveryMeta::Reset(reset)),
            Err(error) => Err(self.refused_or_failed(&error)),
        };
        self.input(Input::Delivered { scope, ticket, payload, result });
    }

    fn answered(&mut self, ticket: Ticket, verdicts: Verdicts) -> Answer {
        let answer = Answer::from(&verdicts);
        self.payloads.insert(ticket, Kept::Verdicts(verdicts));
        answer
    }

    fn looked(&mut self, result: Result<ReplicaState>) {
        self.looking = false;
        match result {
            Ok(state) => {
                for summary in state.scopes.into_iter().filter(|s| s.outbox.pending > 0) {
                    self.input(Input::OutboxGrew { scope: summary.scope });
                }
            }
            Err(error) => {
                // The next commit, or the next connection, reads it again, unless the error is
                // permanent.
                let failure = self.failed(&error);
                if let Some((ticket, _)) = self.connection.as_ref()
                    && failure.retry == Retry::Never
                {
                    self.input(Input::LinkLost { ticket: *ticket, failure });
                }
            }
        }
        if std::mem::take(&mut self.look_again) {
            self.look_at_outbox();
        }
    }
}

/// Explains why a push changed nothing, from the verdict on one of its edits.
fn left_as_it_was(key: &DocumentKey, verdict: &VerdictKind) -> Error {
    let (what, said) = match verdict {
        VerdictKind::Rejected(rejection) => match rejection.code {
            RejectionCode::Clock { server_time } => {
                let what = "the server's clock disagrees with the time of an edit";
                let error = Error::new(ErrorKind::Protocol, what).retrying(Retry::Later(None));
                let error = error.with("document", key).with("server_time", server_time.millis());
                return error.with("answer", &rejection.reason).during("push");
            }
            _ => ("the server rejects an edit, and it stays in the outbox", &*rejection.reason),
        },
        VerdictKind::Conflict => {
            ("the server answers with a conflict that is known already", "conflict")
        }
        VerdictKind::Superseded => ("the server's answer changes nothing", "superseded"),
        VerdictKind::Merged => ("the server's answer changes nothing", "merged"),
        VerdictKind::Accepted => ("the server's answer changes nothing", "accepted"),
    };
    let error = Error::new(ErrorKind::Protocol, what).retrying(Retry::Later(None));
    error.with("document", key).with("answer", said).during("push")
}
