//! Time, processor time and memory.

use std::time::Duration;

#[cfg(unix)]
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::Outcome;

#[cfg(unix)]
fn wall() -> Duration {
    read(ClockId::Monotonic)
}

/// The report runs on Linux; elsewhere only the benchmarks of criterion do, which need no
/// processor time.
#[cfg(not(unix))]
#[allow(clippy::disallowed_methods, reason = "there is no other clock")]
fn wall() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(unix)]
fn read(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(tv_nsec.unsigned_abs())
}

/// Returns the processor time that this process has used, in all its threads.
#[must_use]
pub fn cpu() -> Duration {
    #[cfg(unix)]
    return read(ClockId::ProcessCPUTime);
    #[cfg(not(unix))]
    wall()
}

/// The cost of an operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// The elapsed time.
    pub wall: Duration,
    /// The processor time of this process, in all its threads.
    pub cpu: Duration,
}

/// Measures the cost since its creation.
#[derive(Clone, Copy, Debug)]
pub struct Meter(Cost);

impl Meter {
    /// Starts to measure.
    #[must_use]
    pub fn start() -> Self {
        Self(Cost { wall: wall(), cpu: cpu() })
    }

    /// Returns the cost so far.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let Cost { wall, cpu: used } = self.0;
        Cost { wall: self::wall() - wall, cpu: cpu() - used }
    }
}

fn status(field: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no memory is told")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// Returns the bytes of this process that are in memory now.
///
/// # Errors
/// If the operating system does not report it.
pub fn resident() -> Outcome<u64> {
    status("VmRSS")
}

/// Returns the most bytes of this process that were in memory at a time.
///
/// # Errors
/// If the operating system does not report it.
pub fn peak() -> Outcome<u64> {
    status("VmHWM")
}
