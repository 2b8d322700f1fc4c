//! From objects to live tables.

use serde_json::json;

use super::*;
use crate::{
    api::{Review, review},
    telemetry::metrics::Metrics,
    translate::{Options, Prepared, SourceKind, Verdict},
};

fn rebuild() -> Rebuild {
    Rebuild::new(
        Arc::new(Live::new()),
        Arc::default(),
        Metrics::new(),
        Options {
            controller_name: "hawser.dev/ingress-controller".into(),
            ingress_class: "hawser".into(),
            watch_ingress_without_class: false,
            origin: SourceKind::Directory,
            own_addresses: Vec::new(),
            peer_service: None,
            drain_window: None,
        },
        Arc::default(),
    )
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

fn set(objects: &[(ObjectKey, Prepared)]) -> Vec<(ObjectKey, Change)> {
    let objects = objects.iter().cloned();
    objects
        .map(|(key, object)| (key, Change::Set(object)))
        .collect()
}

/// A refusal of version 7 of an object.
fn refused(key: &ObjectKey, message: &str) -> (ObjectKey, Change) {
    let change = Change::Refused {
        version: ir::ObjectVersion {
            uid: "refused".into(),
            generation: 7,
        },
        problems: vec![Problem {
            field: "spec.rules".into(),
            message: message.into(),
        }],
        bare: None,
    };
    (key.clone(), change)
}

fn apply(rebuild: &mut Rebuild, objects: Vec<(ObjectKey, Change)>) -> u64 {
    let done = rebuild.apply(Changes {
        objects,
        since: Instant::now(),
    });
    assert!(done);
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
    let mut rebuild = rebuild();
    assert_eq!(apply(&mut rebuild, Vec::new()), 1);
    assert_eq!(apply(&mut rebuild, Vec::new()), 1, "nothing changed");
}

#[test]
fn only_a_change_of_routes_makes_a_table() {
    let mut rebuild = rebuild();
    let mut objects = vec![route("a", "s", "hawser")];
    objects.extend(service("s", &["10.0.0.1"]));
    assert_eq!(apply(&mut rebuild, set(&objects)), 1);
    let backend = rebuild.backends.list().remove(0);
    assert_eq!(backend.endpoints().len(), 1);

    let more = service("s", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(apply(&mut rebuild, set(&more)), 1, "endpoints only");
    assert_eq!(backend.endpoints().len(), 2);

    let b = route("b", "s", "hawser");
    assert_eq!(apply(&mut rebuild, set(std::slice::from_ref(&b))), 2);
    assert_eq!(apply(&mut rebuild, vec![(b.0, Change::Gone)]), 3);
    let gone = objects.iter().map(|(key, _)| (key.clone(), Change::Gone));
    assert_eq!(apply(&mut rebuild, gone.collect()), 4);
    assert!(backend.endpoints().is_empty(), "nothing names it any more");
}

#[test]
fn verdicts_say_what_is_live() {
    let mut rebuild = rebuild();
    let mut objects = vec![
        route("a", "s", "hawser"),
        route("b", "s", "other"),
        route("c", "none", "hawser"),
    ];
    objects.extend(service("s", &["10.0.0.1"]));
    let (new, old) = (route("d", "s", "hawser").0, objects[0].0.clone());
    let mut changes = set(&objects);
    changes.extend([&new, &old, &objects[4].0].map(|key| refused(key, "must not be empty")));
    apply(&mut rebuild, changes);
    let verdicts = rebuild.verdicts.list();
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
    for verdict in [&verdicts[0], &verdicts[3]] {
        let version = &verdict.version;
        assert_eq!((&*version.uid, version.generation), ("refused", 7));
    }

    apply(&mut rebuild, set(&objects[..1]));
    let verdict = rebuild.verdicts.get(&old).expect("a verdict");
    assert_eq!(
        words(&verdict)[2],
        "Programmed=true/Programmed",
        "well again"
    );
    assert_eq!(rebuild.refused(), 2);
    apply(&mut rebuild, vec![(new.clone(), Change::Gone)]);
    assert_eq!(rebuild.verdicts.get(&new), None);
}

#[test]
fn what_a_newer_version_knows_is_unsupported_here() {
    let mut rebuild = rebuild();
    let (key, _) = route("a", "s", "hawser");
    let newer = refused(&key, "unsupported value `Mirror`, expected one of `Allow`");
    apply(&mut rebuild, vec![newer]);
    let verdict = rebuild.verdicts.get(&key).expect("a verdict");
    assert_eq!(words(&verdict)[0], "Accepted=false/UnsupportedValue");
}

#[test]
fn an_object_of_another_class_is_not_ours_even_if_it_was_never_readable() {
    let mut rebuild = rebuild();
    for (name, class, ours) in [("a", "hawser", true), ("b", "other", false)] {
        let (key, bare) = route(name, "s", class);
        let (_, change) = refused(&key, "unknown");
        let Change::Refused {
            version, problems, ..
        } = change
        else {
            panic!("a refusal")
        };
        let bare = Some(bare);
        let change = Change::Refused {
            version,
            problems,
            bare,
        };
        apply(&mut rebuild, vec![(key.clone(), change)]);
        let verdict = rebuild.verdicts.get(&key).expect("a verdict");
        assert_eq!(verdict.ours, ours, "{name}");
        if ours {
            let message = &verdict.conditions[0].message;
            assert!(message.contains("no version"), "{message}");
        }
    }
}

/// Who loses its class is not given to anybody, even if something else about it changes at the same time.
#[test]
fn only_who_names_another_class_is_given_away() {
    let class = |name: &str| {
        prepared(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": name},
            "spec": {"controller": "hawser.dev/ingress-controller"},
        }))
    };
    let mut rebuild = rebuild();
    let (key, first) = route("a", "s", "edge");
    let (deleted, edge) = class("edge");
    let objects = [
        (key.clone(), first),
        (deleted.clone(), edge),
        class("hawser"),
    ];
    apply(&mut rebuild, set(&objects));
    let id = ir::ObjectId {
        kind: ir::RouteKind::WebSocketRoute,
        namespace: key.namespace.as_str().into(),
        name: key.name.as_str().into(),
    };
    let ours = |rebuild: &Rebuild| rebuild.verdicts.get(&key).map(|verdict| verdict.ours);
    assert_eq!(ours(&rebuild), Some(true));

    let mut changes = set(&[route("a", "other", "edge")]);
    changes.push((deleted, Change::Gone));
    apply(&mut rebuild, changes);
    assert_eq!(ours(&rebuild), Some(false));
    assert!(!rebuild.verdicts.is_given_away(&id));

    apply(&mut rebuild, set(&[route("a", "other", "hawser")]));
    assert_eq!(ours(&rebuild), Some(true));
    apply(&mut rebuild, set(&[route("a", "other", "edge")]));
    assert_eq!(ours(&rebuild), Some(false));
    assert!(rebuild.verdicts.is_given_away(&id));
}

