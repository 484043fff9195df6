//! Broken transports, which the suite must detect.
//!
//! Each [`TransportFault`] is a bug that a real transport had, built into a working transport. The
//! case that it names passes without it and must fail with it.

mod changes;
mod connection;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::Cursor;
use sync_core::protocol::{Hello, Welcome};
use sync_core::transport::{Connection, Transport};
use sync_server::{Server, ServerOptions};

use super::harness::{Timing, TransportHarness};
use crate::conformance::{Case, Outcome, demand_failure};
use crate::proxy::TcpProxy;
use connection::FaultyConnection;

/// The longest wait of a case for an event that a fault may prevent.
const ENOUGH: Duration = Duration::from_secs(2);

/// A fault of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportFault {
    /// Greets without the cursors, so that the server cannot reset a scope in its answer.
    GreetsWithoutCursors,
    /// Greets without the digests, so that the server cannot report that documents differ.
    GreetsWithoutDigests,
    /// Reports a refused token as a network error, so that the replica would retry for ever (a
    /// replica that hammers a login).
    TakesRefusalsForOutages,
    /// Retries by itself until a server answers, instead of failing.
    ConnectsForEver,
    /// Requests chunks of any size.
    IgnoresLimits,
    /// Returns an empty chunk that claims to reach the head, and so skips the entries between (a
    /// checkpoint from the head).
    SkipsToTheHead,
    /// Pulls from the beginning when the server answers with a reset, and does not report the
    /// reset.
    SwallowsResets,
    /// Parses and rewrites bodies, without the white space (and whatever else a JSON library
    /// considers equal).
    RewritesBodies,
    /// Reports an acknowledgement as delivered without sending it.
    KeepsAcknowledgements,
    /// Reports a push as accepted without sending it (automerge#772).
    AnswersPushesItself,
    /// Reports a failed push as accepted.
    CountsFailuresAsPushed,
    /// Does not answer a batch that is pushed again (powersync-service PR 659).
    StallsRetries,
    /// Gives the verdicts of another batch.
    MixesVerdicts,
    /// Reports only the kind of an error: the server's retry advice is lost.
    LosesTheAdvice,
    /// Accepts a new token and continues with the old one.
    IgnoresNewTokens,
    /// Drops chunks that arrive on a live stream while a push is in flight (rxdb#5571).
    DropsEventsDuringPushes,
    /// Delivers chunks of a live stream twice.
    DoublesChunks,
    /// Delivers a chunk of a live stream before the one that precedes it.
    SwapsChunks,
    /// Keeps only the newest chunk for a live stream that is not polled.
    KeepsOnlyTheNewest,
    /// Begins a live stream at the head as it is when it is opened, instead of at the cursor.
    StartsAtTheHead,
    /// Ends a live stream without an error when it fails, so that the replica does not resync (rxdb
    /// PR 4612).
    EndsSilently,
    /// Does not end a live stream that fails: its reader waits for ever.
    HidesTheEnd,
    /// Takes an event from the stream, and loses it if the reader stops waiting (powersync-service
    /// PR 494).
    ForgetsWhenGivenUp,
    /// Receives everything that the server has, whether or not the stream is polled.
    ReadsAhead,
    /// Leaves a dropped live stream open on the server.
    KeepsDroppedStreams,
    /// Sends a request only after the previous one was answered.
    AsksOneAtATime,
    /// Breaks the link when a waiting request is dropped.
    BreaksWhenDropped,
    /// Does not fail requests that wait on a lost link.
    OutlivesTheLink,
    /// Does not detect a silent link.
    TrustsSilence,
    /// Never reports that the link is lost.
    HidesTheLoss,
    /// Does not fail pending requests when it is closed.
    ClosesOnlyLater,
    /// Treats a server's goodbye as a refusal, and never reconnects.
    TakesGoodbyeForGood,
}

impl TransportFault {
    /// Every fault.
    pub const ALL: &[Self] = &crate::__transport_faults! { __transport_fault_list {} };

    /// Returns the case that must fail.
    #[must_use]
    pub fn noticed_by(self) -> &'static str {
        match self {
            Self::GreetsWithoutCursors => "greeting::resets_scopes_whose_position_means_nothing",
            Self::GreetsWithoutDigests => "greeting::compares_the_digest_of_a_greeting",
            Self::TakesRefusalsForOutages => "greeting::refuses_a_wrong_token_for_good",
            Self::ConnectsForEver => "greeting::connecting_to_a_closed_port_fails_soon",
            Self::IgnoresLimits => "pulling::a_pull_keeps_within_its_documents",
            Self::SkipsToTheHead => "pulling::pulls_from_any_position_add_up_to_the_log",
            Self::SwallowsResets => "pulling::a_pull_from_a_foreign_epoch_brings_a_reset",
            Self::RewritesBodies => "pulling::bodies_arrive_byte_for_byte",
            Self::KeepsAcknowledgements => "pulling::acknowledgements_compare_digests",
            Self::AnswersPushesItself => "pushing::an_answered_push_is_on_the_server",
            Self::CountsFailuresAsPushed => "links::a_push_whose_answer_was_lost_has_one_effect",
            Self::StallsRetries => "pushing::a_batch_that_is_pushed_again_has_one_effect",
            Self::MixesVerdicts => "pushing::verdicts_belong_to_their_batch",
            Self::LosesTheAdvice => "access::errors_carry_their_advice",
            Self::IgnoresNewTokens => "access::a_new_token_is_used_from_then_on",
            Self::DropsEventsDuringPushes => "live::nothing_is_missed_while_pushes_are_in_flight",
            Self::DoublesChunks | Self::SwapsChunks => "live::a_live_stream_catches_up_and_follows",
            Self::KeepsOnlyTheNewest => "live::nothing_is_missed_while_it_is_not_polled",
            Self::StartsAtTheHead => "live::nothing_is_missed_before_the_first_poll",
            Self::ForgetsWhenGivenUp => "live::waiting_for_a_chunk_may_be_dropped",
            Self::ReadsAhead => "live::a_live_stream_that_is_not_polled_holds_nothing_up",
            Self::KeepsDroppedStreams => "live::a_dropped_stream_makes_room_for_another",
            Self::AsksOneAtATime => "pending::a_request_that_waits_holds_up_no_other",
            Self::BreaksWhenDropped => "pending::dropped_requests_disturb_nothing",
            Self::ClosesOnlyLater => "pending::closing_fails_what_is_pending_and_what_follows",
            Self::TakesGoodbyeForGood => "pending::a_server_that_drains_says_goodbye",
            Self::EndsSilently | Self::HidesTheEnd | Self::OutlivesTheLink | Self::HidesTheLoss => {
                "links::a_cut_fails_everything_that_is_pending"
            }
            Self::TrustsSilence => "links::a_half_open_link_is_noticed",
        }
    }
}

