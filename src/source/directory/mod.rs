//! A directory of manifests, watched.
//!
//! ```text
//!   watcher ── events, re-scans ──► files (what counts; pure) ── view ──► rebuild
//!                                     ▲
//!   look ── bytes ──► manifest ── sections, cached ──► yaml ──► api::review ──► translate::prepare
//! ```
//!
//! Read are all files `*.yaml`, `*.yml` and `*.json` below the directory, but no name that begins with a dot
//! (editors, version control, and the `..data` of mounted `ConfigMaps` live there). Links are followed.

mod files;
mod handed;
mod key;
mod look;
mod manifest;
mod report;
mod scan;
mod signals;
mod watcher;
mod worker;
mod yaml;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use scan::{Scan, Unknown, scan};
pub use watcher::watch;

use crate::api;

/// Something wrong with a file or an object in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct FileProblem {
    /// The file.
    pub file: PathBuf,
    /// Line and column of the document or error, from 1, where known.
    pub line: Option<u64>,
    /// Column, from 1.
    pub column: Option<u64>,
    /// The object, where it names itself.
    pub object: Option<api::ObjectKey>,
    /// What is wrong; `field` is empty for syntax errors.
    pub problems: Vec<api::Problem>,
    /// True: the file is missing, unreadable or not YAML. False: the schema refuses the object.
    pub unreadable: bool,
}

impl FileProblem {
    /// The file as a whole, or the directory.
    fn unreadable(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            column: None,
            object: None,
            problems: vec![api::Problem {
                field: String::new(),
                message: message.into(),
            }],
            unreadable: true,
        }
    }

    fn syntax(file: impl Into<PathBuf>, broken: &yaml::Broken) -> Self {
        Self {
            line: broken.line,
            column: broken.column,
            ..Self::unreadable(file, &*broken.message)
        }
    }
}

/// `dir/file.yaml:3:5: WebSocketRoute shop/chat: spec.rules[0].name: what is wrong; …`
impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in self.line.iter().chain(&self.column) {
            write!(f, ":{number}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        for (number, problem) in self.problems.iter().enumerate() {
            f.write_str(if number == 0 { ": " } else { "; " })?;
            if !problem.field.is_empty() {
                write!(f, "{}: ", problem.field)?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

/// What is told of a second definition of the same object.
fn defined_twice(first: &Path) -> api::Problem {
    api::Problem {
        field: String::new(),
        message: format!(
            "already defined in {}, which comes first and is used; remove one of the two",
            first.display()
        ),
    }
}

#[cfg(test)]
mod tests;
