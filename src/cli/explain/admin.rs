//! The live table of a running process, from `/api/v1/routes` of its admin address.
//!
//! The answer lists every way into a route in the order in which they are tried. It becomes a table again, so
//! that nobody but the table knows how requests are matched.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

use super::{request::Asked, take};
use crate::{
    ir::{
        Age, BackendRef, Candidate, Config, Explained, Explanation, HeaderMatch, HostPattern,
        HostRoutes, ObjectId, Origin, PathMatch, Policy, QueryMatch, Rank, Route, RouteId,
        RouteKind, Target, Traffic, UpgradeMode,
    },
    table::{Hit, Table},
};

/// The process is on this machine or behind a port-forward.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A table of a hundred thousand routes is written in about a second.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Several times a table of a hundred thousand routes.
const MAX_ANSWER: u64 = 1 << 30;

/// What can go wrong between two processes.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("no answer: {0} (is this the --admin address of a running hawser?)")]
    Io(#[from] io::Error),
    #[error("it answers {0}, which is not the admin API of hawser")]
    Answer(String),
    #[error("it answers with JSON that this version does not know: {0}")]
    Json(#[from] serde_json::Error),
}

/// The list of routes.
#[derive(Debug, Deserialize)]
pub(super) struct Routes {
    routes: Vec<Entry>,
    #[serde(default, rename = "emptyHosts")]
    empty_hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    host: Option<String>,
    path: Option<Path>,
    #[serde(default)]
    headers: Vec<Pair>,
    #[serde(default, rename = "queryParams")]
    query: Vec<Pair>,
    traffic: String,
    object: Object,
    rule: String,
    backends: Vec<Backend>,
    policy: Value,
}

#[derive(Debug, Deserialize)]
struct Path {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct Pair {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct Object {
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Backend {
    namespace: Option<String>,
    service: Option<String>,
    port: Option<u16>,
    missing: Option<String>,
    weight: u32,
}

/// What is not a setting, in the order of the schema, after the settings. Others, of a newer process, come last.
const EDITS: [&str; 8] = [
    "headers.request.set",
    "headers.request.add",
    "headers.request.remove",
    "headers.response.set",
    "headers.response.add",
    "headers.response.remove",
    "rewrite.prefix",
    "rewrite.hostname",
];

/// Asks a process for its routes. HTTP/1.0, so that the answer ends with the connection.
pub(super) fn fetch(admin: SocketAddr) -> Result<Routes, AdminError> {
    let mut stream = TcpStream::connect_timeout(&admin, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.set_write_timeout(Some(READ_TIMEOUT))?;
    let request =
        format!("GET /api/v1/routes HTTP/1.0\r\nHost: {admin}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Routes, AdminError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let unknown = || {
        let line = answer
            .split(|&byte| byte == b'\r')
            .next()
            .unwrap_or_default();
        let line: String = String::from_utf8_lossy(line).chars().take(80).collect();
        AdminError::Answer(format!("{line:?}"))
    };
    let body = match head.parse(answer) {
        Ok(httparse::Status::Complete(body)) if head.code == Some(200) => body,
        _ => return Err(unknown()),
    };
    Ok(serde_json::from_slice(
        answer.get(body..).unwrap_or_default(),
    )?)
}

/// The entry that takes the request.
pub(super) fn explain(routes: &Routes, asked: &Asked) -> Option<Explanation> {
    let table = Table::compile(&config(routes), 1, |_| ());
    let taken = take(&table, asked)?;
    let explained = |hit: &Hit<'_, ()>| {
        let place: usize = hit.route.rule.id.rule.parse().ok()?;
        routes.routes.get(place).map(explanation)
    };
    let ignoring = taken.ignoring.as_ref().and_then(explained);
    Some(Explanation {
        upgrade_ignored_by: ignoring.as_ref().map(super::place),
        ..explained(&taken.hit)?
    })
}

/// The configuration that the list was made of, each rule named by its place in the list.
fn config(routes: &Routes) -> Config {
    let mut config = Config::default();
    for host in &routes.empty_hosts {
        config.hosts.insert(pattern(host), HostRoutes::default());
    }
    for (place, entry) in routes.routes.iter().enumerate() {
        let route = Arc::new(Route {
            id: id(place),
            // Where requests go is for the list to tell.
            backends: vec![BackendRef {
                target: Target::Missing(String::new()),
                weight: 1,
            }],
            policy: policy(&entry.policy),
        });
        let Some(host) = &entry.host else {
            config.fallback = Some(route);
            continue;
        };
        let host: &mut HostRoutes = config.hosts.entry(pattern(host)).or_default();
        match entry.path.as_ref().and_then(Path::pattern) {
            None => host.default = Some(route),
            Some(path) => host.candidates.push(candidate(path, entry, place, route)),
        }
    }
    config
}

/// As much of the policy as decides who takes a request.
fn policy(listed: &Value) -> Arc<Policy> {
    let mut policy = Policy::default();
    if listed["upgrade"]["mode"]["value"] == "Ignore" {
        policy.upgrade.mode.value = UpgradeMode::Ignore;
    }
    Arc::new(policy)
}

fn id(place: usize) -> RouteId {
    RouteId {
        object: ObjectId {
            namespace: "".into(),
            name: "".into(),
            kind: RouteKind::WebSocketRoute,
        },
        rule: place.to_string().into(),
    }
}

fn pattern(host: &str) -> HostPattern {
    match (host, host.strip_prefix("*.")) {
        ("*", _) => HostPattern::Any,
        (_, Some(suffix)) => HostPattern::Wildcard(suffix.into()),
        (host, None) => HostPattern::Exact(host.into()),
    }
}

impl Path {
    fn pattern(&self) -> Option<PathMatch> {
        let value: Arc<str> = self.value.as_str().into();
        match &*self.kind {
            "Exact" => Some(PathMatch::Exact(value)),
            "Regex" => Some(PathMatch::Regex(value)),
            "Prefix" => Some(PathMatch::Prefix(value)),
            _ => None,
        }
    }
}

/// The list is in order, so its places are the ranks.
fn candidate(path: PathMatch, entry: &Entry, place: usize, route: Arc<Route>) -> Candidate {
    let traffic = match &*entry.traffic {
        "Handshakes" => Traffic::Handshakes,
        _ => Traffic::Any,
    };
    let headers = entry.headers.iter().map(|header| HeaderMatch {
        name: header.name.as_str().into(),
        value: header.value.as_str().into(),
    });
    let query = entry.query.iter().map(|query| QueryMatch {
        name: query.name.as_str().into(),
        value: query.value.as_str().into(),
    });
    Candidate {
        path,
        headers: headers.collect(),
        query: query.collect(),
        traffic,
        rank: Rank {
            traffic: std::cmp::Reverse(traffic),
            headers: std::cmp::Reverse(entry.headers.len()),
            query: std::cmp::Reverse(entry.query.len()),
            age: Age::Unknown,
            object: route.id.object.clone(),
            rule: place,
            item: 0,
        },
        route,
    }
}

fn explanation(entry: &Entry) -> Explanation {
    let kind = match &*entry.object.kind {
        "Ingress" => RouteKind::Ingress,
        _ => RouteKind::WebSocketRoute,
    };
    Explanation {
        upgrade_ignored_by: None,
        kind: entry.object.kind.clone(),
        namespace: entry.object.namespace.clone(),
        name: entry.object.name.clone(),
        rule: entry.rule.clone(),
        path: entry
            .path
            .as_ref()
            .map(|path| format!("{} {}", path.kind, path.value)),
        backends: entry.backends.iter().map(Backend::shown).collect(),
        policy: explained(&entry.policy, kind, &entry.rule),
    }
}

impl Backend {
    fn shown(&self) -> String {
        let weight = self.weight;
        match (&self.namespace, &self.service, self.port, &self.missing) {
            (Some(namespace), Some(service), Some(port), _) => {
                format!("{namespace}/{service}:{port} (weight {weight})")
            }
            (_, _, _, missing) => {
                let why = missing.as_deref().unwrap_or("no backend");
                format!("500: {why} (weight {weight})")
            }
        }
    }
}

/// The settings of a policy: `{value, origin}` each, but for header edits and rewrites, which only fields set.
fn explained(policy: &Value, kind: RouteKind, rule: &str) -> Vec<Explained> {
    let mut leaves = BTreeMap::new();
    collect(policy, String::new(), &mut leaves);
    let lines = leaves.into_iter().filter_map(|(name, leaf)| {
        let is_setting = leaf.get("origin").is_some();
        let (value, origin) = match leaf.get("origin") {
            Some(origin) => (leaf.get("value")?, origin.as_str()?),
            None => (leaf, "Field"),
        };
        let origin = match origin {
            "Default" => Origin::Default,
            "Annotation" => Origin::Annotation,
            _ => Origin::Field,
        };
        let value = match (shown(value), &*name) {
            (value, "upgrade.subprotocols") if value.is_empty() => "any".to_owned(),
            (value, _) if value.is_empty() => return None,
            // Windows of no time are not off: they mean at once. Host and path of a rewrite are what they are.
            (value, name) if is_off(&value) && !name.starts_with("drain.") && is_setting => {
                "off".to_owned()
            }
            (value, _) => value,
        };
        Some(Explained {
            origin: origin.explain(&name, kind, rule),
            name,
            value,
        })
    });
    let mut lines: Vec<_> = lines.collect();
    let settings = Policy::default().explain(kind, rule);
    let order: Vec<&str> = settings
        .iter()
        .map(|line| &*line.name)
        .chain(EDITS)
        .collect();
    let place = |line: &Explained| order.iter().position(|name| *name == line.name);
    lines.sort_by_key(|line| place(line).unwrap_or(order.len()));
    lines
}

/// As a manifest writes it.
fn is_off(value: &str) -> bool {
    matches!(value, "0s" | "0")
}

/// Finds what is no object, or is an object with an origin.
fn collect<'a>(value: &'a Value, name: String, leaves: &mut BTreeMap<String, &'a Value>) {
    match value.as_object() {
        Some(fields) if !fields.contains_key("origin") => {
            for (field, value) in fields {
                let name = match &*name {
                    "" => field.clone(),
                    parent => format!("{parent}.{field}"),
                };
                collect(value, name, leaves);
            }
        }
        _ => {
            leaves.insert(name, value);
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| match (&item["name"], &item["value"]) {
                    (Value::String(name), Value::String(value)) => format!("{name}: {value}"),
                    _ => shown(item),
                })
                .collect();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
