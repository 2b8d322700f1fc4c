//! What stands in a Lease, reduced to what the election needs and bounded: others may write anything into it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};

/// `LeaseDuration` of client-go.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);

/// The longest that a record of another keeps us from writing: a forged duration must not stop all writing for
/// years. The shortest is our own, so that none makes us take the Lease from a holder that lives.
const MAX_DURATION: Duration = Duration::from_mins(1);

/// Of a holder's name, this much goes into the log.
const MAX_NAME: usize = 128;

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it.
    pub holder: Holder,
    /// How long it holds after its last change.
    pub duration: Duration,
    /// How often it has gone from one to another.
    pub transitions: i32,
    /// `acquireTime`, kept while the holder stays; never compared with a clock.
    pub acquired: Option<MicroTime>,
    /// Stands for the whole text of the record: it tells whether something changed.
    pub print: u64,
}

/// Who holds a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody: it was released, or never held.
    Nobody,
    /// This process.
    Us,
    /// Another, by a name that is safe to log.
    Other(Box<str>),
}

impl Record {
    /// Reads a Lease on behalf of `identity`.
    pub(super) fn read(spec: &LeaseSpec, identity: &str) -> Self {
        let holder = match spec.holder_identity.as_deref() {
            None | Some("") => Holder::Nobody,
            Some(name) if name == identity => Holder::Us,
            Some(name) => Holder::Other(safe(name)),
        };
        let seconds = spec.lease_duration_seconds.map(u64::try_from);
        let duration = match seconds {
            Some(Ok(seconds)) => Duration::from_secs(seconds).clamp(LEASE_DURATION, MAX_DURATION),
            _ => LEASE_DURATION,
        };
        Self {
            holder,
            duration,
            transitions: spec.lease_transitions.unwrap_or(0).max(0),
            acquired: spec.acquire_time.clone(),
            print: print(spec),
        }
    }
}

/// What a new holder writes, or one that renews.
pub(super) fn held(identity: &str, before: Option<&Record>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let renews = before.filter(|record| record.holder == Holder::Us);
    let acquired = renews.and_then(|record| record.acquired.clone());
    let transitions = match before {
        None => 0,
        Some(record) if renews.is_some() => record.transitions,
        Some(record) => record.transitions.saturating_add(1),
    };
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
        renew_time: Some(now),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

/// What the holder leaves behind when it ends: the next one need not wait.
pub(super) fn released(record: &Record) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(record.transitions),
        ..LeaseSpec::default()
    }
}

fn safe(name: &str) -> Box<str> {
    let mut text: String = name
        .chars()
        .take(MAX_NAME)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if name.chars().nth(MAX_NAME).is_some() {
        text.push('…');
    }
    text.into()
}

fn print(spec: &LeaseSpec) -> u64 {
    let mut hasher = DefaultHasher::new();
    spec.holder_identity.hash(&mut hasher);
    spec.lease_duration_seconds.hash(&mut hasher);
    spec.lease_transitions.hash(&mut hasher);
    for time in [&spec.acquire_time, &spec.renew_time] {
        time.as_ref().map(|time| time.0).hash(&mut hasher);
    }
    hasher.finish()
}
