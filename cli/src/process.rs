//! Settings of the process that are made at its start.

/// Descriptors for the storage, the standard streams and short-lived files, in addition to
/// connections.
#[cfg(unix)]
const RESERVED: u64 = 40;

/// Makes new files readable by their owner only, whatever the shell's mask is, and raises the limit
/// of open files to the hard limit.
pub(crate) fn prepare() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit, umask};

        umask(rustix::fs::Mode::from_raw_mode(0o077));
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current.is_some() && limit.current != limit.maximum {
            limit.current = limit.maximum;
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                tracing::warn!(%error, "the limit of open files could not be raised");
            }
        }
    }
}

/// Returns how many connections fit under the limit of open files; none without a limit.
pub(crate) fn connections() -> Option<usize> {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        usize::try_from(limit.saturating_sub(RESERVED).max(1)).ok()
    }
    #[cfg(not(unix))]
    None
}
