//! Which object is written next: conditions first, never faster than allowed, failures later.
//!
//! It holds names only: what is written is decided when the turn comes, so many changes of an object are one
//! write. At most one entry per object and lane, so it is bounded by the number of objects.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::{
    api::ObjectKey,
    source::pace::{Bucket, backoff},
};

/// Longest wait of an object between two attempts: what an API server failed with is written soon after it is well.
const MAX_DELAY: Duration = Duration::from_secs(15);

/// Longest pause of everything while the API server fails: it is short, so that an outage ends soon.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// What a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Conditions go before everything else.
    Conditions,
    /// Addresses have what conditions leave of their pace: a new one is that of every Ingress at once.
    Addresses,
    /// Counts have their own pace.
    Counts,
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing more to do.
    Done,
    /// Try again, a little later each time.
    Retry,
    /// Try again then.
    At(Instant),
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    conditions: Line,
    addresses: Line,
    counts: Line,
    /// Pace of conditions and addresses together.
    objects: Bucket,
    /// Pace of counts.
    numbers: Bucket,
    /// Nothing goes out before.
    paused: Option<Instant>,
    /// Failures of the API server in a row.
    failures: u32,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            conditions: Line::default(),
            addresses: Line::default(),
            counts: Line::default(),
            objects: a_second(50, now),
            numbers: a_second(2, now),
            paused: None,
            failures: 0,
        }
    }

    /// Objects in a lane, those under way included.
    pub(super) fn len(&self, lane: Lane) -> usize {
        match lane {
            Lane::Conditions => self.conditions.places.len(),
            Lane::Addresses => self.addresses.places.len(),
            Lane::Counts => self.counts.places.len(),
        }
    }

    /// An object has something to be written. One that waits after a failure goes on waiting.
    pub(super) fn push(&mut self, lane: Lane, object: &ObjectKey) {
        self.line(lane).push(object);
    }

    /// The object whose turn it is; it is under way until `finish`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Lane, ObjectKey)> {
        if self.paused.is_some_and(|until| now < until) {
            return None;
        }
        self.paused = None;
        for lane in [Lane::Conditions, Lane::Addresses, Lane::Counts] {
            self.line(lane).wake(now);
        }
        // Counts are few a second: ten thousand addresses must not hold them up.
        let lanes: &[Lane] = if self.conditions.ready.is_empty() {
            &[Lane::Counts, Lane::Addresses]
        } else {
            &[Lane::Conditions]
        };
        lanes.iter().find_map(|&lane| {
            if self.line(lane).ready.is_empty() || self.bucket(lane).take(now).is_err() {
                return None;
            }
            Some((lane, self.line(lane).pop()?))
        })
    }

    /// What `pop` gave was not sent: that costs nothing of the pace.
    pub(super) fn refund(&mut self, lane: Lane) {
        self.bucket(lane).refund();
    }

    /// An attempt is over.
    pub(super) fn finish(&mut self, lane: Lane, object: &ObjectKey, next: Next, now: Instant) {
        self.line(lane).finish(object, next, now);
    }

    /// The API server fails or throttles: nothing goes out for `asked`, or for a while that grows.
    pub(super) fn pause(&mut self, asked: Option<Duration>, now: Instant) {
        let wait =
            asked.unwrap_or_else(|| backoff(Duration::from_millis(500), self.failures, MAX_PAUSE));
        self.failures = self.failures.saturating_add(1);
        let until = now + wait;
        self.paused = Some(self.paused.map_or(until, |known| known.max(until)));
    }

    /// The API server answers.
    pub(super) fn recovered(&mut self) {
        self.failures = 0;
    }

    /// When `pop` may have something; `None`: not before the next `push` or `finish`.
    pub(super) fn wake(&self) -> Option<Instant> {
        let conditions = self.conditions.due(&self.objects);
        let rest = [
            self.addresses.due(&self.objects),
            self.counts.due(&self.numbers),
        ];
        let rest = rest.into_iter().flatten();
        let rest = rest.filter(|_| self.conditions.ready.is_empty());
        let due = conditions.into_iter().chain(rest).min()?;
        Some(self.paused.map_or(due, |until| until.max(due)))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    fn line(&mut self, lane: Lane) -> &mut Line {
        match lane {
            Lane::Conditions => &mut self.conditions,
            Lane::Addresses => &mut self.addresses,
            Lane::Counts => &mut self.counts,
        }
    }

    fn bucket(&mut self, lane: Lane) -> &mut Bucket {
        match lane {
            Lane::Conditions | Lane::Addresses => &mut self.objects,
            Lane::Counts => &mut self.numbers,
        }
    }
}

/// Lets so many through in a second; what was not used in the last second may come at once.
fn a_second(rate: u32, now: Instant) -> Bucket {
    Bucket::new(rate, Duration::from_secs(1) / rate, now)
}

/// One lane.
#[derive(Debug, Default)]
struct Line {
    ready: VecDeque<ObjectKey>,
    waiting: BTreeSet<(Instant, ObjectKey)>,
    places: HashMap<ObjectKey, Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// Under way; `again`: it changed meanwhile.
    busy: bool,
    again: bool,
    /// Failures in a row.
    failures: u32,
}

impl Line {
    fn push(&mut self, object: &ObjectKey) {
        if let Some(place) = self.places.get_mut(object) {
            place.again = place.busy;
        } else {
            self.places.insert(object.clone(), Place::default());
            self.ready.push_back(object.clone());
        }
    }

    fn wake(&mut self, now: Instant) {
        while self.waiting.first().is_some_and(|(at, _)| *at <= now) {
            let due = self.waiting.pop_first();
            self.ready.extend(due.map(|(_, object)| object));
        }
    }

    fn pop(&mut self) -> Option<ObjectKey> {
        let object = self.ready.pop_front()?;
        if let Some(place) = self.places.get_mut(&object) {
            place.busy = true;
        }
        Some(object)
    }

    fn finish(&mut self, object: &ObjectKey, next: Next, now: Instant) {
        let Some(place) = self.places.get_mut(object) else {
            return;
        };
        place.busy = false;
        let again = std::mem::take(&mut place.again);
        let at = match next {
            Next::Done if again => {
                place.failures = 0;
                self.ready.push_back(object.clone());
                return;
            }
            Next::Done => {
                self.places.remove(object);
                return;
            }
            Next::At(at) => at,
            Next::Retry => {
                let wait = backoff(Duration::from_millis(250), place.failures, MAX_DELAY);
                place.failures = place.failures.saturating_add(1);
                now + wait
            }
        };
        self.waiting.insert((at, object.clone()));
    }

    fn due(&self, bucket: &Bucket) -> Option<Instant> {
        if self.ready.is_empty() {
            return self.waiting.first().map(|(at, _)| *at);
        }
        Some(bucket.at())
    }
}

#[cfg(test)]
mod tests;
