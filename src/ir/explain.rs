//! A route in words: what it is, where it goes, and where each value of its policy comes from.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use super::{HeaderEdits, Origin, PathMatch, Policy, Route, RouteKind, Setting};

/// A setting of a policy in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Path of the field in a rule of a `WebSocketRoute`.
    pub name: String,
    /// Effective value.
    pub value: String,
    /// `default`, the path of the field, or the key of the annotation.
    pub origin: String,
}

/// A route in words. The admin API and `hawser explain` show the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What took the `Upgrade` off a handshake by `mode: Ignore`; absent where nothing did.
    #[serde(
        default,
        rename = "upgradeIgnoredBy",
        skip_serializing_if = "Option::is_none"
    )]
    pub upgrade_ignored_by: Option<String>,
    /// Kind of the object.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The rule.
    pub rule: String,
    /// The path that matched; absent for a `defaultBackend`.
    pub path: Option<String>,
    /// Where requests go, with weights.
    pub backends: Vec<String>,
    /// The policy.
    pub policy: Vec<Explained>,
}

impl Explanation {
    /// Explains why a request that `path` matched is treated as it is.
    pub fn new(route: &Route, path: Option<&PathMatch>) -> Self {
        let object = &route.id.object;
        let backends = route
            .backends
            .iter()
            .map(|reference| format!("{} (weight {})", reference.target, reference.weight));
        Self {
            upgrade_ignored_by: None,
            kind: object.kind.to_string(),
            namespace: String::from(&*object.namespace),
            name: String::from(&*object.name),
            rule: String::from(&*route.id.rule),
            path: path.map(ToString::to_string),
            backends: backends.collect(),
            policy: route.policy.explain(object.kind, &route.id.rule),
        }
    }
}

/// Settings that an Ingress has annotations for.
pub const ANNOTATIONS: [(&str, &str); 11] = [
    ("upgrade.mode", "hawser.dev/upgrade"),
    ("upgrade.subprotocols", "hawser.dev/subprotocols"),
    ("timeouts.connect", "hawser.dev/connect-timeout"),
    ("timeouts.handshake", "hawser.dev/handshake-timeout"),
    ("timeouts.response", "hawser.dev/response-timeout"),
    ("timeouts.idle", "hawser.dev/idle-timeout"),
    ("timeouts.maxLifetime", "hawser.dev/max-lifetime"),
    ("keepalive.interval", "hawser.dev/keepalive-interval"),
    ("limits.connections", "hawser.dev/connections"),
    (
        "limits.connectionsPerClient",
        "hawser.dev/connections-per-client",
    ),
    ("drain.window", "hawser.dev/drain-window"),
];

impl Policy {
    /// Every setting with its origin, in the order of the schema.
    pub fn explain(&self, kind: RouteKind, rule: &str) -> Vec<Explained> {
        let mut lines = Lines {
            kind,
            rule,
            all: Vec::with_capacity(32),
        };
        self.explain_handshakes(&mut lines);
        self.explain_tunnels(&mut lines);
        // What these do can only be set: there is no line for nothing.
        for (name, value) in edits("headers.request", &self.headers.request)
            .chain(edits("headers.response", &self.headers.response))
        {
            lines.add(&name, value, Origin::Field);
        }
        for (name, value) in [
            ("rewrite.prefix", &self.rewrite.prefix),
            ("rewrite.hostname", &self.rewrite.hostname),
        ] {
            if let Some(value) = value {
                lines.add(name, value.clone(), Origin::Field);
            }
        }
        lines.all
    }

    fn explain_handshakes(&self, lines: &mut Lines<'_>) {
        let upgrade = &self.upgrade;
        lines.plain("upgrade.mode", upgrade.mode);
        let subprotocols = upgrade.subprotocols.value.as_deref();
        lines.add(
            "upgrade.subprotocols",
            subprotocols.map_or_else(|| "any".to_owned(), |names| names.join(", ")),
            upgrade.subprotocols.origin,
        );
        lines.plain("upgrade.extensions", upgrade.extensions);
        lines.number("upgrade.maxMessageBytes", upgrade.max_message_bytes);
        lines.number("upgrade.maxFrameBytes", upgrade.max_frame_bytes);
        lines.plain("upgrade.strict", upgrade.strict);
        let timeouts = &self.timeouts;
        lines.time("timeouts.connect", timeouts.connect);
        lines.time("timeouts.handshake", timeouts.handshake);
        lines.time("timeouts.response", timeouts.response);
        lines.time("timeouts.idle", timeouts.idle);
        lines.time("timeouts.maxLifetime", timeouts.max_lifetime);
    }

