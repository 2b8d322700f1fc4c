//! No JSON makes a review panic, whatever it is and wherever it stands in a manifest.

use proptest::prelude::*;

use super::*;

/// Words that get deep into the checks.
const WORDS: [&str; 24] = [
    "spec",
    "rules",
    "name",
    "matches",
    "path",
    "type",
    "value",
    "Prefix",
    "Regex",
    "/",
    "/../",
    "backendRefs",
    "port",
    "headers",
    "request",
    "set",
    "host",
    "timeouts",
    "idle",
    "30s",
    "rewrite",
    "prefix",
    "metadata",
    "*.example.com",
];

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        3 => proptest::sample::select(WORDS.as_slice()).prop_map(str::to_owned),
        1 => ".{0,8}",
    ]
    .boxed();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..70_000_i32).prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Pointers to every place in a manifest.
fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn good_manifests() -> [Value; 5] {
    [
        route(),
        ingress(),
        ingress_class(),
        service(),
        endpoint_slice(),
    ]
}

proptest! {
    #[test]
    fn any_json_gets_an_answer(manifest in any_json()) {
        review(manifest);
    }

    #[test]
    fn any_json_in_any_place_gets_an_answer(
        json in any_json(),
        kind in 0..5_usize,
        place in any::<proptest::sample::Index>(),
    ) {
        let mut manifest = good_manifests()[kind].clone();
        let mut found = Vec::new();
        places(&manifest, "", &mut found);
        let pointer = &found[place.index(found.len())];
        *manifest.pointer_mut(pointer).expect("a place") = json;
        if let Review::Refused(_, problems) = review(manifest) {
            prop_assert!(!problems.is_empty(), "refused without a problem");
        }
    }

    #[test]
    fn any_text_in_any_place_is_refused_or_written_back(
        text in ".{0,40}",
        place in any::<proptest::sample::Index>(),
    ) {
        let mut manifest = route();
        let mut found = Vec::new();
        places(&manifest["spec"], "/spec", &mut found);
        let pointer = &found[place.index(found.len())];
        *manifest.pointer_mut(pointer).expect("a place") = json!(text);
        if let Review::Accepted(_, Object::WebSocketRoute(read)) = review(manifest) {
            let again = review(serde_json::to_value(&read).expect("JSON"));
            let Review::Accepted(_, Object::WebSocketRoute(again)) = again else {
                return Err(TestCaseError::fail("what was written is refused"));
            };
            prop_assert_eq!(read, again);
        }
    }
}
