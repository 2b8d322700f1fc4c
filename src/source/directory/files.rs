//! What is known of the files of a directory, and what of it counts. No I/O, no clock: time comes in.
//!
//! Additions and changes count at once. What a file no longer says counts until that file, or its absence,
//! was unchanged for [`REMOVAL`] and a second read agrees: an editor that truncates before it writes must not
//! drop a route. What a file says badly never takes away what it said well before.

mod due;
mod entry;
mod view;

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

pub(super) use due::{Change, Task};
pub(super) use entry::{Found, Seen, Stamp};
pub(super) use view::{Refusal, View};

use super::{FileProblem, manifest::Manifest};
use due::Schedule;
use entry::Entry;

/// How long a file must say nothing of an object before the object goes. Editors and tools that write in two
/// steps need a few milliseconds between them; half a second is beyond any of them and still feels
/// immediate.
pub(super) const REMOVAL: Duration = Duration::from_millis(500);

/// What one look at a file found. `P` stands for an object.
#[derive(Debug)]
pub(super) enum Look<P> {
    /// It is not there.
    Absent,
    /// It cannot be read, or it is not YAML. Without a stamp it is tried again at the next re-scan.
    Broken(Option<Stamp>, FileProblem),
    /// It was read whole while it did not change.
    Read(Stamp, Box<Manifest<Found<P>>>),
}

/// All files of a directory.
#[derive(Debug)]
pub(super) struct Files<P> {
    entries: BTreeMap<PathBuf, Entry<P>>,
    schedule: Schedule,
    /// Directories that cannot be read, and the like: as the last re-scan found them.
    trouble: Vec<FileProblem>,
    changed: bool,
}

/// What a re-scan found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Every file, and whether it was quiet for a while before.
    pub(super) files: BTreeMap<PathBuf, (Stamp, bool)>,
    /// Directories that could not be read: what is below them is neither there nor gone.
    pub(super) unreadable: Vec<PathBuf>,
    /// What else was wrong.
    pub(super) problems: Vec<FileProblem>,
}

impl<P: Clone> Files<P> {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            schedule: Schedule::default(),
            trouble: Vec::new(),
            changed: false,
        }
    }

    /// The watcher saw something happen to a file.
    pub(super) fn happened(&mut self, path: PathBuf, change: Change, now: Instant) {
        self.schedule.happened(path, change, now);
    }

    /// Compares with what the directory holds.
    pub(super) fn listed(&mut self, listing: Listing, now: Instant) {
        let hidden = |path: &Path| listing.unreadable.iter().any(|dir| path.starts_with(dir));
        for (path, entry) in &self.entries {
            let absent = !listing.files.contains_key(path) && !hidden(path);
            if absent && !entry.is_settled(Seen::Absent) {
                self.schedule.read(path.clone(), now);
            }
        }
        for (path, (stamp, quiet)) in listing.files {
            let known = self.entries.get(&path);
            if known.is_some_and(|entry| entry.is_settled(Seen::File(stamp))) {
                continue;
            }
            if quiet {
                self.schedule.read(path, now);
            } else {
                self.schedule.happened(path, Change::Writing, now);
            }
        }
        if self.trouble != listing.problems {
            self.trouble = listing.problems;
            self.changed = true;
        }
    }

    /// The directory itself is gone: nothing of it is judged until it is back and listed.
    pub(super) fn freeze(&mut self, problem: FileProblem) {
        self.schedule.clear();
        for entry in self.entries.values_mut() {
            entry.missing_since = None;
        }
        let trouble = vec![problem];
        if self.trouble != trouble {
            self.trouble = trouble;
            self.changed = true;
        }
    }

    /// Whether the last re-scan could not list this path, or the directory that it is.
    pub(super) fn is_trouble(&self, path: &Path) -> bool {
        self.trouble.iter().any(|problem| problem.file == path)
    }

    /// When [`Self::tasks`] will have something.
    pub(super) fn next(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// Whether any file is still to be looked at.
    pub(super) fn is_busy(&self) -> bool {
        self.schedule.next().is_some()
    }

    /// The files that are to be looked at now. In a hurry no batch is waited for.
    pub(super) fn tasks(&mut self, now: Instant, hurry: bool) -> Vec<(PathBuf, Task)> {
        self.schedule.take(now, hurry)
    }

    /// A file that may still be written has this stamp, or is not there.
    pub(super) fn settle(&mut self, path: PathBuf, stamp: Stamp, now: Instant) {
        self.schedule.settle(path, stamp, now);
    }

    /// What was read of a file last, to read only what changed.
    pub(super) fn manifest(&self, path: &Path) -> Option<&Manifest<Found<P>>> {
        self.entries.get(path).map(|entry| &entry.manifest)
    }

    /// Whether any known file lies below this path.
    pub(super) fn has_below(&self, dir: &Path) -> bool {
        self.entries
            .range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded))
            .next()
            .is_some_and(|(path, _)| path.starts_with(dir))
    }

    /// Takes note of a look at a file.
    pub(super) fn looked(&mut self, path: &Path, look: Look<P>, now: Instant) {
        match look {
            Look::Absent => self.absent(path, now),
            Look::Broken(stamp, problem) => self.broken(path, stamp, problem),
            Look::Read(stamp, manifest) => self.read(path, stamp, *manifest, now),
        }
    }

    fn absent(&mut self, path: &Path, now: Instant) {
        let Some(entry) = self.entries.get_mut(path) else {
            return;
        };
        let again = entry.seen == Seen::Absent;
        if entry.seen != Seen::Absent {
            entry.seen = Seen::Absent;
            entry.stale = true;
            entry.broken = None;
            self.changed = true;
        }
        if entry.is_gone(again, now) {
            self.entries.remove(path);
            self.changed = true;
        } else if let Some(since) = entry.missing_since {
            self.schedule.confirm(path.to_owned(), since + REMOVAL);
        }
    }

    fn broken(&mut self, path: &Path, stamp: Option<Stamp>, problem: FileProblem) {
        let entry = self.entries.entry(path.to_owned()).or_default();
        entry.seen = stamp.map_or(Seen::Unknown, Seen::File);
        entry.missing_since = None;
        if !entry.stale || entry.broken.as_ref() != Some(&problem) {
            entry.stale = true;
            entry.broken = Some(problem);
            self.changed = true;
        }
    }

    fn read(&mut self, path: &Path, stamp: Stamp, manifest: Manifest<Found<P>>, now: Instant) {
        let entry = self.entries.entry(path.to_owned()).or_default();
        let same_text = !entry.stale && entry.manifest.says_the_same(&manifest);
        let again = same_text && entry.seen == Seen::File(stamp);
        if !same_text {
            entry.kept = entry.not_said_by(&manifest);
            entry.stale = false;
            entry.broken = None;
            self.changed = true;
        }
        entry.manifest = manifest;
        entry.seen = Seen::File(stamp);
        if entry.misses_nothing() {
            entry.missing_since = None;
        } else if entry.is_gone(again, now) {
            entry.drop_missing();
            self.changed = true;
        } else if let Some(since) = entry.missing_since {
            self.schedule.confirm(path.to_owned(), since + REMOVAL);
        }
    }

    /// Whether [`Self::view`] differs from what it was at the last call of this.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What counts.
    pub(super) fn view(&self) -> View<'_, P> {
        View::new(&self.entries, &self.trouble)
    }
}

#[cfg(test)]
mod tests;
