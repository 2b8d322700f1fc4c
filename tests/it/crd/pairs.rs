//! Every validation of the schema has a value that passes and one that does not.

use std::collections::BTreeSet;

use kube::Client;
use serde_json::{Value, json};

use super::{answer, dry_run, offline, plane, post, report, route, with};

/// One validation at one place.
struct Pair {
    what: String,
    accepted: Value,
    refused: Value,
    /// What the message of the API server must have.
    words: String,
}

/// For each rule and pattern that a field can have, by the start of its message or by the pattern: what to lay over
/// the field so that it is right, what so that it is wrong.
fn by_hand() -> Vec<(&'static str, Value, Value)> {
    let path = |value: &str| json!({"value": value});
    vec![
        (
            "use lower case letters, digits and '-', with",
            json!("a-1"),
            json!("a_1"),
        ),
        (
            "use lower case letters, digits, '-' and '.'",
            json!("hawser.internal"),
            json!("Hawser"),
        ),
        (
            "name a Service of the same namespace",
            json!("chat-2"),
            json!("chat.other"),
        ),
        (
            "write a lower case DNS name without port, as",
            json!("*.chat.example.com"),
            json!("10.0.0.1"),
        ),
        (
            "write a lower case DNS name without port or",
            json!("a.example"),
            json!("*.example"),
        ),
        (
            "write a number from 1 to 65535",
            json!("8-http"),
            json!("8080"),
        ),
        (
            "use letters, digits and the characters",
            json!("v12.stomp"),
            json!("a,b"),
        ),
        (
            "use visible ASCII characters but",
            json!("/caf%C3%A9"),
            json!("/café"),
        ),
        (
            "start with '/' and use only",
            json!("/a%20b"),
            json!("/a?b"),
        ),
        ("write numbers with a unit", json!("1h30m"), json!("1.5h")),
        (
            "an Exact or Prefix path starts with '/'",
            path("/"),
            path("ws"),
        ),
        (
            "an Exact or Prefix path has no query",
            path("/a:b"),
            path("/ws?v=2"),
        ),
        (
            "an Exact or Prefix path has only",
            path("/a%5Bb"),
            path("/a[b"),
        ),
        (
            "an Exact or Prefix path has no '//'",
            path("/a/b/"),
            path("/a//b"),
        ),
        (
            "an Exact or Prefix path has no '.' segment",
            path("/a/.b"),
            path("/a/./b"),
        ),
        (
            "an Exact or Prefix path has no '..' segment",
            path("/a/..b"),
            path("/a/.."),
        ),
        (
            "an Exact or Prefix path has no encoded slash",
            path("/a%20b"),
            path("/a%2Fb"),
        ),
        (
            "a path has no '//'",
            json!({"prefix": "/..a"}),
            json!({"prefix": "/a/../b"}),
        ),
        (
            "prefix replaces what",
            json!({"matches": [{"path": {"type": "Exact", "value": "/a"}}]}),
            json!({"matches": [{"path": {"type": "Regex", "value": "/a"}}]}),
        ),
        (
            "a frame is never longer than",
            json!({"maxMessageBytes": 1000, "maxFrameBytes": 1000}),
            json!({"maxMessageBytes": 1000, "maxFrameBytes": 1001}),
        ),
        (
            "pings go out once a second at most",
            json!({"interval": "400ms600ms"}),
            json!({"interval": "999ms"}),
        ),
        (
            "write a code with which a server may",
            json!({"code": 4001}),
            json!({"code": 1006}),
        ),
        (
            "this header belongs to the proxy",
            json!("X-Forwarded-Prefix"),
            json!("Sec-WebSocket-Key"),
        ),
        // Of the status, which only Hawser writes.
        (
            "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            json!("Pending"),
            json!("not a word"),
        ),
        (
            "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.",
            json!("example.com/Seen"),
            json!("a b"),
        ),
        // Patterns that are too expensive as rules.
        ("^[!-~]([\\t -~]*[!-~])?$", json!("a b"), json!("a\nb")),
        (
            "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
            json!("X-Tenant"),
            json!("x tenant"),
        ),
        ("^[^\\x00-\\x1f\\x7f]*$", json!("größe"), json!("a\u{7}")),
    ]
}

