//! The suite for transports: the guarantees that a replica relies on, whatever carries its
//! requests.
//!
//! ```text
//!   case ──► Transport, Connection ──► the link under test ──► Server over memory
//!    │            (yours)                (the harness's)          │
//!    └── hooks that refuse, fail or wait · a storage that counts · an author that writes past the link
//! ```
//!
//! Write a [`TransportHarness`] and call [`transport_conformance!`](crate::transport_conformance);
//! each case is a named test. [`transport_fault_injection!`](crate::transport_fault_injection) then
//! shows that the suite detects faults: it builds one [`TransportFault`] after another into the
//! transport.
//!
//! The cases require nothing that only a permanent connection can do. A live stream may be
//! delivered as slowly as [`Timing::prompt`] allows, a chunk may hold the changes of several
//! appends, and a broken link may be detected as late as the next request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a case fails"
)]

mod access_switch;
pub mod cases;
mod fault_injection;
mod fixture;
mod harness;
mod pending;
mod reader;

pub use fault_injection::{FaultyHarness, FaultyTransport, TransportFault, demand};
pub use harness::{Timing, TransportHarness};

use super::Case;

/// The cases, by name. This is their only list; the named macro is called with it.
#[doc(hidden)]
#[macro_export]
macro_rules! __transport_cases {
    ($make:ident $given:tt) => {
        $crate::$make! { $given
            greeting {
                greets_with_heads_epochs_and_limits,
                resets_scopes_whose_position_means_nothing,
                compares_the_digest_of_a_greeting,
                leaves_out_scopes_that_may_not_be_seen,
                refuses_a_wrong_token_for_good,
                refuses_versions_that_it_does_not_speak,
                a_greeting_that_fails_carries_the_advice,
                connecting_to_a_closed_port_fails_soon,
                connecting_over_a_silent_link_fails_soon,
                an_attempt_to_connect_may_be_dropped,
                connections_of_one_transport_are_apart,
            }
            pulling {
                bodies_arrive_byte_for_byte,
                the_largest_bodies_pass,
                pulls_from_any_position_add_up_to_the_log,
                a_pull_keeps_within_its_documents,
                a_pull_keeps_within_its_bytes,
                a_cursor_with_back_fills_arrives_whole,
                a_pull_from_a_foreign_epoch_brings_a_reset,
                acknowledgements_compare_digests,
            }
            pushing {
                a_thousand_documents_are_pushed_together,
                an_answered_push_is_on_the_server,
                a_batch_that_is_pushed_again_has_one_effect,
                another_batch_under_a_known_id_is_distinguished,
                a_batch_is_recalled,
                verdicts_carry_reasons_and_states,
                a_batch_of_another_replica_is_refused,
                verdicts_belong_to_their_batch,
            }
            access {
                a_forbidden_scope_is_denied,
                a_new_token_is_used_from_then_on,
                a_wrong_new_token_leaves_the_old_one,
                errors_carry_their_advice,
            }
            live {
                a_live_stream_catches_up_and_follows,
                nothing_is_missed_before_the_first_poll,
                nothing_is_missed_while_it_is_not_polled,
                nothing_is_missed_while_pushes_are_in_flight,
                waiting_for_a_chunk_may_be_dropped,
                many_scopes_are_followed_at_once,
                a_reset_ends_a_live_stream,
                a_revoked_scope_ends_its_stream,
                a_dropped_stream_makes_room_for_another,
                a_live_stream_that_is_not_polled_holds_nothing_up,
            }
            pending {
                many_requests_at_a_time_are_each_answered,
                requests_wait_for_their_turn,
                a_request_that_waits_holds_up_no_other,
                dropped_requests_disturb_nothing,
                requests_may_be_dropped_at_once,
                closing_fails_what_is_pending_and_what_follows,
                a_dropped_connection_is_released,
                a_server_that_drains_says_goodbye,
            }
            links {
                a_cut_fails_everything_that_is_pending,
                requests_after_a_cut_fail_promptly,
                a_half_open_link_is_noticed,
                an_idle_connection_stays,
                a_push_whose_answer_was_lost_has_one_effect,
                a_log_is_pulled_over_links_that_break,
                a_log_is_followed_over_links_that_break,
                damage_is_noticed,
            }
            whole {
                replicas_converge_over_links_that_are_cut,
                replicas_converge_over_links_that_fall_silent,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_tests {
    ({ $harness:expr } $($module:ident { $($case:ident,)* })*) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the harness may be anything")]
            use super::*;
            $(#[test]
            fn $case() {
                let name = concat!("transport::", stringify!($module), "::", stringify!($case));
                let case = $crate::conformance::transport::cases::$module::$case($harness);
                let _ = $crate::conformance::run(name, case);
            })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_list {
    ({ $harness:ty } $($module:ident { $($case:ident,)* })*) => {
        vec![$($($crate::conformance::Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            run: |harness: $harness| {
                Box::pin($crate::conformance::transport::cases::$module::$case(harness))
            },
        },)*)*]
    };
}

/// Makes a named test of every case of the suite for transports. The argument is an expression that
/// makes a [`TransportHarness`](crate::conformance::transport::TransportHarness); it is evaluated
/// anew for each test.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use sync_core::error::Result;
/// use sync_server::Server;
/// use sync_core::transport::Transport;
/// use testkit::conformance::transport::TransportHarness;
///
/// struct InMemory;
///
/// #[async_trait]
/// impl TransportHarness for InMemory {
///     async fn serve(&self, server: Server) -> Result<Arc<dyn Transport>> {
///         Ok(Arc::new(server.in_process()))
///     }
/// }
///
/// testkit::transport_conformance!(InMemory);
/// ```
#[macro_export]
macro_rules! transport_conformance {
    ($harness:expr) => {
        $crate::__transport_cases! { __transport_tests { $harness } }
    };
}

/// The faults, by the names of their tests. This is their only list.
#[doc(hidden)]
#[macro_export]
macro_rules! __transport_faults {
    ($make:ident $given:tt) => {
        $crate::$make! { $given
            greets_without_cursors GreetsWithoutCursors,
            greets_without_digests GreetsWithoutDigests,
            takes_refusals_for_outages TakesRefusalsForOutages,
            connects_for_ever ConnectsForEver,
            ignores_limits IgnoresLimits,
            skips_to_the_head SkipsToTheHead,
            swallows_resets SwallowsResets,
            rewrites_bodies RewritesBodies,
            keeps_acknowledgements KeepsAcknowledgements,
            answers_pushes_itself AnswersPushesItself,
            counts_failures_as_pushed CountsFailuresAsPushed,
            stalls_retries StallsRetries,
            mixes_verdicts MixesVerdicts,
            loses_the_advice LosesTheAdvice,
            ignores_new_tokens IgnoresNewTokens,
            drops_events_during_pushes DropsEventsDuringPushes,
            doubles_chunks DoublesChunks,
            swaps_chunks SwapsChunks,
            keeps_only_the_newest KeepsOnlyTheNewest,
            starts_at_the_head StartsAtTheHead,
            ends_silently EndsSilently,
            hides_the_end HidesTheEnd,
            forgets_when_given_up ForgetsWhenGivenUp,
            reads_ahead ReadsAhead,
            keeps_dropped_streams KeepsDroppedStreams,
            asks_one_at_a_time AsksOneAtATime,
            breaks_when_dropped BreaksWhenDropped,
            outlives_the_link OutlivesTheLink,
            trusts_silence TrustsSilence,
            hides_the_loss HidesTheLoss,
            closes_only_later ClosesOnlyLater,
            takes_goodbye_for_good TakesGoodbyeForGood,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_fault_list {
    ({} $($test:ident $fault:ident,)*) => {
        [$($crate::conformance::transport::TransportFault::$fault,)*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_fault_tests {
    ({ $harness:expr } $($test:ident $fault:ident,)*) => {
        mod fault_injection {
            #[allow(unused_imports, reason = "the harness may be anything")]
            use super::*;
            $(#[test]
            fn $test() {
                let fault = $crate::conformance::transport::TransportFault::$fault;
                let _ = $crate::conformance::transport::demand(fault, || $harness);
            })*
        }
    };
}

/// Makes a named test of every [`TransportFault`](crate::conformance::transport::TransportFault):
/// the case that it names passes over the transport as it is, and fails when the fault is built in.
/// The argument is the same as that of [`transport_conformance!`](crate::transport_conformance).
#[macro_export]
macro_rules! transport_fault_injection {
    ($harness:expr) => {
        $crate::__transport_faults! { __transport_fault_tests { $harness } }
    };
}

/// Every case, for callers that run them without the test harness.
#[must_use]
pub fn cases<H: TransportHarness>() -> Vec<Case<H>> {
    crate::__transport_cases! { __transport_list { H } }
}
