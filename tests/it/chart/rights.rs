//! The rights: as few as there can be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::helm::{NAMESPACE, ci_files, count, objects};

/// All that any role of the chart may ever hold: group/resource and verb.
const ALLOWED: &[(&str, &[&str])] = &[
    ("/services", &["list", "watch"]),
    ("discovery.k8s.io/endpointslices", &["list", "watch"]),
    ("networking.k8s.io/ingresses", &["list", "watch"]),
    ("networking.k8s.io/ingresses/status", &["patch"]),
    ("networking.k8s.io/ingressclasses", &["list", "watch"]),
    ("hawser.dev/websocketroutes", &["list", "watch"]),
    ("hawser.dev/websocketroutes/status", &["patch"]),
    ("events.k8s.io/events", &["create", "patch"]),
    ("coordination.k8s.io/leases", &["create", "get", "update"]),
];

fn words(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|items| items.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

fn rendered() -> Vec<(String, Vec<Value>)> {
    ci_files()
        .into_iter()
        .map(|(name, values)| {
            (
                name,
                objects(&["--values", values.to_str().expect("UTF-8")]),
            )
        })
        .collect()
}

#[test]
fn no_role_holds_more_than_the_list() {
    for (name, objects) in rendered() {
        for role in objects
            .iter()
            .filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole")
        {
            for rule in role["rules"].as_array().expect("rules") {
                if rule.get("nonResourceURLs").is_some() {
                    assert_eq!(words(&rule["nonResourceURLs"]), ["/openid/v1/jwks"]);
                    assert_eq!(words(&rule["verbs"]), ["get"]);
                    continue;
                }
                for group in words(&rule["apiGroups"]) {
                    for resource in words(&rule["resources"]) {
                        let what = format!("{group}/{resource}");
                        let allowed = ALLOWED.iter().find(|(allowed, _)| *allowed == what);
                        let (_, verbs) = allowed.unwrap_or_else(|| panic!("{name}: {what}"));
                        for verb in words(&rule["verbs"]) {
                            assert!(verbs.contains(&verb), "{name}: {verb} {what}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn only_roles_of_the_chart_are_bound_and_all_of_them() {
    for (name, objects) in rendered() {
        let key =
            |kind: &Value, namespace: &Value, name: &Value| format!("{kind} {namespace} {name}");
        let of = |object: &Value| {
            let metadata = &object["metadata"];
            key(&object["kind"], &metadata["namespace"], &metadata["name"])
        };
        let roles: BTreeSet<_> = objects
            .iter()
            .filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole")
            .map(of)
            .collect();
        let bound: BTreeSet<_> = objects
            .iter()
            .filter(|object| {
                object["kind"] == "RoleBinding" || object["kind"] == "ClusterRoleBinding"
            })
            .map(|binding| {
                let role = &binding["roleRef"];
                key(
                    &role["kind"],
                    &binding["metadata"]["namespace"],
                    &role["name"],
                )
            })
            .collect();
        assert_eq!(roles, bound, "{name}");
    }
}

/// Row 83 of the fault catalogue: what is called before an object is stored can be called by anybody who reaches it.
/// The CRD's own rules check objects.
#[test]
fn no_webhook_and_no_api_service_exist() {
    for (name, objects) in rendered() {
        for object in &objects {
            let kind = object["kind"].as_str().expect("a kind");
            let called = kind.ends_with("WebhookConfiguration") || kind == "APIService";
            assert!(!called, "{name}: {kind}");
            let conversion = &object["spec"]["conversion"]["strategy"];
            assert!(conversion.is_null() || conversion == "None", "{name}");
        }
    }
}

/// The Lease can be taken by its name alone, so that a neighbour's cannot be stolen.
#[test]
fn the_lease_is_named() {
    let objects = objects(&[]);
    let role = super::helm::find(&objects, "Role", None);
    let rules = role["rules"].as_array().expect("rules");
    let lease = rules
        .iter()
        .find(|rule| words(&rule["verbs"]).contains(&"update"))
        .expect("a rule with update");
    assert_eq!(words(&lease["resourceNames"]), ["hawser"]);
}

#[test]
fn watched_namespaces_need_no_cluster_wide_right_to_namespaced_objects() {
    let set = "watchNamespaces={team-a,team-b}";
    let some = objects(&["--set", set]);
    let cluster_role = super::helm::find(&some, "ClusterRole", None);
    let resources: Vec<_> = cluster_role["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .flat_map(|rule| words(&rule["resources"]))
        .collect();
    assert_eq!(resources, ["ingressclasses"]);
    let mut namespaces: Vec<_> = some
        .iter()
        .filter(|object| object["kind"] == "Role")
        .filter_map(|role| role["metadata"]["namespace"].as_str())
        .collect();
    namespaces.sort_unstable();
    // The own one twice: the Lease and the published Service.
    assert_eq!(namespaces, [NAMESPACE, NAMESPACE, "team-a", "team-b"]);

    let strict = objects(&[
        "--set",
        &format!("{set},rbac.ingressClasses=false,peers.enabled=false"),
    ]);
    assert_eq!(count(&strict, "ClusterRole"), 0);
    assert_eq!(count(&strict, "ClusterRoleBinding"), 0);
}

#[test]
fn without_rbac_nothing_of_it_is_rendered() {
    let objects = objects(&["--set", "rbac.create=false"]);
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
        assert_eq!(count(&objects, kind), 0, "{kind}");
    }
}
