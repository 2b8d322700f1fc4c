//! `status.loadBalancer` of an Ingress.
//!
//! Its list of entries is one value: whoever applies it replaces all of it. Therefore Hawser writes the same
//! addresses to an object once, and then only where the field is empty: two writers with different addresses
//! come to rest. Two with the same own it together, and what one gives up stays the other's. What another writer's
//! list says stays, unless the object came to us just now: then that one's is a leftover.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::source::cluster::{Address, StoredIngress};

/// Shortest time between two writes of the same addresses to the same object.
const AGAIN: Duration = Duration::from_mins(1);

/// What this process did to an Ingress.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// The addresses that it had from us, or that we found there, and when.
    had: Option<(Vec<Address>, Instant)>,
    /// It was emptied by us.
    emptied: bool,
    /// It was said that somebody else's addresses stay.
    told: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Not ours to touch.
    Nothing,
    /// The object is ours, and what another writer says about it stays.
    Foreign,
    /// It is as it should be.
    There,
    /// Look again then.
    Wait(Instant),
    /// Apply these; none: give up what the field manager owns.
    Apply(Vec<Address>),
}

/// What to do with an Ingress, `ours` or not; `new`: its class has just become ours.
pub(super) fn step(
    ours: bool,
    new: bool,
    stored: &StoredIngress,
    want: &[Address],
    past: &Past,
    now: Instant,
) -> Step {
    let want = sorted(want);
    let there = sorted(&stored.addresses);
    if !ours || want.is_empty() {
        let remove = stored.ours && !there.is_empty() && !past.emptied;
        return if remove {
            Step::Apply(Vec::new())
        } else {
            Step::Nothing
        };
    }
    // Only what is owned stays when another install with the same addresses gives up its own.
    if there == want && stored.ours {
        return Step::There;
    }
    match &past.had {
        Some((had, _)) if *had == want && !there.is_empty() => Step::Nothing,
        Some((had, at)) if *had == want && now < *at + AGAIN => Step::Wait(*at + AGAIN),
        _ if !there.is_empty() && there != want && !stored.ours && !new => Step::Foreign,
        _ => Step::Apply(want),
    }
}

impl Past {
    /// Whether it is the first time that somebody else's addresses are found.
    pub(super) fn found_foreign(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }

    /// These addresses were applied, or found where they should be.
    pub(super) fn saw(&mut self, addresses: &[Address], now: Instant) {
        let addresses = sorted(addresses);
        self.emptied = addresses.is_empty();
        self.had = (!addresses.is_empty()).then_some((addresses, now));
    }
}

fn sorted(addresses: &[Address]) -> Vec<Address> {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The `status` of an apply.
pub(super) fn body(addresses: &[Address]) -> Value {
    if addresses.is_empty() {
        return json!({});
    }
    let entries: Vec<Value> = addresses
        .iter()
        .map(|address| match address {
            Address::Ip(ip) => json!({ "ip": ip }),
            Address::Hostname(name) => json!({ "hostname": name }),
        })
        .collect();
    json!({ "loadBalancer": { "ingress": entries } })
}

#[cfg(test)]
mod tests;
