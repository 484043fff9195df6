//! An exchange after which no measure moved is a failed attempt.

use std::time::Duration;

use super::*;

const LOST: Failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };

/// Counts what happened within a time, if each attempt ends as `attempt` returns.
struct Storm {
    script: Script,
    until: Instant,
    connects: usize,
    pulls: usize,
    pushes: usize,
    stalled: usize,
}

impl Storm {
    fn new(goal: Goal, seconds: u64) -> Self {
        let mut script = Script::new();
        script.input(Input::Run(goal));
        let until = script.now.plus(Duration::from_secs(seconds));
        Self { script, until, connects: 0, pulls: 0, pushes: 0, stalled: 0 }
    }

    /// Runs until the time is over; `attempt` answers each command with a fact.
    fn run(&mut self, mut attempt: impl FnMut(&mut Script, &Output)) {
        let mut steps = 0;
        loop {
            while let Some(output) = self.script.engine.poll_output() {
                steps += 1;
                assert!(steps < 20_000, "it never rests");
                match &output {
                    Output::Connect { .. } => self.connects += 1,
                    Output::Pull { .. } => self.pulls += 1,
                    Output::Push { .. } => self.pushes += 1,
                    Output::Emit(Event::Stalled(..) | Event::Disconnected(_)) => self.stalled += 1,
                    _ => {}
                }
                attempt(&mut self.script, &output);
                if self.script.now >= self.until {
                    return;
                }
                if self.script.engine.next_deadline().is_some_and(|due| due <= self.script.now) {
                    self.script.input(Input::Tick);
                }
            }
            let Some(due) = self.script.engine.next_deadline() else { return };
            if due >= self.until {
                return;
            }
            self.script.now = due.max(self.script.now);
            self.script.input(Input::Tick);
        }
    }
}

/// The answers of a server and a storage that work; a batch always waits.
fn works(s: &mut Script, output: &Output) {
    match output {
        Output::Connect { ticket, .. } => s.greet(*ticket, 0, 0),
        Output::Pull { ticket, .. } => {
            s.deliver(*ticket, 0, 0, 0);
        }
        Output::Apply { payload, .. } => s.applied(*payload, 0),
        Output::Acknowledge { ticket, .. } => {
            s.input(Input::Acknowledged { scope: scope(), ticket: *ticket, result: Ok(None) });
        }
        Output::NextBatch { .. } => s.formed(Some(1)),
        Output::Push { ticket, .. } => {
            let result = Ok(Answer::Decided(Seq(0)));
            s.input(Input::Pushed { scope: scope(), ticket: *ticket, result });
        }
        _ => {}
    }
}

fn lose(s: &mut Script) {
    let ticket = s.engine.connection().expect("it should be connected");
    s.input(Input::LinkLost { ticket, failure: LOST });
}

#[test]
fn a_push_that_is_cut_with_its_link_waits_longer_each_time_and_pull_continues() {
    let mut storm = Storm::new(Goal::ONCE, 120);
    storm.run(|s, output| match output {
        Output::Push { .. } => lose(s),
        other => works(s, other),
    });
    assert!(storm.pushes >= 5 && storm.pushes <= 25, "{}", storm.pushes);
    assert!(storm.connects <= storm.pushes + 10, "{}", storm.connects);
    assert!(storm.pulls >= 5, "{}", storm.pulls);
    assert!(storm.stalled >= storm.pushes, "each attempt is told");
}

#[test]
fn a_pull_that_is_cut_with_its_link_waits_longer_each_time_and_push_continues() {
    let mut storm = Storm::new(Goal::ONCE, 120);
    let mut seq = 0;
    storm.run(|s, output| match output {
        Output::Pull { .. } => lose(s),
        Output::Push { ticket, .. } => {
            seq += 1;
            let result = Ok(Answer::Decided(Seq(seq)));
            s.input(Input::Pushed { scope: scope(), ticket: *ticket, result });
        }
        Output::Settle { .. } => {
            s.now = s.now.plus(Duration::from_millis(500));
            s.input(settled(1));
        }
        other => works(s, other),
    });
    assert!(storm.pulls >= 5 && storm.pulls <= 25, "{}", storm.pulls);
    assert!(storm.pushes >= 100, "{}", storm.pushes);
}

#[test]
fn verdicts_that_leave_an_edit_as_it_was_are_a_failed_attempt() {
    let mut storm = Storm::new(PUSH, 120);
    storm.run(|s, output| match output {
        Output::Settle { .. } => s.input(settled(0)),
        other => works(s, other),
    });
    assert!(storm.pushes >= 5 && storm.pushes <= 25, "{}", storm.pushes);
    assert!(storm.stalled >= storm.pushes - 1, "each attempt is told");
    assert_eq!(storm.connects, 1);
}

