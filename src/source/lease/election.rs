//! The rules of the election, without an API server: what was seen and when gives what to do now.
//!
//! Only this process's monotonic clock counts. A record of another is expired when it has not changed here for its
//! duration, whatever times stand in it. Our own leadership ends [`RENEW_DEADLINE`] after the last write that
//! succeeded *began*, which is before anybody else can have seen that write, and so before it can expire for them.

use std::time::Duration;

use tokio::time::Instant;

use super::record::{Holder, Record};

/// `RenewDeadline` of client-go: shorter than the duration of the Lease.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// `RetryPeriod` of client-go: the holder renews this often.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Candidates look this often, and up to [`LOOK_JITTER`] later: a Lease that was given back is taken within 2 s.
/// client-go waits for 2 s to 4.4 s.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_JITTER: Duration = Duration::from_millis(800);

/// Spreads candidates that wait for the same expiry.
const EXPIRY_JITTER: Duration = Duration::from_millis(200);

/// What this process knows of the election.
#[derive(Debug, Default)]
pub(super) struct Election {
    seen: Option<Seen>,
    /// Leadership ends here unless it is renewed.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    record: Record,
    /// When the record was first seen as it is.
    at: Instant,
}

impl Seen {
    /// Whether another holds the Lease by this record.
    fn binds(&self, now: Instant) -> bool {
        matches!(self.record.holder, Holder::Other(_)) && now < self.at + self.record.duration
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Write ourselves as the holder.
    Write,
    /// Another holds it.
    Wait,
}

impl Election {
    /// The Lease was read; `None`: there is none.
    pub(super) fn observe(&mut self, record: Option<Record>, now: Instant) -> Action {
        let Some(record) = record else {
            // Somebody deleted it. Its holder may not have noticed; it makes it again at its next renewal.
            if self.seen.as_ref().is_some_and(|seen| seen.binds(now)) {
                return Action::Wait;
            }
            self.seen = None;
            return Action::Write;
        };
        let since = match &self.seen {
            Some(seen) if seen.record.print == record.print => seen.at,
            _ => now,
        };
        let seen = Seen { record, at: since };
        let binds = seen.binds(now);
        self.seen = Some(seen);
        if binds {
            // If it was ours, it was taken from us.
            self.until = None;
            return Action::Wait;
        }
        Action::Write
    }

    /// We are the holder by a write that began at `began`.
    pub(super) fn wrote(&mut self, record: Record, began: Instant) {
        self.seen = Some(Seen { record, at: began });
        self.until = Some(began + RENEW_DEADLINE);
    }

    /// Whether this process leads at `now`.
    pub(super) fn leads(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When leadership ends unless it is renewed.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Leadership is over.
    pub(super) fn resign(&mut self) {
        self.until = None;
    }

    /// The record that was seen last.
    pub(super) fn record(&self) -> Option<&Record> {
        self.seen.as_ref().map(|seen| &seen.record)
    }

    /// How long to wait before the next look. `random` is from 0 to 1.
    pub(super) fn pause(&self, now: Instant, random: f64) -> Duration {
        if self.leads(now) {
            return RETRY_PERIOD;
        }
        let retry = LOOK + LOOK_JITTER.mul_f64(random);
        match &self.seen {
            // The end of a dead holder's Lease is not overslept.
            Some(seen) if matches!(seen.record.holder, Holder::Other(_)) => {
                let expiry = (seen.at + seen.record.duration).saturating_duration_since(now);
                retry.min(expiry + EXPIRY_JITTER.mul_f64(random))
            }
            _ => retry,
        }
    }
}
