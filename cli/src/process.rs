//! What the program asks of the operating system for itself, before it does anything.

/// Descriptors that the storage, the standard streams and what is opened for a moment need beside
/// connections.
#[cfg(unix)]
const RESERVED: u64 = 40;

/// What the program writes is for its owner alone, whatever the shell's mask is, and it may open as
/// many files as its hard limit allows.
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

/// How many connections there is room for under the limit of open files; none if it does not bound
/// them.
pub(crate) fn connections() -> Option<usize> {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        usize::try_from(limit.saturating_sub(RESERVED).max(1)).ok()
    }
    #[cfg(not(unix))]
    None
}
