//! How many connections the process can hold.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::tunnel::MAX_PIPES;

/// Listeners, admin, files, the runtime: far fewer in practice, but running out is worse.
const RESERVED_DESCRIPTORS: u64 = 256;
/// Part of all of them that pipes for large frames may take: a sixteenth. Each has two.
const SHARE_OF_PIPES: u64 = 32;
/// A tunnel holds the client's socket and the backend's.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Where the system sets no limit: a bound all the same.
const CEILING: u64 = 500_000;

/// What the descriptors of the process are enough for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Connections of clients.
    pub(super) connections: usize,
    /// Pipes that move large frames.
    pub(super) pipes: usize,
}

impl Limits {
    /// Raises the soft limit of file descriptors to the hard one and divides it.
    pub(super) fn find() -> Self {
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
        Self::of(limit.current.unwrap_or(u64::MAX))
    }

    fn of(descriptors: u64) -> Self {
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let pipes = count(descriptors / SHARE_OF_PIPES).min(MAX_PIPES);
        let reserved = RESERVED_DESCRIPTORS + 2 * pipes as u64;
        let connections = descriptors.saturating_sub(reserved) / DESCRIPTORS_PER_CONNECTION;
        Self {
            connections: count(connections.clamp(16, CEILING)),
            pipes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_fits_into_the_descriptors() {
        for descriptors in [1024, 4096, 20_000, 65_536, 1 << 20] {
            let Limits { connections, pipes } = Limits::of(descriptors);
            let used = 256 + 2 * (connections + pipes) as u64;
            assert!(used <= descriptors, "{descriptors}: {connections}, {pipes}");
            assert!(pipes >= 32, "{descriptors}: {pipes}");
        }
        let unlimited = Limits::of(u64::MAX);
        assert_eq!((unlimited.connections, unlimited.pipes), (500_000, 256));
        assert_eq!(Limits::of(64).connections, 16, "a few are always tried");
    }
}
