//! Changes of objects -> translate -> compile -> publish, in one place for every source.

mod recover;
mod verdicts;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, error};

use crate::{
    api::{ObjectKey, Problem},
    ir, table, telemetry,
    translate::{self, Prepared, Translator, Verdict},
    upstream,
};

pub use verdicts::{Moves, Verdicts};

/// The live table of the process.
pub type Live = table::Handle<Arc<upstream::Backend>>;

/// Turns changes of objects into live tables. Has one caller at a time.
pub struct Rebuild {
    /// Where tables go.
    pub live: Arc<Live>,
    /// Where endpoints go.
    pub backends: Arc<upstream::Registry>,
    /// Metrics.
    pub metrics: Arc<telemetry::metrics::Metrics>,
    /// The verdicts of the live table, for the admin API.
    pub verdicts: Arc<Verdicts>,
    options: translate::Options,
    translator: Translator,
    refused: BTreeMap<ObjectKey, Refusal>,
    /// What is live is what the translator says; not so after a failure.
    in_step: bool,
}

/// The newest version of an object, which cannot be used.
#[derive(Debug)]
struct Refusal {
    version: ir::ObjectVersion,
    problems: Vec<Problem>,
    /// No version of it could be read yet: what stands in for it serves nothing.
    bare: bool,
}

/// What happened to objects since the last time. The first one of a source is complete: it makes the first
/// table.
#[derive(Debug)]
pub struct Changes {
    /// Objects that are not what they were. Of two changes of an object the later one counts.
    pub objects: Vec<(ObjectKey, Change)>,
    /// When the first event of the batch came.
    pub since: Instant,
}

/// What happened to an object.
#[derive(Debug)]
pub enum Change {
    /// It is this now.
    Set(Prepared),
    /// Its newest version cannot be read; the last one that could stays live.
    Refused {
        /// The version that is refused.
        version: ir::ObjectVersion,
        /// What is wrong with it.
        problems: Vec<Problem>,
        /// The object without rules, where its class could be read: it tells whose the object is if no version of it
        /// could be read yet.
        bare: Option<Prepared>,
    },
    /// It is gone.
    Gone,
}

impl Rebuild {
    /// Without objects.
    pub fn new(
        live: Arc<Live>,
        backends: Arc<upstream::Registry>,
        metrics: Arc<telemetry::metrics::Metrics>,
        options: translate::Options,
        verdicts: Arc<Verdicts>,
    ) -> Self {
        Self {
            live,
            backends,
            metrics,
            verdicts,
            translator: Translator::new(options.clone()),
            options,
            refused: BTreeMap::new(),
            in_step: true,
        }
    }

    /// Number of objects whose newest version cannot be used.
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Makes these changes live. Returns when they are; takes milliseconds of processor time, so no async task
    /// may call it directly.
    ///
    /// Endpoints and verdicts follow every change, the table only one that makes it do anything different.
    ///
    /// False: Hawser failed, and the changes may be lost.
    #[must_use]
    pub fn apply(&mut self, changes: Changes) -> bool {
        let count = changes.objects.len();
        let done = catch_unwind(AssertUnwindSafe(|| self.take(changes)));
        if done.is_err() {
            self.metrics.source().failed();
            error!(
                "{count} changes made Hawser fail; the last table stays live until the next change. Please report it"
            );
        }
        done.is_ok()
    }

    fn take(&mut self, changes: Changes) {
        let started = Instant::now();
        let in_step = std::mem::replace(&mut self.in_step, false);
        let count = changes.objects.len();
        let (batch, told) = self.sort(changes.objects);
        let moved = self.moved(&batch);
        let (published, propagation) = match self.advance(&batch) {
            Some(delta) if in_step => {
                self.verdicts.give_away(&moved, &delta.verdicts);
                let done = self.publish(&delta.config, started, changes.since);
                self.tell(told, delta.verdicts);
                done
            }
            _ => {
                let done = self.publish_all(started, changes.since);
                self.tell_all();
                done
            }
        };
        self.in_step = true;
        self.metrics.table_hash(self.verdicts.print());
        debug!(
            changes = count,
            generation = self.live.load().generation(),
            published,
            propagation_seconds = propagation.as_secs_f64(),
            took = ?started.elapsed(),
            "changes are live"
        );
    }

    /// The objects that name another class than before.
    fn moved(&self, batch: &[(ObjectKey, Option<Prepared>)]) -> Vec<ObjectKey> {
        let moved = batch.iter().filter(|(key, new)| {
            let old = self.translator.get(key);
            let both = old.as_ref().zip(new.as_ref());
            both.is_some_and(|(old, new)| new.names_another_class_than(old))
        });
        moved.map(|(key, _)| key.clone()).collect()
    }

