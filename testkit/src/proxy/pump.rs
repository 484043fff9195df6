//! One direction of a connection.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::once::{Echo, Once};
use super::response::Responses;
use super::{BUFFER, Behaviour, Ending, Flow, HELD, Hold, Shared, Way};

/// How many bytes are read or written at a time.
const STEP: usize = 16 << 10;
/// The number of slices of a second in which a throttled direction delivers.
const SLICES: u64 = 50;

/// Why a pump stopped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pumped {
    /// The sender closed, and everything was delivered.
    Ended,
    /// A socket failed.
    Broken,
    /// So many bytes were delivered that the connection has to be cut.
    Due,
    /// The connection has to be cut, and how.
    Cut(Ending),
    /// The connection becomes half-open.
    Silent,
}

pub(super) struct Pump<'a> {
    shared: &'a Shared,
    behaviour: watch::Receiver<Behaviour>,
    way: Way,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    /// Bytes that were read and not delivered.
    waiting: BytesMut,
    /// How many of them are not held back any more.
    released: usize,
    delivered: u64,
    taken: u64,
    last_taken: Instant,
    /// The time before which a throttled direction delivers nothing.
    next_slice: Instant,
    ended: bool,
    /// What follows when all waiting bytes are delivered.
    end: Pumped,
    echo: Echo,
    responses: Responses,
}

/// Whether, or when, bytes may be delivered.
enum Turn {
    Now(usize),
    At(Instant),
    Later,
}

