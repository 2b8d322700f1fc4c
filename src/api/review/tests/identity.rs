//! Kinds, names and namespaces.

use rstest::rstest;

use super::*;

#[rstest]
#[case(json!(null))]
#[case(json!("text"))]
#[case(json!([]))]
#[case(json!({}))]
#[case(json!({"kind": "Service"}))]
#[case(json!({"apiVersion": "v1", "kind": 7}))]
fn what_is_no_object_is_refused_without_a_key(#[case] manifest: Value) {
    let Review::Refused(None, problems) = review(manifest) else {
        panic!("not refused");
    };
    assert!(problems[0].message.contains("apiVersion and kind"));
}

#[rstest]
#[case("v1", "ConfigMap")]
#[case("v2", "Service")]
#[case("hawser.dev/v1", "WebSocketRoute")]
#[case("extensions/v1beta1", "Ingress")]
fn other_kinds_and_versions_are_unknown(#[case] api_version: &str, #[case] kind: &str) {
    let manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": 3});
    assert!(matches!(review(manifest), Review::UnknownKind { .. }));
}

#[rstest]
#[case(route(), "WebSocketRoute team/chat")]
#[case(
    with(route(), "/metadata/namespace", Value::Null),
    "WebSocketRoute default/chat"
)]
#[case(with(route(), "/metadata/namespace", json!("")), "WebSocketRoute default/chat")]
#[case(ingress(), "Ingress default/chat")]
#[case(service(), "Service default/chat")]
#[case(endpoint_slice(), "EndpointSlice default/chat-1")]
#[case(with(ingress_class(), "/metadata/namespace", json!("x")), "IngressClass /hawser")]
fn objects_are_known_by_kind_namespace_and_name(#[case] manifest: Value, #[case] expected: &str) {
    let Review::Accepted(key, object) = review(manifest) else {
        panic!("refused");
    };
    assert_eq!(key.to_string(), expected);
    let metadata = match &object {
        Object::WebSocketRoute(object) => &object.metadata,
        Object::Ingress(object) => &object.metadata,
        Object::IngressClass(object) => &object.metadata,
        Object::Service(object) => &object.metadata,
        Object::EndpointSlice(object) => &object.metadata,
    };
    assert_eq!(
        metadata.namespace.clone().unwrap_or_default(),
        key.namespace
    );
    assert_eq!(metadata.name.as_deref(), Some(key.name.as_str()));
}

#[test]
fn a_refused_object_keeps_its_key() {
    let Review::Refused(Some(key), _) = review(with(route(), "/spec", Value::Null)) else {
        panic!("no key");
    };
    assert_eq!(key.to_string(), "WebSocketRoute team/chat");
}

#[rstest]
#[case("/metadata", json!(null), "metadata.name", "required")]
#[case("/metadata/name", json!(null), "metadata.name", "required")]
#[case("/metadata/name", json!(""), "metadata.name", "required")]
#[case("/metadata/name", json!("Chat_1"), "metadata.name", "lower case")]
#[case("/metadata/name", json!(7), "metadata.name", "expected")]
#[case("/metadata/namespace", json!("a.b"), "metadata.namespace", "lower case")]
#[case("/metadata/labels", json!({"a": 1}), "metadata.labels.a", "expected a string")]
#[case(
    "/metadata/annotations",
    json!({"hawser.dev/idle-timeout": 60}),
    "metadata.annotations[hawser.dev/idle-timeout]",
    "expected a string"
)]
fn bad_metadata_is_refused(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] field: &str,
    #[case] words: &str,
) {
    for manifest in [route(), ingress(), service(), endpoint_slice()] {
        assert_refused(with(manifest, pointer, value.clone()), field, words);
    }
}

#[test]
fn a_service_has_a_stricter_name() {
    assert_refused(
        with(service(), "/metadata/name", json!("1chat")),
        "metadata.name",
        "starting with a letter",
    );
    assert_eq!(
        problems(with(route(), "/metadata/name", json!("1.chat"))),
        Vec::<String>::new()
    );
}
