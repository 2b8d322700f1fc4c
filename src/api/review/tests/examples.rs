//! Every manifest in `examples/` passes, and there is one of every kind.

use std::{collections::BTreeMap, fs, path::Path};

use super::*;

#[test]
fn every_example_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut keys = BTreeMap::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
        let path = entry.expect("a folder").into_path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text file");
        let manifests: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        assert!(!manifests.is_empty(), "{} is empty", path.display());
        for manifest in manifests {
            match review(manifest) {
                Review::Accepted(key, _) => {
                    let other = keys.insert(key.clone(), path.clone());
                    assert!(other.is_none(), "{key} is in {other:?} too");
                }
                other => panic!("{}: {other:#?}", path.display()),
            }
        }
    }
    for kind in [
        "WebSocketRoute",
        "Ingress",
        "IngressClass",
        "Service",
        "EndpointSlice",
    ] {
        assert!(keys.keys().any(|key| key.kind == kind), "no {kind}");
    }
}

#[test]
fn the_route_example_has_every_field() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/websocketroute.yaml");
    let text = fs::read_to_string(file).expect("a text file");
    let schema = crate::api::crd::review_json();
    let schema = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_fields_occur(schema, &text);
}

fn assert_fields_occur(schema: &Value, text: &str) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert!(text.contains(&format!("{name}:")), "no {name}");
        assert_fields_occur(property, text);
    }
    if let Some(items) = schema.get("items") {
        assert_fields_occur(items, text);
    }
}
