//! From what watches tell to what is live: one place, one thing at a time.
//!
//! Decoding and translating takes processor time, so it happens on a thread for blocking work, and what comes
//! meanwhile waits in a bounded queue, which slows the watches down.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::RandomState,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    Observed, StoredObject,
    decode::decode,
    kind::Kind,
    known::Known,
    managers::Managers,
    raw::Raw,
    stored,
    watch::{Signal, What},
};
use crate::{
    api::ObjectKey,
    source::rebuild::{Change, Changes, Rebuild},
    telemetry::metrics::Metrics,
};

/// Signals that wait.
pub(super) const QUEUE: usize = 32;

/// Changes come in groups (`kubectl apply -f`, a rollout): a table is built when none has come for this long,
const QUIET: Duration = Duration::from_millis(2);

/// and at the latest after this.
const HOLDOFF: Duration = Duration::from_millis(10);

/// After a failure of Hawser itself everything is listed anew: after this time, doubled with each one that follows.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
const LONGEST_AFTER_FAILURE: Duration = Duration::from_mins(5);

/// Objects of one batch; more wait for the next one.
const BATCH: usize = 2_000;

/// Where changes go.
pub(super) trait Sink: Send + 'static {
    /// Makes them live. False: they may be lost.
    fn apply(&mut self, changes: Changes) -> bool;
}

impl Sink for Rebuild {
    fn apply(&mut self, changes: Changes) -> bool {
        let done = Self::apply(self, changes);
        self.metrics.source_errors(self.refused());
        done
    }
}

/// What one watch is about.
pub(super) struct Part {
    pub(super) kind: Kind,
    /// `None`: all, or none.
    pub(super) namespace: Option<String>,
    pub(super) known: Known<Change>,
    /// Asks it for a new list.
    pub(super) relist: Arc<Notify>,
}

/// All that is known, and what is not live yet.
pub(super) struct Feed<S> {
    parts: Vec<Part>,
    sink: S,
    observed: Arc<Observed>,
    metrics: Arc<Metrics>,
    guard: Duration,
    managers: Managers,
    prints: RandomState,
    pending: BTreeMap<ObjectKey, Change>,
    stored: BTreeMap<ObjectKey, Option<StoredObject>>,
    refused: BTreeSet<ObjectKey>,
    since: Option<Instant>,
    started: bool,
    /// Failures of Hawser itself, since something last went well.
    failures: u32,
}

/// Runs until `stop`.
pub(super) async fn run<S: Sink>(
    mut feed: Feed<S>,
    mut signals: mpsc::Receiver<Signal>,
    stop: CancellationToken,
) {
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return,
            batch = gather(&mut signals, feed.next()) => batch,
        };
        feed.ask(Instant::now());
        if batch.is_empty() {
            continue;
        }
        let work = tokio::task::spawn_blocking(move || {
            feed.guarded(batch);
            feed
        });
        match work.await {
            Ok(back) => feed = back,
            // Only while the runtime ends.
            Err(_) => return stop.cancelled().await,
        }
    }
}

/// Waits for a signal, or until `due`, then for those that come right behind it.
async fn gather(signals: &mut mpsc::Receiver<Signal>, due: Option<Instant>) -> Vec<Signal> {
    let first = tokio::select! {
        first = signals.recv() => first,
        () = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        } => None,
    };
    let Some(first) = first else {
        return Vec::new();
    };
    let last = Instant::now() + HOLDOFF;
    let mut objects = first.what.objects();
    let mut batch = vec![first];
    while objects < BATCH {
        let until = last.min(Instant::now() + QUIET);
        let Ok(Some(next)) = timeout_at(until, signals.recv()).await else {
            break;
        };
        objects += next.what.objects();
        batch.push(next);
    }
    batch
}

impl<S: Sink> Feed<S> {
    pub(super) fn new(
        parts: Vec<Part>,
        sink: S,
        observed: Arc<Observed>,
        metrics: Arc<Metrics>,
        guard: Duration,
        managers: Managers,
    ) -> Self {
        Self {
            parts,
            sink,
            observed,
            metrics,
            guard,
            managers,
            prints: RandomState::new(),
            pending: BTreeMap::new(),
            stored: BTreeMap::new(),
            refused: BTreeSet::new(),
            since: None,
            started: false,
            failures: 0,
        }
    }

    /// When [`Feed::ask`] has something to do.
    fn next(&self) -> Option<Instant> {
        self.parts.iter().filter_map(|part| part.known.ask()).min()
    }

    /// Asks for the lists that are due.
    fn ask(&mut self, now: Instant) {
        for part in &mut self.parts {
            if part.known.take_ask(now) {
                part.relist.notify_one();
            }
        }
    }

    /// As [`Feed::take`]. What a single object does is caught where it is decoded; this is for all else.
    fn guarded(&mut self, batch: Vec<Signal>) {
        if catch_unwind(AssertUnwindSafe(|| self.take(batch))).is_ok() {
            return;
        }
        error!("a change failed unexpectedly; what is live stays. Please report it");
        self.metrics.source().failed();
        self.lost();
    }

    /// Pages, events and ends of lists may be lost, and changes that are marked as known: nothing is, any more.
    fn lost(&mut self) {
        self.prints = RandomState::new();
        let pause = AFTER_FAILURE.saturating_mul(2_u32.saturating_pow(self.failures));
        let pause = pause.min(LONGEST_AFTER_FAILURE);
        self.failures = self.failures.saturating_add(1);
        warn!("everything is listed anew in {pause:?}");
        let again = Instant::now() + pause;
        for part in &mut self.parts {
            part.known.lost(again);
        }
    }