fn laid_over(value: &Value, patch: &Value) -> Value {
    match (value, patch) {
        (Value::Object(value), Value::Object(patch)) => {
            let mut value = value.clone();
            for (name, patch) in patch {
                let new = value
                    .get(name)
                    .map_or(patch.clone(), |old| laid_over(old, patch));
                value.insert(name.clone(), new);
            }
            Value::Object(value)
        }
        _ => patch.clone(),
    }
}

/// A text that fits the field.
fn filler(place: &str, length: usize) -> String {
    if place.ends_with("/path/value") || place.ends_with("/prefix") {
        format!("/{}", "a".repeat(length.saturating_sub(1)))
    } else if ["/timeouts/", "/keepalive/", "/limits/", "/drain/"]
        .iter()
        .any(|block| place.contains(block))
    {
        format!("{}{}", "99999ms".repeat(length / 7), "0".repeat(length % 7))
    } else {
        "a".repeat(length)
    }
}

/// So many different items of a list.
fn items(list: &Value, count: usize) -> Value {
    let first = list.get(0).expect("the list has an item").clone();
    let item = |number: usize| match &first {
        Value::String(_) => json!(format!("x{number}")),
        object if object.get("name").is_some() => {
            with(object.clone(), "/name", json!(format!("x{number}")))
        }
        object if object.get("type").is_some() => {
            with(object.clone(), "/type", json!(format!("x{number}")))
        }
        object => object.clone(),
    };
    (0..count).map(item).collect()
}

/// The pairs of a field and of all that is below it. `place` is a JSON pointer into [`base`].
fn collect(node: &Value, place: &str, unused: &mut BTreeSet<&'static str>, pairs: &mut Vec<Pair>) {
    let base = base();
    let value = base
        .pointer(place)
        .unwrap_or_else(|| panic!("{place}: `base` has no such field"));
    let mut pair = |what: &str, accepted: Value, refused: Value, words: &str| {
        pairs.push(Pair {
            what: format!("{place}: {what}"),
            accepted: with(base.clone(), place, accepted),
            refused: with(base.clone(), place, refused),
            words: words.to_owned(),
        });
    };
    let size =
        |keyword: &Value| usize::try_from(keyword.as_u64().expect("a number")).expect("small");
    let by_hand = by_hand();
    let find = |key: &str| {
        let row = by_hand.iter().find(|(start, ..)| key.starts_with(start));
        row.unwrap_or_else(|| panic!("{place}: there is no pair for {key}"))
    };
    for (keyword, bound) in node.as_object().expect("a schema") {
        match keyword.as_str() {
            "pattern" => {
                let (key, accepted, refused) = find(bound.as_str().expect("a pattern"));
                unused.remove(key);
                pair("pattern", accepted.clone(), refused.clone(), "should match");
            }
            "x-kubernetes-validations" => {
                for rule in bound.as_array().expect("rules") {
                    let message = rule["message"].as_str().expect("a message");
                    let (key, accepted, refused) = find(message);
                    unused.remove(key);
                    pair(
                        message,
                        laid_over(value, accepted),
                        laid_over(value, refused),
                        message,
                    );
                }
            }
            "enum" => {
                let other = match &bound[0] {
                    Value::String(word) => json!(word.to_lowercase()),
                    number => json!(number.as_i64().expect("a number") + 1),
                };
                pair("enum", bound[0].clone(), other, "supported values");
            }
            "minimum" => {
                let least = bound.as_i64().expect("a number");
                pair(
                    "minimum",
                    bound.clone(),
                    json!(least - 1),
                    "greater than or equal to",
                );
            }
            "maximum" => {
                let most = bound.as_i64().expect("a number");
                pair(
                    "maximum",
                    bound.clone(),
                    json!(most + 1),
                    "less than or equal to",
                );
            }
            "minLength" => pair(
                "minLength",
                json!(filler(place, size(bound))),
                json!(""),
                "at least 1 chars",
            ),
            "maxLength" => {
                let (fits, over) = (filler(place, size(bound)), filler(place, size(bound) + 1));
                pair(
                    "maxLength",
                    json!(fits),
                    json!(over),
                    "may not be more than",
                );
            }
            "minItems" => pair(
                "minItems",
                items(value, size(bound)),
                json!([]),
                "at least 1 items",
            ),
            "maxItems" => {
                let (fits, over) = (items(value, size(bound)), items(value, size(bound) + 1));
                pair("maxItems", fits, over, "must have at most");
            }
            "x-kubernetes-list-type" if bound != "atomic" => {
                let twice = json!([value[0], value[0]]);
                pair("unique", items(value, 2), twice, "Duplicate value");
            }
            "required" => {
                for name in bound.as_array().expect("names") {
                    let name = name.as_str().expect("a name");
                    let without = with(value.clone(), &format!("/{name}"), Value::Null);
                    pair(
                        &format!("{name} is required"),
                        value.clone(),
                        without,
                        "Required value",
                    );
                }
            }
            // Checked by the API server itself, or what the fields below are checked by.
            "description"
            | "type"
            | "format"
            | "default"
            | "properties"
            | "items"
            | "x-kubernetes-list-type"
            | "x-kubernetes-list-map-keys"
            | "x-kubernetes-int-or-string" => {}
            other => panic!("{place}: there is no pair for {other}"),
        }
    }
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        collect(property, &format!("{place}/{name}"), unused, pairs);
    }
    if let Some(items) = node.get("items") {
        collect(items, &format!("{place}/0"), unused, pairs);
    }
}

