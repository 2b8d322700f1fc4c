//! How many connections the process can hold.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Listeners, admin, files, the runtime: far fewer in practice, but running out is worse.
const RESERVED_DESCRIPTORS: u64 = 256;
/// A tunnel holds the client's socket and the backend's.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Where the system sets no limit: a bound all the same.
const CEILING: u64 = 500_000;

/// Raises the soft limit of file descriptors to the hard one and derives the limit from it.
pub(super) fn max_connections() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit {
            current: limit.maximum,
            ..limit
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit = raised,
            Err(error) => warn!(%error, "the limit of file descriptors could not be raised"),
        }
    }
    let descriptors = limit.current.unwrap_or(u64::MAX);
    let connections = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / DESCRIPTORS_PER_CONNECTION;
    usize::try_from(connections.clamp(16, CEILING)).unwrap_or(usize::MAX)
}
