//! When something last happened, for who looks from elsewhere.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// To the millisecond.
pub(super) struct Stamp {
    start: Instant,
    /// Milliseconds from there.
    last: AtomicU64,
}

impl Stamp {
    /// It happened now.
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// It happens now.
    pub(super) fn touch(&self) {
        let since = self.start.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// The last time.
    pub(super) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}