    /// Takes note of refusals. Returns what translation must know, and the objects that are refused now or were.
    fn sort(
        &mut self,
        changes: Vec<(ObjectKey, Change)>,
    ) -> (Vec<(ObjectKey, Option<Prepared>)>, BTreeSet<ObjectKey>) {
        let mut batch = Vec::with_capacity(changes.len());
        let mut told = BTreeSet::new();
        for (key, change) in changes {
            let before = match change {
                Change::Refused {
                    version,
                    problems,
                    bare,
                } => {
                    told.insert(key.clone());
                    let known = match self.refused.get(&key) {
                        Some(before) => !before.bare,
                        None => self.translator.get(&key).is_some(),
                    };
                    let bare = bare.filter(|_| !known);
                    let refusal = Refusal {
                        version,
                        problems,
                        bare: bare.is_some(),
                    };
                    self.refused.insert(key.clone(), refusal);
                    batch.extend(bare.map(|bare| (key, Some(bare))));
                    continue;
                }
                Change::Set(_) | Change::Gone => self.refused.remove(&key),
            };
            if before.is_some() {
                told.insert(key.clone());
            }
            batch.push(match change {
                Change::Set(prepared) => (key, Some(prepared)),
                _ => (key, None),
            });
        }
        (batch, told)
    }

    /// Makes live what is different. Returns whether there is a new table, and how long after `since` it was live.
    fn publish(&self, delta: &ir::Delta, started: Instant, since: Instant) -> (bool, Duration) {
        let live = self.live.load_full();
        // The first table is one even if it has no routes: it says that the source is complete.
        let changed = live.generation() == 0 || delta.changes_table();
        let named = delta.backends.iter();
        let named = named.filter_map(|(id, backend)| Some((id, backend.as_ref()?)));
        // New routes have their endpoints when they go live, and those that go still have theirs until then.
        self.backends.set(named);
        if changed {
            let table = live.change(delta, |id| self.backends.backend(id));
            self.go_live(table, started);
        }
        // From here on nobody waits.
        let propagation = since.elapsed();
        self.metrics.propagation(propagation);
        let backends = delta.backends.iter();
        let left = backends.filter(|(_, backend)| backend.is_none());
        let exists = |id: &ir::BackendId| self.translator.has_service(id);
        self.backends.release(left.map(|(id, _)| id), exists);
        self.metrics.change_rules(&delta.added, &delta.removed);
        (changed, propagation)
    }

    /// The same for everything, whatever is live.
    fn publish_all(&self, started: Instant, since: Instant) -> (bool, Duration) {
        let live = self.live.load_full();
        let config = self.translator.config();
        let changed = live.generation() == 0 || !live.serves(&config);
        self.backends.set(&config.backends);
        if changed {
            let table = live.next(&config, |id| self.backends.backend(id));
            self.go_live(table, started);
        }
        let propagation = since.elapsed();
        self.metrics.propagation(propagation);
        let exists = |id: &ir::BackendId| self.translator.has_service(id);
        self.backends.apply(&config.backends, exists);
        let live = self.live.load_full();
        self.metrics
            .set_rules(&mut live.routes().map(|entry| &entry.route.rule.id));
        (changed, propagation)
    }

    fn go_live(&self, table: table::Table<Arc<upstream::Backend>>, started: Instant) {
        let generation = table.generation();
        self.live.publish(table);
        let counts = self.translator.counts();
        self.metrics.table(generation, started.elapsed(), &counts);
    }

    /// Tells the verdicts that may be others now. `also`: objects that are refused, or were.
    fn tell(
        &self,
        also: BTreeSet<ObjectKey>,
        mut translated: BTreeMap<ObjectKey, Option<Verdict>>,
    ) {
        for key in also {
            if let Entry::Vacant(place) = translated.entry(key) {
                let verdict = self.translator.verdict_of(place.key());
                place.insert(verdict);
            }
        }
        let verdicts = translated.into_iter().map(|(key, verdict)| {
            let verdict = verdicts::complete(&key, verdict, self.refused.get(&key));
            (key, verdict)
        });
        self.verdicts.replace(verdicts);
    }

    /// The same for all objects.
    fn tell_all(&self) {
        let known = self.verdicts.list();
        let mut verdicts: BTreeMap<_, _> = known
            .iter()
            .map(|verdict| (verdict.object.clone(), None))
            .collect();
        let translated = self.translator.verdicts().into_iter();
        verdicts.extend(translated.map(|verdict| (verdict.object.clone(), Some(verdict))));
        self.tell(self.refused.keys().cloned().collect(), verdicts);
    }
}

#[cfg(test)]
mod tests;
