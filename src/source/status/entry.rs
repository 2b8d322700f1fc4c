//! One object: its verdict, what was written about it, and what is to be written.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    counts::{self, Counts},
    desired::{self, RouteStatus},
    ingress::{self, Past, Step},
    judge::{self, Facts},
};
use crate::{
    api::conditions::PROGRAMMED,
    ir::{BackendId, ObjectVersion},
    source::{
        cluster::{Address, StoredIngress, StoredObject, StoredRoute, StoredStatus},
        peers::Replica,
    },
    translate::{Condition, Verdict},
};

/// How long what was written is taken for stored although the watch has not shown it.
const ECHO: Duration = Duration::from_secs(30);

/// How long the addresses of an Ingress whose class went to another install stay: that one owns the same ones by then,
/// and nobody who makes DNS records of them sees none.
const HANDOVER: Duration = Duration::from_secs(2);

/// A class that became ours so long ago, and nobody has written since, is no news for whoever leads next: who wrote
/// addresses meanwhile meant them.
const TAKEOVER: Duration = Duration::from_mins(1);

/// One object.
#[derive(Debug)]
pub(super) struct Entry {
    verdict: Arc<Verdict>,
    /// Since when this version is live here, as ours or not.
    since: Instant,
    /// What was written and not yet seen in the watch.
    written: Option<Box<(RouteStatus, Instant)>>,
    /// Counts to be written.
    pending: Option<Counts>,
    /// When counts were written last.
    counted: Option<Instant>,
    past: Past,
    /// When its class became ours, until its addresses are written, and which ones were there then.
    claimed: Option<(Instant, Option<Vec<Address>>)>,
    /// The API server does not take it: nothing is tried until something changes.
    pub(super) given_up: bool,
    /// When it is to be looked at again.
    pub(super) due: Option<Instant>,
}

/// What one apply says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// Conditions of a `WebSocketRoute`.
    Route(RouteStatus),
    /// Counts of a `WebSocketRoute`.
    Counts(Counts),
    /// Addresses of an Ingress.
    Ingress(Vec<Address>),
}

/// What is to be done about an object.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What to write.
    pub(super) write: Option<Said>,
    /// Look again then.
    pub(super) again: Option<Instant>,
    /// The other replicas cannot change it.
    pub(super) settled: bool,
    /// Addresses of somebody else were found, and stay.
    pub(super) foreign: bool,
}

impl Said {
    /// The `status` of the apply.
    pub(super) fn body(&self) -> Value {
        match self {
            Self::Route(status) => status.body(),
            Self::Counts(counts) => counts.body(),
            Self::Ingress(addresses) => ingress::body(addresses),
        }
    }
}

impl Plan {
    fn rest(write: Option<Said>, again: Option<Instant>) -> Self {
        Self {
            write,
            again,
            settled: true,
            foreign: false,
        }
    }
}

impl Entry {
    /// An object that is new here.
    pub(super) fn new(verdict: Arc<Verdict>, now: Instant) -> Self {
        Self {
            verdict,
            since: now,
            written: None,
            pending: None,
            counted: None,
            past: Past::default(),
            claimed: None,
            given_up: false,
            due: None,
        }
    }

    /// Its verdict changed.
    pub(super) fn verdict(&mut self, verdict: Arc<Verdict>, now: Instant) {
        if verdict.version.uid != self.verdict.version.uid {
            let due = self.due;
            *self = Self::new(verdict, now);
            self.due = due;
            return;
        }
        let away = !self.verdict.ours && now >= self.since + HANDOVER;
        let revived = dead(&self.verdict).is_some() && dead(&verdict).is_none();
        let moved = verdict.ours != self.verdict.ours;
        if revived || moved || verdict.version != self.verdict.version {
            self.since = now;
        }
        if moved {
            // An IngressClass that is replaced is gone for a moment only; nothing changed hands.
            self.claimed = (verdict.ours && away).then_some((now, None));
            self.past = Past::default();
        }
        self.given_up = false;
        self.verdict = verdict;
    }

    /// This replica writes from now on.
    pub(super) fn lead(&mut self, now: Instant) {
        self.claimed.take_if(|(at, _)| now >= *at + TAKEOVER);
    }

    /// Whether it is ours.
    pub(super) fn is_ours(&self) -> bool {
        self.verdict.ours
    }

    /// Every backend of it.
    pub(super) fn backends(&self) -> &[BackendId] {
        &self.verdict.backends
    }

    /// Its UID.
    pub(super) fn uid(&self) -> &str {
        &self.verdict.version.uid
    }

    /// Another replica writes from now on: what this one wrote says nothing any more.
    pub(super) fn forget(&mut self) {
        self.written = None;
        self.pending = None;
        self.counted = None;
        self.past = Past::default();
        self.given_up = false;
        self.due = None;
    }

