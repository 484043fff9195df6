//! Bounds the memory for messages while they arrive.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::transport::LinkActivity;
use transport_kit::{Place, Places};

/// Messages up to this size use none of the shared memory: each connection has at most one of them.
const FREE: u64 = 64 << 10;

/// The memory that a larger message takes at a time.
pub(crate) const PART: usize = 256 << 10;

/// The message that is arriving on a connection.
#[derive(Debug)]
pub(crate) struct Messages {
    activity: LinkActivity,
    places: Places<Option<IpAddr>>,
    address: Option<IpAddr>,
    /// The memory that the message has taken so far.
    held: Arc<Mutex<Vec<Place<Option<IpAddr>>>>>,
    /// Before the client is admitted, other bounds apply.
    has_begun: AtomicBool,
}

impl Messages {
    pub(crate) fn new(
        activity: LinkActivity,
        places: &Places<Option<IpAddr>>,
        address: Option<IpAddr>,
    ) -> Arc<Self> {
        let (held, has_begun) = (Arc::default(), AtomicBool::new(false));
        Arc::new(Self { activity, places: places.clone(), address, held, has_begun })
    }

    /// Begins to count messages. A connection whose message finds no room is closed, and its client
    /// then sends less at a time.
    pub(crate) fn begin(&self) {
        let (places, address) = (self.places.clone(), self.address);
        let held = Arc::clone(&self.held);
        self.activity.on_limit(move || {
            let place = places.try_take(address)?;
            held.lock().unwrap_or_else(PoisonError::into_inner).push(place);
            Some(PART as u64)
        });
        self.has_begun.store(true, Ordering::Relaxed);
        self.activity.limit_reading(Some(FREE));
    }

    /// Releases the memory of a message that has arrived.
    pub(crate) fn is_whole(&self) {
        if self.has_begun.load(Ordering::Relaxed) {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.activity.limit_reading(Some(FREE));
        }
    }
}
