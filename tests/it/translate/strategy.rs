//! Arbitrary objects: few names, so that they collide; some values that no schema would let through.

use hawser::api::Object;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::objects;

/// Up to a dozen objects, each kind, namespace and name once.
pub(super) fn objects() -> impl Strategy<Value = Vec<Object>> {
    vec(manifest(), 0..12).prop_map(|manifests| {
        let mut seen = std::collections::BTreeSet::new();
        manifests
            .into_iter()
            .filter(|manifest| {
                let meta = &manifest["metadata"];
                seen.insert((
                    manifest["kind"].to_string(),
                    meta["namespace"].to_string(),
                    meta["name"].to_string(),
                ))
            })
            .map(objects::object)
            .collect()
    })
}

/// One object.
pub(super) fn object() -> impl Strategy<Value = Object> {
    manifest().prop_map(objects::object)
}

fn manifest() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => route(),
        4 => ingress(),
        1 => class(),
        2 => service(),
        2 => slice(),
    ]
}

fn meta() -> impl Strategy<Value = Value> {
    let age = option::of(select(vec![
        "2026-01-01T00:00:00Z",
        "2026-01-02T00:00:00Z",
        "2026-01-03T00:00:00Z",
    ]));
    (select(vec!["a", "b", "c"]), select(vec!["one", "two", "three"]), age).prop_map(
        |(namespace, name, age)| {
            json!({"namespace": namespace, "name": name, "creationTimestamp": age})
        },
    )
}

/// Mostly from a few good ones, sometimes anything.
fn text(good: Vec<&'static str>) -> impl Strategy<Value = String> {
    prop_oneof![
        12 => select(good).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn host() -> impl Strategy<Value = String> {
    text(vec![
        "h.test", "H.test.", "i.test", "*.test", "*.h.test", "*", "x.i.test",
    ])
}

fn path() -> impl Strategy<Value = String> {
    text(vec![
        "/", "/a", "/a/", "/a/b", "/a%2e", "/a/../b", "a", "/[ab]+", "/(", "",
    ])
}

fn route() -> impl Strategy<Value = Value> {
    let header = (text(vec!["x-a", "X-B", "host"]), text(vec!["1", "2"]))
        .prop_map(|(name, value)| json!({"name": name, "value": value}))
        .boxed();
    let matched = (
        select(vec!["Exact", "Prefix", "Regex"]),
        path(),
        vec(header.clone(), 0..3),
        vec(header.clone(), 0..2),
    )
        .prop_map(|(kind, path, headers, query)| {
            json!({
                "path": {"type": kind, "value": path},
                "headers": headers,
                "queryParams": query,
            })
        });
    let reference = (service_name(), port(), option::of(-1..5))
        .prop_map(|(name, port, weight)| json!({"name": name, "port": port, "weight": weight}));
    let rule = (
        text(vec!["r", "s"]),
        vec(matched, 0..3),
        vec(reference, 0..3),
        option::of(select(vec!["Allow", "Require", "Deny", "Ignore"])),
        vec(header, 0..2),
        option::of(path()),
        option::weighted(0.3, tunnel()),
    )
        .prop_map(|(name, matches, refs, mode, set, prefix, tunnel)| {
            let [limit, interval, window, code] = tunnel.unwrap_or_default();
            json!({
                "name": name,
                "matches": matches,
                "backendRefs": refs,
                "upgrade": {"mode": mode, "maxMessageBytes": limit, "maxFrameBytes": 10},
                "keepalive": {"interval": interval},
                "limits": {"connections": limit, "connectionsStatus": 429},
                "drain": {"window": window, "code": code},
                "headers": {"request": {"set": set}},
                "rewrite": {"prefix": prefix},
            })
        });
    (meta(), class_name(), vec(host(), 0..3), vec(rule, 0..4)).prop_map(
        |(meta, class, hosts, rules)| {
            json!({
                "apiVersion": "hawser.dev/v1alpha1",
                "kind": "WebSocketRoute",
                "metadata": meta,
                "spec": {"ingressClassName": class, "hostnames": hosts, "rules": rules},
            })
        },
    )
}

/// A limit, an interval, a window and a code: good ones, and some that are refused.
fn tunnel() -> impl Strategy<Value = [Value; 4]> {
    let of = |values: [Value; 4]| select(values.to_vec());
    (
        of([json!(null), json!(0), json!(100), json!(-1)]),
        of([json!(null), json!("0s"), json!("30s"), json!("1ms")]),
        of([json!(null), json!("0s"), json!("30s"), json!("99999h")]),
        of([json!(null), json!(1001), json!(4999), json!(1006)]),
    )
        .prop_map(|(limit, interval, window, code)| [limit, interval, window, code])
}

fn ingress() -> impl Strategy<Value = Value> {
    let backend = (service_name(), port(), prop::bool::weighted(0.1))
        .prop_map(|(name, port, resource)| {
            if resource {
                return json!({"resource": {"kind": "Bucket", "name": name}});
            }
            let port = match port {
                Value::Number(number) => json!({"number": number}),
                name => json!({"name": name}),
            };
            json!({"service": {"name": name, "port": port}})
        })
        .boxed();
    let kind = text(vec!["Exact", "Prefix", "ImplementationSpecific"]);
    let http_path = (option::of(path()), kind, backend.clone()).prop_map(
        |(path, kind, backend)| json!({"path": path, "pathType": kind, "backend": backend}),
    );
    let http = vec(http_path, 0..3).prop_map(|paths| json!({"paths": paths}));
    let rule = (option::of(host()), option::weighted(0.8, http))
        .prop_map(|(host, http)| json!({"host": host, "http": http}));
    let annotation = (
        text(vec![
            "hawser.dev/upgrade",
            "hawser.dev/idle-timeout",
            "hawser.dev/connections",
            "hawser.dev/drain-window",
            "hawser.dev/what",
            "kubernetes.io/ingress.class",
        ]),
        text(vec!["deny", "Ignore", "5s", "5", "hawser"]),
    );
    (
        meta(),
        class_name(),
        vec(rule, 0..4),
        option::weighted(0.3, backend),
        prop::collection::btree_map(annotation.0, annotation.1, 0..2),
    )
        .prop_map(|(mut meta, class, rules, default, annotations)| {
            meta["annotations"] = json!(annotations);
            json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": meta,
                "spec": {"ingressClassName": class, "rules": rules, "defaultBackend": default},
            })
        })
}