#[test]
fn metrics_tell_of_every_table() {
    let mut rebuild = rebuild();
    let mut objects = vec![route("a", "s", "hawser")];
    objects.extend(service("s", &["10.0.0.1"]));
    apply(&mut rebuild, set(&objects));
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

/// A route with a rule of this name; `poison` makes translation fail.
fn route_of_rule(name: &str, rule: &str) -> (ObjectKey, Change) {
    let (key, object) = prepared(json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": name, "uid": "u", "generation": 2},
        "spec": {
            "hostnames": [format!("{name}.example.com")],
            "rules": [{"name": rule, "backendRefs": [{"name": "s", "port": 80}]}],
        },
    }));
    (key, Change::Set(object))
}

/// `host rule` of everything that is served.
fn served(rebuild: &Rebuild) -> Vec<String> {
    let live = rebuild.live.load();
    let ways = live.routes().map(|entry| {
        let host = entry.host.map(ToString::to_string).unwrap_or_default();
        format!("{host} {}", entry.route.rule.id.rule)
    });
    ways.collect()
}

#[test]
fn an_object_that_makes_hawser_fail_costs_only_itself() {
    let mut rebuild = rebuild();
    let mut first = vec![
        route_of_rule("a", "all"),
        route_of_rule("b", "poison"),
        route_of_rule("c", "all"),
    ];
    first.extend(set(&service("s", &["10.0.0.1"])));
    assert_eq!(apply(&mut rebuild, first), 1);
    assert_eq!(served(&rebuild), ["a.example.com all", "c.example.com all"]);

    let second = vec![
        route_of_rule("a", "poison"),
        (route_of_rule("c", "all").0, Change::Gone),
        route_of_rule("d", "all"),
        route_of_rule("e", "poison"),
    ];
    assert_eq!(apply(&mut rebuild, second), 2);
    assert_eq!(
        served(&rebuild),
        ["a.example.com all", "d.example.com all"],
        "the last good version stays, the rest goes on"
    );
    assert_eq!(rebuild.refused(), 3);
    let verdict = |name: &str| {
        let key = route_of_rule(name, "all").0;
        rebuild.verdicts.get(&key).expect("a verdict")
    };
    let a = verdict("a");
    assert_eq!(
        words(&a),
        [
            "Accepted=false/InvalidSpec",
            "ResolvedRefs=true/ResolvedRefs",
            "Programmed=false/NoValidRule"
        ]
    );
    assert_eq!(
        a.conditions[0].message,
        "made Hawser fail; please report it; the last version that was valid stays live"
    );
    assert_eq!(a.version.generation, 2);
    assert_eq!(words(&verdict("d"))[0], "Accepted=true/Accepted");
    assert_eq!(rebuild.verdicts.list().len(), 4, "c is gone");
    let text = rebuild.metrics.encode();
    assert!(
        text.contains("hawser_translation_failures_total 3"),
        "{text}"
    );

    // Afterwards a change costs what it touches again.
    assert_eq!(apply(&mut rebuild, vec![route_of_rule("e", "all")]), 3);
    assert_eq!(rebuild.refused(), 2);
    let more = service("s", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(apply(&mut rebuild, set(&more)), 3);
    assert_eq!(rebuild.backends.list()[0].endpoints().len(), 2);
}
