//! The problems of one object, collected.

use super::Problem;

/// Problems that one object may have; a manifest with more is not repaired by reading on.
const MAX_PROBLEMS: usize = 32;

/// A bounded list of problems.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(super) fn push(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(Problem {
                field: field.into(),
                message: message.into(),
            });
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems by field, each once.
    pub(super) fn into_vec(self) -> Vec<Problem> {
        let Self { mut found, more } = self;
        found.sort();
        found.dedup();
        if more > 0 {
            found.push(Problem {
                field: String::new(),
                message: format!("and {more} more"),
            });
        }
        found
    }
}
