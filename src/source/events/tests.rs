use serde_json::json;
use tokio::time::advance;

use super::{memory::Memory, *};
use crate::{
    api::{
        Object, ObjectKey, Review,
        conditions::{ACCEPTED, accepted},
        review,
    },
    ir::ObjectVersion,
    source::{
        cluster::Managers,
        rebuild::{Change, Changes, Moves, Rebuild},
    },
    translate::{self, Condition, Verdict},
};

/// A verdict with `Accepted` false for each reason that is given.
fn verdict(uid: &str, wrong: &[(&'static str, &str)], warnings: &[&str]) -> Arc<Verdict> {
    let conditions = wrong.iter().map(|(reason, message)| Condition {
        type_: ACCEPTED,
        status: false,
        reason,
        message: (*message).to_owned(),
    });
    Arc::new(Verdict {
        object: ObjectKey {
            kind: "WebSocketRoute".to_owned(),
            namespace: "team".to_owned(),
            name: "chat".to_owned(),
        },
        version: ObjectVersion {
            uid: uid.into(),
            generation: 1,
        },
        backends: Vec::new(),
        ours: true,
        conditions: conditions.collect(),
        warnings: warnings.iter().map(|text| (*text).to_owned()).collect(),
    })
}

/// What is told about a change, as `type/reason`.
fn told(memory: &mut Memory, changed: &Arc<Verdict>) -> (Vec<String>, usize) {
    let moves = Moves {
        changed: vec![Arc::clone(changed)],
        ..Moves::default()
    };
    let mut told = Vec::new();
    let limited = memory.take(&moves, |telling| {
        let type_ = if telling.warning { "Warning" } else { "Normal" };
        told.push(format!("{type_}/{}: {}", telling.reason, telling.note));
    });
    (told, limited)
}

#[tokio::test(start_paused = true)]
async fn transitions_are_told_and_nothing_else() {
    let mut memory = Memory::default();
    let well = verdict("1", &[], &[]);
    let bad = verdict(
        "1",
        &[(accepted::INVALID_SPEC, "no")],
        &["annotation \"x\" is not known y"],
    );
    assert_eq!(told(&mut memory, &well).0, Vec::<String>::new());
    assert_eq!(
        told(&mut memory, &bad).0,
        [
            "Warning/InvalidSpec: no",
            "Warning/UnknownAnnotation: annotation \"x\" is not known y"
        ]
    );
    assert_eq!(told(&mut memory, &bad).0, Vec::<String>::new());
    let less = verdict("1", &[(accepted::INVALID_SPEC, "no")], &[]);
    assert_eq!(told(&mut memory, &less).0, Vec::<String>::new());
    assert_eq!(
        told(&mut memory, &well).0,
        ["Normal/Accepted: nothing is wrong with it any more"]
    );
    assert_eq!(told(&mut memory, &well).0, Vec::<String>::new());
    assert_eq!(told(&mut memory, &less).0, ["Warning/InvalidSpec: no"]);
}

#[tokio::test(start_paused = true)]
async fn another_object_of_the_same_name_has_nothing_to_recover_from() {
    let mut memory = Memory::default();
    let bad = verdict("1", &[(accepted::INVALID_SPEC, "no")], &[]);
    assert_eq!(told(&mut memory, &bad).0.len(), 1);
    assert_eq!(
        told(&mut memory, &verdict("2", &[], &[])).0,
        Vec::<String>::new()
    );
    assert_eq!(told(&mut memory, &bad).0.len(), 1);
    let mut foreign = Verdict::clone(&bad);
    foreign.ours = false;
    foreign.conditions.clear();
    assert_eq!(
        told(&mut memory, &Arc::new(foreign)).0,
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_flaps_is_held_back() {
    let mut memory = Memory::default();
    let well = verdict("1", &[], &[]);
    let bad = verdict("1", &[(accepted::INVALID_SPEC, "no")], &[]);
    let mut count = 0;
    for _ in 0..20 {
        count += told(&mut memory, &bad).0.len() + told(&mut memory, &well).0.len();
    }
    assert_eq!(count, 25);
    assert_eq!(told(&mut memory, &bad).1, 1, "held back");
    advance(Duration::from_mins(5)).await;
    assert_eq!(told(&mut memory, &well).0.len(), 1);
}

/// The verdict of a failure of Hawser's own is one like others: it gets an event, and its conditions are written.
#[test]
fn an_object_that_makes_hawser_fail_is_told() {
    let mut rebuild = Rebuild::new(
        Arc::default(),
        Arc::default(),
        Metrics::new(),
        options(),
        Arc::default(),
    );
    let manifest = json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": "team", "uid": "u", "generation": 2},
        // Translation fails with a rule of this name, in tests.
        "spec": {"ingressClassName": "hawser", "hostnames": ["a.test"], "rules": [{"name": "poison", "backendRefs": [{"name": "s", "port": 80}]}]},
    });
    let Review::Accepted(key, object) = review(manifest) else {
        panic!("it is valid");
    };
    let changes = Changes {
        objects: vec![(key.clone(), Change::Set(translate::prepare(&object)))],
        since: Instant::now(),
    };
    assert!(rebuild.apply(changes));
    assert_eq!(rebuild.live.load().generation(), 1, "ready all the same");
    let verdict = rebuild.verdicts.get(&key).expect("a verdict");
    let (told, _) = told(&mut Memory::default(), &verdict);
    assert_eq!(
        told,
        ["Warning/InvalidSpec: made Hawser fail; please report it; no version of it was valid yet"]
    );
    let conditions: Vec<_> = verdict
        .conditions
        .iter()
        .map(|it| (it.type_, it.status))
        .collect();
    assert_eq!(conditions, [("Accepted", false), ("Programmed", false)]);
}

/// An API server that nobody answers for, and what there is to tell it.
async fn silent() -> (tokio::net::TcpListener, Inputs, watch::Sender<Arc<View>>) {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", server.local_addr().expect("an address"));
    let config = kube::Config::new(url.parse().expect("a URL"));
    let verdicts = Arc::new(Verdicts::default());
    let bad = verdict("1", &[(accepted::INVALID_SPEC, "no")], &[]);
    verdicts.apply([(bad.object.clone(), Some(bad))]);
    let (view, peers) = watch::channel(Arc::default());
    let leads = lease::Leadership::until(Instant::now() + Duration::from_hours(1));
    let (_, leader) = watch::channel(leads);
    let inputs = Inputs {
        cluster: Cluster {
            client: kube::Client::try_from(config).expect("a client"),
            namespace: "team".into(),
            managers: Managers::default(),
        },
        verdicts,
        leader,
        peers,
        lease: lease::Settings {
            namespace: "team".into(),
            name: "hawser".into(),
            identity: "a".into(),
        },
        controller: "hawser.dev/ingress-controller".into(),
        metrics: Metrics::new(),
    };
    (server, inputs, view)
}

fn all_asked() -> Arc<View> {
    Arc::new(View {
        complete: true,
        replicas: Vec::new(),
    })
}

#[tokio::test]
async fn nothing_is_told_before_the_others_were_asked() {
    let (server, mut inputs, view) = silent().await;
    let mut term = std::pin::pin!(lead(&mut inputs));
    tokio::select! {
        biased;
        () = &mut term => panic!("the term ended"),
        _ = server.accept() => panic!("it asked for something"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    view.send_replace(all_asked());
    tokio::select! {
        () = term => panic!("the term ended"),
        tells = server.accept() => assert!(tells.is_ok()),
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("nothing is told"),
    }
}

/// As after a stand-still: the time is over, and nobody has noticed.
#[tokio::test]
async fn nothing_is_told_when_the_time_of_the_lease_is_over() {
    let (server, mut inputs, view) = silent().await;
    let (_, leader) = watch::channel(lease::Leadership::until(Instant::now()));
    inputs.leader = leader;
    view.send_replace(all_asked());
    tokio::select! {
        biased;
        () = lead(&mut inputs) => panic!("the term ended"),
        _ = server.accept() => panic!("it asked for something"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
}

/// Reasons of what translation really writes.
#[rstest::rstest]
#[case(json!({"hawser.dev/upgrad": "Allow"}), "UnknownAnnotation")]
#[case(json!({"hawser.dev/upgrade": "sometimes"}), "BadAnnotation")]
#[case(json!({"hawser.dev/affinity-cookie": "a"}), "Ignored")]
fn reasons_of_annotations(#[case] annotations: serde_json::Value, #[case] reason: &str) {
    let verdicts = translated(vec![ingress(&annotations)]);
    let told: Vec<_> = verdict::problems(&verdicts[0])
        .iter()
        .map(|telling| telling.reason)
        .collect();
    assert_eq!(told, ["BackendNotFound", reason]);
}

#[test]
fn reasons_of_endpoints() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": "default"},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    let slice = |port: &str, ip: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("chat-{port}"), "namespace": "default", "labels": {"kubernetes.io/service-name": "chat"}},
            "addressType": "IPv4", "ports": [{"name": port, "port": 8080}],
            "endpoints": [{"addresses": [ip]}],
        })
    };
    for (port, ip) in [("other", "10.0.0.1"), ("http", "127.0.0.1")] {
        let verdicts = translated(vec![ingress(&json!({})), service.clone(), slice(port, ip)]);
        let told: Vec<_> = verdict::problems(&verdicts[0])
            .iter()
            .map(|telling| telling.reason)
            .collect();
        assert_eq!(told, ["EndpointsIgnored"], "{verdicts:#?}");
    }
}

#[test]
fn a_window_longer_than_the_one_of_the_process_is_told() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": "default"},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    let route = |window: &str| {
        json!({
            "apiVersion": "hawser.dev/v1alpha1", "kind": "WebSocketRoute",
            "metadata": {"name": "chat", "namespace": "default"},
            "spec": {"ingressClassName": "hawser", "rules": [{
                "name": "socket", "backendRefs": [{"name": "chat", "port": 80}], "drain": {"window": window},
            }]},
        })
    };
    let told = |object: serde_json::Value| {
        let verdicts = translated(vec![object, service.clone()]);
        let told = verdict::problems(&verdicts[0]);
        let told = told
            .iter()
            .map(|it| (it.warning, it.reason, it.note.clone()));
        told.collect::<Vec<_>>()
    };
    for window in ["0s", "59s", "1m"] {
        assert!(told(route(window)).is_empty(), "{window}");
    }
    let note = |place: &str| {
        format!(
            "{place}: 1m1s is more than the 1m of --drain-window; when the process ends the smaller one counts"
        )
    };
    assert_eq!(
        told(route("61s")),
        [(true, "Ignored", note("rule \"socket\": drain.window"))]
    );
    assert_eq!(
        told(ingress(&json!({"hawser.dev/drain-window": "61s"}))),
        [(true, "Ignored", note("annotation hawser.dev/drain-window"))]
    );
}

fn ingress(annotations: &serde_json::Value) -> serde_json::Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "chat", "namespace": "default", "annotations": annotations},
        "spec": {"ingressClassName": "hawser", "defaultBackend": {"service": {"name": "chat", "port": {"number": 80}}}},
    })
}

fn translated(manifests: Vec<serde_json::Value>) -> Vec<Verdict> {
    let prepared: Vec<_> = manifests
        .into_iter()
        .map(|manifest| translate::prepare(&object(manifest)))
        .collect();
    translate::translate(&prepared, &options()).verdicts
}

fn options() -> translate::Options {
    translate::Options {
        controller_name: "hawser.dev/ingress-controller".into(),
        ingress_class: "hawser".into(),
        watch_ingress_without_class: false,
        origin: translate::SourceKind::Cluster,
        own_addresses: Vec::new(),
        peer_service: None,
        drain_window: Some(Duration::from_mins(1)),
    }
}

fn object(manifest: serde_json::Value) -> Object {
    match review(manifest) {
        Review::Accepted(_, object) => object,
        other => panic!("{other:#?}"),
    }
}
