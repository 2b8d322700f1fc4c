//! The clocks of a connection, with one timer for all of them.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::proxy::timer::Timer;

#[derive(Debug)]
pub(super) struct Clock {
    timer: Timer,
    /// When a byte last went in either direction.
    active: Instant,
    /// When the first byte of the unfinished head came.
    head: Option<Instant>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            timer: Timer::default(),
            active: Instant::now(),
            head: None,
        }
    }

    /// A byte went.
    pub(super) fn touch(&mut self) {
        self.active = Instant::now();
    }

    /// Whether a head is unfinished, and whether it is another one than before.
    pub(super) fn head(&mut self, unfinished: bool, new: bool) {
        if !unfinished {
            self.head = None;
        } else if new || self.head.is_none() {
            self.head = Some(self.active);
        }
    }

    /// Ready when the unfinished head has taken `limit`.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let since = self.head.unwrap_or(self.active);
        self.timer.poll_until(cx, since + limit)
    }

    /// Ready when no byte went for `limit`.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        self.timer.poll_until(cx, self.active + limit)
    }

    /// Looks again after `limit` at the latest: hyper does not poll the reader when an answer ends.
    pub(super) fn look_again(&mut self, cx: &mut Context<'_>, limit: Duration) {
        // Never ready: the deadline is always that far away.
        let _ = self.timer.poll_until(cx, Instant::now() + limit);
    }
}
