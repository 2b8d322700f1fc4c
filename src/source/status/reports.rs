//! Every object with what was reported about it, and what is to be reported now.
//!
//! No input or output happens here: it is told what happened and asked what to write.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use hashbrown::{HashMap, HashSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;
use tracing::info;

use super::{
    counts::{Counts, Endpoints, Heard},
    entry::{Entry, Plan, Said},
    places::Places,
    queue::{Lane, Next, Queue},
    writer::{self, Answer, Write},
};
use crate::{
    api::ObjectKey,
    ir,
    source::{
        cluster::{Address, Observed, StoredObject, StoredStatus},
        peers::View,
        rebuild::Moves,
    },
};

/// Objects that are looked at before others get the thread.
const BATCH: usize = 256;

/// Ingresses with addresses of somebody else that are named in the log in one term.
const MAX_NAMED: usize = 10;

/// How long nothing is tried where Hawser has no right to write: at first short, for an API server that has just
/// started knows no roles and refuses everything.
const FORBIDDEN: Duration = Duration::from_secs(1);
const LONGEST_FORBIDDEN: Duration = Duration::from_mins(1);

/// When an object is looked at again that waits for another one of its namespace.
const BEHIND: Duration = Duration::from_secs(1);

/// All objects.
pub(super) struct Reports {
    observed: Arc<Observed>,
    entries: HashMap<ObjectKey, Entry>,
    /// Objects to look at.
    dirty: VecDeque<ObjectKey>,
    is_dirty: HashSet<ObjectKey>,
    /// Objects that the other replicas can still change.
    open: HashSet<ObjectKey>,
    /// Objects to look at later.
    due: BTreeSet<(Instant, ObjectKey)>,
    queue: Queue,
    /// Since when this replica writes.
    active: Option<Instant>,
    seen: u64,
    view: Arc<View>,
    heard: Heard,
    addresses: Option<Arc<[Address]>>,
    /// Kinds and namespaces where Hawser may not write, until then.
    forbidden: HashMap<(String, String), Forbidden>,
    /// Ingresses with addresses of somebody else in this term.
    foreign: usize,
    /// Writes under way.
    places: Places,
}

/// A kind and namespace where Hawser may not write.
#[derive(Debug, Clone, Copy)]
struct Forbidden {
    until: Instant,
    wait: Duration,
}

/// A write that is under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    /// Its lane.
    pub(super) lane: Lane,
    /// What is sent.
    pub(super) write: Write,
    said: Said,
}

impl Reports {
    /// Knows nothing and writes nothing.
    pub(super) fn new(observed: Arc<Observed>, now: Instant) -> Self {
        Self {
            observed,
            entries: HashMap::new(),
            dirty: VecDeque::new(),
            is_dirty: HashSet::new(),
            open: HashSet::new(),
            due: BTreeSet::new(),
            queue: Queue::new(now),
            active: None,
            seen: 0,
            view: Arc::default(),
            heard: Heard::default(),
            addresses: None,
            forbidden: HashMap::new(),
            foreign: 0,
            places: Places::default(),
        }
    }

    /// Verdicts changed. Taken also by those who do not write, so that a new leader knows what was served.
    pub(super) fn verdicts(&mut self, moves: Moves, now: Instant) {
        if moves.complete {
            let there: HashSet<&ObjectKey> = moves.changed.iter().map(|v| &v.object).collect();
            self.entries.retain(|key, _| there.contains(key));
            self.open.retain(|key| there.contains(key));
        }
        for (key, _) in moves.gone {
            self.entries.remove(&key);
            self.open.remove(&key);
        }
        for verdict in moves.changed {
            let key = verdict.object.clone();
            match self.entries.get_mut(&key) {
                Some(entry) => entry.verdict(verdict, now),
                None => {
                    self.entries.insert(key.clone(), Entry::new(verdict, now));
                }
            }
            self.mark(key);
        }
    }

    /// Stored objects changed.
    pub(super) fn stored(&mut self) {
        if self.active.is_none() {
            return;
        }
        let (cursor, changed) = self.observed.after(self.seen);
        self.seen = cursor;
        for key in changed {
            if let Some(entry) = self.entries.get_mut(&*key) {
                entry.given_up = false;
                self.mark(ObjectKey::clone(&key));
            }
        }
    }

    /// Whether this replica leads, and what it knows of the others.
    pub(super) fn standing(&mut self, leader: bool, view: Arc<View>, now: Instant) {
        let news = !Arc::ptr_eq(&self.view, &view);
        let active = leader && view.complete;
        self.view = view;
        match self.active {
            Some(_) if !active => self.stop(now),
            None if active => self.start(now),
            Some(_) if news => {
                for key in self.open.clone() {
                    self.mark(key);
                }
            }
            _ => return,
        }
        if self.active.is_some() {
            self.heard.take(&self.view, now);
        }
    }

