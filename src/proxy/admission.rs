//! `limits.connections` and `limits.connectionsPerClient`: how many tunnels a rule has, and how many of them a client.
//!
//! Everything is counted all the time, also where there is no limit: one that is set later finds true numbers. The
//! counts belong to the rule's name, so they outlive tables; a rule without tunnels has no count.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::ir;

use super::error::{Error, Refused, Unserved};

/// Counts of clients that a rule keeps room for when they are few again.
const FEW: usize = 64;

/// The counts of all rules.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// One lock for all: it is held for some hundred nanoseconds of a handshake, and leaves no moment between looking
    /// and counting.
    rules: Mutex<HashMap<ir::RouteId, Count>>,
}

#[derive(Debug, Default)]
struct Count {
    tunnels: u32,
    clients: HashMap<u64, u32>,
}

/// The right to be a tunnel, from before the backend is asked until the tunnel has ended. Given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    rule: Arc<ir::Route>,
    client: u64,
}

impl Admission {
    /// Counts a handshake, or says why it may not be one more.
    pub(super) fn admit(
        self: &Arc<Self>,
        rule: &Arc<ir::Route>,
        client: IpAddr,
    ) -> Result<Permit, Error> {
        let limits = &rule.policy.limits;
        let client = key(client);
        let is_over = |count: u32, limit: Option<u32>| limit.is_some_and(|limit| count >= limit);
        let mut rules = self.rules.lock();
        let count = rules.get(&rule.id);
        let tunnels = count.map_or(0, |count| count.tunnels);
        let own = count.and_then(|count| count.clients.get(&client).copied());
        if is_over(own.unwrap_or(0), limits.connections_per_client.value) {
            return Err(Refused::ClientLimit.into());
        }
        if is_over(tunnels, limits.connections.value) {
            return Err(Unserved::RouteLimit(limits.connections_status.value).into());
        }
        let count = rules.entry(rule.id.clone()).or_default();
        count.tunnels += 1;
        *count.clients.entry(client).or_insert(0) += 1;
        Ok(Permit {
            admission: Arc::clone(self),
            rule: Arc::clone(rule),
            client,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut rules = self.admission.rules.lock();
        let Some(count) = rules.get_mut(&self.rule.id) else {
            return;
        };
        count.tunnels = count.tunnels.saturating_sub(1);
        if count.tunnels == 0 {
            rules.remove(&self.rule.id);
            return;
        }
        if let Some(own) = count.clients.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                count.clients.remove(&self.client);
            }
        }
        // After a crowd has left.
        if count.clients.capacity() > 4 * count.clients.len().max(FEW) {
            count.clients.shrink_to(2 * count.clients.len());
        }
    }
}

/// The first 96 bits of the IPv6 addresses that stand for IPv4 ones.
const TRANSLATED: u128 = 0x0064_ff9b << 64;

