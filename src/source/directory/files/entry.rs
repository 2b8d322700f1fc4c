//! One file.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hashbrown::{HashMap, HashSet};
use tokio::time::Instant;

use super::REMOVAL;
use crate::{
    api::Problem,
    source::directory::{FileProblem, key::Key, manifest::Manifest},
};

/// What a manifest says of one object.
#[derive(Debug)]
pub(in crate::source::directory) enum Found<P> {
    /// The schema accepts it.
    Object(Key, P),
    /// The schema refuses it.
    Refused(Option<Key>, Arc<[Problem]>),
    /// A kind that Hawser does not read.
    Unknown {
        /// `apiVersion` of the manifest.
        api_version: String,
        /// `kind` of the manifest.
        kind: String,
    },
}

impl<P> Found<P> {
    fn good(&self) -> Option<(&Key, &P)> {
        match self {
            Self::Object(key, object) => Some((key, object)),
            Self::Refused(..) | Self::Unknown { .. } => None,
        }
    }
}

/// What tells one state of a file from another without reading it. The time of the last status change is
/// part of it, because tools restore modification times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::directory) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(in crate::source::directory) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether nothing happened to the file for this long. A clock that jumps makes this false, and the file is
    /// looked at twice.
    pub(in crate::source::directory) fn is_quiet(&self, now: SystemTime, time: Duration) -> bool {
        [self.modified, self.changed]
            .iter()
            .all(|(seconds, nanos)| {
                let (Ok(seconds), Ok(nanos)) = (u64::try_from(*seconds), u64::try_from(*nanos))
                else {
                    return false;
                };
                let at = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos));
                now.duration_since(SystemTime::UNIX_EPOCH)
                    .is_ok_and(|now| now.checked_sub(at).is_some_and(|age| age >= time))
            })
    }

    /// Device and inode: equal as long as it is the same file.
    pub(in crate::source::directory) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    #[cfg(test)]
    pub(super) fn test(number: u64) -> Self {
        Self {
            device: 0,
            inode: 0,
            size: number,
            modified: (0, 0),
            changed: (0, 0),
        }
    }
}

/// The state in which a file was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::source::directory) enum Seen {
    /// It must be looked at again.
    #[default]
    Unknown,
    Absent,
    File(Stamp),
}

/// The last version of an object that its file does not say well any more.
#[derive(Debug)]
pub(super) struct Kept<P> {
    pub(super) key: Key,
    pub(super) object: P,
    /// The file has a version that the schema refuses: this one stays as long as that. Otherwise the file has
    /// none, and this one goes when that is confirmed.
    pub(super) refused: bool,
}

/// One file.
#[derive(Debug)]
pub(super) struct Entry<P> {
    pub(super) seen: Seen,
    /// The last one that could be read.
    pub(super) manifest: Manifest<Found<P>>,
    /// The manifest is not what the file says now: it is gone or cannot be read.
    pub(super) stale: bool,
    pub(super) kept: Vec<Kept<P>>,
    pub(super) broken: Option<FileProblem>,
    /// Since when something has been missing, in a file that did not change since.
    pub(super) missing_since: Option<Instant>,
}

impl<P> Default for Entry<P> {
    fn default() -> Self {
        Self {
            seen: Seen::Unknown,
            manifest: Manifest::default(),
            stale: false,
            kept: Vec::new(),
            broken: None,
            missing_since: None,
        }
    }
}

impl<P> Entry<P> {
    /// The last good version of everything that the file said.
    pub(super) fn last_versions(&self) -> impl Iterator<Item = (&Key, &P)> {
        let said = self.manifest.items();
        said.filter_map(|(_, found)| found.good())
            .chain(self.kept.iter().map(|kept| (&kept.key, &kept.object)))
    }

    /// Last good versions that `manifest`, the next of this file, does not say well.
    pub(super) fn not_said_by(&self, manifest: &Manifest<Found<P>>) -> Vec<Kept<P>>
    where
        P: Clone,
    {
        let (old, new) = self.manifest.differing(manifest);
        let mut known: HashSet<&Key> = new.filter_map(Found::good).map(|(key, _)| key).collect();
        let copies = self.kept.iter().map(|kept| (&kept.key, &kept.object));
        // Of two definitions in one file the first counts.
        let missing: Vec<_> = old
            .filter_map(Found::good)
            .chain(copies)
            .filter(|(key, _)| known.insert(key))
            .collect();
        if missing.is_empty() {
            return Vec::new();
        }
        // Seldom: all of the file says what became of them.
        let mut said: HashMap<&Key, bool> = HashMap::new();
        for (_, found) in manifest.items() {
            match found {
                Found::Object(key, _) => {
                    said.insert(key, true);
                }
                Found::Refused(Some(key), _) => {
                    said.entry(key).or_insert(false);
                }
                Found::Refused(None, _) | Found::Unknown { .. } => {}
            }
        }
        missing
            .into_iter()
            .filter(|(key, _)| said.get(key) != Some(&true))
            .map(|(key, object)| Kept {
                key: key.clone(),
                object: object.clone(),
                refused: said.contains_key(key),
            })
            .collect()
    }

    /// Whether a file that is found like this needs no look.
    pub(super) fn is_settled(&self, seen: Seen) -> bool {
        let waits = self.missing_since.is_some();
        let misses = seen == Seen::Absent || !self.misses_nothing();
        self.seen == seen && (self.broken.is_some() || waits || !misses)
    }

    pub(super) fn misses_nothing(&self) -> bool {
        self.kept.iter().all(|kept| kept.refused)
    }

    /// Whether what is missing was missing long enough. `again`: this look found what the last one did;
    /// otherwise the time begins anew.
    pub(super) fn is_gone(&mut self, again: bool, now: Instant) -> bool {
        match self.missing_since {
            Some(since) if again => now >= since + REMOVAL,
            _ => {
                self.missing_since = Some(now);
                false
            }
        }
    }

    pub(super) fn drop_missing(&mut self) {
        self.kept.retain(|kept| kept.refused);
        self.missing_since = None;
    }
}
