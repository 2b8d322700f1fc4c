//! Which rules have series: made on first use, gone some time after the rule, never too many.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::{
    counts::Counts,
    route::{Labels, RouteMetrics},
};
use crate::ir;

/// How long the series of a removed rule stay after its last tunnel: several scrapes, so that the last numbers are seen.
pub(super) const LINGER: Duration = Duration::from_mins(10);

/// Above this many rules the label `rule` is dropped: one rule may have some 40 series, and Prometheus servers suffer
/// from a few hundred thousand.
pub(super) const MAX_RULES: usize = 2_000;

/// The label comes back only below this: a count that swings around the limit must not change the series each time.
const RULES_AGAIN: usize = MAX_RULES / 10 * 9;

/// Hard limit of rules or objects that have series of their own; the others share one set (`kind="other"`). Bounds the
/// memory (about 1 KiB each) and the size of an answer to a scrape.
pub(super) const MAX_SETS: usize = 5_000;

/// The series of all rules.
#[derive(Debug)]
pub(super) struct Routes {
    epoch: Instant,
    unrouted: Arc<RouteMetrics>,
    /// Used by everything that comes after the first `MAX_SETS`.
    other: Arc<RouteMetrics>,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The label `rule` is dropped.
    per_object: bool,
    full: bool,
    existing: Existing,
    rules: HashMap<ir::RouteId, Entry>,
    objects: HashMap<ir::ObjectId, Entry>,
}

#[derive(Debug)]
struct Entry {
    series: Arc<RouteMetrics>,
    /// Since when the rule or object does not exist any more.
    gone: Option<Instant>,
}

impl Routes {
    /// No series but those of unrouted requests.
    pub(super) fn new() -> Self {
        let epoch = Instant::now();
        Self {
            epoch,
            unrouted: RouteMetrics::new(Labels::nothing(""), epoch),
            other: RouteMetrics::new(Labels::nothing("other"), epoch),
            state: RwLock::default(),
        }
    }

    /// Series of requests that no route took.
    pub(super) fn unrouted(&self) -> Arc<RouteMetrics> {
        Arc::clone(&self.unrouted)
    }

    /// Series of a rule: one read of a map, unless it is its first use.
    pub(super) fn get(&self, id: &ir::RouteId) -> Arc<RouteMetrics> {
        if let Some(series) = self.state.read().find(id) {
            return series;
        }
        let mut state = self.state.write();
        if let Some(series) = state.find(id) {
            return series;
        }
        if state.len() >= MAX_SETS {
            state.sweep(Instant::now());
        }
        if state.len() >= MAX_SETS {
            if !state.full {
                state.full = true;
                tracing::warn!(
                    limit = MAX_SETS,
                    "too many routes for metrics: further ones are counted together as kind=\"other\""
                );
            }
            return Arc::clone(&self.other);
        }
        state.insert(id, self.epoch)
    }

    /// Tells which rules exist, all of them.
    pub(super) fn set_rules(&self, rules: &mut dyn Iterator<Item = &ir::RouteId>) {
        let rules: HashSet<&ir::RouteId> = rules.collect();
        let mut state = self.state.write();
        let known = &state.existing.rules;
        let removed = known.iter().filter(|id| !rules.contains(id));
        let removed: Vec<_> = removed.cloned().collect();
        let added = rules.into_iter().filter(|id| !known.contains(*id));
        let added: Vec<_> = added.cloned().collect();
        state.change(&added, &removed, self.epoch);
    }

    /// Tells which rules exist that did not, and the other way round.
    pub(super) fn change_rules(&self, added: &[ir::RouteId], removed: &[ir::RouteId]) {
        self.state.write().change(added, removed, self.epoch);
    }

    /// The numbers by label set, in order. Lets go of what has had its time.
    pub(super) fn collect(&self) -> BTreeMap<Labels, Counts> {
        let mut state = self.state.write();
        state.sweep(Instant::now());
        let per_object = state.per_object;
        let own = state.rules.values().chain(state.objects.values());
        let series: Vec<Arc<RouteMetrics>> = own.map(|entry| Arc::clone(&entry.series)).collect();
        drop(state);

        let mut sets: BTreeMap<Labels, Counts> = BTreeMap::new();
        for series in series.iter().chain([&self.unrouted, &self.other]) {
            let mut labels = series.labels().clone();
            if per_object {
                labels.rule = None;
            }
            sets.entry(labels).or_default().add(&series.snapshot());
        }
        sets
    }

