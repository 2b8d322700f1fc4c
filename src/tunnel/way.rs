//! What led a handshake to its route: enough to ask later tables for the same.

use std::sync::Arc;

use crate::{
    ir::{HeaderMatch, HostPattern, PathMatch, QueryMatch},
    table,
};

/// A match as the table had it. Tunnels that came the same way share one.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Way {
    namespace: Arc<str>,
    /// `None` for the `defaultBackend` of hosts that no rule names.
    host: Option<HostPattern>,
    /// `None` for a `defaultBackend`.
    path: Option<PathMatch>,
    headers: Box<[HeaderMatch]>,
    query: Box<[QueryMatch]>,
}

/// A way, and in which table it was found.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// The way.
    pub way: Way,
    /// Generation of the table.
    pub generation: u64,
}

impl Found {
    /// What a table found.
    pub fn new<B>(table: &table::Table<B>, hit: &table::Hit<'_, B>) -> Self {
        Self {
            way: Way {
                namespace: Arc::clone(&hit.route.rule.id.object.namespace),
                host: hit.host.cloned(),
                path: hit.path.cloned(),
                headers: hit.headers.into(),
                query: hit.query.into(),
            },
            generation: table.generation(),
        }
    }
}

impl Way {
    /// The routes of the namespace that have this host and path in the table.
    pub(super) fn routes<'t, B>(
        &self,
        table: &'t table::Table<B>,
    ) -> impl Iterator<Item = &'t Arc<table::Route<B>>> {
        table.routes_at(&self.namespace, self.host.as_ref(), self.path.as_ref())
    }

    /// The only host that comes this way, if it is only one.
    pub(super) fn only_host(&self) -> Option<&str> {
        match &self.host {
            Some(HostPattern::Exact(name)) => Some(name),
            _ => None,
        }
    }
}

/// A handshake that came this way, as far as it is known: the headers and parameters that its rule asked for were
/// there, of others nothing is known and a rule that asks for them does not count.
pub(super) struct Handshake<'a> {
    way: &'a Way,
    host: &'a str,
    path: &'a str,
    query: Option<String>,
}

impl<'a> Handshake<'a> {
    pub(super) fn new(way: &'a Way, host: &'a str, path: &'a str) -> Self {
        let query = (!way.query.is_empty()).then(|| {
            let mut pairs = form_urlencoded::Serializer::new(String::new());
            pairs.extend_pairs(way.query.iter().map(|it| (&*it.name, &*it.value)));
            pairs.finish()
        });
        Self {
            way,
            host,
            path,
            query,
        }
    }
}

impl table::Request for Handshake<'_> {
    fn host(&self) -> &str {
        self.host
    }

    fn path(&self) -> &str {
        self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn has_header(&self, name: &str, value: &str) -> bool {
        let mut known = self.way.headers.iter();
        known.any(|header| *header.name == *name && *header.value == *value)
    }

    fn is_handshake_attempt(&self) -> bool {
        true
    }
}
