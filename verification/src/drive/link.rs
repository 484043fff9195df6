//! Links in memory with the faults of the schedule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::FrameLink;
use sync_server::Server;
use tokio::sync::watch;
use tokio::time::sleep_until;
use transport_kit::framed::{Dial, memory_link};

use testkit::random::SplitMix64;

use super::Shared;
use super::fault_schedule::Fault;
use super::trace::{FrameDirection, TracedFrame};

/// Frames that may wait at each end of each direction.
const FRAMES: usize = 4;
/// The shortest time that a frame takes, in milliseconds, and the most that is added to it.
const LATENCY: (u64, u64) = (2, 40);

/// The network between the replicas and the server.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) shared: Arc<Shared>,
    server: Arc<watch::Sender<Server>>,
    /// How many links each replica has had.
    links: Arc<Mutex<BTreeMap<usize, usize>>>,
}

impl Network {
    pub(super) fn new(shared: Arc<Shared>, server: Server) -> Self {
        Self { shared, server: Arc::new(watch::Sender::new(server)), links: Arc::default() }
    }

    /// Replaces the server. Links to the previous one break, as when a process ends.
    pub(super) fn replace(&self, server: Server) {
        self.server.send_replace(server);
    }

    /// Returns the dialler of one replica.
    pub(super) fn of(&self, client: usize) -> Way {
        Way { network: self.clone(), client }
    }
}

/// Dials the server for one replica.
#[derive(Debug)]
pub(super) struct Way {
    network: Network,
    client: usize,
}

#[async_trait]
impl Dial for Way {
    async fn dial(&self) -> Result<FrameLink> {
        let shared = &self.network.shared;
        let cut = |fault| matches!(fault, Fault::Cut);
        if shared.fault_schedule.at(self.client, shared.millis()).any(|s| cut(s.fault)) {
            shared.fault("refused");
            return Err(Error::new(ErrorKind::Network, "the server cannot be reached"));
        }
        for scheduled in shared.fault_schedule.at(self.client, shared.millis()) {
            if let Fault::Slow(by) = scheduled.fault {
                shared.fault("slow to come up");
                let up = shared.fault_schedule.slot(shared.millis() + by, 2 * self.client);
                sleep_until(shared.started + Duration::from_millis(up)).await;
            }
        }
        let link = {
            let mut links = self.network.links.lock().unwrap_or_else(PoisonError::into_inner);
            let count = links.entry(self.client).or_default();
            *count += 1;
            *count - 1
        };
        let (here, client_end) = memory_link(FRAMES);
        let (server_end, there) = memory_link(FRAMES);
        let server = self.network.server.subscribe();
        let serving = tokio::spawn(serve(server.clone(), there));
        let pump = |direction| Pump {
            shared: Arc::clone(shared),
            client: self.client,
            link,
            direction,
            frames: 0,
            deaf: false,
        };
        let up = pump(FrameDirection::ToServer).run(client_end.incoming, server_end.outgoing);
        let down = pump(FrameDirection::ToClient).run(server_end.incoming, client_end.outgoing);
        let breaks = broken(Arc::clone(shared), self.client, server);
        let watched = Arc::clone(shared);
        tokio::spawn(async move {
            let both = async { tokio::join!(up, down) };
            tokio::select! {
                biased;
                () = breaks => {}
                _ = both => {}
            }
            if let Err(error) = serving.await {
                watched.note(format!("serving a link panicked: {error}"));
            }
        });
        Ok(here)
    }
}

/// Serves a link until it ends, or the server's process does.
async fn serve(mut server: watch::Receiver<Server>, link: FrameLink) {
    let own = server.borrow_and_update().clone();
    tokio::select! {
        biased;
        _ = server.changed() => {}
        // The replica detects by itself that a link has ended.
        _ = own.serve_link(link) => {}
    }
}

