use std::path::Path;

use serde_json::json;

use super::*;
use crate::api::Object;

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

fn key(kind: &str, name: &str) -> ObjectKey {
    ObjectKey {
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn route(file: &str, name: &str, paths: &[&str]) -> (PathBuf, ObjectKey, Object) {
    let rules: Vec<_> = (0..)
        .zip(paths)
        .map(|(index, path)| {
            json!({
                "name": format!("r{index}"),
                "matches": [{"path": {"value": path}}],
                "backendRefs": [{"name": "chat", "port": 80}],
            })
        })
        .collect();
    let route = json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"hostnames": [format!("{name}.example.com")], "rules": rules},
    });
    let route = serde_json::from_value(route).unwrap();
    (
        file.into(),
        key("WebSocketRoute", name),
        Object::WebSocketRoute(route),
    )
}

fn service(file: &str) -> (PathBuf, ObjectKey, Object) {
    let service = json!({
        "metadata": {"namespace": "shop", "name": "chat"},
        "spec": {"ports": [{"port": 80}]},
    });
    let service = serde_json::from_value(service).unwrap();
    (
        file.into(),
        key("Service", "chat"),
        Object::Service(service),
    )
}

fn ingress(file: &str, class: &str) -> (PathBuf, ObjectKey, Object) {
    let ingress = json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {
            "ingressClassName": class,
            "defaultBackend": {"service": {"name": "chat", "port": {"number": 80}}},
        },
    });
    let ingress = serde_json::from_value(ingress).unwrap();
    (file.into(), key("Ingress", "web"), Object::Ingress(ingress))
}

fn problem(object: Option<ObjectKey>, unreadable: bool) -> FileProblem {
    FileProblem {
        file: "b.yaml".into(),
        line: Some(3),
        column: Some(7),
        object,
        problems: vec![api::Problem {
            field: "spec.rules[0].timeouts.idle".into(),
            message: "\"soon\" is no duration".into(),
        }],
        unreadable,
    }
}

#[track_caller]
fn checked(scan: Scan, exit: u8, text: &str) {
    let report = report(scan, &options());
    assert_eq!(report.text(), text);
    assert_eq!(report.exit, exit);
}

#[test]
fn all_is_well() {
    let scan = Scan {
        objects: vec![service("a.yaml"), route("b.yaml", "chat", &["/ws"])],
        ..Scan::default()
    };
    checked(
        scan,
        0,
        "a.yaml: Service shop/chat: ok\n\
         b.yaml: WebSocketRoute shop/chat: Accepted=True (Accepted), ResolvedRefs=True (ResolvedRefs)\n",
    );
}

#[test]
fn a_missing_backend_alone_is_no_rejection() {
    let scan = Scan {
        objects: vec![route("b.yaml", "chat", &["/ws"])],
        ..Scan::default()
    };
    checked(
        scan,
        0,
        "b.yaml: WebSocketRoute shop/chat: Accepted=True (Accepted), ResolvedRefs=False (BackendNotFound: \
         rule \"r0\": spec.rules[0].backendRefs[0]: there is no Service shop/chat)\n",
    );
}

#[test]
fn a_rule_that_is_left_out_is_named_with_its_field() {
    let scan = Scan {
        objects: vec![service("a.yaml"), route("a.yaml", "chat", &["/ws", "ws"])],
        ..Scan::default()
    };
    checked(
        scan,
        1,
        "a.yaml: Service shop/chat: ok\n\
         a.yaml: WebSocketRoute shop/chat: Accepted=True (Accepted), ResolvedRefs=True (ResolvedRefs), \
         PartiallyInvalid=True (InvalidSpec: left out: rule \"r1\": spec.rules[1].matches[0].path.value: \
         \"ws\": the path does not start with /)\n",
    );
}

#[test]
fn no_valid_rule() {
    let scan = Scan {
        objects: vec![route("a.yaml", "chat", &["ws"])],
        ..Scan::default()
    };
    let report = report(scan, &options());
    assert_eq!(report.exit, 1);
    let text = report.text();
    assert!(
        text.contains("Accepted=False (InvalidSpec: rule \"r0\""),
        "{text}"
    );
    assert!(text.contains("Programmed=False (NoValidRule"), "{text}");
}

#[test]
fn what_the_schema_refuses_is_rejected() {
    let scan = Scan {
        objects: vec![service("a.yaml")],
        problems: vec![problem(Some(key("WebSocketRoute", "chat")), false)],
        ..Scan::default()
    };
    checked(
        scan,
        1,
        "a.yaml: Service shop/chat: ok\n\
         b.yaml:3: WebSocketRoute shop/chat: Accepted=False (InvalidSpec: spec.rules[0].timeouts.idle: \
         \"soon\" is no duration)\n",
    );
}

#[test]
fn an_unreadable_file_outweighs_a_rejection() {
    let scan = Scan {
        problems: vec![
            problem(Some(key("WebSocketRoute", "chat")), false),
            problem(None, true),
        ],
        ..Scan::default()
    };
    let report = report(scan, &options());
    assert_eq!(report.exit, 2);
    assert!(
        report
            .text()
            .ends_with("b.yaml:3:7: spec.rules[0].timeouts.idle: \"soon\" is no duration\n")
    );
}

#[test]
fn others_objects_are_not_ours() {
    let scan = Scan {
        objects: vec![ingress("a.yaml", "nginx")],
        ..Scan::default()
    };
    checked(scan, 0, "a.yaml: Ingress shop/web: not ours\n");
}

#[test]
fn other_kinds_are_ignored() {
    let scan = Scan {
        unknown: vec![Unknown {
            file: "a.yaml".into(),
            line: 9,
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
        }],
        ..Scan::default()
    };
    checked(
        scan,
        0,
        "a.yaml:9: Deployment (apps/v1): ignored, Hawser does not read this kind\n",
    );
}

#[test]
fn nothing_is_fine() {
    checked(Scan::default(), 0, "");
}

#[test]
fn json_has_the_same() {
    let scan = Scan {
        objects: vec![
            route("a.yaml", "chat", &["/ws"]),
            ingress("a.yaml", "nginx"),
        ],
        problems: vec![problem(None, true)],
        ..Scan::default()
    };
    let report = report(scan, &options());
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["exit"], 2);
    assert_eq!(json["objects"][0]["kind"], "WebSocketRoute");
    assert_eq!(json["objects"][0]["file"], "a.yaml");
    assert_eq!(json["objects"][0]["conditions"][0]["type"], "Accepted");
    assert_eq!(json["objects"][0]["conditions"][0]["status"], "True");
    assert_eq!(json["objects"][1]["ours"], false);
    assert_eq!(json["files"][0]["line"], 3);
}

#[test]
fn messages_stay_on_one_line() {
    assert_eq!(one_line("a\n  b\u{1b}[1m"), "a b [1m");
    assert_eq!(place(Path::new("x.yaml"), Some(1), Some(2)), "x.yaml:1:2");
}
