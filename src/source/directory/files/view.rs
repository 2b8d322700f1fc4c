//! What counts of all files together.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use hashbrown::{HashMap, hash_map};

use super::entry::{Entry, Found};
use crate::{
    api::{ObjectKey, Problem},
    source::directory::{FileProblem, defined_twice, key::Key, manifest::Place},
};

/// What counts: each object once.
#[derive(Debug)]
pub(in crate::source::directory) struct View<'a, P> {
    /// The objects, in no particular order.
    pub(in crate::source::directory) objects: Vec<(&'a Key, &'a P)>,
    /// Objects whose files have no version that the schema accepts.
    pub(in crate::source::directory) refused: Vec<Refusal>,
    /// Everything that is wrong, by file and line.
    pub(in crate::source::directory) problems: Vec<FileProblem>,
    /// `apiVersion` and `kind` of what is ignored, each once and where it stands first.
    pub(in crate::source::directory) unknown: BTreeMap<(&'a str, &'a str), &'a Path>,
}

/// An object that the schema refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::directory) struct Refusal {
    pub(in crate::source::directory) key: Key,
    pub(in crate::source::directory) problems: Arc<[Problem]>,
    /// Its last good version counts.
    pub(in crate::source::directory) kept: bool,
}

/// A definition that may count. A good one beats a kept copy.
struct Claim<'a, P> {
    kept: bool,
    file: &'a Path,
    object: &'a P,
}

impl<'a, P> View<'a, P> {
    pub(super) fn new(entries: &'a BTreeMap<PathBuf, Entry<P>>, trouble: &[FileProblem]) -> Self {
        let mut view = Self {
            objects: Vec::new(),
            refused: Vec::new(),
            problems: trouble.to_vec(),
            unknown: BTreeMap::new(),
        };
        let objects = entries.values().map(|entry| entry.manifest.len()).sum();
        let mut claims: HashMap<&'a Key, Claim<'a, P>> = HashMap::with_capacity(objects);
        for (path, entry) in entries {
            view.problems.extend(entry.broken.clone());
            if entry.stale {
                for (key, object) in entry.last_versions() {
                    claims.entry(key).or_insert(Claim {
                        kept: true,
                        file: path,
                        object,
                    });
                }
                continue;
            }
            for (place, found) in entry.manifest.items() {
                match found {
                    Found::Object(key, object) => {
                        view.good(&mut claims, path, place, key, object);
                    }
                    Found::Refused(key, problems) => {
                        view.problems.push(FileProblem {
                            file: path.clone(),
                            line: Some(place.line),
                            column: Some(place.column),
                            object: key.as_deref().cloned(),
                            problems: problems.to_vec(),
                            unreadable: false,
                        });
                    }
                    Found::Unknown { api_version, kind } => {
                        view.unknown.entry((api_version, kind)).or_insert(path);
                    }
                }
            }
            for kept in &entry.kept {
                claims.entry(&kept.key).or_insert(Claim {
                    kept: true,
                    file: path,
                    object: &kept.object,
                });
            }
        }
        view.refusals(entries, &claims);
        view.objects = claims
            .into_iter()
            .map(|(key, claim)| (key, claim.object))
            .collect();
        view
    }

    /// A definition that the schema accepts. Of several the first by path wins.
    fn good(
        &mut self,
        claims: &mut HashMap<&'a Key, Claim<'a, P>>,
        file: &'a Path,
        place: Place,
        key: &'a Key,
        object: &'a P,
    ) {
        let claim = Claim {
            kept: false,
            file,
            object,
        };
        match claims.entry(key) {
            hash_map::Entry::Vacant(entry) => {
                entry.insert(claim);
            }
            hash_map::Entry::Occupied(mut entry) if entry.get().kept => {
                entry.insert(claim);
            }
            hash_map::Entry::Occupied(entry) => self.problems.push(FileProblem {
                file: file.to_owned(),
                line: Some(place.line),
                column: Some(place.column),
                object: Some((**key).clone()),
                problems: vec![defined_twice(entry.get().file)],
                unreadable: false,
            }),
        }
    }

    /// Each object once, unless it is well defined elsewhere.
    fn refusals(
        &mut self,
        entries: &'a BTreeMap<PathBuf, Entry<P>>,
        claims: &HashMap<&'a Key, Claim<'a, P>>,
    ) {
        let mut refused: BTreeMap<&ObjectKey, Refusal> = BTreeMap::new();
        for entry in entries.values().filter(|entry| !entry.stale) {
            for (_, found) in entry.manifest.items() {
                let Found::Refused(Some(key), problems) = found else {
                    continue;
                };
                let claim = claims.get(key);
                if claim.is_some_and(|claim| !claim.kept) {
                    continue;
                }
                refused.entry(key).or_insert_with(|| Refusal {
                    key: key.clone(),
                    problems: Arc::clone(problems),
                    kept: claim.is_some(),
                });
            }
        }
        self.refused = refused.into_values().collect();
    }
}
