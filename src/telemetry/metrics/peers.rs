//! Series about leadership and the other replicas.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::process::put;

/// Series about leadership and the other replicas.
#[derive(Debug)]
pub struct Peers {
    leader: Gauge,
    leader_transitions: Counter,
    known: Gauge,
    unreachable: Gauge,
    requests: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Peers {
    /// Registers everything.
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            leader: put(
                registry,
                "leader",
                "1 while this replica leads: it writes statuses",
                Gauge::default(),
            ),
            leader_transitions: put(
                registry,
                "leader_transitions",
                "How often this replica began or ceased to lead",
                Counter::default(),
            ),
            known: put(
                registry,
                "peers",
                "Other ready replicas, as the leader knows them; 0 on the others",
                Gauge::default(),
            ),
            unreachable: put(
                registry,
                "peers_unreachable",
                "Other ready replicas that the leader cannot reach at the moment",
                Gauge::default(),
            ),
            requests: put(
                registry,
                "peer_requests",
                "Requests of the leader to other replicas by result: ok, refused (status), unreachable, malformed, no_token",
                Family::default(),
            ),
        }
    }

    /// `leader`, `leader_transitions_total`: this replica leads from now on, or no longer.
    pub fn leads(&self, leads: bool) {
        let leads = i64::from(leads);
        if self.leader.set(leads) != leads {
            self.leader_transitions.inc();
        }
    }

    /// `peers`, `peers_unreachable`.
    pub fn replicas(&self, all: usize, unreachable: usize) {
        let number = |n| i64::try_from(n).unwrap_or(i64::MAX);
        self.known.set(number(all));
        self.unreachable.set(number(unreachable));
    }

    /// `peer_requests_total{result}`.
    pub fn request(&self, result: &'static str) {
        self.requests.get_or_create(&[("result", result)]).inc();
    }
}
