//! One look at files and directories, for `check` and `explain`.

use std::{
    collections::{BTreeSet, HashMap},
    hash::RandomState,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    FileProblem, defined_twice,
    look::{self, Bytes},
    manifest::{Manifest, Place},
};
use crate::api::{self, Review};

/// What one look at files or directories gave.
#[derive(Debug, Default)]
pub struct Scan {
    /// Accepted objects with the file they come from, in path and document order, each once.
    pub objects: Vec<(PathBuf, api::ObjectKey, api::Object)>,
    /// Objects that the schema refuses or that are defined twice, and documents and files that cannot be read.
    pub problems: Vec<FileProblem>,
    /// Objects of kinds that Hawser does not read.
    pub unknown: Vec<Unknown>,
}

/// An object of a kind that Hawser does not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Unknown {
    /// The file.
    pub file: PathBuf,
    /// Line of the object, from 1.
    pub line: u64,
    /// `apiVersion` of the manifest.
    pub api_version: String,
    /// `kind` of the manifest.
    pub kind: String,
}

/// Reads files and directories once. A file that is named is read whatever its name; of a directory, what `run
/// --manifests` would read.
pub fn scan(paths: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths {
        if !path.is_dir() {
            files.insert(path.clone());
            continue;
        }
        match look::list(path, SystemTime::now()) {
            Ok(listing) => {
                scan.problems.extend(listing.problems);
                files.extend(listing.files.into_keys());
            }
            Err(error) => scan.problems.push(FileProblem::unreadable(
                path,
                format!("cannot be listed: {error}"),
            )),
        }
    }
    let mut owners = HashMap::new();
    for file in files {
        scan.file(&file, &mut owners);
    }
    scan
}

impl Scan {
    fn file(&mut self, file: &Path, owners: &mut HashMap<api::ObjectKey, PathBuf>) {
        let bytes = match look::read(file) {
            Bytes::Whole(_, bytes) => bytes,
            Bytes::Absent => {
                let problem = FileProblem::unreadable(file, "no such file");
                return self.problems.push(problem);
            }
            Bytes::Changing(_) => {
                let message = "changed while it was read; try again when it is written";
                return self.problems.push(FileProblem::unreadable(file, message));
            }
            Bytes::Unreadable(_, message) => {
                return self.problems.push(FileProblem::unreadable(file, message));
            }
        };
        let mut reviews = Vec::new();
        let places = Manifest::parse(
            &bytes,
            &Manifest::default(),
            &RandomState::new(),
            &mut |review| reviews.push(review),
        );
        match places {
            Ok(places) => {
                for ((place, ()), review) in places.items().zip(reviews) {
                    self.review(file, place, review, owners);
                }
            }
            Err(broken) => self.problems.push(FileProblem::syntax(file, &broken)),
        }
    }

    fn review(
        &mut self,
        file: &Path,
        place: Place,
        review: Review,
        owners: &mut HashMap<api::ObjectKey, PathBuf>,
    ) {
        let problem = |object, problems| FileProblem {
            file: file.to_owned(),
            line: Some(place.line),
            column: Some(place.column),
            object,
            problems,
            unreadable: false,
        };
        match review {
            Review::Accepted(key, object) => match owners.get(&key) {
                None => {
                    owners.insert(key.clone(), file.to_owned());
                    self.objects.push((file.to_owned(), key, object));
                }
                Some(owner) => {
                    let twice = defined_twice(owner);
                    self.problems.push(problem(Some(key), vec![twice]));
                }
            },
            Review::Refused(key, problems) => self.problems.push(problem(key, problems)),
            Review::UnknownKind { api_version, kind } => self.unknown.push(Unknown {
                file: file.to_owned(),
                line: place.line,
                api_version,
                kind,
            }),
        }
    }
}
