//! Who may serve what: between namespaces the oldest claim decides.
//!
//! Claims are made by the oldest object first, so the first claim of a host and path is the oldest. The
//! oldest claim on a host is a winning one whatever its path, so one pass is enough.

use std::sync::Arc;

use hashbrown::{HashMap, hash_map::Entry};

use super::prepare::{Match, RouteObject, Rule};
use crate::ir::{HostPattern, PathMatch, Route};

/// All claims that were made.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    hosts: Vec<Host<'a>>,
    host_index: HashMap<&'a HostPattern, usize>,
    paths: HashMap<(usize, &'a PathMatch), usize>,
}

/// A host that some rule names.
#[derive(Debug)]
pub(super) struct Host<'a> {
    pub(super) pattern: &'a HostPattern,
    /// The object with the oldest claim on the host.
    pub(super) owner: &'a RouteObject,
    pub(super) paths: Vec<Path<'a>>,
}

/// A path of a host.
#[derive(Debug)]
pub(super) struct Path<'a> {
    pub(super) value: &'a PathMatch,
    /// The object with the oldest claim on the host and path.
    owner: &'a RouteObject,
    /// Matches of the owner's namespace.
    pub(super) served: Vec<Served<'a>>,
}

/// A match that won its claim.
#[derive(Debug)]
pub(super) struct Served<'a> {
    pub(super) object: &'a RouteObject,
    pub(super) rule: &'a Rule,
    pub(super) matched: &'a Match,
    pub(super) route: Arc<Route>,
}

impl<'a> Claims<'a> {
    /// Room for about as many hosts and paths.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            hosts: Vec::with_capacity(capacity),
            host_index: HashMap::with_capacity(capacity),
            paths: HashMap::with_capacity(capacity),
        }
    }

    /// Names a host without claiming a path of it.
    pub(super) fn name(&mut self, pattern: &'a HostPattern, object: &'a RouteObject) {
        self.host(pattern, object);
    }

    /// Claims the host and path of a match.
    ///
    /// # Errors
    /// The object of another namespace that has the older claim.
    pub(super) fn claim(
        &mut self,
        pattern: &'a HostPattern,
        served: Served<'a>,
    ) -> Result<(), &'a RouteObject> {
        let object = served.object;
        let path = &served.matched.path;
        let host_index = self.host(pattern, object);
        let Some(host) = self.hosts.get_mut(host_index) else {
            return Ok(());
        };
        // Expressions overlap in ways that nobody can see: they belong to one namespace per host.
        if matches!(path, PathMatch::Regex(_)) && !same_namespace(host.owner, object) {
            return Err(host.owner);
        }
        let index = match self.paths.entry((host_index, path)) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                entry.insert(host.paths.len());
                host.paths.push(Path {
                    value: path,
                    owner: object,
                    served: vec![served],
                });
                return Ok(());
            }
        };
        match host.paths.get_mut(index) {
            Some(known) if !same_namespace(known.owner, object) => Err(known.owner),
            Some(known) => {
                known.served.push(served);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn host(&mut self, pattern: &'a HostPattern, object: &'a RouteObject) -> usize {
        *self.host_index.entry(pattern).or_insert_with(|| {
            self.hosts.push(Host {
                pattern,
                owner: object,
                paths: Vec::new(),
            });
            self.hosts.len() - 1
        })
    }

    /// All hosts.
    pub(super) fn into_hosts(self) -> Vec<Host<'a>> {
        self.hosts
    }
}

fn same_namespace(a: &RouteObject, b: &RouteObject) -> bool {
    a.id.namespace == b.id.namespace
}
