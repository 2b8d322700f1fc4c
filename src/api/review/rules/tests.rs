use std::{collections::BTreeSet, sync::LazyLock};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::crd::review_json;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let crd = review_json();
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema");
    Rules::compile(schema.expect("a schema"))
});

fn messages(node: &Value, found: &mut BTreeSet<String>) {
    match node {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                found.insert(rule["rule"].to_string());
            }
            fields.values().for_each(|value| messages(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| messages(value, found)),
        _ => {}
    }
}

#[test]
fn every_rule_is_one_that_is_suspicious_knows() {
    let mut found = BTreeSet::new();
    messages(&review_json(), &mut found);
    assert_eq!(
        found.len(),
        13,
        "the CEL rules changed: teach `is_suspicious`, and the strategy below, about {found:#?}"
    );
}

fn text() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(
        [
            "/",
            "/",
            "//",
            ".",
            "..",
            "a",
            "%2f",
            "%2F",
            "%20",
            "?",
            "#",
            "[",
            "]",
            "{",
            "}",
            "|",
            "^",
            "\\",
            "host",
            "x-forwarded-",
            "prefix",
            "for",
            "sec-websocket-",
            "TE",
        ]
        .as_slice(),
    );
    proptest::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
}

/// The blocks about open tunnels.
fn tunnel() -> impl Strategy<Value = Value> {
    let size = || {
        proptest::option::of(proptest::sample::select(
            [0_i64, 1, 10, 11, 1 << 40].as_slice(),
        ))
    };
    let interval = proptest::sample::select(
        [
            "0s",
            "0h0ms",
            "1s",
            "999ms",
            "500ms500ms",
            "1000ms",
            "1ms",
            "99999h",
        ]
        .as_slice(),
    );
    let code = prop_oneof![
        proptest::sample::select([1000, 1001, 1005, 1012, 1015, 2999, 3000, 4999, 5000].as_slice()),
        any::<i32>(),
    ];
    (
        size(),
        size(),
        proptest::option::of(interval),
        proptest::option::of(code),
    )
        .prop_map(|(message, frame, interval, code)| {
            json!({
                "upgrade": {"maxMessageBytes": message, "maxFrameBytes": frame},
                "keepalive": {"interval": interval},
                "drain": {"code": code},
            })
        })
}

proptest! {
    #[test]
    fn what_the_interpreter_refuses_is_suspicious(
        path in text(),
        type_ in proptest::sample::select(["Exact", "Prefix", "Regex"].as_slice()),
        prefix in proptest::option::of(text()),
        name in text(),
        place in 0..3_usize,
        tunnel in tunnel(),
    ) {
        let mut edits = [json!([]), json!([]), json!([])];
        edits[place] = if place == 2 { json!([name]) } else { json!([{"name": name, "value": "1"}]) };
        let [set, add, remove] = edits;
        let mut manifest = json!({"metadata": {}, "spec": {"rules": [{
            "name": "a",
            "matches": [{}, {"path": {"type": type_, "value": path}}],
            "backendRefs": [],
            "headers": {"response": {"set": set, "add": add, "remove": remove}},
            "rewrite": {"prefix": prefix},
        }]}});
        for (block, fields) in tunnel.as_object().expect("blocks") {
            manifest["spec"]["rules"][0][block] = fields.clone();
        }
        super::super::decode::prune_nulls(&mut manifest);
        let route: WebSocketRoute = serde_json::from_value(manifest.clone()).expect("a route");
        let refused = validate_compiled(&RULES.0, &manifest, None).is_err();
        let suspicious = route.spec.rules.iter().any(is_suspicious);
        prop_assert!(suspicious || !refused, "{manifest}");
    }
}
