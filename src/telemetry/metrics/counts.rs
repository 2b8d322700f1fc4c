//! What is counted for one rule, as plain numbers that can be added up.

use std::{collections::BTreeMap, time::Duration};

use super::{
    MESSAGE_TYPES,
    histogram::{HTTP_BOUNDS, Histogram, PING_BOUNDS, TUNNEL_BOUNDS},
};

/// The numbers of one rule, or of several rules together. All instants are counted from the same epoch, that of the
/// process's metrics.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// Tunnels that are open.
    pub(super) open: u64,
    /// Sum of the starts of the open tunnels, nanoseconds since the epoch.
    started: u128,
    /// Age of the ended tunnels together, nanoseconds.
    finished: u128,
    /// `[client_to_backend, backend_to_client]`.
    pub(super) bytes: [u64; 2],
    /// The same, by [`MESSAGE_TYPES`].
    pub(super) messages: [[u64; MESSAGE_TYPES.len()]; 2],
    /// Tunnels one side of which takes nothing.
    pub(super) stalled: u64,
    /// Round trips of pings to clients.
    pub(super) client_pings: Histogram,
    /// Round trips of pings to backends.
    pub(super) backend_pings: Histogram,
    /// By whether it was accepted, and the reason.
    pub(super) handshakes: BTreeMap<(bool, &'static str), u64>,
    /// By cause and close code.
    pub(super) closes: BTreeMap<(&'static str, CloseCode), u64>,
    /// Age of the ended tunnels.
    pub(super) durations: Histogram,
    /// By status code.
    pub(super) requests: BTreeMap<StatusCode, u64>,
    /// Time of the requests.
    pub(super) latencies: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            open: 0,
            started: 0,
            finished: 0,
            bytes: [0; 2],
            messages: Default::default(),
            stalled: 0,
            client_pings: Histogram::new(PING_BOUNDS),
            backend_pings: Histogram::new(PING_BOUNDS),
            handshakes: BTreeMap::new(),
            closes: BTreeMap::new(),
            durations: Histogram::new(TUNNEL_BOUNDS),
            requests: BTreeMap::new(),
            latencies: Histogram::new(HTTP_BOUNDS),
        }
    }
}

impl Counts {
    /// A tunnel opened, this long after the epoch.
    pub(super) fn opened(&mut self, start: Duration) {
        self.open += 1;
        self.started += start.as_nanos();
    }

    /// The tunnel that opened at `start` ended at `end`.
    pub(super) fn ended(&mut self, start: Duration, end: Duration) {
        self.open = self.open.saturating_sub(1);
        self.started = self.started.saturating_sub(start.as_nanos());
        self.finished += end.saturating_sub(start).as_nanos();
    }

    /// Age of all tunnels together, open ones included. Whole nanoseconds, so that it never goes back.
    pub(super) fn connection_time(&self, now: Duration) -> Duration {
        let open = (now.as_nanos() * u128::from(self.open)).saturating_sub(self.started);
        from_nanos(self.finished + open)
    }

    /// Whether a handshake was ever seen: rules that serve plain HTTP only get no WebSocket series.
    pub(super) fn has_websockets(&self) -> bool {
        self.open > 0 || self.finished > 0 || !self.handshakes.is_empty() || !self.closes.is_empty()
    }

    /// Adds the numbers of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        self.open += other.open;
        self.started += other.started;
        self.finished += other.finished;
        for (mine, theirs) in self.bytes.iter_mut().zip(other.bytes) {
            *mine = mine.wrapping_add(theirs);
        }
        let mine = self.messages.iter_mut().flatten();
        for (mine, theirs) in mine.zip(other.messages.iter().flatten()) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.stalled += other.stalled;
        self.client_pings.add(&other.client_pings);
        self.backend_pings.add(&other.backend_pings);
        add_map(&mut self.handshakes, &other.handshakes);
        add_map(&mut self.closes, &other.closes);
        self.durations.add(&other.durations);
        add_map(&mut self.requests, &other.requests);
        self.latencies.add(&other.latencies);
    }
}

fn add_map<K: Ord + Copy>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *to.entry(*key).or_default() += count;
    }
}

fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % SECOND).unwrap_or(0);
    Duration::new(seconds, rest)
}

/// The label `code` of `websocket_closes_total`: bounded, though a peer may send any 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CloseCode {
    /// No Close frame, or one without a code.
    None,
    /// 1000 to 1015: those that RFC 6455 and its registry give a meaning.
    Registered(u16),
    /// 3000 to 3999: frameworks.
    Framework,
    /// 4000 to 4999: applications.
    Application,
    /// Everything else.
    Other,
}

impl CloseCode {
    /// Sorts a code into its label.
    pub(super) fn new(code: Option<u16>) -> Self {
        match code {
            None => Self::None,
            Some(code @ 1000..=1015) => Self::Registered(code),
            Some(3000..=3999) => Self::Framework,
            Some(4000..=4999) => Self::Application,
            Some(_) => Self::Other,
        }
    }

    /// The label's value.
    pub(super) fn label(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Registered(code) => code.to_string(),
            Self::Framework => "3xxx".to_owned(),
            Self::Application => "4xxx".to_owned(),
            Self::Other => "other".to_owned(),
        }
    }
}

/// The label `code` of `http_requests_total`: bounded, though a backend may send any three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StatusCode {
    /// 100 to 599.
    Known(u16),
    /// Anything else.
    Other,
}

impl StatusCode {
    /// Sorts a status code into its label.
    pub(super) fn new(code: u16) -> Self {
        match code {
            100..=599 => Self::Known(code),
            _ => Self::Other,
        }
    }

    /// The label's value.
    pub(super) fn label(self) -> String {
        match self {
            Self::Known(code) => code.to_string(),
            Self::Other => "other".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_have_a_bounded_label() {
        let label = |code| CloseCode::new(code).label();
        assert_eq!(label(None), "none");
        assert_eq!(label(Some(1000)), "1000");
        assert_eq!(label(Some(1015)), "1015");
        assert_eq!(label(Some(3999)), "3xxx");
        assert_eq!(label(Some(4000)), "4xxx");
        for code in [0, 999, 1016, 2999, 5000, u16::MAX] {
            assert_eq!(label(Some(code)), "other", "{code}");
        }
    }

    #[test]
    fn status_codes_have_a_bounded_label() {
        assert_eq!(StatusCode::new(426).label(), "426");
        assert_eq!(StatusCode::new(0).label(), "other");
        assert_eq!(StatusCode::new(999).label(), "other");
    }

    #[test]
    fn connection_time_moves_while_open_and_stands_still_afterwards() {
        let at = Duration::from_secs;
        let mut counts = Counts::default();
        counts.opened(at(10));
        counts.opened(at(20));
        assert_eq!(counts.connection_time(at(30)), at(30));
        counts.ended(at(10), at(40));
        assert_eq!(counts.connection_time(at(40)), at(50));
        counts.ended(at(20), at(41));
        assert_eq!(counts.connection_time(at(1_000)), at(51));
        assert_eq!(counts.open, 0);
    }
}