    /// What to do about the conditions of a `WebSocketRoute`.
    pub(super) fn route(
        &mut self,
        stored: &StoredRoute,
        version: &ObjectVersion,
        replicas: &[Replica],
        now: Instant,
        clock: &Time,
    ) -> Plan {
        let (base, echo) = self.base(stored, now);
        let generation = self.verdict.version.generation;
        if version.generation > generation {
            // A newer verdict is on its way, and a replica that knows it may have written. What is stored about a
            // generation that the object never had was meant for one of the same name: that is written over.
            return Plan::rest(None, echo);
        }
        if !self.verdict.ours {
            // Another install has another field manager: what this one wrote is its own to take back, whoever wrote
            // since.
            let write = stored.ours && !base.is_empty();
            return Plan::rest(write.then(|| Said::Route(RouteStatus::default())), echo);
        }
        let facts = Facts {
            version: &self.verdict.version,
            dead: dead(&self.verdict).map(|condition| &*condition.message),
            stored: base.condition(PROGRAMMED).map(|known| judge::Stored {
                generation: known.observed_generation,
                status: *known.status == *"True",
                reason: &known.reason,
                message: &known.message,
            }),
            since: self.since,
            replicas,
        };
        let outcome = judge::judge(facts, now);
        let write = outcome.judgement.and_then(|programmed| {
            let desired = RouteStatus::desired(&self.verdict, programmed, &base, clock);
            (!desired::same(&desired, &base)).then_some(Said::Route(desired))
        });
        Plan {
            write,
            again: [outcome.again, echo].into_iter().flatten().min(),
            settled: outcome.settled,
            foreign: false,
        }
    }

    /// What to do about the addresses of an Ingress.
    pub(super) fn ingress(
        &mut self,
        stored: &StoredIngress,
        want: &[Address],
        now: Instant,
    ) -> Plan {
        let handed_over = self.since + HANDOVER;
        if !self.verdict.ours && now < handed_over {
            return Plan::rest(None, Some(handed_over));
        }
        let new = self.claimed.as_mut().is_some_and(|(_, left)| {
            let left = left.get_or_insert_with(|| stored.addresses.clone());
            *left == stored.addresses
        });
        match ingress::step(self.verdict.ours, new, stored, want, &self.past, now) {
            Step::Nothing => Plan::rest(None, None),
            Step::Foreign => Plan {
                foreign: self.past.found_foreign(),
                ..Plan::rest(None, None)
            },
            Step::There => {
                self.claimed = None;
                self.past.saw(want, now);
                Plan::rest(None, None)
            }
            Step::Wait(until) => Plan::rest(None, Some(until)),
            Step::Apply(addresses) => Plan::rest(Some(Said::Ingress(addresses)), None),
        }
    }

    /// Takes counts as they are now; `None` for an object that is not ours. True: they are to be written.
    pub(super) fn count(
        &mut self,
        counts: Option<Counts>,
        stored: &StoredObject,
        active: Instant,
        now: Instant,
    ) -> bool {
        // Who wrote before this replica did so at some time that nobody knows.
        let known = matches!(&stored.status, StoredStatus::Route(route) if !Counts::stored(route).is_empty());
        let last = self.counted.or(known.then_some(active));
        let early = last.is_some_and(|last| now < last + counts::INTERVAL);
        self.pending = match counts {
            Some(_) if early => None,
            counts => Some(counts.unwrap_or_default()),
        };
        self.counts(stored).is_some()
    }

    /// The counts that are to be written.
    pub(super) fn counts(&self, stored: &StoredObject) -> Option<Counts> {
        let StoredStatus::Route(route) = &stored.status else {
            return None;
        };
        let (before, pending) = (Counts::stored(route), self.pending.as_ref()?);
        let ours = if pending.is_empty() {
            !self.verdict.ours && route.counted
        } else {
            self.verdict.ours
        };
        let write = ours && !self.given_up && *stored.version.uid == *self.uid();
        (write && counts::worth(&before, pending)).then(|| pending.clone())
    }

    /// It was written.
    pub(super) fn wrote(&mut self, said: Said, now: Instant) {
        match said {
            Said::Route(status) => self.written = Some(Box::new((status, now))),
            Said::Counts(_) => {
                self.counted = Some(now);
                self.pending = None;
            }
            Said::Ingress(addresses) => {
                self.claimed = None;
                self.past.saw(&addresses, now);
            }
        }
    }

    /// What is stored, or was just written; in the second case also until when that is believed.
    fn base(&mut self, stored: &StoredRoute, now: Instant) -> (RouteStatus, Option<Instant>) {
        let stored = RouteStatus::stored(stored);
        if let Some((written, at)) = self.written.as_deref()
            && now < *at + ECHO
            && !desired::same(written, &stored)
        {
            return (written.clone(), Some(*at + ECHO));
        }
        self.written = None;
        (stored, None)
    }
}

/// The condition that says that no rule can be served.
fn dead(verdict: &Verdict) -> Option<&Condition> {
    let mut conditions = verdict.conditions.iter();
    conditions.find(|known| known.type_ == PROGRAMMED && !known.status)
}