/// Returns when a link breaks by itself: with the next cut, or with the server.
async fn broken(shared: Arc<Shared>, client: usize, mut server: watch::Receiver<Server>) {
    let now = shared.millis();
    let cuts = shared.fault_schedule.of(client).filter(|s| matches!(s.fault, Fault::Cut));
    let next = cuts.map(|s| s.from).filter(|from| *from > now).min();
    let cut = async {
        match next {
            Some(at) => sleep_until(shared.started + Duration::from_millis(at)).await,
            None => std::future::pending().await,
        }
        shared.fault("cut");
    };
    tokio::select! {
        biased;
        () = cut => {}
        _ = server.changed() => {}
    }
}

/// Carries the frames of one direction of one link.
struct Pump {
    shared: Arc<Shared>,
    client: usize,
    link: usize,
    direction: FrameDirection,
    frames: u64,
    /// Whether frames are dropped from now on.
    deaf: bool,
}

impl Pump {
    async fn run(
        mut self,
        mut from: futures_util::stream::BoxStream<'static, Result<Bytes>>,
        mut to: std::pin::Pin<Box<dyn futures_util::Sink<Bytes, Error = Error> + Send>>,
    ) {
        while let Some(Ok(frame)) = from.next().await {
            let at = self.shared.millis();
            let sent = TracedFrame::of(at, self.client, self.link, self.direction, &frame);
            self.shared.log().trace.push(sent);
            let mut chance = self.shared.fault_schedule.chance(
                self.client,
                self.link,
                self.direction as u64,
                self.frames,
            );
            self.frames += 1;
            let due = self.due(at, &mut chance);
            sleep_until(self.shared.started + Duration::from_millis(due)).await;
            let (arriving, ends) = self.damage(frame, &mut chance);
            for frame in arriving {
                if to.send(frame).await.is_err() {
                    return;
                }
            }
            if ends {
                return;
            }
        }
    }

    /// Returns when a frame that is sent at that time arrives.
    fn due(&self, at: u64, chance: &mut SplitMix64) -> u64 {
        let mut due = at + LATENCY.0 + chance.next_u64() % LATENCY.1;
        for scheduled in self.shared.fault_schedule.at(self.client, at) {
            match scheduled.fault {
                Fault::Late(by) => due += chance.next_u64() % by.max(1),
                Fault::Stall => due = due.max(scheduled.until),
                _ => {}
            }
        }
        if due > at + LATENCY.0 + LATENCY.1 {
            self.shared.fault("late");
        }
        let of_link = 2 * self.client + usize::from(self.direction == FrameDirection::ToClient);
        self.shared.fault_schedule.slot(due, of_link)
    }

    /// Returns what arrives of a frame, and whether the link ends with it.
    fn damage(&mut self, frame: Bytes, chance: &mut SplitMix64) -> (Vec<Bytes>, bool) {
        let (mut arriving, mut ends) = (vec![frame], false);
        let now = self.shared.millis();
        let scheduled_faults: Vec<Fault> =
            self.shared.fault_schedule.at(self.client, now).map(|s| s.fault).collect();
        for fault in scheduled_faults {
            match fault {
                Fault::Deaf { to_server, to_client } => {
                    let is_deaf = match self.direction {
                        FrameDirection::ToServer => to_server,
                        FrameDirection::ToClient => to_client,
                    };
                    self.deaf |= is_deaf;
                }
                Fault::Flip(percent) if chance.percent(percent) => {
                    self.shared.fault("flipped");
                    arriving = vec![flipped(&arriving[0], chance)];
                }
                Fault::Twice(percent) if chance.percent(percent) => {
                    self.shared.fault("twice");
                    arriving.push(arriving[0].clone());
                }
                Fault::Torn(percent) if chance.percent(percent) => {
                    self.shared.fault("torn");
                    let end = chance.below(arriving[0].len());
                    (arriving, ends) = (vec![arriving[0].slice(..end)], true);
                }
                _ => {}
            }
        }
        if self.deaf {
            self.shared.fault("deaf");
            arriving.clear();
        }
        (arriving, ends)
    }
}

fn flipped(frame: &Bytes, chance: &mut SplitMix64) -> Bytes {
    let mut bytes = frame.to_vec();
    let at = chance.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << chance.below(8);
    }
    bytes.into()
}