/// A route with something in every field, the status included.
fn base() -> Value {
    with(route(), "/status", report::status(true))
}

fn pairs() -> Vec<Pair> {
    let crd: Value = serde_saphyr::from_str(&hawser::api::crd_yaml()).expect("YAML");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut unused = by_hand().into_iter().map(|(key, ..)| key).collect();
    let mut pairs = Vec::new();
    collect(&schema["spec"], "/spec", &mut unused, &mut pairs);
    collect(&schema["status"], "/status", &mut unused, &mut pairs);
    assert!(unused.is_empty(), "nothing has these any more: {unused:#?}");
    pairs
}

#[test]
fn every_validation_accepts_and_refuses_here_and_offline() {
    let pairs = pairs();
    assert!(pairs.len() >= 190, "only {}", pairs.len());
    let plane = plane();
    plane.run(async || {
        let client = plane.client().await;
        // Only a route that exists has a status.
        let namespace = plane.namespace("pairs").await;
        let at_home = |route: &Value| with(route.clone(), "/metadata/namespace", json!(namespace));
        assert_eq!(post(&client, &at_home(&route()), "").await, Ok(()));
        for pair in &pairs {
            let what = &pair.what;
            if what.starts_with("/status") {
                let accepted = patch_status(&client, &at_home(&pair.accepted)).await;
                assert_eq!(accepted, Ok(()), "{what}");
                let said = patch_status(&client, &at_home(&pair.refused))
                    .await
                    .expect_err(what);
                assert!(said.contains(&pair.words), "{what}: {said}");
                continue;
            }
            assert_eq!(dry_run(&client, &pair.accepted).await, Ok(()), "{what}");
            assert_eq!(offline(&pair.accepted), Ok(()), "{what}, offline");
            let said = dry_run(&client, &pair.refused).await.expect_err(what);
            assert!(said.contains(&pair.words), "{what}: {said}");
            offline(&pair.refused).expect_err(what);
        }
    });
}

/// What the API server says to a new status, without keeping it.
async fn patch_status(client: &Client, route: &Value) -> Result<(), String> {
    let namespace = route["metadata"]["namespace"]
        .as_str()
        .expect("a namespace");
    let url = format!(
        "/apis/hawser.dev/v1alpha1/namespaces/{namespace}/websocketroutes/chat/status?dryRun=All"
    );
    let body = json!({"status": route["status"]}).to_string().into_bytes();
    let request = http::Request::patch(url).header("content-type", "application/merge-patch+json");
    answer(client, request.body(body).expect("a request")).await
}
