//! The faults of the proxy for links that are made of frames, whatever carries them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, sink, stream};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::FrameLink;
use tokio::sync::watch;
use transport_kit::framed::Dial;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    refuse: bool,
    stalled: bool,
    cut_after: Option<u64>,
    flip_at: Option<u64>,
    /// The number of cuts of all links.
    cuts: u64,
}

/// Injects faults between a [`Dial`] and the transport that uses its links.
///
/// ```
/// use transport_kit::framed::{FramedOptions, FramedTransport};
/// use sync_server::{InProcess, Server};
/// use testkit::proxy::LinkSwitch;
///
/// fn misbehaving(server: Server) -> (LinkSwitch, FramedTransport<impl transport_kit::framed::Dial>) {
///     let switch = LinkSwitch::default();
///     let dial = switch.wrap(InProcess::new(server));
///     (switch, FramedTransport::new(dial, FramedOptions::default()))
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct LinkSwitch(Arc<watch::Sender<State>>);

impl LinkSwitch {
    /// Wraps a dialler, so that its links obey the switch.
    pub fn wrap<D: Dial>(&self, dial: D) -> SwitchedDial<D> {
        SwitchedDial { dial, switch: self.clone() }
    }

    /// Breaks every current link.
    pub fn cut(&self) {
        self.0.send_modify(|s| s.cuts += 1);
    }

    /// Breaks each link when it has delivered so many bytes of frames. The frame that reaches the
    /// number does not arrive.
    pub fn cut_after(&self, bytes: u64) {
        self.0.send_modify(|s| s.cut_after = Some(bytes));
    }

    /// Flips one bit of the byte with this number, from 0, of what each link delivers.
    pub fn flip_at(&self, byte: u64) {
        self.0.send_modify(|s| s.flip_at = Some(byte));
    }

    /// Delivers nothing any more, in both directions, without an error.
    pub fn stall(&self) {
        self.0.send_modify(|s| s.stalled = true);
    }

    /// Refuses new links.
    pub fn refuse(&self) {
        self.0.send_modify(|s| s.refuse = true);
    }

    /// Ends all faults. Broken links stay broken.
    pub fn heal(&self) {
        self.0.send_modify(|s| *s = State { cuts: s.cuts, ..State::default() });
    }
}

/// Dials links that obey a [`LinkSwitch`].
#[derive(Debug)]
pub struct SwitchedDial<D> {
    dial: D,
    switch: LinkSwitch,
}

#[async_trait]
impl<D: Dial> Dial for SwitchedDial<D> {
    async fn dial(&self) -> Result<FrameLink> {
        let mut state = self.switch.0.subscribe();
        let now = *state.borrow_and_update();
        if now.refuse {
            return Err(Error::new(ErrorKind::Network, "the switch refuses links"));
        }
        let FrameLink { outgoing, incoming, activity, admission } = self.dial.dial().await?;
        let gate = Gate { state: state.clone(), cuts: now.cuts, carried: 0 };
        let outgoing = sink::unfold((outgoing, gate), |(mut to, mut gate), frame| async move {
            gate.open().await?;
            to.send(frame).await?;
            Ok((to, gate))
        });
        let gate = Gate { state, cuts: now.cuts, carried: 0 };
        let incoming = gated(incoming, gate).boxed();
        Ok(FrameLink { outgoing: Box::pin(outgoing), incoming, activity, admission })
    }
}

/// One direction of a link.
struct Gate {
    state: watch::Receiver<State>,
    cuts: u64,
    carried: u64,
}

impl Gate {
    /// Returns when frames may pass; fails when the link is cut.
    async fn open(&mut self) -> Result<()> {
        let (cuts, carried) = (self.cuts, self.carried);
        let is_cut = |s: &State| s.cuts != cuts || s.cut_after.is_some_and(|most| carried >= most);
        let broken = || Error::new(ErrorKind::Network, "the switch cut the link");
        match self.state.wait_for(|s| is_cut(s) || !s.stalled).await {
            Ok(state) if !is_cut(&state) => Ok(()),
            Ok(_) | Err(_) => Err(broken()),
        }
    }

    /// Flips a bit, if it is in this frame.
    fn damage(&self, frame: &mut Bytes) {
        let at = self.state.borrow().flip_at.and_then(|at| at.checked_sub(self.carried));
        let at = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < frame.len());
        if let Some(at) = at {
            let mut bytes = frame.to_vec();
            bytes[at] ^= 1;
            *frame = bytes.into();
        }
    }

    /// Completes when the switch has changed.
    async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            // The switch was dropped: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

fn gated(
    incoming: stream::BoxStream<'static, Result<Bytes>>,
    gate: Gate,
) -> impl Stream<Item = Result<Bytes>> {
    stream::unfold(Some((incoming, gate)), |parts| async move {
        // After an error the link is dropped, so that the other end detects it.
        let (mut incoming, mut gate) = parts?;
        loop {
            if let Err(error) = gate.open().await {
                return Some((Err(error), None));
            }
            let mut frame = tokio::select! {
                biased;
                () = gate.changed() => continue,
                frame = incoming.next() => frame?,
            };
            if let Ok(frame) = &mut frame {
                gate.damage(frame);
            }
            gate.carried += frame.as_ref().map_or(0, |f| f.len() as u64);
            return match gate.open().await {
                Ok(()) => Some((frame, Some((incoming, gate)))),
                Err(error) => Some((Err(error), None)),
            };
        }
    })
}
