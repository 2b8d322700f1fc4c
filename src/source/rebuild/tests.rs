//! From objects to live tables.

use serde_json::json;

use super::*;
use crate::{
    api::{Review, review},
    telemetry::metrics::Metrics,
    translate::{Options, Prepared, SourceKind, Verdict},
};

fn rebuild() -> Rebuild {
    Rebuild {
        live: Arc::new(Live::new()),
        backends: Arc::default(),
        metrics: Metrics::new(),
        options: Options {
            controller_name: "hawser.dev/ingress-controller".into(),
            ingress_class: "hawser".into(),
            watch_ingress_without_class: false,
            origin: SourceKind::Directory,
        },
        verdicts: Arc::default(),
    }
}

fn prepared(manifest: serde_json::Value) -> (ObjectKey, Prepared) {
    match review(manifest) {
        Review::Accepted(key, object) => (key, translate::prepare(&object)),
        other => panic!("{other:?}"),
    }
}

fn route(name: &str, service: &str, class: &str) -> (ObjectKey, Prepared) {
    prepared(json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": name},
        "spec": {
            "ingressClassName": class,
            "hostnames": [format!("{name}.example.com")],
            "rules": [{"name": "all", "backendRefs": [{"name": service, "port": 80}]}],
        },
    }))
}

fn service(name: &str, addresses: &[&str]) -> [(ObjectKey, Prepared); 2] {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|address| json!({"addresses": [address]}))
        .collect();
    [
        prepared(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"port": 80}]},
        })),
        prepared(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
        })),
    ]
}

fn apply(rebuild: &Rebuild, objects: &[(ObjectKey, Prepared)], refused: Vec<Refused<'_>>) -> u64 {
    rebuild.apply(&Update {
        objects: objects
            .iter()
            .map(|(key, prepared)| (key, prepared))
            .collect(),
        broken: refused.len(),
        refused,
        since: Instant::now(),
    });
    rebuild.live.load().generation()
}

fn words(verdict: &Verdict) -> Vec<String> {
    verdict
        .conditions
        .iter()
        .map(|condition| {
            format!(
                "{}={}/{}",
                condition.type_, condition.status, condition.reason
            )
        })
        .collect()
}

#[test]
fn the_first_table_is_one_even_without_routes() {
    let rebuild = rebuild();
    assert_eq!(apply(&rebuild, &[], Vec::new()), 1);
    assert_eq!(apply(&rebuild, &[], Vec::new()), 1, "nothing changed");
}

#[test]
fn only_a_change_of_routes_makes_a_table() {
    let rebuild = rebuild();
    let mut objects = vec![route("a", "s", "hawser")];
    objects.extend(service("s", &["10.0.0.1"]));
    assert_eq!(apply(&rebuild, &objects, Vec::new()), 1);
    let backend = rebuild.backends.list().remove(0);
    assert_eq!(backend.endpoints().len(), 1);

    objects.truncate(1);
    objects.extend(service("s", &["10.0.0.1", "10.0.0.2"]));
    assert_eq!(apply(&rebuild, &objects, Vec::new()), 1, "endpoints only");
    assert_eq!(backend.endpoints().len(), 2);

    objects.push(route("b", "s", "hawser"));
    assert_eq!(apply(&rebuild, &objects, Vec::new()), 2);
    objects.pop();
    assert_eq!(apply(&rebuild, &objects, Vec::new()), 3);
    assert_eq!(apply(&rebuild, &objects[..0], Vec::new()), 4);
    assert!(backend.endpoints().is_empty(), "nothing names it any more");
}

#[test]
fn verdicts_say_what_is_live() {
    let rebuild = rebuild();
    let mut objects = vec![
        route("a", "s", "hawser"),
        route("b", "s", "other"),
        route("c", "none", "hawser"),
    ];
    objects.extend(service("s", &["10.0.0.1"]));
    let (new, old) = (route("d", "s", "hawser").0, objects[0].0.clone());
    let problems = [Problem {
        field: "spec.rules".into(),
        message: "must not be empty".into(),
    }];
    let refused = |object, kept| Refused {
        object,
        problems: &problems,
        kept,
    };
    let slice = objects[4].0.clone();
    apply(
        &rebuild,
        &objects,
        vec![
            refused(&new, false),
            refused(&old, true),
            refused(&slice, true),
        ],
    );
    let verdicts = Arc::clone(&rebuild.verdicts.verdicts.read());
    let names: Vec<_> = verdicts
        .iter()
        .map(|verdict| &*verdict.object.name)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d"], "only what routes is judged");
    assert_eq!(
        words(&verdicts[0]),
        [
            "Accepted=false/InvalidSpec",
            "ResolvedRefs=true/ResolvedRefs",
            "Programmed=false/NoValidRule"
        ]
    );
    assert_eq!(
        verdicts[0].conditions[0].message,
        "spec.rules: must not be empty; the last version that was valid stays live"
    );
    assert!(!verdicts[1].ours && verdicts[1].conditions.is_empty());
    assert_eq!(
        words(&verdicts[2]),
        [
            "Accepted=true/Accepted",
            "ResolvedRefs=false/BackendNotFound",
            "Programmed=true/Programmed"
        ]
    );
    assert_eq!(
        words(&verdicts[3]),
        ["Accepted=false/InvalidSpec", "Programmed=false/NoValidRule"]
    );
}

#[test]
fn metrics_tell_of_every_table() {
    let rebuild = rebuild();
    let mut objects = vec![route("a", "s", "hawser")];
    objects.extend(service("s", &["10.0.0.1"]));
    apply(&rebuild, &objects, Vec::new());
    let text = rebuild.metrics.encode();
    for line in [
        "hawser_table_generation 1",
        "hawser_table_objects{kind=\"WebSocketRoute\"} 1",
        "hawser_table_objects{kind=\"Ingress\"} 0",
        "hawser_propagation_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