    /// Takes what watches told, and makes it live if every kind has been listed completely.
    fn take(&mut self, signals: Vec<Signal>) {
        // That a list is asked for again says nothing about objects.
        if signals
            .iter()
            .any(|signal| !matches!(signal.what, What::Begin))
        {
            self.metrics.source_event();
        }
        for signal in signals {
            self.signal(signal);
        }
        let stored = std::mem::take(&mut self.stored);
        if !stored.is_empty() {
            self.observed.apply(stored);
        }
        if !self.started && !self.parts.iter().all(|part| part.known.is_complete()) {
            return;
        }
        if self.started && self.pending.is_empty() {
            self.since = None;
            return;
        }
        self.started = true;
        self.tell_refused();
        let gone = self.pending.iter();
        let gone = gone.filter(|(_, change)| matches!(change, Change::Gone));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        let changes = Changes {
            objects: std::mem::take(&mut self.pending).into_iter().collect(),
            since: self.since.take().unwrap_or_else(Instant::now),
        };
        if self.sink.apply(changes) {
            self.failures = 0;
            return;
        }
        // No list tells again of what is gone.
        self.pending
            .extend(gone.into_iter().map(|key| (key, Change::Gone)));
        self.lost();
    }

    fn signal(&mut self, signal: Signal) {
        let Signal {
            watch,
            at,
            what,
            place: _place,
        } = signal;
        let Some(kind) = self.parts.get(watch).map(|part| part.kind) else {
            return;
        };
        match what {
            What::Begin => self.with(watch, |known| known.begin(at)),
            What::Page(objects) => {
                for object in objects {
                    self.object(watch, kind, object, at, true);
                }
            }
            What::End => self.end(watch, kind, at),
            What::Nothing => {
                self.with(watch, |known| known.begin(at));
                self.end(watch, kind, at);
            }
            What::Set(object) => self.object(watch, kind, *object, at, false),
            What::Deleted(object) => {
                let key = object.key(kind);
                let mut was_known = false;
                self.with(watch, |known| was_known = known.deleted(&key));
                if was_known {
                    self.change(key, Change::Gone, at);
                }
            }
        }
    }

    fn with(&mut self, watch: usize, act: impl FnOnce(&mut Known<Change>)) {
        if let Some(part) = self.parts.get_mut(watch) {
            act(&mut part.known);
        }
    }

    /// An object of a list or an event.
    fn object(&mut self, watch: usize, kind: Kind, mut raw: Raw, at: Instant, listed: bool) {
        let key = raw.key(kind);
        if let Some(stored) = stored::take(kind, &mut raw, &self.managers)
            && self.observed.get(&key).is_none_or(|known| *known != stored)
        {
            self.stored.insert(key.clone(), Some(stored));
        }
        let mark = raw.print(kind, &self.prints);
        let Some(part) = self.parts.get_mut(watch) else {
            return;
        };
        let metrics = &self.metrics;
        let make = || decode(kind, &key, raw, metrics);
        if listed {
            part.known.found(&key, mark, make);
        } else if let Some(change) = part.known.set(&key, mark, make) {
            self.change(key, change, at);
        }
    }

    fn end(&mut self, watch: usize, kind: Kind, at: Instant) {
        let Some(part) = self.parts.get_mut(watch) else {
            return;
        };
        let Some(listed) = part.known.end(at) else {
            return;
        };
        let (before, name) = (listed.before, kind.as_str());
        // A list that was interrupted may have had what is gone since.
        let left = |key: &ObjectKey| {
            let watched = part.namespace.as_ref();
            watched.is_none_or(|namespace| *namespace == key.namespace) && !part.known.has(key)
        };
        self.stored.retain(|key, _| key.kind != name || !left(key));
        let stored = self.observed.keys(name).into_iter();
        let stored = stored.filter(|key| left(key));
        self.stored
            .extend(stored.map(|key| (ObjectKey::clone(&key), None)));
        if listed.held > 0 {
            self.metrics.source().guard_hold(name);
            warn!(
                kind = name,
                missing = listed.held,
                of = before,
                "a complete list lacks everything, or more than half, of what is live; it stays live for {:?} \
                 (--relist-guard), then the list is taken again",
                self.guard
            );
        }
        if listed.confirmed > 0 {
            warn!(
                kind = name,
                removed = listed.confirmed,
                of = before,
                "a second list, {:?} later, lacks the same objects: they are removed",
                self.guard
            );
        }
        for ((namespace, object), change) in listed.changes {
            let key = ObjectKey {
                kind: name.to_owned(),
                namespace: namespace.into(),
                name: object.into(),
            };
            self.change(key, change.unwrap_or(Change::Gone), at);
        }
    }

    fn change(&mut self, key: ObjectKey, change: Change, at: Instant) {
        self.since.get_or_insert(at);
        match &change {
            Change::Refused { problems, .. } => {
                // What Hawser reports about is told with its verdict.
                let silent = matches!(&*key.kind, "WebSocketRoute" | "Ingress");
                for problem in problems.iter().filter(|_| !silent) {
                    warn!(
                        object = %key,
                        field = problem.field,
                        "cannot be read, its last good version stays: {}",
                        problem.message
                    );
                }
                self.refused.insert(key.clone());
            }
            Change::Set(_) => {
                self.refused.remove(&key);
            }
            Change::Gone => {
                self.refused.remove(&key);
                if matches!(&*key.kind, "WebSocketRoute" | "Ingress") {
                    self.stored.insert(key.clone(), None);
                }
            }
        }
        self.pending.insert(key, change);
    }

    fn tell_refused(&self) {
        for kind in Kind::ALL {
            let name = kind.as_str();
            let count = self.refused.iter().filter(|key| key.kind == name).count();
            self.metrics.source().refused(name, count);
        }
    }
}

#[cfg(test)]
mod tests;
