//! How often something may happen.

use std::time::Duration;

use tokio::time::Instant;

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
    pub(super) fn new(size: u32, refill: Duration) -> Self {
        Self {
            size,
            refill,
            full: Instant::now(),
        }
    }

    /// Takes a token, or says from when on there is one.
    pub(super) fn take(&mut self) -> Result<(), Instant> {
        let now = Instant::now();
        let full = self.full.max(now) + self.refill;
        let longest = now + self.refill * self.size;
        if full > longest {
            return Err(now + (full - longest));
        }
        self.full = full;
        Ok(())
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
        let mut bucket = Bucket::new(2, Duration::from_secs(10));
        assert!(bucket.is_full());
        assert_eq!(bucket.take(), Ok(()));
        assert_eq!(bucket.take(), Ok(()));
        assert_eq!(bucket.take(), Err(Instant::now() + Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(bucket.take(), Ok(()));
        assert!(bucket.take().is_err());
        assert!(!bucket.is_full());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(bucket.is_full());
    }
}
