//! `--max-connections`: every client connection holds a slot until it ends, a tunnel too. What goes on at the same
//! time on one connection of HTTP/2 holds more of them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::metrics::{Metrics, OpenConnection};

/// Connections beyond the limit that are told so (503) at the same time. They are short; when even these
/// are used up, accepting waits and the kernel's queue holds the rest.
const REFUSALS: usize = 64;

/// The slots of the process.
#[derive(Debug)]
pub(super) struct Slots {
    regular: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// The right to be connected. Given back when dropped.
pub(super) struct Slot {
    /// Whether the limit was reached: every request of this connection is refused.
    pub(super) over: bool,
    _permit: Option<OwnedSemaphorePermit>,
    _count: OpenConnection,
}

impl Slots {
    /// `max` slots.
    pub(super) fn new(max: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            regular: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            metrics,
        }
    }

    /// One more slot for a connection that has one; `None` at the limit.
    pub(super) fn another(&self) -> Option<OwnedSemaphorePermit> {
        self.regular.clone().try_acquire_owned().ok()
    }

    /// A slot for a connection that was just accepted. Waits only when there is not even one for a
    /// refusal left.
    pub(super) async fn take(&self) -> Slot {
        let regular = self.regular.clone();
        let (permit, over) = tokio::select! {
            biased;
            permit = regular.acquire_owned() => (permit, false),
            permit = self.refusals.clone().acquire_owned() => (permit, true),
        };
        if over {
            self.metrics.connection_refused();
        }
        Slot {
            over,
            // Semaphores are never closed, so there always is one.
            _permit: permit.ok(),
            _count: self.metrics.connection(),
        }
    }
}