    /// Time since the epoch of the counts.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// The rules that are served, whether they have series or not.
#[derive(Debug, Default)]
struct Existing {
    rules: HashSet<ir::RouteId>,
    /// Number of rules of each object.
    objects: HashMap<ir::ObjectId, usize>,
}

impl Existing {
    fn add(&mut self, id: &ir::RouteId) {
        if self.rules.insert(id.clone()) {
            *self.objects.entry(id.object.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, id: &ir::RouteId) {
        if self.rules.remove(id)
            && let Some(count) = self.objects.get_mut(&id.object)
        {
            *count -= 1;
            if *count == 0 {
                self.objects.remove(&id.object);
            }
        }
    }
}

impl State {
    fn change(&mut self, added: &[ir::RouteId], removed: &[ir::RouteId], epoch: Instant) {
        let now = Instant::now();
        for id in added {
            self.existing.add(id);
        }
        for id in removed {
            self.existing.remove(id);
        }
        self.choose_labels();
        for id in added.iter().chain(removed) {
            if let Some(entry) = self.rules.get_mut(id) {
                entry.exists(self.existing.rules.contains(id), now);
            }
            if let Some(entry) = self.objects.get_mut(&id.object) {
                entry.exists(self.existing.objects.contains_key(&id.object), now);
            }
        }
        if self.per_object {
            self.fold(epoch, now);
        }
        self.sweep(now);
    }

    fn find(&self, id: &ir::RouteId) -> Option<Arc<RouteMetrics>> {
        let entry = if self.per_object {
            self.objects.get(&id.object)
        } else {
            self.rules.get(id)
        };
        entry.map(|entry| Arc::clone(&entry.series))
    }

    fn insert(&mut self, id: &ir::RouteId, epoch: Instant) -> Arc<RouteMetrics> {
        let now = Instant::now();
        let entry = if self.per_object {
            let exists = self.existing.objects.contains_key(&id.object);
            let entry = self.objects.entry(id.object.clone());
            entry.or_insert_with(|| Entry::new(Labels::object(&id.object), epoch, exists, now))
        } else {
            // A tunnel may outlive its rule.
            let exists = self.existing.rules.contains(id);
            let entry = self.rules.entry(id.clone());
            entry.or_insert_with(|| Entry::new(Labels::rule(id), epoch, exists, now))
        };
        Arc::clone(&entry.series)
    }

    fn len(&self) -> usize {
        self.rules.len() + self.objects.len()
    }

    /// Drops the label `rule`, or takes it back.
    fn choose_labels(&mut self) {
        let rules = self.existing.rules.len();
        if !self.per_object && rules > MAX_RULES {
            self.per_object = true;
            tracing::warn!(
                rules,
                limit = MAX_RULES,
                "too many rules for metrics: the label `rule` is dropped, the rules of an object are counted together"
            );
        } else if self.per_object && rules <= RULES_AGAIN {
            self.per_object = false;
            tracing::info!(rules, "metrics have the label `rule` again");
        }
    }

    /// Moves the numbers of rules that nobody holds to their object, so that its counters do not fall when a rule goes.
    fn fold(&mut self, epoch: Instant, now: Instant) {
        let (objects, existing) = (&mut self.objects, &self.existing.objects);
        self.rules.retain(|id, entry| {
            if entry.is_held() {
                return true;
            }
            let object = objects.entry(id.object.clone()).or_insert_with(|| {
                let exists = existing.contains_key(&id.object);
                Entry::new(Labels::object(&id.object), epoch, exists, now)
            });
            object.series.absorb(&entry.series);
            false
        });
    }

    /// Lets go of what was removed long enough ago.
    fn sweep(&mut self, now: Instant) {
        self.rules.retain(|_, entry| !entry.is_over(now));
        self.objects.retain(|_, entry| !entry.is_over(now));
        self.full = self.full && self.len() >= MAX_SETS;
    }
}

impl Entry {
    fn new(labels: Labels, epoch: Instant, exists: bool, now: Instant) -> Self {
        Self {
            series: RouteMetrics::new(labels, epoch),
            gone: (!exists).then_some(now),
        }
    }

    fn exists(&mut self, exists: bool, now: Instant) {
        self.gone = if exists {
            None
        } else {
            self.gone.or(Some(now))
        };
    }

    /// A request or tunnel still counts here. New holders need the lock of the map.
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.series) > 1
    }

    fn is_over(&self, now: Instant) -> bool {
        let Some(gone) = self.gone else { return false };
        if self.is_held() {
            return false;
        }
        let last = self.series.last_end().map_or(gone, |end| end.max(gone));
        now.duration_since(last) >= LINGER
    }
}
