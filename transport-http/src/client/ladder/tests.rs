//! The state machine: facts in, steps out.

use super::*;

const MINUTE: u64 = 60_000;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ladder(live: LiveBy) -> Ladder {
    let (interval, wait) = (secs(5), secs(25));
    Ladder::new(Rules { live, interval, wait, fallback: Fallback::default() })
}

const NOW: Step =
    Step { least: Duration::ZERO, most: Duration::ZERO, ask: Ask::Chunk { wait: Duration::ZERO } };

fn ask(ladder: &mut Ladder, at: u64) -> Ask {
    ladder.step(Now(at)).ask
}

#[test]
fn short_lived_streams_are_replaced_after_several_failures_with_growing_pauses() {
    let mut ladder = ladder(LiveBy::Auto);
    assert_eq!(ask(&mut ladder, 0), Ask::Stream);
    ladder.stream_ended(Now(10_000), secs(10));
    let again = ladder.step(Now(10_000));
    assert_eq!((again.ask, again.least, again.most), (Ask::Stream, secs(0), FIRST));
    ladder.stream_ended(Now(20_000), secs(10));
    assert_eq!(ladder.step(Now(20_000)).most, FIRST * 2);
    ladder.stream_ended(Now(30_000), secs(10));
    // First without waiting, so that existing changes are not delayed.
    assert_eq!(ask(&mut ladder, 30_000), Ask::Chunk { wait: secs(0) });
    ladder.answered(Now(30_000), secs(0), secs(0), News::Nothing);
    assert_eq!(ladder.step(Now(30_000)), Step { ask: Ask::Chunk { wait: secs(25) }, ..NOW });
    assert_eq!(ladder.rung(), Rung::LongPoll);
}

#[test]
fn one_lasting_stream_resets_earlier_failures() {
    let mut ladder = ladder(LiveBy::Auto);
    for _ in 0..20 {
        ladder.stream_ended(Now(0), secs(1));
        ladder.stream_ended(Now(0), secs(1));
        ladder.stream_lives(secs(5));
        ladder.stream_ended(Now(0), secs(31));
    }
    assert_eq!(ladder.rung(), Rung::Stream);
    assert_eq!(ladder.step(Now(0)).most, FIRST);
}

#[test]
fn buffered_streams_are_replaced_at_once() {
    let mut ladder = ladder(LiveBy::Auto);
    ladder.stream_unsuited(Now(0));
    assert_eq!(ladder.rung(), Rung::LongPoll);
    assert_eq!(ladder.step(Now(0)), NOW);
}

#[test]
fn a_long_poll_that_is_cut_is_shortened_and_then_replaced() {
    let mut ladder = ladder(LiveBy::Auto);
    ladder.stream_unsuited(Now(0));
    let mut waits = Vec::new();
    while ladder.rung() == Rung::LongPoll {
        if let Ask::Chunk { wait } = ask(&mut ladder, 0)
            && !wait.is_zero()
        {
            waits.push(wait.as_millis());
            ladder.cut(Now(0));
        }
    }
    assert_eq!(waits, [25_000, 12_500, 6_250, 3_125]);
    assert_eq!(ladder.step(Now(0)), NOW);
    ladder.answered(Now(0), secs(0), secs(0), News::More);
    assert_eq!(ladder.step(Now(0)), NOW);
    ladder.answered(Now(0), secs(0), secs(0), News::Some);
    assert_eq!(ladder.step(Now(0)), Step { least: secs(4), most: secs(6), ..NOW });
}

#[test]
fn a_wait_that_is_short_enough_is_kept_and_a_longer_one_retried_periodically() {
    let mut ladder = ladder(LiveBy::LongPoll);
    for _ in 0..30 {
        let Ask::Chunk { wait } = ask(&mut ladder, 0) else { panic!("no request") };
        // A gateway that cuts after fifteen seconds.
        if wait > secs(15) {
            ladder.cut(Now(0));
            assert_eq!(ask(&mut ladder, 0), Ask::Chunk { wait: secs(0) });
        }
        for _ in 0..KEPT {
            let Ask::Chunk { wait } = ask(&mut ladder, 0) else { panic!("no request") };
            assert_eq!(wait, Duration::from_millis(12_500));
            ladder.answered(Now(0), wait, wait, News::Nothing);
        }
    }
    assert!(!ladder.is_stuck());
}

