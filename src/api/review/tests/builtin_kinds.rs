//! Ingress, IngressClass, Service and EndpointSlice.

use rstest::rstest;

use super::*;

const PATH: &str = "/spec/rules/0/http/paths/0";
const PATH_FIELD: &str = "spec.rules[0].http.paths[0]";

#[test]
fn good_manifests_pass() {
    for manifest in [ingress(), ingress_class(), service(), endpoint_slice()] {
        assert_eq!(problems(manifest), Vec::<String>::new());
    }
}

#[rstest]
#[case("Prefix", "/", None)]
#[case("Prefix", "/a/b/", None)]
#[case("Exact", "/a..b/.c", None)]
#[case("Prefix", "ws", Some("does not start with '/'"))]
#[case("Exact", "", Some("does not start with '/'"))]
#[case("Prefix", "/a//b", Some("contains '//'"))]
#[case("Exact", "/a/./b", Some("contains '/./'"))]
#[case("Prefix", "/a/../b", Some("contains '/../'"))]
#[case("Exact", "/a/..", Some("contains '/..'"))]
#[case("Prefix", "/a/.", Some("contains '/.'"))]
#[case("Exact", "/a%2fb", Some("contains '%2f'"))]
#[case("Prefix", "/a%2Fb", Some("contains '%2F'"))]
#[case("ImplementationSpecific", "/a//b/../%2f", None)]
#[case("ImplementationSpecific", "", None)]
#[case("ImplementationSpecific", "a", Some("does not start with '/'"))]
fn ingress_paths(#[case] kind: &str, #[case] path: &str, #[case] words: Option<&str>) {
    let manifest = with(ingress(), &format!("{PATH}/path"), json!(path));
    let manifest = with(manifest, &format!("{PATH}/pathType"), json!(kind));
    match words {
        None => assert_eq!(problems(manifest), Vec::<String>::new()),
        Some(words) => assert_refused(manifest, &format!("{PATH_FIELD}.path"), words),
    }
}

#[rstest]
#[case("/pathType", json!(null), ".pathType", "required")]
#[case("/pathType", json!("prefix"), ".pathType", "Exact, Prefix, ImplementationSpecific")]
#[case("/backend", json!({}), ".backend", "needs a service")]
#[case("/backend", json!({"service": {"name": "a", "port": {"number": 1}}, "resource": {"kind": "A", "name": "b"}}), ".backend", "keep one")]
#[case("/backend/service/name", json!(""), ".backend.service.name", "required")]
#[case("/backend/service/name", json!("a.b"), ".backend.service.name", "lower case")]
#[case("/backend/service/port", json!(null), ".backend.service.port", "a number from 1 to 65535")]
#[case("/backend/service/port", json!({"name": "a", "number": 1}), ".backend.service.port", "keep one")]
#[case("/backend/service/port", json!({"number": 65536}), ".backend.service.port.number", "1 to 65535")]
#[case("/backend/service/port", json!({"number": "80"}), ".backend.service.port.number", "expected i32")]
#[case("/backend/service/port", json!({"name": "8080"}), ".backend.service.port.name", "at least one letter")]
#[case("/backend/servcie", json!({"name": "a"}), ".backend.servcie", "unknown field")]
fn ingress_backends(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] field: &str,
    #[case] words: &str,
) {
    assert_refused(
        with(ingress(), &format!("{PATH}{pointer}"), value),
        &format!("{PATH_FIELD}{field}"),
        words,
    );
}

#[test]
fn a_resource_backend_is_for_translate_to_judge() {
    let resource = json!({"resource": {"apiGroup": "a.b", "kind": "Bucket", "name": "c"}});
    assert_eq!(
        problems(with(ingress(), &format!("{PATH}/backend"), resource)),
        Vec::<String>::new()
    );
}

#[rstest]
#[case("/spec", json!(null), "spec", "rules or a defaultBackend")]
#[case("/spec/rules/0/host", json!("10.0.0.1"), "spec.rules[0].host", "IP address")]
#[case("/spec/rules/0/host", json!("::1"), "spec.rules[0].host", "IP address")]
#[case("/spec/rules/0/host", json!("a.*.com"), "spec.rules[0].host", "whole first label")]
#[case("/spec/rules/0/host", json!("*"), "spec.rules[0].host", "whole first label")]
#[case("/spec/rules/0/host", json!("Chat.example.com"), "spec.rules[0].host", "lower case")]
#[case("/spec/rules/0/http/paths", json!([]), "spec.rules[0].http.paths", "at least one path")]
#[case("/spec/tls/0/hosts/0", json!("10.0.0.1"), "spec.tls[0].hosts[0]", "IP address")]
#[case("/spec/tls/0/secretName", json!("A"), "spec.tls[0].secretName", "lower case")]
#[case("/spec/ingressClassName", json!("A"), "spec.ingressClassName", "lower case")]
#[case("/spec/defaultBackend", json!({}), "spec.defaultBackend", "needs a service")]
#[case("/spec/ingressClass", json!("a"), "spec.ingressClass", "unknown field")]
#[case("/spec/rules", json!({}), "spec.rules", "expected a sequence")]
#[case(
    "/metadata/annotations",
    json!({"kubernetes.io/ingress.class": "hawser"}),
    "metadata.annotations[kubernetes.io/ingress.class]",
    "keep the field"
)]
fn ingress_fields(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] field: &str,
    #[case] words: &str,
) {
    assert_refused(with(ingress(), pointer, value), field, words);
}

