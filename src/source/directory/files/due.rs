//! When which file is to be looked at.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::Stamp;

/// Quiet time that ends a batch of events. Long enough for the events of one `git checkout` or `kubectl kustomize`
/// to come together, short against the 100 ms in which a change must be live.
const HOLDOFF: Duration = Duration::from_millis(8);

/// A batch ends after this time even if events keep coming: half of the time in which a change must be live.
const BATCH: Duration = Duration::from_millis(50);

/// A file that nobody closed is read when two looks that are this far apart find the same size and times.
const STABLE: Duration = Duration::from_millis(20);

/// What the watcher says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::directory) enum Change {
    /// It was closed after writing, renamed, or removed: it is what it is meant to be.
    Settled,
    /// It was opened, written or touched: more may follow.
    Writing,
}

/// What to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::directory) enum Task {
    /// Read it.
    Read,
    /// Read it if its stamp is still this one, else tell its stamp.
    Settle(Option<Stamp>),
}

#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BTreeMap<PathBuf, (Instant, Task)>,
    batch: Option<Batch>,
}

#[derive(Debug, Clone, Copy)]
struct Batch {
    first: Instant,
    last: Instant,
}

impl Batch {
    fn end(self) -> Instant {
        (self.last + HOLDOFF).min(self.first + BATCH)
    }
}

impl Schedule {
    pub(super) fn happened(&mut self, path: PathBuf, change: Change, now: Instant) {
        let first = self.batch.map_or(now, |batch| batch.first);
        self.batch = Some(Batch { first, last: now });
        match change {
            Change::Settled => {
                self.due.insert(path, (now, Task::Read));
            }
            Change::Writing => {
                let entry = self.due.entry(path).or_insert((now, Task::Settle(None)));
                // The looks that were begun go on; anything else waits for the writer to be done.
                if entry.1 == Task::Read {
                    *entry = (now, Task::Settle(None));
                }
            }
        }
    }

    pub(super) fn read(&mut self, path: PathBuf, now: Instant) {
        self.due.insert(path, (now, Task::Read));
    }

    pub(super) fn settle(&mut self, path: PathBuf, stamp: Stamp, now: Instant) {
        self.due
            .insert(path, (now + STABLE, Task::Settle(Some(stamp))));
    }

    /// The second look at a file that misses something.
    pub(super) fn confirm(&mut self, path: PathBuf, at: Instant) {
        self.due.entry(path).or_insert((at, Task::Read));
    }

    pub(super) fn clear(&mut self) {
        self.due.clear();
        self.batch = None;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        match self.batch {
            Some(batch) => Some(batch.end()),
            None => self.due.values().map(|(at, _)| *at).min(),
        }
    }

    pub(super) fn take(&mut self, now: Instant, hurry: bool) -> Vec<(PathBuf, Task)> {
        if !hurry && self.batch.is_some_and(|batch| now < batch.end()) {
            return Vec::new();
        }
        self.batch = None;
        self.due
            .extract_if(.., |_, (at, _)| *at <= now)
            .map(|(path, (_, task))| (path, task))
            .collect()
    }
}
