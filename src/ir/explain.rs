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
pub const ANNOTATIONS: [(&str, &str); 6] = [
    ("upgrade.mode", "hawser.dev/upgrade"),
    ("upgrade.subprotocols", "hawser.dev/subprotocols"),
    ("timeouts.connect", "hawser.dev/connect-timeout"),
    ("timeouts.handshake", "hawser.dev/handshake-timeout"),
    ("timeouts.response", "hawser.dev/response-timeout"),
    ("timeouts.idle", "hawser.dev/idle-timeout"),
];

impl Policy {
    /// Every setting with its origin, in the order of the schema.
    pub fn explain(&self, kind: RouteKind, rule: &str) -> Vec<Explained> {
        let line = |name: &str, value: String, origin: Origin| Explained {
            name: name.to_owned(),
            value,
            origin: origin.explain(name, kind, rule),
        };
        let time = |name: &str, limit: Setting<Option<Duration>>| {
            let value = limit.value.map_or_else(|| "off".to_owned(), shown);
            line(name, value, limit.origin)
        };
        let upgrade = &self.upgrade;
        let subprotocols = upgrade.subprotocols.value.as_deref();
        let mut lines = vec![
            line(
                "upgrade.mode",
                upgrade.mode.value.to_string(),
                upgrade.mode.origin,
            ),
            line(
                "upgrade.subprotocols",
                subprotocols.map_or_else(|| "any".to_owned(), |names| names.join(", ")),
                upgrade.subprotocols.origin,
            ),
            line(
                "upgrade.extensions",
                upgrade.extensions.value.to_string(),
                upgrade.extensions.origin,
            ),
            time("timeouts.connect", self.timeouts.connect),
            time("timeouts.handshake", self.timeouts.handshake),
            time("timeouts.response", self.timeouts.response),
            time("timeouts.idle", self.timeouts.idle),
        ];
        // What these do can only be set: there is no line for nothing.
        let field = |name: String, value: String| line(&name, value, Origin::Field);
        lines.extend(edits("headers.request", &self.headers.request).map(|(n, v)| field(n, v)));
        lines.extend(edits("headers.response", &self.headers.response).map(|(n, v)| field(n, v)));
        let rewrites = [
            ("rewrite.prefix", &self.rewrite.prefix),
            ("rewrite.hostname", &self.rewrite.hostname),
        ];
        lines.extend(rewrites.into_iter().filter_map(|(name, value)| {
            value
                .as_ref()
                .map(|value| field(name.to_owned(), value.clone()))
        }));
        lines
    }
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
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(5000, "5s")]
    #[case(3_600_000, "1h")]
    #[case(300_000, "5m")]
    #[case(5_400_500, "1h30m500ms")]
    fn durations(#[case] millis: u64, #[case] expect: &str) {
        assert_eq!(shown(Duration::from_millis(millis)), expect);
    }

    #[rstest]
    #[case(Origin::Default, RouteKind::Ingress, "default")]
    #[case(
        Origin::Field,
        RouteKind::WebSocketRoute,
        "field spec.rules[socket].timeouts.idle"
    )]
    #[case(
        Origin::Annotation,
        RouteKind::Ingress,
        "annotation hawser.dev/idle-timeout"
    )]
    fn origins(#[case] origin: Origin, #[case] kind: RouteKind, #[case] expect: &str) {
        assert_eq!(origin.explain("timeouts.idle", kind, "socket"), expect);
    }
}
