//! The routing table: immutable, swapped whole. Tables that follow each other share what both have.
//!
//! ```text
//!   host ── exact, else one label stripped, else any ──► Host
//!   path ── Exact (one probe) ─► Regex (in order) ─► Prefix (one probe per existing depth, longest first)
//!   same path ── candidates in their order; the first whose conditions hold takes the request
//! ```
//!
//! There is no way back from the chosen host to a less specific one: what it does not take gets its own
//! `default`, or nothing. `ir::Config::fallback` takes only what no host pattern names.
//!
//! Paths are element-wise, so a hash of whole prefixes that is probed at each `/` is exact and needs no
//! tree; depths and lengths that the host does not have are never probed, so a long path costs no more than
//! a short one.
//!
//! Invariant: lookups never allocate, never lock and never panic, whatever the request looks like. (The
//! first request that reaches a regular expression compiles it, within [`pattern`]'s limit.)

mod compile;
mod conditions;
mod handle;
mod host;
mod pattern;
mod route;
mod shared;

use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::ir;

pub use handle::Handle;
pub use route::{Destination, Route};

use host::Host;
use shared::Shared;

/// A compiled table. `B` is the handle of a backend.
#[derive(Debug)]
pub struct Table<B> {
    generation: u64,
    /// The same in all tables that follow each other: hosts hash their paths with it.
    hasher: DefaultHashBuilder,
    /// The exact hosts.
    exact: HashTable<Arc<Host<B>>>,
    /// The wildcards, by what follows the first label.
    wildcard: HashTable<Arc<Host<B>>>,
    /// The pattern that takes every host.
    any: Option<Arc<Host<B>>>,
    fallback: Option<Arc<Route<B>>>,
    shared: Arc<Shared<B>>,
}

/// What the table asks of a request.
pub trait Request {
    /// Normalised host: lower case, no port, no final dot. Empty when there is none.
    fn host(&self) -> &str;
    /// Normalised path.
    fn path(&self) -> &str;
    /// Raw query, without `?`.
    fn query(&self) -> Option<&str>;
    /// Whether the header field `name` (lower case) has the value: one field line equal to it, or all lines
    /// joined with `, `.
    fn has_header(&self, name: &str, value: &str) -> bool;
    /// Whether this is an attempt at a WebSocket handshake, well-formed or not.
    fn is_handshake_attempt(&self) -> bool;
}

/// The route that takes a request, and what led to it.
#[derive(Debug)]
pub struct Hit<'a, B> {
    /// The route.
    pub route: &'a Arc<Route<B>>,
    /// The path that matched; `None` for a `defaultBackend`.
    pub path: Option<&'a ir::PathMatch>,
    /// The host pattern that was chosen; `None` where no pattern names the host and the oldest
    /// `defaultBackend` takes the request.
    pub host: Option<&'a ir::HostPattern>,
    /// The headers that it was asked for.
    pub headers: &'a [ir::HeaderMatch],
    /// The query parameters that it was asked for.
    pub query: &'a [ir::QueryMatch],
}

/// One way into a route, as a person would list it.
#[derive(Debug)]
pub struct Entry<'a, B> {
    /// The hosts; `None` for the `defaultBackend` of hosts that no rule names.
    pub host: Option<&'a ir::HostPattern>,
    /// The path; `None` for a `defaultBackend`.
    pub path: Option<&'a ir::PathMatch>,
    /// All of these headers.
    pub headers: &'a [ir::HeaderMatch],
    /// All of these query parameters.
    pub query: &'a [ir::QueryMatch],
    /// Which requests of the path.
    pub traffic: ir::Traffic,
    /// What takes them.
    pub route: &'a Arc<Route<B>>,
}

