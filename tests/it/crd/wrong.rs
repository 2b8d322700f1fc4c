//! Manifests that are wrong, as kubectl tells a person.

use serde_json::{Value, json};

use super::{golden, offline, plane, route, with};

/// What was done wrong, where, and what stands there: everything else is right.
fn mistakes() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "a host with a port",
            "/spec/hostnames/0",
            json!("chat.example.com:8080"),
        ),
        (
            "a host in upper case",
            "/spec/hostnames/0",
            json!("Chat.example.com"),
        ),
        (
            "an address as host",
            "/spec/hostnames/0",
            json!("203.0.113.7"),
        ),
        (
            "a URL as host",
            "/spec/hostnames/0",
            json!("wss://chat.example.com"),
        ),
        (
            "a wildcard in the middle",
            "/spec/hostnames/0",
            json!("chat.*.com"),
        ),
        (
            "one host in place of a list",
            "/spec/hostnames",
            json!("chat.example.com"),
        ),
        (
            "a field of another kind",
            "/spec/host",
            json!("chat.example.com"),
        ),
        ("no rule", "/spec/rules", json!([])),
        ("a rule without a name", "/spec/rules/0/name", Value::Null),
        (
            "a rule name with a space",
            "/spec/rules/0/name",
            json!("my rule"),
        ),
        (
            "a path without a slash",
            "/spec/rules/0/matches/0/path/value",
            json!("ws"),
        ),
        (
            "a path with a query",
            "/spec/rules/0/matches/0/path/value",
            json!("/ws?v=2"),
        ),
        (
            "a pattern in a Prefix",
            "/spec/rules/0/matches/0/path/value",
            json!("/rooms/[0-9]+"),
        ),
        (
            "a path that climbs",
            "/spec/rules/0/matches/0/path/value",
            json!("/a/../b"),
        ),
        (
            "a path type of another API",
            "/spec/rules/0/matches/0/path/type",
            json!("PathPrefix"),
        ),
        (
            "a path without its object",
            "/spec/rules/0/matches/0/path",
            json!("/ws"),
        ),
        (
            "a query parameter as number",
            "/spec/rules/0/matches/0/queryParams/0/value",
            json!(2),
        ),
        (
            "a header name with a colon",
            "/spec/rules/0/matches/0/headers/0/name",
            json!("x-tenant:"),
        ),
        ("no backend", "/spec/rules/0/backendRefs", Value::Null),
        (
            "a backend of another namespace",
            "/spec/rules/0/backendRefs/0/name",
            json!("chat.other.svc"),
        ),
        (
            "a port in quotes",
            "/spec/rules/0/backendRefs/0/port",
            json!("8080"),
        ),
        (
            "a port that is none",
            "/spec/rules/0/backendRefs/0/port",
            json!(80_800),
        ),
        (
            "a weight below zero",
            "/spec/rules/0/backendRefs/0/weight",
            json!(-1),
        ),
        (
            "a mode in lower case",
            "/spec/rules/0/upgrade/mode",
            json!("require"),
        ),
        (
            "a mode that YAML reads as a boolean",
            "/spec/rules/0/upgrade/mode",
            json!(false),
        ),
        (
            "a duration without a unit",
            "/spec/rules/0/timeouts/idle",
            json!("3600"),
        ),
        (
            "a duration as number",
            "/spec/rules/0/timeouts/idle",
            json!(3600),
        ),
        (
            "a duration in days",
            "/spec/rules/0/timeouts/idle",
            json!("1d"),
        ),
        (
            "a timeout that is mistyped",
            "/spec/rules/0/timeouts/idel",
            json!("1h"),
        ),
        (
            "a size with a unit",
            "/spec/rules/0/upgrade/maxMessageBytes",
            json!("1Mi"),
        ),
        (
            "a frame above the message",
            "/spec/rules/0/upgrade",
            json!({"maxMessageBytes": 65_536, "maxFrameBytes": 1_048_576}),
        ),
        (
            "a ping every tenth of a second",
            "/spec/rules/0/keepalive/interval",
            json!("100ms"),
        ),
        (
            "a ping without a unit",
            "/spec/rules/0/keepalive/interval",
            json!("30"),
        ),
        (
            "a limit below zero",
            "/spec/rules/0/limits/connections",
            json!(-1),
        ),
        (
            "a limit that answers with 500",
            "/spec/rules/0/limits/connectionsStatus",
            json!(500),
        ),
        (
            "a code that is never sent",
            "/spec/rules/0/drain/code",
            json!(1006),
        ),
        (
            "a code after which no client comes back",
            "/spec/rules/0/drain/code",
            json!(1000),
        ),
        (
            "a reaction of another product",
            "/spec/rules/0/drain/onRouteRemoved",
            json!("Terminate"),
        ),
        (
            "a header that is the proxy's",
            "/spec/rules/0/headers/request/set/0/name",
            json!("Host"),
        ),
        (
            "a rewrite to a relative path",
            "/spec/rules/0/rewrite/prefix",
            json!("app"),
        ),
        (
            "a rewrite below a Regex",
            "/spec/rules/0/matches/0/path",
            json!({"type": "Regex", "value": "/[a-z]+"}),
        ),
        ("a name that is no name", "/metadata/name", json!("My_Chat")),
    ]
}

/// Where a message speaks of a field by another path than where the mistake is.
const ELSEWHERE: [(&str, &str); 4] = [
    (
        "a frame above the message",
        "spec.rules[0].upgrade.maxFrameBytes",
    ),
    ("a rewrite below a Regex", "spec.rules[0].rewrite.prefix"),
    ("no backend", "spec.rules[0].backendRefs"),
    ("a name that is no name", "metadata.name"),
];

fn field(what: &str, pointer: &str) -> String {
    if let Some((_, field)) = ELSEWHERE.iter().find(|(of, _)| *of == what) {
        return (*field).to_owned();
    }
    pointer
        .split('/')
        .skip(1)
        .fold(String::new(), |field, part| {
            if part.parse::<usize>().is_ok() {
                format!("{field}[{part}]")
            } else if field.is_empty() {
                part.to_owned()
            } else {
                format!("{field}.{part}")
            }
        })
}

#[test]
fn kubectl_names_the_field_and_what_would_be_right() {
    let plane = plane();
    let namespace = plane.run(async || plane.namespace("wrong").await);
    let right = with(route(), "/metadata/namespace", json!(namespace));
    let mut page = String::new();
    for (what, pointer, value) in mistakes() {
        let manifest = with(right.clone(), pointer, value.clone());
        let said = plane
            .kubectl(&["apply", "-f", "-"], &manifest.to_string())
            .failure();
        let field = field(what, pointer);
        assert!(said.contains(&field), "{what}: no {field} in {said}");
        offline(&manifest).expect_err(what);
        // kubectl sorts the reasons as it likes.
        let mut lines: Vec<_> = said.trim_end().lines().map(str::trim_end).collect();
        if let Some((_, reasons)) = lines.split_first_mut() {
            reasons.sort_unstable();
        }
        page += &format!("## {what}\n{field}: {value}\n\n{}\n\n", lines.join("\n"));
    }
    golden("wrong.txt", &page);
}
