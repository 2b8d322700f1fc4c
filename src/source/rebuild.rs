//! Objects -> translate -> compile -> publish, in one place for every source.

mod verdicts;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::time::Instant;
use tracing::{debug, error};

use crate::{
    api::{ObjectKey, Problem},
    ir, table, telemetry, translate, upstream,
};

pub use verdicts::Verdicts;

/// The live table of the process.
pub type Live = table::Handle<Arc<upstream::Backend>>;

/// Turns sets of objects into live tables. Has one caller at a time.
pub struct Rebuild {
    /// Where tables go.
    pub live: Arc<Live>,
    /// Where endpoints go.
    pub backends: Arc<upstream::Registry>,
    /// Metrics.
    pub metrics: Arc<telemetry::metrics::Metrics>,
    /// What to translate with.
    pub options: translate::Options,
    /// The verdicts of the live table, for the admin API.
    pub verdicts: Arc<Verdicts>,
}

/// A complete set of objects.
#[derive(Debug)]
pub struct Update<'a> {
    /// Every object once.
    pub objects: Vec<(&'a ObjectKey, &'a translate::Prepared)>,
    /// Objects whose newest version the schema refuses.
    pub refused: Vec<Refused<'a>>,
    /// How many files or objects are broken.
    pub broken: usize,
    /// When the first event of the batch came.
    pub since: Instant,
}

/// An object whose newest version the schema refuses.
#[derive(Debug)]
pub struct Refused<'a> {
    /// The object.
    pub object: &'a ObjectKey,
    /// What is wrong.
    pub problems: &'a [Problem],
    /// Its last good version is among the objects.
    pub kept: bool,
}

impl Rebuild {
    /// Makes these objects live. Returns when they are; takes milliseconds of processor time, so no async task
    /// may call it directly.
    ///
    /// Endpoints and verdicts are replaced every time, the table only when it would do anything different. A
    /// failure of Hawser in here leaves everything as it was.
    pub fn apply(&self, update: &Update<'_>) {
        self.metrics.source_errors(update.broken);
        let done = catch_unwind(AssertUnwindSafe(|| {
            let started = Instant::now();
            let prepared = update.objects.iter().map(|(_, prepared)| *prepared);
            let output = translate::translate(prepared, &self.options);
            let published = self.publish(&output.config, started, update);
            self.verdicts.replace(output.verdicts, &update.refused);
            debug!(
                objects = update.objects.len(),
                generation = self.live.load().generation(),
                published,
                took = ?started.elapsed(),
                "objects are live"
            );
        }));
        if done.is_err() {
            error!(
                "translating {} objects failed unexpectedly; the last table stays live",
                update.objects.len()
            );
        }
    }

    /// Whether there is a new table.
    fn publish(&self, config: &ir::Config, started: Instant, update: &Update<'_>) -> bool {
        let live = self.live.load_full();
        // The first table is one even if it has no routes: it says that the source is complete.
        let changed = live.generation() == 0 || !live.serves(config);
        if changed {
            // New routes have their endpoints when they go live, and those that go still have theirs until then.
            let table = live.next(config, |id| {
                let backend = self.backends.backend(id);
                if backend.endpoints().is_empty()
                    && let Some(new) = config.backends.get(id)
                {
                    backend.set_endpoints(&new.endpoints);
                }
                backend
            });
            let generation = table.generation();
            self.live.publish(table);
            // From here on nobody waits: routes are live.
            self.metrics
                .table(generation, started.elapsed(), &kinds(update));
            self.metrics.propagation(update.since.elapsed());
            let table = self.live.load_full();
            self.metrics
                .set_rules(&mut table.routes().map(|entry| &entry.route.rule.id));
        }
        self.backends.apply(&config.backends);
        if !changed {
            self.metrics.propagation(update.since.elapsed());
        }
        changed
    }
}

/// Number of objects of each kind.
fn kinds(update: &Update<'_>) -> Vec<(&'static str, usize)> {
    let mut counts = BTreeMap::from(
        [
            "EndpointSlice",
            "Ingress",
            "IngressClass",
            "Service",
            "WebSocketRoute",
        ]
        .map(|kind| (kind, 0)),
    );
    for (key, _) in &update.objects {
        if let Some(count) = counts.get_mut(&*key.kind) {
            *count += 1;
        }
    }
    counts.into_iter().collect()
}

#[cfg(test)]
mod tests;
