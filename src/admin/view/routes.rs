//! `/api/v1/routes`: the live table, and what became of every object.

use std::{io, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use super::{
    super::{State, query::Filter},
    Seq, duration, write,
};
use crate::{ir, table::Entry};

/// The whole answer.
#[derive(Serialize)]
struct Answer<S> {
    /// Generation of the table that is shown.
    generation: u64,
    /// In the order in which they are tried.
    routes: S,
    /// Hosts that a rule without a path names and nothing serves: they get 404.
    #[serde(rename = "emptyHosts", skip_serializing_if = "Vec::is_empty")]
    empty_hosts: Vec<String>,
    /// One per object.
    verdicts: Value,
}

/// One way into a rule.
#[derive(Serialize)]
struct Route<'a> {
    /// `chat.example.com`, `*.example.com`, `*`; absent for the `defaultBackend` of hosts that no rule names.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// Absent for a `defaultBackend`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Path<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    headers: &'a [ir::HeaderMatch],
    #[serde(rename = "queryParams", skip_serializing_if = "<[_]>::is_empty")]
    query: &'a [ir::QueryMatch],
    /// `Any` or `Handshakes`.
    traffic: ir::Traffic,
    object: &'a ir::ObjectId,
    rule: &'a str,
    backends: Vec<Backend<'a>>,
    policy: Value,
}

#[derive(Serialize)]
struct Path<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct Backend<'a> {
    #[serde(flatten)]
    target: Target<'a>,
    weight: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Target<'a> {
    Backend(&'a ir::BackendId),
    Missing { missing: &'a str },
}

/// Writes the view.
pub(in super::super) fn routes(
    state: &State,
    filter: &Filter,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let table = Arc::clone(&state.live.load());
    let routes = Seq(|| {
        let entries = table.routes();
        let wanted = entries.filter(|entry| is_wanted(entry, filter));
        wanted.map(|entry| route(&entry))
    });
    let view = Answer {
        generation: table.generation(),
        routes,
        empty_hosts: table
            .empty_hosts()
            .filter(|_| filter.route.is_none())
            .map(ToString::to_string)
            .filter(|host| filter.host.as_ref().is_none_or(|wanted| wanted == host))
            .collect(),
        verdicts: (state.verdicts)(),
    };
    write(out, &view)
}

fn is_wanted<B>(entry: &Entry<'_, B>, filter: &Filter) -> bool {
    let host = filter.host.as_ref().is_none_or(|wanted| {
        let host = entry.host.map(ToString::to_string);
        host.as_deref() == Some(wanted)
    });
    let object = &entry.route.rule.id.object;
    host && filter.route.as_ref().is_none_or(|name| name.is(object))
}

fn route<'a, B>(entry: &Entry<'a, B>) -> Route<'a> {
    let rule = &*entry.route.rule;
    Route {
        host: entry.host.map(ToString::to_string),
        path: entry.path.map(|path| Path {
            kind: match path {
                ir::PathMatch::Exact(_) => "Exact",
                ir::PathMatch::Regex(_) => "Regex",
                ir::PathMatch::Prefix(_) => "Prefix",
            },
            value: path.value(),
        }),
        headers: entry.headers,
        query: entry.query,
        traffic: entry.traffic,
        object: &rule.id.object,
        rule: &rule.id.rule,
        backends: rule.backends.iter().map(backend).collect(),
        policy: policy(&rule.policy),
    }
}

fn backend(reference: &ir::BackendRef) -> Backend<'_> {
    Backend {
        target: match &reference.target {
            ir::Target::Backend(id) => Target::Backend(id),
            ir::Target::Missing(missing) => Target::Missing { missing },
        },
        weight: reference.weight,
    }
}

/// Numbers that can be off; what else can be off is a time.
const NUMBERS: [&str; 6] = [
    "maxMessageBytes",
    "maxFrameBytes",
    "connections",
    "connectionsPerClient",
    "messagesPerSecond",
    "bytesPerSecond",
];

/// Each value with its origin, durations as in a manifest, and what is off as there: `0s`, or 0 for a number.
fn policy(policy: &ir::Policy) -> Value {
    // Plain data with text keys always has a JSON form.
    let mut value = serde_json::to_value(policy).unwrap_or_default();
    duration::rewrite(&mut value);
    for (block, fields) in value.as_object_mut().into_iter().flatten() {
        for (name, setting) in fields.as_object_mut().into_iter().flatten() {
            let number = NUMBERS.contains(&&**name);
            // Other fields that can be `null` mean any, or have no setting.
            let time = matches!(&**block, "timeouts" | "keepalive" | "limits");
            let off = match (number, time) {
                (true, _) => Value::from(0),
                (false, true) => Value::from("0s"),
                (false, false) => continue,
            };
            if let Some(value) = setting.get_mut("value").filter(|value| value.is_null()) {
                *value = off;
            }
        }
    }
    value
}