impl<B> Table<B> {
    /// The route that takes this request.
    pub fn find(&self, request: &impl Request) -> Option<Hit<'_, B>> {
        let Some(host) = self.host(request.host()) else {
            return self.fallback_hit();
        };
        if let Some(entry) = host.find(&self.hasher, request) {
            return Some(Hit {
                route: entry.route,
                path: entry.path,
                host: entry.host,
                headers: entry.headers,
                query: entry.query,
            });
        }
        // A rule without a host claims only the paths that it matches: the host is still one that no
        // rule names.
        match host.pattern() {
            ir::HostPattern::Any => self.fallback_hit(),
            ir::HostPattern::Exact(_) | ir::HostPattern::Wildcard(_) => None,
        }
    }

    /// The routes of the namespace that have this host and path, whatever else they ask for; without a path the
    /// `defaultBackend` of the namespace that takes what is left of the host.
    pub fn routes_at(
        &self,
        namespace: &str,
        host: Option<&ir::HostPattern>,
        path: Option<&ir::PathMatch>,
    ) -> impl Iterator<Item = &Arc<Route<B>>> {
        let host = host.and_then(|pattern| self.host_of(pattern));
        let with_path = host
            .zip(path)
            .map(|(host, path)| host.routes_at(&self.hasher, path));
        let default = path.is_none().then(|| {
            let default = host.and_then(Host::default);
            default.into_iter().chain(&self.fallback)
        });
        let with_path = with_path.into_iter().flatten();
        with_path
            .chain(default.into_iter().flatten())
            .filter(move |route| *route.rule.id.object.namespace == *namespace)
    }

    /// Whether both tables treat all requests to this host the same. `false` says nothing.
    pub fn shares(&self, other: &Self, host: &str) -> bool {
        let hosts = match (self.host(host), other.host(host)) {
            (Some(a), Some(b)) => std::ptr::eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let fallback = |table: &Self| table.fallback.as_ref().map(Arc::as_ptr);
        hosts && fallback(self) == fallback(other)
    }

    /// Whether a table of this configuration would do exactly what this one does. Endpoints do not count: they
    /// are no part of a table.
    pub fn serves(&self, config: &ir::Config) -> bool {
        let hosts = self.hosts();
        config
            .hosts
            .keys()
            .eq(hosts.iter().map(|host| host.pattern()))
            && wanted(config).eq(self.routes().map(|entry| Way {
                host: entry.host,
                path: entry.path,
                headers: entry.headers,
                query: entry.query,
                traffic: entry.traffic,
                rule: &entry.route.rule,
            }))
    }

    /// Grows by one with every table that goes live.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every way into a route: hosts in the order of [`ir::HostPattern`], within a host in the order in which
    /// paths are tried, its `defaultBackend` last; at the end the one for all other hosts.
    pub fn routes(&self) -> impl Iterator<Item = Entry<'_, B>> {
        let fallback = self.fallback.as_ref().map(|route| Entry {
            host: None,
            path: None,
            headers: &[],
            query: &[],
            traffic: ir::Traffic::Any,
            route,
        });
        let hosts = self.hosts().into_iter();
        hosts.flat_map(Host::entries).chain(fallback)
    }

    /// Hosts that are named but have no way into a route: whatever they are asked for gets no answer from a less
    /// specific host.
    pub fn empty_hosts(&self) -> impl Iterator<Item = &ir::HostPattern> {
        let hosts = self.hosts().into_iter();
        hosts.filter(|host| host.is_empty()).map(Host::pattern)
    }

    /// All hosts in the order of [`ir::HostPattern`].
    fn hosts(&self) -> Vec<&Host<B>> {
        let hosts = self.exact.iter().chain(&self.wildcard).chain(&self.any);
        let mut hosts: Vec<&Host<B>> = hosts.map(|host| &**host).collect();
        hosts.sort_unstable_by(|a, b| a.pattern().cmp(b.pattern()));
        hosts
    }

    fn fallback_hit(&self) -> Option<Hit<'_, B>> {
        self.fallback.as_ref().map(|route| Hit {
            route,
            path: None,
            host: None,
            headers: &[],
            query: &[],
        })
    }

    /// The most specific host that has any rule.
    fn host(&self, name: &str) -> Option<&Host<B>> {
        self.named(&self.exact, name)
            .or_else(|| {
                let (label, parent) = name.split_once('.')?;
                if label.is_empty() {
                    return None;
                }
                self.named(&self.wildcard, parent)
            })
            .or(self.any.as_deref())
    }

    /// The host of this very pattern.
    fn host_of(&self, pattern: &ir::HostPattern) -> Option<&Host<B>> {
        match pattern {
            ir::HostPattern::Exact(name) => self.named(&self.exact, name),
            ir::HostPattern::Wildcard(name) => self.named(&self.wildcard, name),
            ir::HostPattern::Any => self.any.as_deref(),
        }
    }

    fn named<'a>(&self, index: &'a HashTable<Arc<Host<B>>>, name: &str) -> Option<&'a Host<B>> {
        use std::hash::BuildHasher as _;
        if index.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(name);
        let host = index.find(hash, |host| host.name() == name)?;
        Some(host)
    }
}

/// [`Entry`], without what compiling adds.
struct Way<'a> {
    host: Option<&'a ir::HostPattern>,
    path: Option<&'a ir::PathMatch>,
    headers: &'a [ir::HeaderMatch],
    query: &'a [ir::QueryMatch],
    traffic: ir::Traffic,
    rule: &'a Arc<ir::Route>,
}

impl PartialEq for Way<'_> {
    fn eq(&self, other: &Self) -> bool {
        // Most rules are the very same as before.
        (Arc::ptr_eq(self.rule, other.rule) || self.rule == other.rule)
            && (self.host, self.path) == (other.host, other.path)
            && (self.headers, self.query) == (other.headers, other.query)
            && self.traffic == other.traffic
    }
}

impl<'a> Way<'a> {
    fn default(host: Option<&'a ir::HostPattern>, rule: &'a Arc<ir::Route>) -> Self {
        Self {
            host,
            path: None,
            headers: &[],
            query: &[],
            traffic: ir::Traffic::Any,
            rule,
        }
    }
}

/// What [`Table::routes`] of a table of this configuration would list.
fn wanted(config: &ir::Config) -> impl Iterator<Item = Way<'_>> {
    let hosts = config.hosts.iter().flat_map(|(host, routes)| {
        let candidates = routes.candidates.iter().map(move |candidate| Way {
            host: Some(host),
            path: Some(&candidate.path),
            headers: &candidate.headers,
            query: &candidate.query,
            traffic: candidate.traffic,
            rule: &candidate.route,
        });
        let default = routes.default.as_ref();
        candidates.chain(default.map(move |rule| Way::default(Some(host), rule)))
    });
    let fallback = config.fallback.as_ref();
    hosts.chain(fallback.map(|rule| Way::default(None, rule)))
}

#[cfg(test)]
mod tests;
