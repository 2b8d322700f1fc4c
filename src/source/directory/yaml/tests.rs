//! What texts give.

use serde_json::json;

use super::*;

fn values(text: &str) -> Vec<Value> {
    documents(text)
        .expect("readable")
        .into_iter()
        .map(|document| document.value)
        .collect()
}

fn places(text: &str) -> Vec<(u64, u64)> {
    documents(text)
        .expect("readable")
        .iter()
        .map(|document| (document.line, document.column))
        .collect()
}

#[test]
fn documents_and_list_members_keep_their_places() {
    let text = "# first\nkind: A\n---\n\nkind: List\nitems:\n- kind: B\n-\n  kind: C\n---\n---\n{kind: D}\n";
    assert_eq!(
        values(text),
        [
            json!({"kind": "A"}),
            json!({"kind": "B"}),
            json!({"kind": "C"}),
            json!({"kind": "D"})
        ]
    );
    assert_eq!(places(text), [(2, 1), (7, 3), (9, 3), (12, 1)]);
}

#[test]
fn members_of_typed_lists_get_their_kind() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: IngressList\nitems: [{metadata: {name: a}}, {kind: Other}, 3]\n";
    assert_eq!(
        values(text),
        [
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Other"}),
            json!(3)
        ]
    );
}

#[test]
fn items_of_other_kinds_stay_where_they_are() {
    assert_eq!(
        values("kind: Menu\nitems: [1, {a: 2}]"),
        [json!({"kind": "Menu", "items": [1, {"a": 2}]})]
    );
    for other in ["3", "x", "true", "null", "1.5", "-1", "{a: 1}"] {
        let value: Value = serde_saphyr::from_str(other).expect("readable");
        assert_eq!(
            values(&format!("kind: List\nitems: {other}")),
            [json!({"kind": "List", "items": value})]
        );
    }
}

#[test]
fn documents_that_are_no_mappings_are_handed_on() {
    assert_eq!(
        values("hello\n--- [1, 2]\n--- 3\n--- -3\n--- 1.5\n--- true"),
        [
            json!("hello"),
            json!([1, 2]),
            json!(3),
            json!(-3),
            json!(1.5),
            json!(true)
        ]
    );
    assert!(values("").is_empty());
    assert!(values("# nothing\n---\n~\n---\n").is_empty());
}

#[test]
fn scalars_are_read_as_kubectl_reads_them() {
    assert_eq!(
        values(
            "{a: on, b: 'on', c: no, d: 0x10, e: 017, f: 1.0, g: 2026-11-20, h: \"8080\", i: ~, j: 1e3}"
        ),
        [json!({
            "a": true, "b": "on", "c": false, "d": 16, "e": 15, "f": 1.0,
            "g": "2026-11-20", "h": "8080", "i": null, "j": 1000.0
        })]
    );
    assert_eq!(
        values("a: &x {k: v}\nb: *x\nc: {<<: *x, l: w}\nd: |\n  1\n  2\n"),
        [json!({"a": {"k": "v"}, "b": {"k": "v"}, "c": {"k": "v", "l": "w"}, "d": "1\n2\n"})]
    );
}

#[test]
fn json_is_read_with_tabs_and_escapes() {
    assert_eq!(
        values(
            "{\n\t\"kind\":\"A\",\n\t\"s\":\"\\u00e4\\/\\ud83d\\ude00\\n\",\n\t\"n\":[1,-2.5e3,null,true]\n}\n"
        ),
        [json!({"kind": "A", "s": "ä/😀\n", "n": [1, -2500.0, null, true]})]
    );
}

#[test]
fn what_is_broken_has_a_place() {
    for (text, line, column, word) in [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, 2, ""),
        ("a: 1\n  b: 2\n", 2, 4, ""),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "a"),
        ("x:\n  - {a: 1, a: 2}\n", 2, 12, "a"),
        ("a: \"open\n", 2, 1, "quoted"),
        ("a: *nowhere\n", 1, 4, "unknown"),
        ("a: .nan\n", 1, 4, ""),
        ("a:\t- 1\n\t- 2\n", 1, 4, ""),
    ] {
        let broken = documents(text).expect_err(text);
        assert_eq!(
            (broken.line, broken.column),
            (Some(line), Some(column)),
            "{text:?}: {broken:?}"
        );
        assert!(broken.message.contains(word), "{text:?}: {broken:?}");
        assert!(!broken.message.contains(" at line"), "{broken:?}");
    }
}

#[test]
fn bombs_are_refused() {
    let mut bomb = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        let all = [&*before; 10].join(", ");
        bomb.push(format!("a{level}: &a{level} [{all}]"));
    }
    let bomb = bomb.join("\n");
    documents(&bomb).expect_err("an alias bomb");
    documents(&"[".repeat(100_000)).expect_err("deep flow");
    documents(&"- ".repeat(10_000)).expect_err("deep blocks");
    documents(&"{a: ".repeat(200)).expect_err("deep mappings");
}

#[test]
fn one_anchor_may_have_many_uses() {
    let uses = "- *path\n".repeat(300);
    let text = format!("first: &path {{type: Prefix, value: /}}\nuses:\n{uses}");
    assert_eq!(values(&text)[0]["uses"][299]["value"], "/");
}
