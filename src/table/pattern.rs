//! Regular expressions of paths.

use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};

use crate::ir;

/// Cache of the lazy automaton, in bytes per thread that uses the pattern; when it is full the engine starts it
/// anew, which costs time and no correctness.
const AUTOMATON_LIMIT: usize = 256 * 1024;

/// An expression that is compiled when the first request reaches it: a table with many thousands of them would
/// take seconds and gigabytes to compile at once, and most hosts see few of theirs.
#[derive(Debug)]
pub(super) struct Pattern {
    source: Arc<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(super) fn new(source: Arc<str>) -> Self {
        Self {
            source,
            compiled: OnceLock::new(),
        }
    }

    /// Whether the whole path matches. Never for a pattern that does not compile: translation has refused it
    /// with a reason before it could come here.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.compiled
            .get_or_init(|| compile(&self.source))
            .as_ref()
            .is_some_and(|regex| regex.is_match(path))
    }
}

fn compile(source: &str) -> Option<Regex> {
    // Alone first: `a)|(b` would otherwise become valid between the brackets.
    build(source)?;
    build(&format!("^(?:{source})$"))
}

fn build(source: &str) -> Option<Regex> {
    RegexBuilder::new(source)
        .size_limit(ir::REGEX_SIZE_LIMIT)
        .dfa_size_limit(AUTOMATON_LIMIT)
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(source: &str, path: &str) -> bool {
        Pattern::new(source.into()).matches(path)
    }

    #[test]
    fn the_whole_path_must_match() {
        assert!(matches("/room/[0-9]+", "/room/17"));
        assert!(!matches("/room/[0-9]+", "/room/17/ws"));
        assert!(!matches("/room/[0-9]+", "/v1/room/17"));
        assert!(matches("/a|/b", "/b"));
        assert!(!matches("/a|/b", "/b/c"));
        assert!(!matches("/a|/b", "/x/b"));
        assert!(!matches("/a", "/a\n"));
        assert!(!matches("(?i)/A", "/b"));
    }

    #[test]
    fn what_does_not_compile_matches_nothing() {
        for source in ["(", "a)|(b", "[", "(?<n", "\\", "(?:.{1000}){1000}"] {
            assert!(!matches(source, "/a"), "{source}");
            assert!(!matches(source, source), "{source}");
        }
    }

    #[test]
    fn hostile_patterns_stay_linear() {
        let path = format!("/{}", "a".repeat(8 * 1024));
        assert!(!matches("(/?(a+)+)+b", &path));
    }
}