impl<'a> Pump<'a> {
    pub(super) fn new(shared: &'a Shared, way: Way, from: ReadHalf<'a>, to: WriteHalf<'a>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            behaviour: shared.behaviour.subscribe(),
            way,
            from,
            to,
            waiting: BytesMut::new(),
            released: 0,
            delivered: 0,
            taken: 0,
            last_taken: now,
            next_slice: now,
            ended: false,
            end: Pumped::Ended,
            echo: Echo::default(),
            responses: Responses::default(),
        }
    }

    pub(super) async fn run(mut self) -> Pumped {
        loop {
            let flow = self.behaviour.borrow_and_update().flow(self.way);
            if flow.cut_after.is_some_and(|most| self.delivered >= most) {
                return Pumped::Due;
            }
            let turn = self.turn(&flow);
            if self.ended && self.waiting.is_empty() {
                if matches!(self.end, Pumped::Ended) {
                    // This half is closed; the other direction may continue.
                    let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.to).await;
                }
                return self.end;
            }
            let room = if flow.hold == Hold::Nothing { BUFFER } else { HELD };
            let takes = !self.ended && self.waiting.len() < room;
            let (ready, alarm) = match turn {
                Turn::Now(n) => (n, None),
                Turn::At(at) => (0, Some(at)),
                Turn::Later => (0, None),
            };
            tokio::select! {
                changed = self.behaviour.changed() => if changed.is_err() { return Pumped::Broken },
                writable = self.to.writable(), if ready > 0 => {
                    if writable.is_err() || !self.deliver(ready, &flow) {
                        return Pumped::Broken;
                    }
                }
                readable = self.from.readable(), if takes => {
                    if readable.is_err() || !self.take(room, &flow) {
                        return Pumped::Broken;
                    }
                }
                () = sleep_until(alarm.unwrap_or(self.next_slice)), if alarm.is_some() => {}
            }
        }
    }

    /// Returns whether, or when, bytes may be delivered.
    fn turn(&mut self, flow: &Flow) -> Turn {
        let now = Instant::now();
        if self.waiting.is_empty() || flow.stalled {
            return Turn::Later;
        }
        if let Err(quiet_at) = self.release(flow.hold, now) {
            return quiet_at.map_or(Turn::Later, Turn::At);
        }
        let mut most = self.released.min(STEP);
        if let Some(end) = flow.cut_after {
            most = most.min(usize::try_from(end - self.delivered).unwrap_or(usize::MAX));
        }
        if let Some(rate) = flow.bytes_per_second {
            if now < self.next_slice {
                return Turn::At(self.next_slice);
            }
            most = most.min(usize::try_from((rate / SLICES).max(1)).unwrap_or(usize::MAX));
        }
        Turn::Now(most)
    }

    /// Releases bytes that were held back long enough; if none may be delivered yet, returns when
    /// they may be.
    fn release(&mut self, hold: Hold, now: Instant) -> Result<(), Option<Instant>> {
        if self.ended || self.waiting.len() >= HELD {
            self.released = self.waiting.len();
        }
        let mut quiet_at = None;
        match hold {
            Hold::Nothing => self.released = self.waiting.len(),
            Hold::Response if self.way == Way::ToServer => self.released = self.waiting.len(),
            Hold::Quiet(quiet) if now >= self.last_taken + quiet => {
                self.released = self.waiting.len();
            }
            Hold::Quiet(quiet) => quiet_at = Some(self.last_taken + quiet),
            Hold::Bytes(n) if self.waiting.len() >= n => self.released = self.waiting.len(),
            Hold::Bytes(_) => {}
            Hold::Response => {
                let complete = self.responses.complete_at();
                let complete = usize::try_from(complete.saturating_sub(self.delivered));
                self.released = self.released.max(complete.unwrap_or(0)).min(self.waiting.len());
            }
        }
        if self.released > 0 { Ok(()) } else { Err(quiet_at) }
    }

    /// Reads from the sender; returns whether the socket still works.
    fn take(&mut self, room: usize, flow: &Flow) -> bool {
        let before = self.waiting.len();
        let mut scratch = [0; STEP];
        match self.from.try_read(&mut scratch[..STEP.min(room - before)]) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                let bytes = &mut scratch[..n];
                if let Some(at) = flow.flip_at.and_then(|at| at.checked_sub(self.taken))
                    && let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at))
                {
                    *byte ^= 1;
                }
                self.taken += n as u64;
                self.last_taken = Instant::now();
                match self.shared.trap.meet(self.way, n) {
                    Some((at, what)) => self.once(bytes, at, what),
                    None => self.admit(bytes),
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        true
    }

    /// Applies a fault at one of the bytes that arrived.
    fn once(&mut self, bytes: &mut [u8], at: usize, what: Once) {
        match what {
            Once::Flip => {
                bytes[at] ^= 1;
                self.admit(bytes);
            }
            Once::Repeat(n) => {
                self.admit(&bytes[..at]);
                self.echo = Echo::of(n);
                self.admit(&bytes[at..]);
            }
            Once::Stall => {
                self.shared.behaviour.send_modify(Behaviour::stall);
                self.admit(bytes);
            }
            Once::Refuse => {
                self.shared.behaviour.send_modify(|b| b.refuse = true);
                self.shared.cut(Ending::Reset);
                self.end_with(&bytes[..at], Pumped::Cut(Ending::Reset));
            }
            Once::Cut(ending) => self.end_with(&bytes[..at], Pumped::Cut(ending)),
            Once::Silence => self.end_with(&bytes[..at], Pumped::Silent),
        }
        self.shared.counters.send_modify(|c| c.once += 1);
    }

    /// Delivers these bytes as the last ones.
    fn end_with(&mut self, bytes: &[u8], end: Pumped) {
        self.admit(bytes);
        self.ended = true;
        self.end = end;
    }

    /// Appends bytes to those that wait.
    fn admit(&mut self, bytes: &[u8]) {
        let (first, again) = self.echo.hear(bytes).unwrap_or_default();
        for piece in [&bytes[..first], again.as_slice(), &bytes[first..]] {
            if self.way == Way::ToClient {
                self.responses.read(piece);
            }
            self.waiting.extend_from_slice(piece);
        }
    }

    /// Delivers up to so many bytes; returns whether the socket still works.
    fn deliver(&mut self, most: usize, flow: &Flow) -> bool {
        match self.to.try_write(&self.waiting[..most]) {
            Ok(n) => {
                self.waiting.advance(n);
                self.released -= n;
                self.delivered += n as u64;
                if let Some(rate) = flow.bytes_per_second {
                    let pause = Duration::from_secs_f64(n as f64 / rate.max(1) as f64);
                    self.next_slice = self.next_slice.max(Instant::now()) + pause;
                }
                let (way, n) = (self.way, n as u64);
                self.shared.counters.send_modify(|c| match way {
                    Way::ToServer => c.to_server += n,
                    Way::ToClient => c.to_client += n,
                });
                true
            }
            Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}