    /// The addresses to publish.
    pub(super) fn addresses(&mut self, addresses: Option<Arc<[Address]>>) {
        self.addresses = addresses;
        let ingresses = self.entries.keys().filter(|key| key.kind == "Ingress");
        for key in ingresses.cloned().collect::<Vec<_>>() {
            self.mark(key);
        }
    }

    /// Counts as they are now: `own` are the connections of this process.
    pub(super) fn count(
        &mut self,
        endpoints: &Endpoints,
        own: &HashMap<ir::ObjectId, u64>,
        now: Instant,
    ) {
        let Some(since) = self.active else { return };
        let total = self.heard.expire(now);
        let own: HashMap<(&str, &str), u64> = own
            .iter()
            .filter(|(id, _)| id.kind == ir::RouteKind::WebSocketRoute)
            .map(|(id, count)| ((&*id.namespace, &*id.name), *count))
            .collect();
        for (key, entry) in &mut self.entries {
            if key.kind != "WebSocketRoute" {
                continue;
            }
            let Some(stored) = self.observed.get(key) else {
                continue;
            };
            let counts = entry.is_ours().then(|| {
                let own = own.get(&(&*key.namespace, &*key.name)).copied();
                let all = own.unwrap_or(0) + self.heard.connections(key);
                Counts {
                    endpoints: Some(endpoints.count(entry.backends())),
                    connections: Some(i64::try_from(all).unwrap_or(i64::MAX)),
                }
            });
            if counts.is_some() && !total {
                continue;
            }
            if entry.count(counts, &stored, since, now) {
                self.queue.push(Lane::Counts, key);
            }
        }
    }

