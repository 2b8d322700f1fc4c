//! What one host serves, and the search for a path in it.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _},
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::ir;

use super::{Entry, Request, Route, conditions::Conditions, pattern::Pattern};

/// What one host serves.
#[derive(Debug)]
pub(super) struct Host<B> {
    pattern: ir::HostPattern,
    /// In the order of precedence; candidates of the same path stand together.
    candidates: Box<[Candidate<B>]>,
    default: Option<Arc<Route<B>>>,
    /// Where the candidates of an `Exact` or `Prefix` path are.
    paths: HashTable<Run>,
    /// Where the candidates of the `Regex` paths are, in the order of precedence.
    regexes: Box<[(Arc<Pattern>, Run)]>,
    /// Which paths exist at all.
    shape: Shape,
}

/// One match of one rule.
#[derive(Debug)]
pub(super) struct Candidate<B> {
    pub(super) path: ir::PathMatch,
    pub(super) conditions: Option<Box<Conditions>>,
    pub(super) traffic: ir::Traffic,
    pub(super) route: Arc<Route<B>>,
}

/// Candidates of the same path: where they start, and how many they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    start: u32,
    length: u32,
}

/// What need not be looked for.
#[derive(Debug, Default, Clone, Copy)]
struct Shape {
    /// There is an `Exact` path.
    exact: bool,
    /// There is the prefix `/`.
    root: bool,
    /// Length in bytes of the longest prefix.
    longest: usize,
    /// Bit `n`: there is a prefix of `n` elements. The last bit is for that many and more.
    depths: u64,
}

impl<B> Host<B> {
    /// `candidates` are in the order of precedence. `pattern_of` gives the expression of a source.
    pub(super) fn new(
        pattern: ir::HostPattern,
        candidates: Box<[Candidate<B>]>,
        default: Option<Arc<Route<B>>>,
        hasher: &DefaultHashBuilder,
        mut pattern_of: impl FnMut(&Arc<str>) -> Arc<Pattern>,
    ) -> Self {
        let mut paths = HashTable::with_capacity(candidates.len());
        let mut regexes = Vec::new();
        let mut shape = Shape::default();
        let mut start = 0;
        for same in candidates.chunk_by(|a, b| a.path == b.path) {
            let run = Run {
                start,
                length: u32::try_from(same.len()).unwrap_or(u32::MAX),
            };
            start = start.saturating_add(run.length);
            let Some(path) = same.first().map(|candidate| &candidate.path) else {
                continue;
            };
            shape.add(path);
            if let ir::PathMatch::Regex(source) = path {
                regexes.push((pattern_of(source), run));
            } else {
                let hash = hash(hasher, path_class(path), path.value());
                paths.insert_unique(hash, run, |run: &Run| {
                    candidates
                        .get(run.start as usize)
                        .map_or(0, |first| rehash(hasher, &first.path))
                });
            }
        }
        paths.shrink_to_fit(|run| {
            candidates
                .get(run.start as usize)
                .map_or(0, |first| rehash(hasher, &first.path))
        });
        Self {
            pattern,
            candidates,
            default,
            paths,
            regexes: regexes.into(),
            shape,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.default.is_none()
    }

    pub(super) fn pattern(&self) -> &ir::HostPattern {
        &self.pattern
    }

    /// What the hash of the host is made of.
    pub(super) fn name(&self) -> &str {
        match &self.pattern {
            ir::HostPattern::Exact(name) | ir::HostPattern::Wildcard(name) => name,
            ir::HostPattern::Any => "",
        }
    }

    /// The `defaultBackend` of the host.
    pub(super) fn default(&self) -> Option<&Arc<Route<B>>> {
        self.default.as_ref()
    }

    /// What takes the request; no path for the `defaultBackend` of the host.
    pub(super) fn find(
        &self,
        hasher: &DefaultHashBuilder,
        request: &impl Request,
    ) -> Option<Entry<'_, B>> {
        let path = request.path();
        self.exact(hasher, path, request)
            .or_else(|| self.regex(path, request))
            .or_else(|| self.prefix(hasher, path, request))
            .map(|candidate| self.entry(candidate))
            .or_else(|| self.default_entry())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_, B>> {
        let candidates = self.candidates.iter();
        candidates
            .map(|candidate| self.entry(candidate))
            .chain(self.default_entry())
    }

    /// The routes of this very path.
    pub(super) fn routes_at(
        &self,
        hasher: &DefaultHashBuilder,
        path: &ir::PathMatch,
    ) -> impl Iterator<Item = &Arc<Route<B>>> {
        let run = match path {
            ir::PathMatch::Regex(_) => {
                let mut runs = self.regexes.iter().map(|(_, run)| *run);
                runs.find(|run| self.run(*run).first().is_some_and(|it| it.path == *path))
            }
            path => self.probe(hasher, path_class(path), path.value()),
        };
        let same = run.map(|run| self.run(run)).unwrap_or_default();
        same.iter().map(|candidate| &candidate.route)
    }

    fn entry<'a>(&'a self, candidate: &'a Candidate<B>) -> Entry<'a, B> {
        let conditions = candidate.conditions.as_deref();
        Entry {
            host: Some(&self.pattern),
            path: Some(&candidate.path),
            headers: conditions.map_or(&[], |conditions| &conditions.headers),
            query: conditions.map_or(&[], |conditions| &conditions.query),
            traffic: candidate.traffic,
            route: &candidate.route,
        }
    }

    fn default_entry(&self) -> Option<Entry<'_, B>> {
        self.default.as_ref().map(|route| Entry {
            host: Some(&self.pattern),
            path: None,
            headers: &[],
            query: &[],
            traffic: ir::Traffic::Any,
            route,
        })
    }

