//! What the storages with a planted fault share: the harness that opens them, and the macro that
//! expands the lists of faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sync_core::error::Result;

use super::{Capabilities, Place};

/// A harness whose storages have a fault.
#[derive(Debug)]
pub struct BrokenHarness<H, F> {
    pub(super) place: Arc<H>,
    pub(super) fault: F,
    /// Whether a crash has been prepared: later writes are lost in it.
    is_prepared: Arc<AtomicBool>,
}

impl<H: Place, F> BrokenHarness<H, F> {
    /// Builds the fault into the storages that the harness opens.
    #[must_use]
    pub fn new(harness: H, fault: F) -> Self {
        Self { place: Arc::new(harness), fault, is_prepared: Arc::default() }
    }

    /// Begins anew: no crash is prepared.
    pub(super) fn prepared_crash(&self) -> PreparedCrash {
        self.is_prepared.store(false, Ordering::Relaxed);
        let (place, is_prepared) = (Arc::clone(&self.place), Arc::clone(&self.is_prepared));
        PreparedCrash { place, is_prepared }
    }
}

#[async_trait]
impl<H: Place, F: Send + Sync + 'static> Place for BrokenHarness<H, F> {
    fn capabilities(&self) -> Capabilities {
        self.place.capabilities()
    }

    async fn crash(&self) -> Result<()> {
        if self.is_prepared.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.place.crash().await
    }

    async fn fill_disk(&self) -> Result<()> {
        self.place.fill_disk().await
    }

    async fn free_disk(&self) -> Result<()> {
        self.place.free_disk().await
    }

    async fn bytes(&self) -> Result<Vec<u8>> {
        self.place.bytes().await
    }
}

/// The crash that a fault prepares before the case requests it.
pub(super) struct PreparedCrash {
    place: Arc<dyn Place>,
    is_prepared: Arc<AtomicBool>,
}

impl PreparedCrash {
    /// Makes later writes not survive the crash.
    pub(super) async fn lose_from_here(&self) -> Result<()> {
        if !self.is_prepared.swap(true, Ordering::Relaxed) {
            self.place.crash().await?;
        }
        Ok(())
    }
}

/// Makes an enumeration of faults, each with the case that detects it, from a list.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_fault_enum {
    (($name:ident) $($(#[doc = $doc:literal])* $test:ident $fault:ident => $case:ident)*) => {
        /// A fault that can be built into a backend: each is a bug that a real project shipped, or
        /// nearly did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $doc])* $fault,)*
        }

        impl $name {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// Returns the name of the case that detects it.
            #[must_use]
            pub fn noticed_by(self) -> &'static str {
                match self {
                    $(Self::$fault => stringify!($case),)*
                }
            }
        }
    };
}
