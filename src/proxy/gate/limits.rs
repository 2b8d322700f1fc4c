//! Limits of a request head and of the time it may take.

use std::time::Duration;

/// Whole head. nginx allows 4 x 8 KiB, Envoy 60 KiB; cookies of large sites fit in 32.
const HEAD_BYTES: usize = 32 * 1024;
/// Field lines. Envoy's and hyper's number; real clients send about 20.
const HEADERS: usize = 100;
/// Target. What nginx and most browsers' backends allow.
const TARGET_BYTES: usize = 8 * 1024;
/// A head is one or two packets; 10 s cover three lost ones, and a slow attacker holds a connection no longer.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Close to nginx's 75 s; shorter than the idle time-outs of common load balancers is not needed here,
/// since a request that meets the close is one that the client repeats.
const KEEP_ALIVE_TIME: Duration = Duration::from_mins(1);
/// RFC 6455 section 4.1 forbids a client to send before the answer; 16 KiB is one TLS record.
const EARLY_BYTES: usize = 16 * 1024;

/// Limits of a request head.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Whole head, bytes; 431 above.
    pub head_bytes: usize,
    /// Field lines; 431 above.
    pub headers: usize,
    /// Request target, bytes; 414 above.
    pub target_bytes: usize,
    /// From the first byte of a head to its end; 408 above. A new connection on which nothing arrives in this
    /// time is closed without an answer: browsers open connections ahead and would take a 408 for theirs.
    pub head_time: Duration,
    /// Between two requests on a connection; closed without an answer above.
    pub keep_alive_time: Duration,
    /// Bytes read after a head that asks for an upgrade, before the verdict.
    pub early_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES,
            headers: HEADERS,
            target_bytes: TARGET_BYTES,
            head_time: HEAD_TIME,
            keep_alive_time: KEEP_ALIVE_TIME,
            early_bytes: EARLY_BYTES,
        }
    }
}
