//! How often something may happen, and how long to wait after a failure.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep_until};

/// What to wait after so many failures that came before: doubles with each. Between half and all of it, so that many
/// do not come back together.
pub(super) fn backoff(first: Duration, failures: u32, longest: Duration) -> Duration {
    let whole = first.saturating_mul(2_u32.saturating_pow(failures));
    whole.min(longest).mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Waits until then; `None`: for good.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// A number of tokens that fills up with time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    size: u32,
    /// Time for one more token.
    refill: Duration,
    /// When it would be full again.
    full: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(size: u32, refill: Duration, now: Instant) -> Self {
        Self {
            size,
            refill,
            full: now,
        }
    }

    /// Takes a token, or says from when on there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let at = self.at();
        if now < at {
            return Err(at);
        }
        self.full = self.full.max(now) + self.refill;
        Ok(())
    }

    /// Gives back a token that was not needed.
    pub(super) fn refund(&mut self) {
        self.full = self.full.checked_sub(self.refill).unwrap_or(self.full);
    }

    /// From when on there is a token.
    pub(super) fn at(&self) -> Instant {
        let others = self.refill * self.size.saturating_sub(1);
        self.full.checked_sub(others).unwrap_or(self.full)
    }

    /// Nothing was taken for so long that it says nothing any more.
    pub(super) fn is_full(&self) -> bool {
        self.full <= Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_one_each_time() {
        let ten = Duration::from_secs(10);
        let mut bucket = Bucket::new(2, ten, Instant::now());
        assert!(bucket.is_full());
        assert_eq!(bucket.take(Instant::now()), Ok(()));
        assert_eq!(bucket.take(Instant::now()), Ok(()));
        assert_eq!(bucket.at(), Instant::now() + ten);
        assert_eq!(bucket.take(Instant::now()), Err(Instant::now() + ten));
        bucket.refund();
        assert_eq!(bucket.take(Instant::now()), Ok(()));
        tokio::time::advance(ten).await;
        assert_eq!(bucket.take(Instant::now()), Ok(()));
        assert!(bucket.take(Instant::now()).is_err());
        assert!(!bucket.is_full());
        tokio::time::advance(2 * ten).await;
        assert!(bucket.is_full());
    }

    #[test]
    fn a_wait_doubles_up_to_the_longest() {
        let (first, longest) = (Duration::from_millis(400), Duration::from_secs(5));
        for (failures, whole) in [
            (0, 400),
            (1, 800),
            (3, 3_200),
            (4, 5_000),
            (u32::MAX, 5_000),
        ] {
            let whole = Duration::from_millis(whole);
            for _ in 0..100 {
                let wait = backoff(first, failures, longest);
                assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
            }
        }
    }
}