    fn exact(
        &self,
        hasher: &DefaultHashBuilder,
        path: &str,
        request: &impl Request,
    ) -> Option<&Candidate<B>> {
        if !self.shape.exact {
            return None;
        }
        self.take(self.probe(hasher, EXACT, path)?, request)
    }

    fn regex(&self, path: &str, request: &impl Request) -> Option<&Candidate<B>> {
        self.regexes
            .iter()
            .filter(|(pattern, _)| pattern.matches(path))
            .find_map(|(_, run)| self.take(*run, request))
    }

    /// Probes the ends of the path's elements from the last to the first.
    fn prefix(
        &self,
        hasher: &DefaultHashBuilder,
        path: &str,
        request: &impl Request,
    ) -> Option<&Candidate<B>> {
        let bytes = path.as_bytes();
        if self.shape.longest > 0 {
            // No prefix ends behind this, so nothing behind it is looked at.
            let mut end = bytes.len().min(self.shape.longest);
            let mut depth = elements(bytes.get(..end).unwrap_or_default());
            while end > 0 {
                let at_boundary = bytes.get(end).is_none_or(|byte| *byte == b'/');
                if at_boundary
                    && self.shape.has_depth(depth)
                    && let Some(run) = path
                        .get(..end)
                        .and_then(|prefix| self.probe(hasher, PREFIX, prefix))
                    && let Some(candidate) = self.take(run, request)
                {
                    return Some(candidate);
                }
                // The next shorter prefix ends before the last slash of this one.
                let Some(slash) = bytes
                    .get(..end)
                    .unwrap_or_default()
                    .iter()
                    .rposition(|byte| *byte == b'/')
                else {
                    break;
                };
                end = slash;
                depth = depth.saturating_sub(1);
            }
        }
        if self.shape.root && bytes.first() == Some(&b'/') {
            return self.take(self.probe(hasher, PREFIX, "/")?, request);
        }
        None
    }

    fn probe(&self, hasher: &DefaultHashBuilder, class: u8, path: &str) -> Option<Run> {
        self.paths
            .find(hash(hasher, class, path), |run| {
                self.candidates
                    .get(run.start as usize)
                    .is_some_and(|first| {
                        path_class(&first.path) == class && first.path.value() == path
                    })
            })
            .copied()
    }

    /// The first of the candidates whose conditions hold.
    fn take(&self, run: Run, request: &impl Request) -> Option<&Candidate<B>> {
        let mut same = self.run(run).iter();
        same.find(|candidate| candidate.takes(request))
    }

    fn run(&self, run: Run) -> &[Candidate<B>] {
        let start = run.start as usize;
        let end = start.saturating_add(run.length as usize);
        self.candidates.get(start..end).unwrap_or_default()
    }
}

impl<B> Candidate<B> {
    fn takes(&self, request: &impl Request) -> bool {
        let traffic = match self.traffic {
            ir::Traffic::Any => true,
            ir::Traffic::Handshakes => request.is_handshake_attempt(),
        };
        traffic
            && self
                .conditions
                .as_deref()
                .is_none_or(|conditions| conditions.hold(request))
    }
}

impl Shape {
    fn add(&mut self, path: &ir::PathMatch) {
        match path {
            ir::PathMatch::Exact(_) => self.exact = true,
            ir::PathMatch::Regex(_) => {}
            ir::PathMatch::Prefix(prefix) if &**prefix == "/" => self.root = true,
            ir::PathMatch::Prefix(prefix) => {
                self.longest = self.longest.max(prefix.len());
                self.depths |= depth_bit(elements(prefix.as_bytes()));
            }
        }
    }

    fn has_depth(self, depth: usize) -> bool {
        self.depths & depth_bit(depth) != 0
    }
}

fn depth_bit(depth: usize) -> u64 {
    1 << depth.min(63)
}

/// Number of slashes, which is the number of elements of a path that ends at the end of an element.
fn elements(path: &[u8]) -> usize {
    path.iter().map(|byte| usize::from(*byte == b'/')).sum()
}

const EXACT: u8 = 0;
const PREFIX: u8 = 1;
const REGEX: u8 = 2;

fn path_class(path: &ir::PathMatch) -> u8 {
    match path {
        ir::PathMatch::Exact(_) => EXACT,
        ir::PathMatch::Prefix(_) => PREFIX,
        ir::PathMatch::Regex(_) => REGEX,
    }
}

fn hash(hasher: &DefaultHashBuilder, class: u8, path: &str) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u8(class);
    path.hash(&mut hasher);
    hasher.finish()
}

fn rehash(hasher: &DefaultHashBuilder, path: &ir::PathMatch) -> u64 {
    hash(hasher, path_class(path), path.value())
}