#[test]
fn a_legacy_class_alone_passes() {
    let manifest = with(
        ingress(),
        "/metadata/annotations",
        json!({"kubernetes.io/ingress.class": "hawser"}),
    );
    assert_eq!(
        problems(with(manifest, "/spec/ingressClassName", Value::Null)),
        Vec::<String>::new()
    );
}

#[rstest]
#[case(json!(null), "required")]
#[case(json!("hawser"), "a domain and a path")]
#[case(json!(format!("a.b/{}", "c".repeat(250))), "at most 250")]
fn class_controllers(#[case] controller: Value, #[case] words: &str) {
    assert_refused(
        with(ingress_class(), "/spec/controller", controller),
        "spec.controller",
        words,
    );
}

#[rstest]
#[case("/spec/ports/0/port", json!(0), "spec.ports[0].port", "1 to 65535")]
#[case("/spec/ports/0/port", json!(65536), "spec.ports[0].port", "1 to 65535")]
#[case("/spec/ports/0/port", json!("http"), "spec.ports[0].port", "expected i32")]
#[case("/spec/ports/0/name", json!(null), "spec.ports[0].name", "several ports")]
#[case("/spec/ports/0/name", json!("a.b"), "spec.ports[0].name", "lower case")]
#[case("/spec/ports/1/name", json!("http"), "spec.ports[1].name", "twice")]
#[case("/spec/ports/1/port", json!(80), "spec.ports[1]", "port 80 TCP is there twice")]
#[case("/spec/ports/0/protocol", json!("tcp"), "spec.ports[0].protocol", "TCP, UDP, SCTP")]
#[case("/spec/ports/0/targetPort", json!(0), "spec.ports[0].targetPort", "1 to 65535")]
#[case("/spec/ports/0/targetPort", json!("8080"), "spec.ports[0].targetPort", "at least one letter")]
#[case("/spec/ports", json!([]), "spec.ports", "at least one port")]
#[case("/spec/type", json!("Headless"), "spec.type", "ClusterIP, NodePort")]
#[case("/spec/type", json!("ExternalName"), "spec.externalName", "DNS name")]
fn service_fields(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] field: &str,
    #[case] words: &str,
) {
    assert_refused(with(service(), pointer, value), field, words);
}

#[test]
fn headless_and_external_services_need_no_port() {
    for spec in [
        json!({"clusterIP": "None"}),
        json!({"type": "ExternalName", "externalName": "chat.example.com."}),
    ] {
        assert_eq!(
            problems(with(service(), "/spec", spec)),
            Vec::<String>::new()
        );
    }
}

#[test]
fn fields_of_a_newer_service_pass() {
    let manifest = with(service(), "/spec/fromTheFuture", json!(true));
    assert_eq!(problems(manifest), Vec::<String>::new());
}

#[rstest]
#[case("/addressType", json!(null), "addressType", "required")]
#[case("/addressType", json!("ipv4"), "addressType", "IPv4, IPv6, FQDN")]
#[case("/addressType", json!("IPv6"), "endpoints[0].addresses[0]", "no IPv6 address")]
#[case("/endpoints/0/addresses", json!([]), "endpoints[0].addresses", "needs an address")]
#[case("/endpoints/0/addresses", json!(vec!["10.0.0.1"; 101]), "endpoints[0].addresses", "more than 100")]
#[case("/endpoints/0/addresses", json!(["10.0.0.256"]), "endpoints[0].addresses[0]", "no IPv4 address")]
#[case("/endpoints/0/addresses", json!(["localhost"]), "endpoints[0].addresses[0]", "no IPv4 address")]
#[case("/endpoints/0/conditions/ready", json!("yes"), "endpoints[0].conditions.ready", "expected a boolean")]
#[case("/endpoints", json!(vec![json!({"addresses": ["10.0.0.1"]}); 1001]), "endpoints", "several slices")]
#[case("/ports/0/port", json!(0), "ports[0].port", "1 to 65535")]
#[case("/ports/0/name", json!("A"), "ports[0].name", "lower case")]
#[case("/ports/1/name", json!("http"), "ports[1].name", "twice")]
#[case("/ports/0/protocol", json!("QUIC"), "ports[0].protocol", "TCP, UDP, SCTP")]
fn slice_fields(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] field: &str,
    #[case] words: &str,
) {
    assert_refused(with(endpoint_slice(), pointer, value), field, words);
}

#[test]
fn slices_of_every_address_type_pass() {
    for (kind, address) in [("IPv4", "127.0.0.1"), ("IPv6", "::1"), ("FQDN", "a.b")] {
        let manifest = with(endpoint_slice(), "/addressType", json!(kind));
        let manifest = with(manifest, "/endpoints/0/addresses/0", json!(address));
        assert_eq!(problems(manifest), Vec::<String>::new());
    }
    assert_eq!(
        problems(with(endpoint_slice(), "/endpoints", Value::Null)),
        Vec::<String>::new()
    );
}
