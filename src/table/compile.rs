//! From the configuration to a table.

use std::{hash::BuildHasher as _, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::ir;

use super::{
    Route, Table,
    conditions::Conditions,
    host::{Candidate, Host},
    pattern::Pattern,
};

impl<B> Table<B> {
    /// A table without routes, generation 0.
    pub fn empty() -> Self {
        Self {
            generation: 0,
            hasher: DefaultHashBuilder::default(),
            hosts: Box::default(),
            exact: HashTable::new(),
            wildcard: HashTable::new(),
            any: None,
            fallback: None,
            patterns: HashMap::new(),
        }
    }

    /// Compiles a configuration. `resolve` gives the handle of a backend.
    pub fn compile(
        config: &ir::Config,
        generation: u64,
        resolve: impl FnMut(&ir::BackendId) -> B,
    ) -> Self {
        Compiler::new(generation, &Self::empty(), resolve).run(config)
    }

    /// Compiles the table that follows this one: its generation is the next, and the routes and regular
    /// expressions that both have are shared. So a rule that is the same `Arc` as before keeps its place in the
    /// rotation, and its backends are not resolved again.
    #[must_use]
    pub fn next(&self, config: &ir::Config, resolve: impl FnMut(&ir::BackendId) -> B) -> Self {
        Compiler::new(self.generation.saturating_add(1), self, resolve).run(config)
    }
}

struct Compiler<'a, B, F> {
    generation: u64,
    resolve: F,
    hasher: DefaultHashBuilder,
    known: &'a HashMap<Arc<str>, Arc<Pattern>>,
    patterns: HashMap<Arc<str>, Arc<Pattern>>,
    /// Routes of the table before and of this one, by the address of their rule: all matches of a rule share one.
    routes: HashMap<*const ir::Route, Arc<Route<B>>>,
}

impl<'a, B, F: FnMut(&ir::BackendId) -> B> Compiler<'a, B, F> {
    fn new(generation: u64, previous: &'a Table<B>, resolve: F) -> Self {
        let routes = previous.routes().map(|entry| entry.route);
        Self {
            generation,
            resolve,
            hasher: DefaultHashBuilder::default(),
            known: &previous.patterns,
            patterns: HashMap::new(),
            // The route holds its rule, so no other rule can have the address.
            routes: routes
                .map(|route| (Arc::as_ptr(&route.rule), Arc::clone(route)))
                .collect(),
        }
    }

    fn run(mut self, config: &ir::Config) -> Table<B> {
        let mut hosts = Vec::with_capacity(config.hosts.len());
        for (pattern, routes) in &config.hosts {
            hosts.push(self.host(pattern, routes));
        }
        let fallback = config.fallback.as_ref().map(|rule| self.route(rule));
        let (exact, wildcard, any) = index(&hosts, &self.hasher);
        Table {
            generation: self.generation,
            hasher: self.hasher,
            hosts: hosts.into(),
            exact,
            wildcard,
            any,
            fallback,
            patterns: self.patterns,
        }
    }

    fn host(&mut self, pattern: &ir::HostPattern, routes: &ir::HostRoutes) -> Host<B> {
        let candidates = routes
            .candidates
            .iter()
            .map(|candidate| Candidate {
                path: candidate.path.clone(),
                conditions: Conditions::of(candidate),
                traffic: candidate.traffic,
                route: self.route(&candidate.route),
            })
            .collect();
        let default = routes.default.as_ref().map(|rule| self.route(rule));
        let (known, patterns) = (self.known, &mut self.patterns);
        Host::new(
            pattern.clone(),
            candidates,
            default,
            &self.hasher,
            |source| {
                let pattern = patterns.entry(Arc::clone(source)).or_insert_with(|| {
                    known
                        .get(source)
                        .map_or_else(|| Arc::new(Pattern::new(Arc::clone(source))), Arc::clone)
                });
                Arc::clone(pattern)
            },
        )
    }

    fn route(&mut self, rule: &Arc<ir::Route>) -> Arc<Route<B>> {
        let route = self.routes.entry(Arc::as_ptr(rule)).or_insert_with(|| {
            Arc::new(Route::new(
                Arc::clone(rule),
                self.generation,
                &mut self.resolve,
            ))
        });
        Arc::clone(route)
    }
}

type Index = (HashTable<u32>, HashTable<u32>, Option<u32>);

/// Where the exact hosts, the wildcards and the pattern for every host are.
fn index<B>(hosts: &[Host<B>], hasher: &DefaultHashBuilder) -> Index {
    let is_wildcard = |host: &&Host<B>| matches!(host.pattern(), ir::HostPattern::Wildcard(_));
    let wildcards = hosts.iter().filter(is_wildcard).count();
    let mut exact = HashTable::with_capacity(hosts.len() - wildcards);
    let mut wildcard = HashTable::with_capacity(wildcards);
    let mut any = None;
    let rehash = |place: &u32| {
        hosts
            .get(*place as usize)
            .map_or(0, |host| hasher.hash_one(host.name()))
    };
    for (place, host) in (0_u32..).zip(hosts) {
        match host.pattern() {
            ir::HostPattern::Exact(name) => {
                exact.insert_unique(hasher.hash_one(&**name), place, rehash);
            }
            ir::HostPattern::Wildcard(name) => {
                wildcard.insert_unique(hasher.hash_one(&**name), place, rehash);
            }
            ir::HostPattern::Any => any = Some(place),
        }
    }
    (exact, wildcard, any)
}
