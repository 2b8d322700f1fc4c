//! `limits.messagesPerSecond` and `limits.bytesPerSecond`, by back-pressure: who has used up its share is not read.

use std::time::Duration;

use tokio::time::Instant;

use super::counts::Counts;

/// What may come at once after a pause: the share of one second.
const BURST: Duration = Duration::from_secs(1);

/// What must have been saved before the next read: without it a tunnel at its limit would be read byte by byte.
const QUANTUM: Duration = Duration::from_millis(100);

/// With a limit of messages one read takes, beyond the frame that has begun, as many bytes as the smallest of those that may
/// come would have, but at least a header: how many messages it holds is known only afterwards.
const SMALLEST: usize = 2;
const HEADER: usize = 14;

/// The shares of one direction.
#[derive(Debug)]
pub(super) struct Rates {
    messages: Option<Share>,
    bytes: Option<Share>,
}

impl Rates {
    /// `None` where nothing is limited.
    pub(super) fn new(messages: Option<u32>, bytes: Option<u64>, now: Instant) -> Option<Self> {
        let share = |rate: f64| Share {
            rate,
            paid: now.checked_sub(BURST).unwrap_or(now),
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate above 2^53 bytes per second is none"
        )]
        let bytes = bytes.map(|rate| rate as f64);
        (messages.is_some() || bytes.is_some()).then(|| Self {
            messages: messages.map(|rate| share(f64::from(rate))),
            bytes: bytes.map(share),
        })
    }

    /// How many bytes may be read now; `left` are still to come of the frame that has begun.
    pub(super) fn allowance(&self, left: u64, now: Instant) -> usize {
        if self.ready().is_some_and(|ready| ready > now) {
            return 0;
        }
        let bytes = self
            .bytes
            .as_ref()
            .map_or(usize::MAX, |share| share.left(now));
        let messages = self.messages.as_ref().map_or(usize::MAX, |share| {
            let frames = share.left(now).saturating_mul(SMALLEST).max(HEADER);
            usize::try_from(left)
                .unwrap_or(usize::MAX)
                .saturating_add(frames)
        });
        bytes.min(messages).max(1)
    }

    /// When something may be read again; in the past where it may be read now.
    pub(super) fn ready(&self) -> Option<Instant> {
        let shares = [&self.messages, &self.bytes].into_iter().flatten();
        shares.map(|share| share.paid + QUANTUM).max()
    }

    /// Takes note of what was read.
    pub(super) fn spend(&mut self, read: &Counts, now: Instant) {
        if let Some(share) = &mut self.messages {
            share.spend(f64::from(read.data()), now);
        }
        if let Some(share) = &mut self.bytes {
            #[expect(
                clippy::cast_precision_loss,
                reason = "one read has far less than 2^53 bytes"
            )]
            share.spend(read.bytes as f64, now);
        }
    }
}

/// One limit (the generic cell rate algorithm: one instant is all that is kept).
#[derive(Debug)]
struct Share {
    /// Per second.
    rate: f64,
    /// Up to when everything that was read is paid for. In the future: a debt.
    paid: Instant,
}

impl Share {
    fn left(&self, now: Instant) -> usize {
        let saved = now.saturating_duration_since(self.paid).min(BURST);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is never negative"
        )]
        let left = (saved.as_secs_f64() * self.rate) as usize;
        left
    }

    fn spend(&mut self, count: f64, now: Instant) {
        if count > 0.0 {
            let from = now
                .checked_sub(BURST)
                .map_or(self.paid, |oldest| self.paid.max(oldest));
            // A day bounds what a rate of one per second and a read of 64 KiB can add up to.
            let cost = Duration::try_from_secs_f64(count / self.rate).unwrap_or(Duration::MAX);
            self.paid = from + cost.min(Duration::from_hours(24));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: u64, texts: u32) -> Counts {
        Counts {
            bytes,
            messages: [texts, 0, 0, 0, 0],
        }
    }

    #[test]
    fn no_limit_costs_nothing() {
        assert!(Rates::new(None, None, Instant::now()).is_none());
    }

    #[test]
    fn bytes_are_spent_and_come_back() {
        let start = Instant::now();
        let mut rates = Rates::new(None, Some(1000), start).unwrap();
        assert_eq!(rates.allowance(0, start), 1000, "a second's share at once");
        rates.spend(&read(1000, 3), start);
        assert_eq!(rates.allowance(0, start), 0);
        assert_eq!(rates.ready(), Some(start + QUANTUM));
        assert_eq!(rates.allowance(0, start + QUANTUM), 100);
        rates.spend(&read(1, 0), start);
        let later = start + Duration::from_millis(501);
        assert_eq!(rates.allowance(0, later), 500);
        let much_later = start + Duration::from_secs(100);
        assert_eq!(
            rates.allowance(0, much_later),
            1000,
            "no more than a second's share"
        );
    }

    #[test]
    fn messages_are_paid_for_afterwards() {
        let start = Instant::now();
        let mut rates = Rates::new(Some(10), None, start).unwrap();
        assert_eq!(rates.allowance(0, start), 20, "ten of them that are empty");
        assert_eq!(
            rates.allowance(5000, start),
            5020,
            "and the rest of a frame"
        );
        rates.spend(&read(4096, 30), start);
        assert_eq!(rates.allowance(5000, start), 0);
        let ready = start + Duration::from_secs(2) + QUANTUM;
        assert_eq!(rates.ready(), Some(ready));
        assert_eq!(rates.allowance(0, ready), HEADER);
    }

    #[test]
    fn the_tighter_limit_counts() {
        let start = Instant::now();
        let mut rates = Rates::new(Some(1), Some(1_000_000), start).unwrap();
        rates.spend(&read(10, 5), start);
        assert_eq!(
            rates.ready(),
            Some(start + Duration::from_secs(4) + QUANTUM)
        );
    }
}
