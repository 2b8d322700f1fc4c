//! Manifests as text, for tests that do not care about their details.

use std::{fmt::Write, net::SocketAddr};

/// The IngressClass `hawser`, the default of its cluster.
pub const CLASS: &str = "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: hawser
  annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}
spec: {controller: hawser.dev/ingress-controller}
---
";

/// A Service `name` with port 80 and one EndpointSlice per address.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    );
    for (index, endpoint) in endpoints.iter().enumerate() {
        let family = if endpoint.is_ipv4() { "IPv4" } else { "IPv6" };
        let _ = write!(
            text,
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-{index}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: {family}\nports: [{{name: http, port: {}}}]\nendpoints: [{{addresses: [\"{}\"]}}]\n---\n",
            endpoint.port(),
            endpoint.ip(),
        );
    }
    text
}

/// A WebSocketRoute `name` for `host` with one Prefix rule to Service `backend`; `extra` are further
/// fields of the rule in YAML flow style, such as `upgrade: {mode: Require}`.
pub fn route(name: &str, host: &str, path: &str, backend: &str, extra: &str) -> String {
    let comma = if extra.is_empty() { "" } else { ", " };
    format!(
        "apiVersion: hawser.dev/v1alpha1\nkind: WebSocketRoute\nmetadata: {{name: {name}}}\nspec:\n  hostnames: [{host}]\n  rules:\n  - {{name: main, \
         matches: [{{path: {{type: Prefix, value: {path}}}}}], backendRefs: [{{name: {backend}, port: 80}}]{comma}{extra}}}\n---\n"
    )
}

/// A Service and a WebSocketRoute of the same name for host `NAME.test`.
pub fn websocket(name: &str, path: &str, endpoints: &[SocketAddr]) -> String {
    service(name, endpoints) + &route(name, &format!("{name}.test"), path, name, "")
}