fn class_name() -> impl Strategy<Value = Option<&'static str>> {
    option::weighted(0.2, select(vec!["hawser", "other"]))
}

fn class() -> impl Strategy<Value = Value> {
    (
        select(vec!["hawser", "other"]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(name, ours, default)| {
            let controller = if ours {
                "hawser.dev/ingress-controller"
            } else {
                "other"
            };
            json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {
                    "name": name,
                    "annotations": {
                        "ingressclass.kubernetes.io/is-default-class": default.to_string(),
                    },
                },
                "spec": {"controller": controller},
            })
        })
}

fn service_name() -> impl Strategy<Value = String> {
    text(vec!["one", "two", "gone"])
}

fn port() -> impl Strategy<Value = Value> {
    select(vec![
        json!(80),
        json!(81),
        json!(0),
        json!("http"),
        json!("web"),
    ])
}

fn service() -> impl Strategy<Value = Value> {
    let port = (
        option::of(select(vec!["http", "web"])),
        select(vec![80, 81, 0, -1, 70_000]),
    )
        .prop_map(|(name, port)| json!({"name": name, "port": port}));
    (
        meta(),
        vec(port, 0..3),
        option::weighted(0.1, Just("ExternalName")),
    )
        .prop_map(|(meta, ports, kind)| {
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"ports": ports, "type": kind},
            })
        })
}

fn slice() -> impl Strategy<Value = Value> {
    let endpoint = (
        vec(
            text(vec!["10.0.0.1", "10.0.0.2", "127.0.0.1", "2001:db8::1"]),
            0..3,
        ),
        option::of(any::<bool>()),
    )
        .prop_map(
            |(addresses, ready)| json!({"addresses": addresses, "conditions": {"ready": ready}}),
        );
    let port = (
        option::of(select(vec!["http", "web"])),
        option::of(select(vec![8080, -1])),
    )
        .prop_map(|(name, port)| json!({"name": name, "port": port}));
    (
        meta(),
        option::of(service_name()),
        select(vec!["IPv4", "IPv6", "FQDN"]),
        vec(endpoint, 0..4),
        vec(port, 0..3),
    )
        .prop_map(|(mut meta, service, family, endpoints, ports)| {
            if let Some(service) = service {
                meta["labels"] = json!({"kubernetes.io/service-name": service});
            }
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": meta,
                "addressType": family,
                "endpoints": endpoints,
                "ports": ports,
            })
        })
}