#[test]
fn distant_cuts_do_not_add_up() {
    let mut ladder = ladder(LiveBy::Auto);
    ladder.stream_unsuited(Now(0));
    for _ in 0..50 {
        ladder.cut(Now(0));
        let _probe = ladder.step(Now(0));
        let Ask::Chunk { wait } = ask(&mut ladder, 0) else { panic!("no request") };
        ladder.answered(Now(0), wait, wait, News::Nothing);
    }
    assert_eq!(ladder.rung(), Rung::LongPoll);
}

#[test]
fn a_server_that_does_not_wait_is_polled() {
    let mut ladder = ladder(LiveBy::Auto);
    ladder.stream_unsuited(Now(0));
    for _ in 0..HASTY {
        ladder.answered(Now(0), secs(25), Duration::from_millis(3), News::Some);
        assert_eq!(ladder.rung(), Rung::LongPoll, "news may come at once");
        ladder.answered(Now(0), secs(25), Duration::from_millis(3), News::Nothing);
        let pause = ladder.clone().step(Now(0)).least;
        assert!(ladder.rung() == Rung::Poll || pause >= FIRST, "it spins");
    }
    assert_eq!(ladder.rung(), Rung::Poll);
}

#[test]
fn a_higher_way_is_tried_again_and_later_each_time() {
    let mut ladder = ladder(LiveBy::Auto);
    let (mut now, mut tries) = (0, Vec::new());
    ladder.stream_unsuited(Now(0));
    while tries.len() < 9 {
        now += MINUTE;
        if ask(&mut ladder, now) == Ask::Stream {
            tries.push(now / MINUTE);
            // Once is enough: a retry was not requested.
            ladder.stream_ended(Now(now), secs(10));
        }
        assert_eq!(ladder.rung(), Rung::LongPoll);
    }
    let between: Vec<_> = tries.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(tries[0], 10);
    assert_eq!(between, [20, 40, 80, 160, 320, 640, 640, 640]);
    // A stream that lasts resets that.
    now += 640 * MINUTE;
    assert_eq!(ask(&mut ladder, now), Ask::Stream);
    ladder.stream_lives(secs(30));
    ladder.stream_unsuited(Now(now));
    assert_eq!(ask(&mut ladder, now + 10 * MINUTE), Ask::Stream);
}

#[test]
fn polling_climbs_step_by_step() {
    let mut ladder = ladder(LiveBy::Auto);
    ladder.stream_unsuited(Now(0));
    for _ in 0..4 {
        ladder.cut(Now(0));
    }
    assert_eq!(ladder.rung(), Rung::Poll);
    assert_eq!(ask(&mut ladder, 10 * MINUTE), Ask::Chunk { wait: secs(25) });
    ladder.answered(Now(11 * MINUTE), secs(25), secs(25), News::Nothing);
    assert_eq!(ask(&mut ladder, 20 * MINUTE), Ask::Stream);
}

#[test]
fn a_requested_delay_is_respected() {
    let mut ladder = ladder(LiveBy::Auto);
    for rung in [Rung::Stream, Rung::Stream, Rung::Stream, Rung::LongPoll, Rung::LongPoll] {
        assert_eq!(ladder.rung(), rung);
        ladder.asked_to_come_back(Now(0), secs(90));
        let step = ladder.step(Now(0));
        assert!(step.least == secs(90) && step.most > secs(90), "{step:?}");
    }
}

#[test]
fn a_single_configured_way_is_the_only_one_used() {
    for live in [LiveBy::Sse, LiveBy::LongPoll] {
        let mut ladder = ladder(live);
        for _ in 0..4 {
            assert!(!ladder.is_stuck());
            if live == LiveBy::Sse {
                ladder.stream_unsuited(Now(0))
            } else {
                ladder.cut(Now(0))
            }
            ladder.step(Now(100 * MINUTE));
            assert_eq!(LiveBy::from(ladder.rung()), live);
            if ladder.is_stuck() {
                break;
            }
        }
        assert!(ladder.is_stuck());
        assert!(!ladder.for_another().is_stuck());
    }
}

#[test]
fn another_stream_begins_with_the_way_of_the_first_one() {
    let mut ladder = ladder(LiveBy::Auto);
    ladder.stream_unsuited(Now(0));
    let mut another = ladder.for_another();
    assert_eq!(ask(&mut another, 0), Ask::Chunk { wait: secs(25) });
    assert_eq!(ask(&mut another, 10 * MINUTE), Ask::Stream);
}