#[test]
fn verdicts_that_settle_nothing_end_the_connection_and_are_requested_less_and_less() {
    let mut storm = Storm::new(PUSH, 120);
    storm.run(|s, output| match output {
        Output::Settle { .. } => {
            let result = Ok(Settlement::default());
            s.input(Input::Settled { scope: scope(), result });
        }
        other => works(s, other),
    });
    assert!(storm.pushes >= 5 && storm.pushes <= 25, "{}", storm.pushes);
    assert!(storm.stalled >= storm.pushes - 1, "each attempt is told");
    assert_eq!(storm.connects, storm.pushes, "a new greeting sorts out which log it is");
}

#[test]
fn edits_that_make_progress_are_pushed_without_a_pause() {
    let mut storm = Storm::new(PUSH, 60);
    let mut left = 500;
    storm.run(|s, output| match output {
        Output::Settle { .. } => {
            left -= 1;
            s.input(settled(1));
        }
        Output::NextBatch { .. } if left == 0 => s.formed(None),
        other => works(s, other),
    });
    assert_eq!((storm.pushes, storm.stalled, storm.script.now), (500, 0, Instant(1_000)));
}

#[test]
fn a_storage_that_rejects_each_chunk_is_called_less_and_less() {
    let mut storm = Storm::new(PULL, 120);
    storm.run(|s, output| match output {
        Output::Pull { ticket, .. } => {
            s.deliver(*ticket, 0, 5, 5);
        }
        Output::Apply { payload, .. } => {
            let result = Ok((false, Checkpoint::default()));
            s.input(Input::Applied { scope: scope(), payload: *payload, result });
        }
        other => works(s, other),
    });
    assert!(storm.pulls >= 5 && storm.pulls <= 25, "{}", storm.pulls);
}

#[test]
fn chunks_out_of_place_are_requested_less_and_less() {
    let mut storm = Storm::new(PULL, 120);
    storm.run(|s, output| match output {
        Output::Pull { ticket, .. } => {
            s.deliver(*ticket, 3, 5, 5);
        }
        other => works(s, other),
    });
    assert!(storm.pulls >= 5 && storm.pulls <= 25, "{}", storm.pulls);
}

#[test]
fn empty_chunks_before_the_head_are_requested_less_and_less() {
    let mut storm = Storm::new(PULL, 120);
    storm.run(|s, output| match output {
        Output::Pull { ticket, .. } => {
            s.deliver(*ticket, 0, 0, 9);
        }
        other => works(s, other),
    });
    // Each attempt pulls ahead while the chunk is applied.
    assert!(storm.pulls >= 5 && storm.pulls <= 50, "{}", storm.pulls);
}

#[test]
fn a_log_that_ends_below_a_verdict_is_pulled_less_and_less() {
    let mut storm = Storm::new(Goal::ONCE, 120);
    let mut is_settled = false;
    storm.run(|s, output| match output {
        Output::Push { ticket, .. } => {
            let result = Ok(Answer::Decided(Seq(7)));
            s.input(Input::Pushed { scope: scope(), ticket: *ticket, result });
        }
        Output::Settle { .. } => {
            is_settled = true;
            s.input(settled(1));
        }
        Output::NextBatch { .. } if is_settled => s.formed(None),
        other => works(s, other),
    });
    assert!(storm.pulls >= 5 && storm.pulls <= 50, "{}", storm.pulls);
}

/// How often the storage resets within two minutes, if the server answers each pull with another
/// reset.
fn resets() -> u32 {
    let mut storm = Storm::new(PULL, 120);
    let mut resets = 0u32;
    storm.run(|s, output| match output {
        Output::Pull { ticket, .. } if resets < 1_000 => {
            resets += 1;
            let epoch = Epoch([resets as u8; 16]);
            let reset = Reset { epoch, reason: ResetReason::EpochChanged { cut: Seq(0) } };
            let (ticket, payload) = (*ticket, s.engine.ticket());
            let result = Ok(Delivery::Reset(reset));
            s.input(Input::Delivered { scope: scope(), ticket, payload, result });
        }
        Output::Reset { .. } => {
            let result = Ok(Checkpoint::default());
            s.input(Input::ResetDone { scope: scope(), result });
        }
        other => works(s, other),
    });
    resets
}

#[test]
fn resets_that_follow_each_other_are_failed_attempts_after_the_first() {
    let resets = resets();
    assert!((5..=25).contains(&resets), "{resets}");
}

