//! `limits.messagesPerSecond` and `limits.bytesPerSecond`, by back-pressure: who has used up its share is not read.

use std::time::Duration;

use tokio::time::Instant;

use super::counts::Counts;
use crate::ir;

/// What may come at once after a pause: the share of one second.
const BURST: Duration = Duration::from_secs(1);

/// What must have been saved before the next read: without it a tunnel at its limit would be read byte by byte.
const QUANTUM: Duration = Duration::from_millis(100);

/// With a limit of messages one read takes, beyond the frame that has begun, as many bytes as the smallest of those that may
/// come would have, but at least a header: how many messages it holds is known only afterwards.
const SMALLEST: usize = 2;
const HEADER: usize = 14;

/// The shares of one direction. The limits themselves stay where they are, with the policy of the route: each tunnel has
/// two of these.
#[derive(Debug)]
pub(super) struct Rates {
    messages: Share,
    bytes: Share,
    /// Until when the source was not read, the last time. What came before may wait unread, so nobody may call it silent
    /// before.
    pub(super) withheld: Option<Instant>,
}

impl Rates {
    /// `None` where nothing is limited.
    pub(super) fn new(limits: &ir::Limits, now: Instant) -> Option<Self> {
        let limited =
            limits.messages_per_second.value.is_some() || limits.bytes_per_second.value.is_some();
        let share = || Share {
            paid: now.checked_sub(BURST).unwrap_or(now),
        };
        limited.then(|| Self {
            messages: share(),
            bytes: share(),
            withheld: None,
        })
    }

    /// How many bytes may be read now; `left` are still to come of the frame that has begun.
    pub(super) fn allowance(&self, limits: &ir::Limits, left: u64, now: Instant) -> usize {
        if self.ready(limits).is_some_and(|ready| ready > now) {
            return 0;
        }
        let bytes = rate_of_bytes(limits).map_or(usize::MAX, |rate| self.bytes.left(rate, now));
        let messages = rate_of_messages(limits).map_or(usize::MAX, |rate| {
            let frames = self.messages.left(rate, now).saturating_mul(SMALLEST);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            left.saturating_add(frames.max(HEADER))
        });
        bytes.min(messages).max(1)
    }

    /// When something may be read again; in the past where it may be read now.
    pub(super) fn ready(&self, limits: &ir::Limits) -> Option<Instant> {
        let messages = rate_of_messages(limits).map(|_| self.messages.paid);
        let bytes = rate_of_bytes(limits).map(|_| self.bytes.paid);
        Some(messages.max(bytes)? + QUANTUM)
    }

    /// Takes note of what was read.
    pub(super) fn spend(&mut self, limits: &ir::Limits, read: &Counts, now: Instant) {
        if let Some(rate) = rate_of_messages(limits) {
            self.messages.spend(f64::from(read.charged()), rate, now);
        }
        if let Some(rate) = rate_of_bytes(limits) {
            #[expect(
                clippy::cast_precision_loss,
                reason = "one read has far less than 2^53 bytes"
            )]
            self.bytes.spend(read.bytes as f64, rate, now);
        }
    }
}

fn rate_of_messages(limits: &ir::Limits) -> Option<f64> {
    limits.messages_per_second.value.map(f64::from)
}

fn rate_of_bytes(limits: &ir::Limits) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate above 2^53 bytes per second is none"
    )]
    limits.bytes_per_second.value.map(|rate| rate as f64)
}

/// One limit (the generic cell rate algorithm: one instant is all that is kept).
#[derive(Debug)]
struct Share {
    /// Up to when everything that was read is paid for. In the future: a debt.
    paid: Instant,
}

impl Share {
    fn left(&self, rate: f64, now: Instant) -> usize {
        let saved = now.saturating_duration_since(self.paid).min(BURST);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is never negative"
        )]
        let left = (saved.as_secs_f64() * rate) as usize;
        left
    }

    fn spend(&mut self, count: f64, rate: f64, now: Instant) {
        if count > 0.0 {
            let from = now
                .checked_sub(BURST)
                .map_or(self.paid, |oldest| self.paid.max(oldest));
            // A day bounds what a rate of one per second and a read of 64 KiB can add up to.
            let cost = Duration::try_from_secs_f64(count / rate).unwrap_or(Duration::MAX);
            self.paid = from + cost.min(Duration::from_hours(24));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(messages: Option<u32>, bytes: Option<u64>) -> ir::Limits {
        ir::Limits {
            messages_per_second: ir::Setting::field(messages),
            bytes_per_second: ir::Setting::field(bytes),
            ..ir::Limits::default()
        }
    }

    fn read(bytes: u64, texts: u32) -> Counts {
        Counts {
            bytes,
            messages: [texts, 0, 0, 0, 0],
            small: 0,
        }
    }

    #[test]
    fn no_limit_costs_nothing() {
        assert!(Rates::new(&limits(None, None), Instant::now()).is_none());
    }

    #[test]
    fn bytes_are_spent_and_come_back() {
        let start = Instant::now();
        let limits = limits(None, Some(1000));
        let mut rates = Rates::new(&limits, start).unwrap();
        assert_eq!(
            rates.allowance(&limits, 0, start),
            1000,
            "a second's share at once"
        );
        rates.spend(&limits, &read(1000, 3), start);
        assert_eq!(rates.allowance(&limits, 0, start), 0);
        assert_eq!(rates.ready(&limits), Some(start + QUANTUM));
        assert_eq!(rates.allowance(&limits, 0, start + QUANTUM), 100);
        rates.spend(&limits, &read(1, 0), start);
        let later = start + Duration::from_millis(501);
        assert_eq!(rates.allowance(&limits, 0, later), 500);
        let much_later = start + Duration::from_secs(100);
        assert_eq!(
            rates.allowance(&limits, 0, much_later),
            1000,
            "no more than a second's share"
        );
    }

    #[test]
    fn messages_are_paid_for_afterwards() {
        let start = Instant::now();
        let limits = limits(Some(10), None);
        let mut rates = Rates::new(&limits, start).unwrap();
        assert_eq!(
            rates.allowance(&limits, 0, start),
            20,
            "ten of them that are empty"
        );
        assert_eq!(
            rates.allowance(&limits, 5000, start),
            5020,
            "and the rest of a frame"
        );
        rates.spend(&limits, &read(4096, 30), start);
        assert_eq!(rates.allowance(&limits, 5000, start), 0);
        let ready = start + Duration::from_secs(2) + QUANTUM;
        assert_eq!(rates.ready(&limits), Some(ready));
        assert_eq!(rates.allowance(&limits, 0, ready), HEADER);
    }

    #[test]
    fn the_tighter_limit_counts() {
        let start = Instant::now();
        let limits = limits(Some(1), Some(1_000_000));
        let mut rates = Rates::new(&limits, start).unwrap();
        rates.spend(&limits, &read(10, 5), start);
        assert_eq!(
            rates.ready(&limits),
            Some(start + Duration::from_secs(4) + QUANTUM)
        );
    }
}
