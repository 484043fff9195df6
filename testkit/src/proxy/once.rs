//! Faults that occur once, in the middle of a stream.

use std::sync::{Mutex, PoisonError};

use super::{BUFFER, Ending, Way};

/// The fault of a [`TcpProxy`](super::TcpProxy::once) at one byte, once, on whichever connection
/// carries that byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Once {
    /// The connection is cut before this byte. With [`Ending::Finish`] the stream is truncated;
    /// with [`Ending::Reset`] earlier bytes may be lost too.
    Cut(Ending),
    /// One bit of this byte is flipped.
    Flip,
    /// So many bytes, from this one on, are delivered twice: first as they arrive, and again when
    /// all of them have arrived. At most [`BUFFER`].
    Repeat(usize),
    /// The server becomes unreachable: every connection is reset and new ones are refused, until
    /// the proxy [passes](super::TcpProxy::pass) again.
    Refuse,
    /// Everything [stalls](super::TcpProxy::stall), until the proxy [passes](super::TcpProxy::pass)
    /// again.
    Stall,
    /// From this byte on the connection is half-open: bytes of either side are read and never
    /// delivered, and neither side observes an end. Other connections pass.
    Silence,
}

/// A fault that has not occurred yet.
#[derive(Debug)]
struct Armed {
    way: Way,
    /// How many bytes pass before it.
    left: u64,
    what: Once,
}

/// Holds the next fault, until it occurs.
#[derive(Debug, Default)]
pub(super) struct Trap(Mutex<Option<Armed>>);

impl Trap {
    pub(super) fn arm(&self, way: Way, after: u64, what: Once) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Armed { way, left: after, what });
    }

    pub(super) fn disarm(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Counts so many bytes; returns the fault that occurs among them, and its place.
    pub(super) fn meet(&self, way: Way, bytes: usize) -> Option<(usize, Once)> {
        let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let it = armed.as_mut().filter(|a| a.way == way)?;
        match usize::try_from(it.left) {
            Ok(at) if at < bytes => {
                let what = it.what;
                *armed = None;
                Some((at, what))
            }
            _ => {
                it.left -= bytes as u64;
                None
            }
        }
    }
}

/// Keeps a copy of bytes that are to be delivered again.
#[derive(Debug, Default)]
pub(super) struct Echo {
    left: usize,
    kept: Vec<u8>,
}

impl Echo {
    pub(super) fn of(bytes: usize) -> Self {
        Self { left: bytes.min(BUFFER), kept: Vec::new() }
    }

    /// Copies bytes as they arrive. When all of them have arrived, returns how many of these bytes
    /// belonged to it, and the bytes to deliver again after them.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
        if self.left == 0 {
            return None;
        }
        let n = self.left.min(bytes.len());
        self.kept.extend_from_slice(&bytes[..n]);
        self.left -= n;
        (self.left == 0).then(|| (n, std::mem::take(&mut self.kept)))
    }
}