    fn explain_tunnels(&self, lines: &mut Lines<'_>) {
        let keepalive = &self.keepalive;
        lines.time("keepalive.interval", keepalive.interval);
        lines.time("keepalive.timeout", keepalive.timeout);
        lines.plain("keepalive.target", keepalive.target);
        let limits = &self.limits;
        lines.number("limits.connections", limits.connections);
        lines.number("limits.connectionsPerClient", limits.connections_per_client);
        lines.plain("limits.connectionsStatus", limits.connections_status);
        lines.number("limits.messagesPerSecond", limits.messages_per_second);
        lines.number("limits.bytesPerSecond", limits.bytes_per_second);
        lines.time("limits.writeStall", limits.write_stall);
        let drain = &self.drain;
        lines.span("drain.window", drain.window);
        lines.span("drain.backendGrace", drain.backend_grace);
        lines.plain("drain.code", drain.code);
        lines.plain("drain.onBackendTerminating", drain.on_backend_terminating);
        lines.plain("drain.onBackendRemoved", drain.on_backend_removed);
        lines.plain("drain.onRouteRemoved", drain.on_route_removed);
    }
}

/// What is said about the settings of one rule.
struct Lines<'a> {
    kind: RouteKind,
    rule: &'a str,
    all: Vec<Explained>,
}

impl Lines<'_> {
    fn add(&mut self, name: &str, value: String, origin: Origin) {
        self.all.push(Explained {
            origin: origin.explain(name, self.kind, self.rule),
            name: name.to_owned(),
            value,
        });
    }

    fn plain(&mut self, name: &str, setting: Setting<impl ToString + Copy>) {
        self.add(name, setting.value.to_string(), setting.origin);
    }

    fn number(&mut self, name: &str, limit: Setting<Option<impl ToString>>) {
        let value = limit.value.map_or_else(off, |value| value.to_string());
        self.add(name, value, limit.origin);
    }

    fn time(&mut self, name: &str, limit: Setting<Option<Duration>>) {
        let value = limit.value.map_or_else(off, shown);
        self.add(name, value, limit.origin);
    }

    /// A time of which none means at once.
    fn span(&mut self, name: &str, span: Setting<Duration>) {
        self.add(name, shown(span.value), span.origin);
    }
}

fn off() -> String {
    "off".to_owned()
}

impl Origin {
    /// Names the field or the annotation that set the setting `name` of a rule.
    pub fn explain(self, name: &str, kind: RouteKind, rule: &str) -> String {
        match (self, kind) {
            (Self::Default, _) => "default".to_owned(),
            (Self::Field, RouteKind::WebSocketRoute) => format!("field spec.rules[{rule}].{name}"),
            // Handshakes on a path that both kinds have.
            (Self::Field, RouteKind::Ingress) => {
                format!("field {name} of the WebSocketRoute with the same host and path")
            }
            (Self::Annotation, _) => {
                let known = ANNOTATIONS.iter().find(|(setting, _)| *setting == name);
                format!("annotation {}", known.map_or(name, |(_, key)| key))
            }
        }
    }
}

fn edits(field: &str, edits: &HeaderEdits) -> impl Iterator<Item = (String, String)> {
    let names = |values: &[super::HeaderValue]| {
        let shown: Vec<_> = values
            .iter()
            .map(|header| format!("{}: {}", header.name, header.value))
            .collect();
        shown.join(", ")
    };
    [
        ("set", names(&edits.set)),
        ("add", names(&edits.add)),
        ("remove", edits.remove.join(", ")),
    ]
    .map(|(list, value)| (format!("{field}.{list}"), value))
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
}

/// As in GEP-2257, in the largest units.
fn shown(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut out = String::new();
    for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
        if rest >= unit {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{name}", rest / unit);
            rest %= unit;
        }
    }
    if out.is_empty() {
        out.push_str("0s");
    }
    out
}

#[cfg(test)]
mod tests;
