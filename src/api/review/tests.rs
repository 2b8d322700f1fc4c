mod any_json;
mod builtin_kinds;
mod examples;
mod identity;
mod limits;
mod websocket_route;

use serde_json::{Value, json};

use super::*;

/// A route that passes, with something in every field.
fn route() -> Value {
    json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": "team"},
        "spec": {
            "ingressClassName": "hawser",
            "hostnames": ["chat.example.com", "*.example.com"],
            "rules": [{
                "name": "socket",
                "matches": [{
                    "path": {"type": "Prefix", "value": "/ws"},
                    "headers": [{"name": "x-tenant", "value": "a"}],
                    "queryParams": [{"name": "v", "value": "2"}],
                }],
                "backendRefs": [{"name": "chat", "port": 8080, "weight": 1}],
                "upgrade": {
                    "mode": "Allow", "subprotocols": ["chat.v2"], "extensions": "Allow",
                    "maxMessageBytes": 1_099_511_627_776_i64, "maxFrameBytes": 65_536, "strict": true,
                },
                "timeouts": {
                    "connect": "5s", "handshake": "10s", "response": "60s", "idle": "1h", "maxLifetime": "12h",
                },
                "keepalive": {"interval": "30s", "timeout": "10s", "target": "Client"},
                "limits": {
                    "connections": 5000, "connectionsPerClient": 20, "connectionsStatus": 429,
                    "messagesPerSecond": 50, "bytesPerSecond": 262_144, "writeStall": "30s",
                },
                "drain": {
                    "window": "30s", "backendGrace": "10s", "code": 1001, "onBackendTerminating": "Drain",
                    "onBackendRemoved": "Keep", "onRouteRemoved": "Close",
                },
                "headers": {
                    "request": {
                        "set": [{"name": "x-a", "value": "1"}],
                        "add": [{"name": "x-b", "value": "2"}],
                        "remove": ["x-c"],
                    },
                    "response": {
                        "set": [{"name": "x-a", "value": "1"}],
                        "add": [{"name": "x-b", "value": "2"}],
                        "remove": ["x-c"],
                    },
                },
                "rewrite": {"prefix": "/", "hostname": "internal.example.com"},
            }],
        },
    })
}

fn ingress() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "chat", "annotations": {"hawser.dev/upgrade": "allow"}},
        "spec": {
            "ingressClassName": "hawser",
            "defaultBackend": {"service": {"name": "chat", "port": {"number": 80}}},
            "tls": [{"hosts": ["chat.example.com"], "secretName": "chat-tls"}],
            "rules": [{
                "host": "chat.example.com",
                "http": {"paths": [{
                    "path": "/ws",
                    "pathType": "Prefix",
                    "backend": {"service": {"name": "chat", "port": {"name": "http"}}},
                }]},
            }],
        },
    })
}

fn ingress_class() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "hawser"},
        "spec": {"controller": "hawser.dev/ingress-controller"},
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat"},
        "spec": {"type": "ClusterIP", "ports": [
            {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080},
            {"name": "admin", "port": 81, "targetPort": "admin"},
        ]},
    })
}

fn endpoint_slice() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "chat-1", "labels": {"kubernetes.io/service-name": "chat"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "admin"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
    })
}

/// The manifest with the value at the JSON pointer; `null` takes the field out.
fn with(mut manifest: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = manifest
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {parent}"));
    match parent {
        Value::Object(fields) => {
            fields.insert(name.to_owned(), value);
        }
        Value::Array(items) => items[name.parse::<usize>().expect("an index")] = value,
        _ => panic!("nothing below {pointer}"),
    }
    manifest
}

/// The problems as `field: message`; empty for an accepted manifest.
fn problems(manifest: Value) -> Vec<String> {
    match review(manifest) {
        Review::Accepted(..) => Vec::new(),
        Review::Refused(_, problems) => problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect(),
        Review::UnknownKind { api_version, kind } => panic!("unknown {api_version} {kind}"),
    }
}

/// Asserts that there is a problem that starts with the field and contains the words.
fn assert_refused(manifest: Value, field: &str, words: &str) {
    let problems = problems(manifest);
    let found = problems
        .iter()
        .any(|problem| problem.starts_with(&format!("{field}: ")) && problem.contains(words));
    assert!(found, "no {field:?} with {words:?} in {problems:#?}");
}
