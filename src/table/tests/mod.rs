//! A small language for tables and requests, shared by the tests of this module.

mod find;
mod handle;
mod oracle;
mod pick;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use crate::ir::{self, PathMatch, Traffic};

use super::{Request, Table};

pub(super) fn policy() -> Arc<ir::Policy> {
    Arc::default()
}

pub(super) fn backend(service: &str, weight: u32) -> ir::BackendRef {
    ir::BackendRef {
        target: ir::Target::Backend(ir::BackendId {
            namespace: "default".into(),
            service: service.into(),
            port: 80,
        }),
        weight,
    }
}

pub(super) fn rule(name: &str, backends: Vec<ir::BackendRef>) -> Arc<ir::Route> {
    Arc::new(ir::Route {
        id: ir::RouteId {
            object: object(name),
            rule: name.into(),
        },
        backends,
        policy: policy(),
    })
}

fn object(name: &str) -> ir::ObjectId {
    ir::ObjectId {
        namespace: "default".into(),
        name: name.into(),
        kind: ir::RouteKind::WebSocketRoute,
    }
}

/// `=/a` exact, `~/a.*` regex, anything else a prefix.
pub(super) fn path(text: &str) -> PathMatch {
    match text.split_at_checked(1) {
        Some(("=", value)) => PathMatch::Exact(value.into()),
        Some(("~", value)) => PathMatch::Regex(value.into()),
        _ => PathMatch::Prefix(text.into()),
    }
}

/// `*` any, `*.a.b` wildcard, anything else exact.
pub(super) fn host(text: &str) -> ir::HostPattern {
    match text.strip_prefix("*.") {
        Some(parent) => ir::HostPattern::Wildcard(parent.into()),
        None if text == "*" => ir::HostPattern::Any,
        None => ir::HostPattern::Exact(text.into()),
    }
}

/// A match that takes all requests of a path; its route is called `name`.
pub(super) fn candidate(name: &str, at: &str) -> ir::Candidate {
    conditional(name, at, &[], &[], Traffic::Any)
}

pub(super) fn conditional(
    name: &str,
    at: &str,
    headers: &[(&str, &str)],
    query: &[(&str, &str)],
    traffic: Traffic,
) -> ir::Candidate {
    ir::Candidate {
        path: path(at),
        headers: headers
            .iter()
            .map(|(name, value)| ir::HeaderMatch {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect(),
        query: query
            .iter()
            .map(|(name, value)| ir::QueryMatch {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect(),
        traffic,
        rank: ir::Rank {
            traffic: Reverse(traffic),
            headers: Reverse(headers.len()),
            query: Reverse(query.len()),
            age: ir::Age::Unknown,
            object: object(name),
            rule: 0,
            item: 0,
        },
        route: rule(name, vec![backend("echo", 1)]),
    }
}

pub(super) fn sorted(mut candidates: Vec<ir::Candidate>) -> Vec<ir::Candidate> {
    candidates.sort_by(|a, b| (a.path.precedence(), &a.rank).cmp(&(b.path.precedence(), &b.rank)));
    candidates
}

pub(super) fn config(hosts: Vec<(&str, Vec<ir::Candidate>)>) -> ir::Config {
    ir::Config {
        hosts: hosts
            .into_iter()
            .map(|(name, candidates)| {
                (
                    host(name),
                    ir::HostRoutes {
                        candidates: sorted(candidates),
                        default: None,
                    },
                )
            })
            .collect(),
        fallback: None,
        backends: BTreeMap::new(),
    }
}

pub(super) fn compile(config: &ir::Config) -> Table<String> {
    Table::compile(config, 1, |id| id.service.to_string())
}

#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) handshake: bool,
}

impl Asked {
    pub(super) fn new(host: &str, path: &str) -> Self {
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        Self {
            host: host.into(),
            path: path.into(),
            query: query.map(Into::into),
            ..Self::default()
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn handshake(mut self) -> Self {
        self.handshake = true;
        self
    }

    /// Name of the route that takes this.
    pub(super) fn taken_by<'a>(&self, table: &'a Table<String>) -> Option<&'a str> {
        table.find(self).map(|hit| &*hit.route.rule.id.rule)
    }
}

impl Request for Asked {
    fn host(&self) -> &str {
        &self.host
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn has_header(&self, name: &str, value: &str) -> bool {
        self.headers.iter().any(|(n, v)| n == name && v == value)
    }

    fn is_handshake_attempt(&self) -> bool {
        self.handshake
    }
}
