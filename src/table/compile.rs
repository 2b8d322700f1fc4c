//! From the configuration to a table.

use std::{hash::BuildHasher as _, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::ir;

use super::{
    Route, Table,
    conditions::Conditions,
    host::{Candidate, Host},
    shared::{Pools, Shared},
};

impl<B> Table<B> {
    /// A table without routes, generation 0.
    pub fn empty() -> Self {
        Self {
            generation: 0,
            hasher: DefaultHashBuilder::default(),
            exact: HashTable::new(),
            wildcard: HashTable::new(),
            any: None,
            fallback: None,
            shared: Arc::new(Shared::new()),
        }
    }

    /// Compiles a configuration. `resolve` gives the handle of a backend.
    pub fn compile(
        config: &ir::Config,
        generation: u64,
        resolve: impl FnMut(&ir::BackendId) -> B,
    ) -> Self {
        let mut table = Self::empty();
        table.generation = generation;
        table.fill(config, resolve);
        table
    }

    /// Compiles the table that follows this one from a whole configuration: its generation is the next, and the
    /// routes and regular expressions that both have are shared. So a rule that is the same `Arc` as before keeps its
    /// place in the rotation, and its backends are not resolved again.
    #[must_use]
    pub fn next(&self, config: &ir::Config, resolve: impl FnMut(&ir::BackendId) -> B) -> Self {
        let mut table = Self {
            exact: HashTable::new(),
            wildcard: HashTable::new(),
            any: None,
            ..self.successor()
        };
        table.fill(config, resolve);
        table
    }

    /// The same from what is different: unchanged hosts are shared, too. Costs what the changed hosts cost, and a
    /// reference count for each of the others.
    #[must_use]
    pub fn change(&self, delta: &ir::Delta, resolve: impl FnMut(&ir::BackendId) -> B) -> Self {
        let mut table = self.successor();
        let shared = Arc::clone(&self.shared);
        let mut compiler = Compiler::new(&table, shared.pools(), resolve);
        for (pattern, routes) in &delta.hosts {
            let host = routes
                .as_deref()
                .map(|routes| compiler.host(pattern, routes));
            table.put(pattern, host);
        }
        if let Some(fallback) = &delta.fallback {
            table.fallback = fallback.as_ref().map(|rule| compiler.route(rule));
        }
        table
    }

    fn successor(&self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            hasher: self.hasher.clone(),
            exact: self.exact.clone(),
            wildcard: self.wildcard.clone(),
            any: self.any.clone(),
            fallback: self.fallback.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    fn fill(&mut self, config: &ir::Config, resolve: impl FnMut(&ir::BackendId) -> B) {
        let shared = Arc::clone(&self.shared);
        let mut compiler = Compiler::new(self, shared.pools(), resolve);
        for (pattern, routes) in &config.hosts {
            let host = compiler.host(pattern, routes);
            self.put(pattern, Some(host));
        }
        self.fallback = config.fallback.as_ref().map(|rule| compiler.route(rule));
    }

    /// A host serves this now.
    fn put(&mut self, pattern: &ir::HostPattern, host: Option<Host<B>>) {
        let host = host.map(Arc::new);
        let (index, name) = match pattern {
            ir::HostPattern::Exact(name) => (&mut self.exact, name),
            ir::HostPattern::Wildcard(name) => (&mut self.wildcard, name),
            ir::HostPattern::Any => {
                self.any = host;
                return;
            }
        };
        let hash = self.hasher.hash_one(&**name);
        let known = index.find_entry(hash, |host| host.name() == &**name);
        match (known, host) {
            (Ok(mut known), Some(host)) => *known.get_mut() = host,
            (Ok(known), None) => drop(known.remove()),
            (Err(_), Some(host)) => {
                let hasher = &self.hasher;
                index.insert_unique(hash, host, |host| hasher.hash_one(host.name()));
            }
            (Err(_), None) => {}
        }
    }
}

struct Compiler<'a, B, F> {
    generation: u64,
    hasher: DefaultHashBuilder,
    pools: parking_lot::MutexGuard<'a, Pools<B>>,
    resolve: F,
}

impl<'a, B, F: FnMut(&ir::BackendId) -> B> Compiler<'a, B, F> {
    fn new(table: &Table<B>, pools: parking_lot::MutexGuard<'a, Pools<B>>, resolve: F) -> Self {
        Self {
            generation: table.generation,
            hasher: table.hasher.clone(),
            pools,
            resolve,
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
        let pools = &mut self.pools;
        Host::new(
            pattern.clone(),
            candidates,
            default,
            &self.hasher,
            |source| pools.pattern(source),
        )
    }

    fn route(&mut self, rule: &Arc<ir::Route>) -> Arc<Route<B>> {
        let (generation, resolve) = (self.generation, &mut self.resolve);
        let make = || Route::new(Arc::clone(rule), generation, resolve);
        self.pools.route(rule, make)
    }
}
