use std::{fs, path::Path};

use kube::core::cel::{compile_schema, estimate_rule_cost, validate_compiled};
use serde_json::json;

use super::*;

/// Calls `visit` with every schema node and its path.
fn walk(node: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, node);
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            walk(property, &format!("{path}.{name}"), visit);
        }
    }
    if let Some(items) = node.get("items") {
        walk(items, &format!("{path}[]"), visit);
    }
}

/// Of the CRD.
fn schema() -> Value {
    json(&crd())["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// With all patterns.
fn reviewed() -> Value {
    review_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn the_file_is_what_the_types_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/websocketroutes.yaml");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, crd_yaml()).expect("write the CRD");
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == crd_yaml(),
        "{} is out of date: run the test with UPDATE=1",
        file.display()
    );
}

#[test]
fn the_yaml_reads_back_as_the_same_crd() {
    let read: CustomResourceDefinition = serde_saphyr::from_str(&crd_yaml()).expect("a CRD");
    let (read, written) = (serde_json::to_value(read), serde_json::to_value(crd()));
    assert_eq!(read.expect("JSON"), written.expect("JSON"));
}

#[test]
fn names_columns_and_subresource_are_the_contract() {
    let crd = crd();
    assert_eq!(
        crd.metadata.name.as_deref(),
        Some("websocketroutes.hawser.dev")
    );
    assert_eq!(crd.spec.names.short_names, Some(vec!["wsr".to_owned()]));
    assert_eq!(crd.spec.names.categories, Some(vec!["hawser".to_owned()]));
    let version = &crd.spec.versions[0];
    assert_eq!(version.name, "v1alpha1");
    let columns: Vec<_> = version
        .additional_printer_columns
        .iter()
        .flatten()
        .map(|column| column.name.to_uppercase())
        .collect();
    assert_eq!(
        columns.join(" "),
        "HOSTS CLASS READY REASON ENDPOINTS CONNECTIONS AGE"
    );
    let selectable = version.selectable_fields.iter().flatten().next();
    assert_eq!(
        selectable.map(|field| field.json_path.as_str()),
        Some(".spec.ingressClassName")
    );
    assert!(
        version
            .subresources
            .as_ref()
            .is_some_and(|sub| sub.status.is_some())
    );
}

#[test]
fn every_field_is_described_and_bounded() {
    walk(&schema(), "", &mut |path, node| {
        if !path.ends_with("[]") && !path.is_empty() {
            let description = node["description"].as_str().unwrap_or_default();
            assert!(description.len() > 20, "{path} has no description");
        }
        assert!(node.get("nullable").is_none(), "{path} is nullable");
        match node["type"].as_str() {
            Some("array") => {
                assert!(node.get("maxItems").is_some(), "{path} has no maxItems");
                assert!(
                    node.get("x-kubernetes-list-type").is_some(),
                    "{path} has no list type"
                );
            }
            Some("string") => assert!(
                node.get("maxLength").is_some()
                    || node.get("enum").is_some()
                    || node.get("format").is_some(),
                "{path} has no maxLength"
            ),
            // A rule of the object has words for a close code.
            Some("integer") => assert!(
                node.get("minimum").is_some()
                    || node.get("enum").is_some()
                    || path.ends_with(".drain.code"),
                "{path} has no minimum"
            ),
            Some("object" | "boolean") => {}
            None => assert_eq!(node["x-kubernetes-int-or-string"], true, "{path}"),
            other => panic!("{path} has the type {other:?}"),
        }
    });
}

#[test]
fn the_schema_is_structural() {
    const FORBIDDEN: [&str; 10] = [
        "$ref",
        "definitions",
        "oneOf",
        "anyOf",
        "allOf",
        "not",
        "uniqueItems",
        "patternProperties",
        "additionalProperties",
        "title",
    ];
    walk(&schema(), "", &mut |path, node| {
        for key in FORBIDDEN {
            assert!(node.get(key).is_none(), "{path} has {key}");
        }
    });
}

#[test]
fn enum_words_are_not_booleans_in_yaml() {
    walk(&schema(), "", &mut |path, node| {
        for word in node["enum"].as_array().into_iter().flatten() {
            let Some(word) = word.as_str().map(str::to_lowercase) else {
                assert!(word.is_i64(), "{path} has the choice {word}");
                continue;
            };
            assert!(
                path.contains(".status.")
                    || !["on", "off", "yes", "no", "y", "n", "null", "true", "false"]
                        .contains(&word.as_str()),
                "{path} has the word {word}"
            );
        }
    });
}

#[test]
fn every_pattern_has_words_and_compiles() {
    walk(&reviewed(), "", &mut |path, node| {
        if let Some(pattern) = node["pattern"].as_str() {
            regex::Regex::new(pattern).expect("a regular expression");
            let known = patterns::ALL.iter().any(|known| known.regex == pattern);
            assert!(
                known || path.contains(".status."),
                "{path} has a pattern without words"
            );
        }
    });
}

#[test]
fn every_cel_rule_compiles_points_at_a_field_and_is_cheap() {
    let mut rules = 0;
    walk(&schema(), "", &mut |path, node| {
        let compiled = compile_schema(node);
        for rule in node["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            rules += 1;
            let text = rule["rule"].as_str().expect("a rule");
            assert!(rule["message"].is_string(), "{path}: no message for {text}");
            let warnings = estimate_rule_cost(text, &compiled);
            assert!(warnings.is_empty(), "{path}: {text}: {warnings:?}");
            if let Some(field) = rule["fieldPath"].as_str() {
                let pointer = field.replace('.', "/properties/");
                assert!(node.pointer(&pointer).is_some(), "{path}: no {field}");
            }
        }
        assert!(
            !compiled.has_errors(),
            "{path}: {:?}",
            compiled.compilation_errors()
        );
    });
    assert!(rules >= 14, "only {rules} rules");
}

#[test]
fn a_rule_in_place_of_a_pattern_says_the_same() {
    let mut patterns = Vec::new();
    walk(&reviewed(), "", &mut |path, node| {
        if let Some(pattern) = node["pattern"].as_str() {
            patterns.push((path.to_owned(), pattern.to_owned()));
        }
    });
    let mut replaced = 0;
    walk(&schema(), "", &mut |path, node| {
        let Some((_, pattern)) = patterns.iter().find(|(of, _)| of == path) else {
            return;
        };
        if node["pattern"].is_string() {
            return;
        }
        replaced += 1;
        let rule = json!({
            "type": "string",
            "x-kubernetes-validations": [node["x-kubernetes-validations"][0]],
        });
        let (rule, regex) = (
            compile_schema(&rule),
            regex::Regex::new(pattern).expect("a regex"),
        );
        for text in [
            "",
            "chat",
            "Chat",
            "chat-",
            "*.example.com",
            "10.0.0.1",
            "http",
            "80",
            "8-http",
            "a_b",
            "a'b",
            "x y",
            "/ws",
            "ws",
            "/caf%C3%A9",
            "/caf\u{e9}",
            "/a\\b",
            "/a#b",
            "1h30m",
            "5",
            "hawser.internal",
            "a\nb",
        ] {
            let accepted = validate_compiled(&rule, &json!(text), None).is_ok();
            assert_eq!(accepted, regex.is_match(text), "{path}: {text:?}");
        }
    });
    assert!(replaced >= 15, "only {replaced}");
}

#[test]
fn text_is_wrapped_without_loss() {
    assert_eq!(wrap(""), "");
    assert_eq!(wrap("one\ntwo"), "one two");
    let long = "word ".repeat(40);
    let wrapped = wrap(&long);
    assert!(wrapped.lines().count() > 1);
    assert!(wrapped.lines().all(|line| line.len() <= DESCRIPTION_WIDTH));
    assert_eq!(wrapped.split_whitespace().count(), 40);
}