/// A transport with a fault.
#[derive(Debug)]
pub struct FaultyTransport {
    inner: Arc<dyn Transport>,
    fault: TransportFault,
}

impl FaultyTransport {
    /// Builds the fault into a transport.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, fault: TransportFault) -> Self {
        Self { inner, fault }
    }

    async fn try_connect(&self, mut hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        if self.fault == TransportFault::GreetsWithoutCursors {
            hello.scopes.iter_mut().for_each(|s| s.cursor = Cursor::default());
        }
        if self.fault == TransportFault::GreetsWithoutDigests {
            hello.scopes.iter_mut().for_each(|s| s.digest = None);
        }
        self.inner.connect(hello).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for FaultyTransport {
    async fn connect(&self, hello: Hello) -> Result<(Arc<dyn Connection>, Welcome)> {
        let (inner, welcome) = loop {
            let error = match self.try_connect(hello.clone()).await {
                Ok(connected) => break connected,
                Err(error) => error,
            };
            match (self.fault, error.kind()) {
                (TransportFault::ConnectsForEver, ErrorKind::Network | ErrorKind::Timeout) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                (TransportFault::TakesRefusalsForOutages, ErrorKind::Unauthenticated) => {
                    return Err(Error::new(ErrorKind::Network, "the server is away"));
                }
                _ => return Err(changes::change_error(self.fault, error)),
            }
        };
        Ok((Arc::new(FaultyConnection::new(inner, self.fault)), welcome))
    }
}

/// A harness whose transport has a fault.
#[derive(Debug)]
pub struct FaultyHarness<H> {
    inner: H,
    fault: TransportFault,
}

impl<H> FaultyHarness<H> {
    /// Builds the fault into the harness's transport.
    pub fn new(inner: H, fault: TransportFault) -> Self {
        Self { inner, fault }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<H: TransportHarness> TransportHarness for FaultyHarness<H> {
    async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(FaultyTransport::new(self.inner.serve(server).await?, self.fault)))
    }

    fn adjust(&self, options: &mut ServerOptions) {
        self.inner.adjust(options);
    }

    /// Returns shorter bounds: a request that the fault blocks for ever need not be waited for that
    /// long.
    fn timing(&self) -> Timing {
        let mut timing = self.inner.timing();
        timing.prompt = timing.prompt.min(ENOUGH);
        timing.silence = timing.silence.min(ENOUGH);
        timing.connecting = timing.connecting.min(ENOUGH);
        timing
    }

    fn heals(&self) -> bool {
        self.inner.heals()
    }

    fn proxy(&self) -> Option<&TcpProxy> {
        self.inner.proxy()
    }

    async fn cut(&self) -> Outcome {
        self.inner.cut().await
    }

    async fn cut_after(&self, bytes: u64) -> Outcome {
        self.inner.cut_after(bytes).await
    }

    async fn stall(&self) -> Outcome {
        self.inner.stall().await
    }

    async fn refuse(&self) -> Outcome {
        self.inner.refuse().await
    }

    async fn damage(&self, byte: u64) -> Outcome {
        self.inner.damage(byte).await
    }

    async fn heal(&self) {
        self.inner.heal().await;
    }
}

/// Asserts that the case which a fault names passes without the fault and fails with it, each with
/// a fresh harness.
///
/// # Errors
/// [`Skipped`](crate::conformance::Skipped), counted and printed, if the harness cannot do what the
/// case needs.
///
/// # Panics
/// If the case fails without the fault, or passes with it.
pub fn demand<H: TransportHarness>(fault: TransportFault, fresh: impl Fn() -> H) -> Outcome {
    let (sound, broken) =
        (named::<H>(fault.noticed_by()), named::<FaultyHarness<H>>(fault.noticed_by()));
    let harness = FaultyHarness::new(fresh(), fault);
    let name = format!("transport::{}", sound.name);
    demand_failure(&format!("{fault:?}"), &name, (sound.run)(fresh()), (broken.run)(harness))
}

fn named<H: TransportHarness>(name: &str) -> Case<H> {
    let found = super::cases().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("there is no case {name}"))
}
