//! What the log says about files: each thing once, and once more when it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tracing::{error, info};

use super::FileProblem;

/// Lines of one kind that one change may write. A tool that breaks thousands of files at once must not drown the
/// log; all of them stand in the metric.
const MAX_LINES: usize = 100;

/// Kinds that are remembered as told.
const MAX_KINDS: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Report {
    told: BTreeSet<FileProblem>,
    kinds: BTreeSet<(String, String)>,
}

impl Report {
    /// Everything that is wrong now.
    pub(super) fn problems(&mut self, problems: &[FileProblem]) {
        let now: BTreeSet<FileProblem> = problems.iter().cloned().collect();
        let new: Vec<_> = now.difference(&self.told).collect();
        for problem in new.iter().take(MAX_LINES) {
            error!("{problem}");
        }
        if new.len() > MAX_LINES {
            error!("{} more problems with manifests", new.len() - MAX_LINES);
        }
        if now.is_empty() && !self.told.is_empty() {
            info!("all manifests are well again");
        }
        self.told = now;
    }

    /// Kinds that are ignored: one line each.
    pub(super) fn unknown(&mut self, kinds: &BTreeMap<(&str, &str), &Path>) {
        for ((api_version, kind), file) in kinds {
            let known = (String::from(*api_version), String::from(*kind));
            if self.kinds.len() < MAX_KINDS && self.kinds.insert(known) {
                info!(
                    api_version, kind, file = %file.display(),
                    "objects of this kind are ignored"
                );
            }
        }
    }
}
