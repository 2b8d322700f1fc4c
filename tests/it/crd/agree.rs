//! What is in the repository, and what the offline review says, is what the API server says.

use std::path::Path;

use serde_json::{Value, json};

use super::{offline, plane};

/// For a machine without a cluster: the API server takes no loopback address.
const LOCAL: &str = "chat/endpointslice.yaml";

#[test]
fn every_example_can_be_applied() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let plane = plane();
    plane.kubectl(&["create", "namespace", "chat"], "").text();
    let mut applied = 0;
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
        let path = entry.expect("a folder").into_path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file = path.to_str().expect("a path in UTF-8");
        let said = plane.kubectl(&["apply", "--dry-run=server", "-f", file], "");
        if file.ends_with(LOCAL) {
            let said = said.failure();
            assert!(said.contains("may not be in the loopback range"), "{said}");
            continue;
        }
        assert_eq!(said.stderr, "", "{file}");
        said.text();
        applied += 1;
    }
    assert!(applied >= 9, "only {applied}");
}

/// What else the review knows, with what the API server and the review say; where they differ the reason.
#[test]
fn the_review_of_other_kinds_agrees() {
    let ingress = |path: &str, path_type: &str, host: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "chat", "namespace": "default"},
            "spec": {"rules": [{"host": host, "http": {"paths": [{
                "path": path, "pathType": path_type,
                "backend": {"service": {"name": "chat", "port": {"number": 80}}},
            }]}}]},
        })
    };
    let slice = |address: &str, type_: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "chat-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "chat"}},
            "addressType": type_, "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": [address]}],
        })
    };
    let service = |port: i64| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": "default"},
            "spec": {"ports": [{"name": "http", "port": port}]},
        })
    };
    let class = |controller: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "hawser"},
            "spec": {"controller": controller},
        })
    };
    // Accepted by the API server, accepted by the review.
    let cases: Vec<(Value, bool, bool)> = vec![
        (ingress("/ws", "Prefix", "chat.example.com"), true, true),
        (ingress("ws", "Prefix", "chat.example.com"), false, false),
        (ingress("/a//b", "Exact", "chat.example.com"), false, false),
        (ingress("/ws", "prefix", "chat.example.com"), false, false),
        (ingress("/ws", "Prefix", "*.example.com"), true, true),
        (ingress("/ws", "Prefix", "203.0.113.7"), false, false),
        (ingress("/ws", "Prefix", "Chat.example.com"), false, false),
        (ingress("/ws", "Prefix", "a.*.com"), false, false),
        (slice("10.0.0.1", "IPv4"), true, true),
        (slice("fd00::1", "IPv6"), true, true),
        (slice("fd00::1", "IPv4"), false, false),
        // A directory is for backends on the same machine.
        (slice("127.0.0.1", "IPv4"), false, true),
        (service(80), true, true),
        (service(0), false, false),
        (service(65_536), false, false),
        (class("hawser.dev/ingress-controller"), true, true),
        (class("hawser"), false, false),
    ];
    let plane = plane();
    for (manifest, here, there) in cases {
        let said = plane.kubectl(
            &["apply", "--dry-run=server", "-f", "-"],
            &manifest.to_string(),
        );
        assert_eq!(said.success, here, "{manifest}: {said:?}");
        let review = offline(&manifest);
        assert_eq!(review.is_ok(), there, "{manifest}: {review:?}");
    }
}