    /// Looks at some of the objects that changed. True: there are more.
    pub(super) fn look(&mut self, now: Instant, clock: &Time) -> bool {
        if self.active.is_none() {
            return false;
        }
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.due.pop_first() {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.due = None;
                }
                self.mark(key);
            }
        }
        for _ in 0..BATCH {
            let Some(key) = self.dirty.pop_front() else {
                // A start looks at everything; the room for that is not needed again.
                self.dirty.shrink_to(BATCH);
                self.is_dirty.shrink_to(BATCH);
                return false;
            };
            self.is_dirty.remove(&key);
            if self.plan(&key, now, clock).is_some() {
                self.queue.push(lane(&key), &key);
            }
        }
        !self.dirty.is_empty()
    }

    /// The next write.
    pub(super) fn next(&mut self, now: Instant, clock: &Time) -> Option<Task> {
        self.active?;
        loop {
            let (lane, key) = self.queue.pop(now)?;
            let place = (key.kind.clone(), key.namespace.clone());
            if let Some(Forbidden { until, .. }) = self.forbidden.get(&place).copied()
                && now < until
            {
                self.queue.refund(lane);
                self.queue.finish(lane, &key, Next::At(until), now);
                continue;
            }
            if !self.places.has_room(&key.namespace) {
                self.queue.refund(lane);
                self.queue.finish(lane, &key, Next::At(now + BEHIND), now);
                continue;
            }
            let planned = match lane {
                Lane::Conditions | Lane::Addresses => self.plan(&key, now, clock),
                Lane::Counts => self.planned_counts(&key),
            };
            let stored = self.observed.get(&key);
            let Some(((uid, said), stored)) = planned.zip(stored) else {
                self.queue.refund(lane);
                self.queue.finish(lane, &key, Next::Done, now);
                continue;
            };
            let write = Write {
                object: key,
                uid,
                resource_version: stored.resource_version.clone(),
                manager: writer::manager(lane),
                status: said.body(),
            };
            self.places.take(&write.object.namespace);
            return Some(Task { lane, write, said });
        }
    }

    /// A write is over.
    pub(super) fn done(&mut self, task: Task, answer: &Answer, now: Instant) {
        let Task { lane, write, said } = task;
        let key = write.object;
        let entry = self.entries.get_mut(&key);
        let entry = entry.filter(|entry| entry.uid() == write.uid);
        let went = match answer {
            Answer::Down(_) | Answer::Throttled(_) => None,
            answer => Some(!matches!(answer, Answer::Failed(_))),
        };
        self.places.give_back(&key.namespace, went);
        if went == Some(true) {
            self.queue.recovered();
        }
        let next = match answer {
            Answer::Done => {
                if let Some(entry) = entry {
                    entry.wrote(said, now);
                }
                if !self.forbidden.is_empty() {
                    self.forbidden
                        .remove(&(key.kind.clone(), key.namespace.clone()));
                }
                Next::Done
            }
            Answer::Gone | Answer::Invalid(_) => {
                if let Some(entry) = entry {
                    entry.given_up = true;
                }
                Next::Done
            }
            Answer::Conflict | Answer::Failed(_) => Next::Retry,
            Answer::Forbidden(_) => {
                let place = (key.kind.clone(), key.namespace.clone());
                let known = self.forbidden.get(&place).copied();
                // Writes that were under way together are one attempt.
                let forbidden = known.filter(|known| now < known.until).unwrap_or_else(|| {
                    let wait =
                        known.map_or(FORBIDDEN, |known| (known.wait * 2).min(LONGEST_FORBIDDEN));
                    Forbidden {
                        until: now + wait,
                        wait,
                    }
                });
                self.forbidden.insert(place, forbidden);
                Next::At(forbidden.until)
            }
            Answer::Throttled(wait) => {
                self.queue.pause(*wait, now);
                Next::At(now)
            }
            Answer::Down(_) => {
                self.queue.pause(None, now);
                Next::Retry
            }
        };
        self.queue.finish(lane, &key, next, now);
    }

    /// When there is something to do, if nothing else happens. `busy`: nothing more can be written at the moment.
    pub(super) fn wake(&self, busy: bool) -> Option<Instant> {
        self.active?;
        let due = self.due.first().map(|(at, _)| *at);
        let queue = if busy { None } else { self.queue.wake() };
        [due, queue].into_iter().flatten().min()
    }

    /// Objects in a lane.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.queue.len(lane)
    }

    /// Whether this replica writes.
    pub(super) fn active(&self) -> bool {
        self.active.is_some()
    }

    fn start(&mut self, now: Instant) {
        self.active = Some(now);
        self.heard = Heard::default();
        self.foreign = 0;
        self.entries.values_mut().for_each(|entry| entry.lead(now));
        (self.seen, _) = self.observed.after(u64::MAX);
        for key in self.entries.keys().cloned().collect::<Vec<_>>() {
            self.mark(key);
        }
    }

    fn stop(&mut self, now: Instant) {
        self.active = None;
        self.queue.clear(now);
        self.dirty.clear();
        self.is_dirty.clear();
        self.open.clear();
        self.due.clear();
        self.forbidden.clear();
        self.places = Places::default();
        for entry in self.entries.values_mut() {
            entry.forget();
        }
    }

    fn mark(&mut self, key: ObjectKey) {
        if self.active.is_some() && self.is_dirty.insert(key.clone()) {
            self.dirty.push_back(key);
        }
    }

    /// What to write about an object, as far as the manager `hawser` goes, and its UID.
    fn plan(&mut self, key: &ObjectKey, now: Instant, clock: &Time) -> Option<(String, Said)> {
        let entry = self.entries.get_mut(key)?;
        let stored = current(&self.observed, key, entry)?;
        let plan = match &stored.status {
            StoredStatus::Route(route) => {
                entry.route(route, &stored.version, &self.view.replicas, now, clock)
            }
            StoredStatus::Ingress(ingress) => {
                let addresses = self.addresses.as_deref()?;
                entry.ingress(ingress, addresses, now)
            }
        };
        let Plan {
            write,
            again,
            settled,
            foreign,
        } = plan;
        if settled {
            self.open.remove(key);
        } else if !self.open.contains(key) {
            self.open.insert(key.clone());
        }
        if foreign {
            self.foreign += 1;
            if self.foreign <= MAX_NAMED {
                info!(
                    object = %key,
                    "has addresses that another controller wrote: they stay; empty status.loadBalancer to have Hawser's"
                );
            }
        }
        if entry.due != again {
            if let Some(before) = entry.due {
                self.due.remove(&(before, key.clone()));
            }
            self.due.extend(again.map(|at| (at, key.clone())));
            entry.due = again;
        }
        Some((entry.uid().to_owned(), write?))
    }

    fn planned_counts(&self, key: &ObjectKey) -> Option<(String, Said)> {
        let entry = self.entries.get(key)?;
        let stored = current(&self.observed, key, entry)?;
        let counts = entry.counts(&stored)?;
        Some((entry.uid().to_owned(), Said::Counts(counts)))
    }
}

/// Where what the manager `hawser` says about an object waits.
fn lane(key: &ObjectKey) -> Lane {
    if key.kind == "Ingress" {
        Lane::Addresses
    } else {
        Lane::Conditions
    }
}

/// The object as it is stored, if that is the one that the verdict is about.
fn current(observed: &Observed, key: &ObjectKey, entry: &Entry) -> Option<Arc<StoredObject>> {
    let stored = observed.get(key)?;
    let same = *stored.version.uid == *entry.uid() && !stored.version.uid.is_empty();
    (same && !entry.given_up).then_some(stored)
}

#[cfg(test)]
mod tests;
