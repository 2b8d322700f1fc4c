//! A histogram that can be added to another one, which the library's cannot.

use std::time::Duration;

/// Upper bounds of `http_request_duration_seconds`: from a cache-like answer to a long poll.
pub(super) const HTTP_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// Upper bounds of `websocket_duration_seconds`: from a connection that fails at once to a week.
pub(super) const TUNNEL_BOUNDS: &[f64] = &[
    1.0, 10.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0,
];

/// Upper bounds of `websocket_ping_rtt_seconds`: a pod on the same node up to the worst pause of a mobile network.
pub(super) const PING_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0,
];

/// Upper bounds of `backend_connect_seconds`: a pod on the same node up to the default connect time-out.
pub(super) const CONNECT_BOUNDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0,
];

/// Upper bounds of `table_build_seconds`.
pub(super) const BUILD_BOUNDS: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

/// Upper bounds of `propagation_seconds`; the holdoff alone is 10 to 100 ms.
pub(super) const PROPAGATION_BOUNDS: &[f64] = &[
    0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Observations by bucket. Costs no memory before the first observation.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    /// One per bound and one for everything above.
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    /// Without observations.
    pub(super) const fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: Vec::new(),
            sum: 0.0,
            count: 0,
        }
    }

    /// Adds one observation.
    pub(super) fn observe(&mut self, value: Duration) {
        let value = value.as_secs_f64();
        self.grow();
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
        self.count += 1;
    }

    /// Adds the observations of `other`, which has the same bounds.
    pub(super) fn add(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.grow();
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
        self.count += other.count;
    }

    /// Whether nothing was observed.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sum of all observations, seconds.
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// Number of observations.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Upper bound and number of observations of each bucket (not cumulative), the last one infinite.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied()).collect()
    }

    fn grow(&mut self) {
        self.counts.resize(self.bounds.len() + 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[1.0, 10.0];

    #[test]
    fn a_value_on_a_bound_belongs_to_it() {
        let mut histogram = Histogram::new(BOUNDS);
        assert!(histogram.is_empty());
        for seconds in [0, 1, 2, 10, 11] {
            histogram.observe(Duration::from_secs(seconds));
        }
        assert_eq!(
            histogram.buckets(),
            [(1.0, 2), (10.0, 2), (f64::INFINITY, 1)]
        );
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 24.0).abs() < 1e-9);
    }

    #[test]
    fn adding_adds_every_bucket() {
        let mut one = Histogram::new(BOUNDS);
        let mut two = Histogram::new(BOUNDS);
        two.observe(Duration::from_secs(5));
        two.observe(Duration::from_secs(50));
        one.add(&two);
        one.add(&two);
        one.add(&Histogram::new(BOUNDS));
        assert_eq!(one.buckets(), [(1.0, 0), (10.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(one.count(), 4);
    }
}
