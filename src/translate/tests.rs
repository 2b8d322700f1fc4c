use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{api::Object, ir::HostPattern};

fn options() -> Options {
    Options {
        controller_name: "hawser.dev/ingress-controller".into(),
        ingress_class: "hawser".into(),
        watch_ingress_without_class: false,
        origin: SourceKind::Directory,
        own_addresses: Vec::new(),
        peer_service: None,
        drain_window: None,
    }
}

/// Routes of one rule each, all to the same Service.
fn routes(count: usize, port: &serde_json::Value) -> Vec<Prepared> {
    let service = json!({
        "metadata": {"namespace": "shop", "name": "chat"},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    let service = Object::Service(serde_json::from_value(service).unwrap());
    let route = |number: usize| {
        let route = json!({
            "apiVersion": "hawser.dev/v1alpha1",
            "kind": "WebSocketRoute",
            "metadata": {"namespace": "shop", "name": format!("route-{number}")},
            "spec": {
                "hostnames": [format!("h{number}.example.com")],
                "rules": [{
                    "name": "socket",
                    "matches": [{"path": {"value": "/ws"}}],
                    "backendRefs": [{"name": "chat", "port": port}],
                }],
            },
        });
        Object::WebSocketRoute(serde_json::from_value(route).unwrap())
    };
    let mut prepared = vec![prepare(&service)];
    prepared.extend((0..count).map(|number| prepare(&route(number))));
    prepared
}

fn route_of(output: &Output, host: &str) -> Arc<ir::Route> {
    let host = HostPattern::Exact(host.into());
    Arc::clone(&output.config.hosts[&host].candidates[0].route)
}

#[test]
fn a_rule_that_did_not_change_keeps_its_route() {
    let prepared = routes(2, &json!(80));
    let first = translate(&prepared, &options());
    let second = translate(&prepared, &options());
    for host in ["h0.example.com", "h1.example.com"] {
        assert!(Arc::ptr_eq(
            &route_of(&first, host),
            &route_of(&second, host)
        ));
    }
}

#[test]
fn a_named_port_is_equal_though_it_is_looked_up_again() {
    let prepared = routes(1, &json!("http"));
    let first = translate(&prepared, &options());
    let second = translate(&prepared, &options());
    assert_eq!(first.config, second.config);
    assert_eq!(
        route_of(&first, "h0.example.com").backends[0]
            .target
            .to_string(),
        "shop/chat:80"
    );
}

#[test]
fn routes_that_set_nothing_share_one_policy() {
    let output = translate(&routes(2, &json!(80)), &options());
    let policies = ["h0.example.com", "h1.example.com"].map(|host| route_of(&output, host));
    assert!(Arc::ptr_eq(&policies[0].policy, &policies[1].policy));
}

fn verdict_of(objects: &[serde_json::Value], name: &str) -> Verdict {
    let prepared: Vec<_> = objects
        .iter()
        .map(|object| match object["kind"].as_str() {
            Some("Service") => Object::Service(serde_json::from_value(object.clone()).unwrap()),
            Some("EndpointSlice") => {
                Object::EndpointSlice(serde_json::from_value(object.clone()).unwrap())
            }
            _ => Object::WebSocketRoute(serde_json::from_value(object.clone()).unwrap()),
        })
        .map(|object| prepare(&object))
        .collect();
    let mut verdicts = translate(&prepared, &options()).verdicts.into_iter();
    verdicts.find(|it| it.object.name == name).unwrap()
}

/// A route with 30 rules for 16 hosts each, with paths of the greatest length.
fn large(namespace: &str, name: &str, also: &[serde_json::Value]) -> serde_json::Value {
    let label = "h".repeat(60);
    let hosts: Vec<_> = (0..16)
        .map(|host| format!("h{host}.{label}.{label}.{label}.example.com"))
        .collect();
    let rules = (0..30).map(|rule| {
        json!({
            "name": format!("r{rule}"),
            "matches": [{"path": {"value": format!("/{rule}/{}", "é".repeat(500))}}],
            "backendRefs": [{"name": "chat", "port": 80}],
        })
    });
    json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"hostnames": hosts, "rules": also.iter().cloned().chain(rules).collect::<Vec<_>>()},
    })
}

#[test]
fn the_winner_is_named_in_a_message_that_fits_a_condition() {
    let bad: Vec<_> = (0..30)
        .map(|rule| {
            json!({
                "name": format!("bad{rule}"),
                "matches": [{"path": {"value": "relative"}}],
                "backendRefs": [{"name": "chat", "port": 80}],
            })
        })
        .collect();
    let verdict = verdict_of(
        &[large("a", "winner", &[]), large("b", "loser", &bad)],
        "loser",
    );
    let accepted = &verdict.conditions[0];
    assert_eq!(accepted.reason, "Conflicted");
    assert!(accepted.message.contains("WebSocketRoute a/winner"));
    for condition in &verdict.conditions {
        assert!(
            condition.message.len() <= 32 * 1024,
            "{}",
            condition.message.len()
        );
    }
}

#[test]
fn a_service_with_many_bad_slices_costs_its_users_little() {
    let slice = |number: usize| {
        json!({
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "a",
                "name": format!("s{number}"),
                "labels": {"kubernetes.io/service-name": "chat"},
            },
            "addressType": "FQDN",
            "endpoints": [],
        })
    };
    let mut objects: Vec<_> = (0..100).map(slice).collect();
    objects.push(json!({
        "kind": "Service",
        "metadata": {"namespace": "a", "name": "chat"},
        "spec": {"ports": [{"port": 80}]},
    }));
    objects.push(large("a", "chat", &[]));
    let verdict = verdict_of(&objects, "chat");
    // The first ones, each once: no count of every slice at every reference.
    assert_eq!(verdict.warnings.len(), 20, "{:?}", verdict.warnings);
}
