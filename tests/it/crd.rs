//! The CRD on a real API server: what it accepts, what it refuses, and what a person reads.

mod agree;
mod big;
mod hostile;
mod pairs;
mod report;
mod seen;
mod wrong;

use std::{fs, path::Path};

use hawser::api::{Review, review};
use kube::Client;
use serde_json::{Value, json};

use crate::kit::control_plane::{Handle, Shared};

static PLANE: Shared = Shared::api();

/// A control plane with the CRD.
fn plane() -> Handle {
    let plane = PLANE.get();
    plane.install_crd();
    plane
}

/// A route with something in every field.
fn route() -> Value {
    let edits = || {
        json!({
            "set": [{"name": "x-a", "value": "1"}],
            "add": [{"name": "x-b", "value": "2"}],
            "remove": ["x-c"],
        })
    };
    json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": "default"},
        "spec": {
            "ingressClassName": "hawser",
            "hostnames": ["chat.example.com"],
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
                "headers": {"request": edits(), "response": edits()},
                "rewrite": {"prefix": "/", "hostname": "internal.example.com"},
            }],
        },
    })
}

/// The object with the value at the JSON pointer; `null` takes the field out.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("nothing at {parent}"));
    match parent {
        Value::Object(fields) if value.is_null() => {
            fields.remove(name);
        }
        Value::Object(fields) => {
            fields.insert(name.to_owned(), value);
        }
        Value::Array(items) => items[name.parse::<usize>().expect("an index")] = value,
        _ => panic!("nothing below {pointer}"),
    }
    object
}

/// What the API server says to a new route, without keeping it. Unknown fields are refused, as by kubectl.
async fn dry_run(client: &Client, route: &Value) -> Result<(), String> {
    post(client, route, "dryRun=All&fieldValidation=Strict").await
}

async fn post(client: &Client, route: &Value, query: &str) -> Result<(), String> {
    let namespace = route.pointer("/metadata/namespace").and_then(Value::as_str);
    let url = format!(
        "/apis/hawser.dev/v1alpha1/namespaces/{}/websocketroutes?{query}",
        namespace.unwrap_or("default")
    );
    let body = serde_json::to_vec(route).expect("JSON");
    let request = http::Request::post(url)
        .header("content-type", "application/json")
        .body(body);
    answer(client, request.expect("a request")).await
}

async fn answer(client: &Client, request: http::Request<Vec<u8>>) -> Result<(), String> {
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

/// What the offline review says.
fn offline(manifest: &Value) -> Result<(), String> {
    match review(manifest.clone()) {
        Review::Accepted(..) => Ok(()),
        Review::Refused(_, problems) => Err(problems
            .iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect::<Vec<_>>()
            .join("; ")),
        Review::UnknownKind { api_version, kind } => Err(format!("unknown {api_version} {kind}")),
    }
}

/// Holds a text against a golden file; `UPDATE=1` writes what is, for a person to judge.
pub fn golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/kubectl")
        .join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, text).expect("the golden file is written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs (UPDATE=1 writes it):\n{text}",
        file.display()
    );
}