#[test]
fn a_reset_that_the_storage_refuses_is_tried_again_on_the_same_link() {
    let mut storm = Storm::new(PULL, 120);
    let mut resets = 0;
    let reset = Reset { epoch: EPOCH, reason: ResetReason::EpochChanged { cut: Seq(0) } };
    storm.run(|s, output| match output {
        Output::Pull { ticket, .. } if resets == 0 => {
            let (ticket, payload) = (*ticket, s.engine.ticket());
            let result = Ok(Delivery::Reset(reset));
            s.input(Input::Delivered { scope: scope(), ticket, payload, result });
        }
        Output::Reset { .. } => {
            resets += 1;
            let failure = Failure { kind: ErrorKind::Storage, retry: Retry::Later(None) };
            let result = if resets < 4 { Err(failure) } else { Ok(Checkpoint::default()) };
            s.input(Input::ResetDone { scope: scope(), result });
        }
        other => works(s, other),
    });
    assert_eq!((resets, storm.connects), (4, 1));
    assert!(storm.script.engine.is_in_sync());
}

#[test]
fn another_identity_after_another_waits_longer_each_time() {
    let mut storm = Storm::new(PUSH, 120);
    let mut identities = 0;
    storm.run(|s, output| match output {
        Output::Push { ticket, .. } => {
            let result = Ok(Answer::Cloned);
            s.input(Input::Pushed { scope: scope(), ticket: *ticket, result });
        }
        Output::Reidentify => {
            identities += 1;
            s.input(Input::Reidentified { result: Ok(()) });
        }
        other => works(s, other),
    });
    assert!((4..=25).contains(&identities), "{identities}");
    assert!(storm.stalled >= identities - 1, "each one after the first is told");
}

#[test]
fn a_second_answer_that_requires_an_identity_takes_no_second_one() {
    let mut s = Script::new();
    s.input(Input::Run(PUSH));
    let Output::Connect { ticket, .. } = s.one() else { panic!("it should connect") };
    s.greet(ticket, 0, 9);
    assert_eq!(s.commands(), [Output::Reidentify]);
    s.input(Input::OutboxGrew { scope: scope() });
    assert_eq!(s.commands(), [], "what is pushed now would be refused as well");
}

#[test]
fn a_stream_that_fails_at_once_is_opened_less_and_less() {
    let mut storm = Storm::new(FOLLOW, 120);
    let mut streams = 0;
    storm.run(|s, output| match output {
        Output::NextLive { ticket, .. } => {
            streams += 1;
            let (ticket, payload) = (*ticket, s.engine.ticket());
            let failure = Failure { kind: ErrorKind::Overloaded, retry: Retry::Later(None) };
            let result = Err(failure);
            s.input(Input::Delivered { scope: scope(), ticket, payload, result });
        }
        other => works(s, other),
    });
    assert!((5..=25).contains(&streams), "{streams}");
}

#[test]
fn a_stream_that_costs_the_link_is_opened_less_and_less() {
    let mut storm = Storm::new(FOLLOW, 120);
    storm.run(|s, output| match output {
        Output::NextLive { .. } => {
            s.now = s.now.plus(Duration::from_secs(1));
            lose(s);
        }
        other => works(s, other),
    });
    assert!((5..=25).contains(&storm.connects), "{}", storm.connects);
}

#[test]
fn an_empty_chunk_on_a_stream_that_moves_nothing_is_no_news_for_ever() {
    let mut storm = Storm::new(FOLLOW, 120);
    let mut chunks = 0;
    storm.run(|s, output| match output {
        Output::NextLive { ticket, .. } => {
            chunks += 1;
            s.deliver(*ticket, 0, 0, 0);
        }
        other => works(s, other),
    });
    assert!((3..=40).contains(&chunks), "{chunks}");
}

#[test]
fn a_link_that_lasts_is_made_again_soon_although_nothing_moved() {
    let mut storm = Storm::new(FOLLOW, 600);
    storm.run(|s, output| match output {
        Output::NextLive { .. } => {
            s.now = s.now.plus(Duration::from_secs(40));
            lose(s);
        }
        other => works(s, other),
    });
    assert!(storm.connects >= 14, "{}", storm.connects);
}

#[test]
fn running_again_ends_a_pause_and_not_the_row_of_failures() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.commands();
    for _ in 0..6 {
        s.formed(Some(1));
        let Output::Push { ticket, .. } = s.one() else { panic!("it should push") };
        let failure = Failure { kind: ErrorKind::Overloaded, retry: Retry::Later(None) };
        s.input(Input::Pushed { scope: scope(), ticket, result: Err(failure) });
        assert_eq!(s.commands(), []);
        s.input(Input::Run(PUSH));
        assert!(matches!(s.one(), Output::NextBatch { .. }));
    }
    s.formed(Some(1));
    let Output::Push { ticket, .. } = s.one() else { panic!("it should push") };
    s.input(Input::Pushed { scope: scope(), ticket, result: Ok(Answer::Decided(Seq(1))) });
    s.input(settled(1));
    assert!(s.engine.next_attempt(&scope()).is_none());
}