/// Who counts as one client: an IPv4 address, also one that a translator wrote into `64:ff9b::/96` (RFC 6052), or a /64 of
/// IPv6, which is what one household or one host has and may choose addresses from (RFC 4291 section 2.5.4, RFC 8981).
fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        // As numbers they are below all /64 that can be a client's: those of ::/32 are reserved.
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) if address.to_bits() >> 32 == TRANSLATED => {
            let [.., high, low] = address.segments();
            u64::from(high) << 16 | u64::from(low)
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d]
                .into_iter()
                .fold(0, |key, part| key << 16 | u64::from(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::ir::{ConnectionsStatus, Policy, RouteKind, Setting};

    fn rule(name: &str, limits: impl FnOnce(&mut ir::Limits)) -> Arc<ir::Route> {
        let mut policy = Policy::default();
        limits(&mut policy.limits);
        Arc::new(ir::Route {
            id: ir::RouteId {
                object: ir::ObjectId {
                    namespace: "shop".into(),
                    name: name.into(),
                    kind: RouteKind::WebSocketRoute,
                },
                rule: "socket".into(),
            },
            backends: Vec::new(),
            policy: Arc::new(policy),
        })
    }

    fn limited(connections: u32) -> Arc<ir::Route> {
        rule("a", |limits| {
            limits.connections = Setting::field(Some(connections));
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_takes_what_it_may_and_gives_back() {
        let admission = Arc::<Admission>::default();
        let client = ip("192.0.2.1");
        let first = admission.admit(&limited(2), client).unwrap();
        let _second = admission.admit(&limited(2), client).unwrap();
        let refused = admission.admit(&limited(2), client).unwrap_err();
        assert!(matches!(
            refused,
            Error::Unserved(Unserved::RouteLimit(ConnectionsStatus::ServiceUnavailable))
        ));
        // Another rule, and another version of the same one.
        admission.admit(&rule("b", |_| {}), client).unwrap();
        let third = admission.admit(&limited(3), client).unwrap();
        assert!(admission.admit(&limited(2), client).is_err());
        drop((first, third));
        admission.admit(&limited(2), client).unwrap();
    }

    #[test]
    fn a_client_takes_what_it_may() {
        let per_client = |limit| {
            rule("a", |limits| {
                limits.connections_per_client = Setting::field(Some(limit));
            })
        };
        let admission = Arc::<Admission>::default();
        // Counted although there was no limit yet.
        let _before = admission
            .admit(&rule("a", |_| {}), ip("2001:db8::1"))
            .unwrap();
        let same = admission.admit(&per_client(1), ip("2001:db8:0:0:ffff::1"));
        assert!(matches!(
            same.unwrap_err(),
            Error::Refused(Refused::ClientLimit)
        ));
        let other = admission.admit(&per_client(1), ip("2001:db8:0:1::1"));
        let four = admission.admit(&per_client(1), ip("192.0.2.1"));
        let mapped = admission.admit(&per_client(1), ip("::ffff:192.0.2.1"));
        let translated = admission.admit(&per_client(1), ip("64:ff9b::192.0.2.1"));
        let another = admission.admit(&per_client(1), ip("64:ff9b::192.0.2.2"));
        assert!(other.is_ok() && four.is_ok());
        assert!(mapped.is_err(), "it is the same IPv4 address");
        assert!(translated.is_err() && another.is_ok(), "one is, one is not");
    }

    #[test]
    fn a_limit_of_nothing_takes_nothing() {
        let admission = Arc::<Admission>::default();
        assert!(admission.admit(&limited(0), ip("192.0.2.1")).is_err());
        assert!(
            admission.rules.lock().is_empty(),
            "and leaves nothing behind"
        );
    }

    #[test]
    fn many_at_once_get_no_more_than_there_is() {
        let admission = Arc::<Admission>::default();
        let rule = limited(100);
        let admit = |thread: u8| {
            let client = IpAddr::from([192, 0, 2, thread]);
            let (admission, rule) = (&admission, &rule);
            move || {
                let tries = (0..200).filter_map(|_| admission.admit(rule, client).ok());
                tries.collect::<Vec<_>>()
            }
        };
        let permits: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(admit(thread))).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(permits.len(), 100);
        drop(permits);
        assert!(admission.rules.lock().is_empty(), "nothing is left");
    }

    #[test]
    fn a_crowd_that_left_leaves_no_room_behind() {
        let admission = Arc::<Admission>::default();
        let rule = rule("a", |_| {});
        let client = |number: u32| IpAddr::from(number.to_be_bytes());
        let mut permits: Vec<_> = (0..10_000)
            .map(|number| admission.admit(&rule, client(number)).unwrap())
            .collect();
        permits.truncate(10);
        let rules = admission.rules.lock();
        let clients = &rules[&rule.id].clients;
        assert_eq!(clients.len(), 10);
        assert!(clients.capacity() <= 4 * FEW, "{}", clients.capacity());
    }
}
