//! The checks of input over HTTP, on valid and on damaged input.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/arbitrary.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module of a test")]
mod arbitrary;
#[path = "support/checks.rs"]
#[allow(unreachable_pub, reason = "a module of a test")]
mod checks;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sync_core::model::Cursor;
use transport_http::format::{
    Changes, Content, Continued, EventWriter, Format, StreamEvent, write_cursor,
};
use verification::fuzz::Damage;

/// How many damaged inputs each check receives.
const ROUNDS: usize = 5_000;

/// Returns some value of a strategy, always the same.
fn one<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> T {
    strategy.new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

fn body<T: Content + Clone>(choice: u8, content: T) -> [Vec<u8>; 2] {
    [(Format::Json, choice), (Format::Frame, choice | 0x80)]
        .map(|(format, choice)| [&[choice], &format.encode(content.clone()).unwrap()[..]].concat())
}

fn damaged(check: fn(&[u8]), good: &[Vec<u8>]) {
    let good: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
    good.iter().for_each(|bytes| check(bytes));
    Damage::new(1, &good).take(ROUNDS).for_each(|bytes| check(&bytes));
}

fn chunk() -> Changes {
    let (chunk, cursor) = (one(arbitrary::chunk()), Some(Cursor::default()));
    Changes::Chunk(Box::new(Continued { chunk, cursor }))
}

#[test]
fn damaged_bodies_pass_the_checks() {
    let good = [
        body(0, one(arbitrary::hello())),
        body(1, one(arbitrary::welcome())),
        body(2, one(arbitrary::pull())),
        body(3, one(arbitrary::batch())),
        body(4, one(arbitrary::ack())),
        body(5, one(arbitrary::verdicts())),
        body(6, one(arbitrary::reset())),
        body(7, chunk()),
        body(8, one(arbitrary::error())),
    ];
    damaged(checks::content, &good.concat());
}

#[test]
fn damaged_addresses_pass_the_checks() {
    let cursor = write_cursor(&one(arbitrary::cursor()));
    damaged(checks::address, &[cursor.into_bytes(), b"W/\"x-7\", *".to_vec(), Vec::new()]);
}

#[test]
fn damaged_events_pass_the_checks() {
    let events = [
        StreamEvent::Changes(chunk()),
        StreamEvent::Changes(Changes::Reset(one(arbitrary::reset()))),
        StreamEvent::Gone(one(arbitrary::error())),
        StreamEvent::Failed(one(arbitrary::error())),
    ];
    let of = |event: &StreamEvent, format| {
        let data = EventWriter::new(format).data(event.clone()).unwrap();
        format!("{}\n{data}", event.name()).into_bytes()
    };
    let good = |format| events.iter().map(move |event| of(event, format));
    damaged(checks::event, &good(Format::Json).chain(good(Format::Frame)).collect::<Vec<_>>());
}

#[test]
fn damaged_streams_of_events_pass_the_checks() {
    let stream =
        b"\xef\xbb\xbf: hello\r\nevent: chunk\rdata: 1\ndata:2\nid: x\n\ndata\n\n".to_vec();
    damaged(checks::lines, &[stream, [&b"data: "[..], &[b'x'; 1_200]].concat()]);
}
