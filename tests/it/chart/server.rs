//! What a real API server says to the chart: dry runs, Pod Security, rights, and the life of a release.

use std::time::Instant;

use serde_json::Value;

use super::{
    helm::{NAMESPACE, chart, ci_files, objects, pod, try_render},
    installed,
};
use crate::kit::{
    DEADLINE,
    control_plane::{ControlPlane, Shared},
};

static PLANE: Shared = Shared::full();

/// Stand-ins for the CRDs of the Prometheus operator: they know the kinds and check nothing.
const MONITORING: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: KINDs.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: KIND, plural: KINDs, singular: KIND}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// A namespace where anything but a restricted pod is refused, and a workload that would make one is warned about.
fn restricted(plane: &ControlPlane, name: &str) {
    let yaml = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n    pod-security.kubernetes.io/warn: restricted\n"
    );
    plane.kubectl(&["apply", "-f", "-"], &yaml).text();
}

#[test]
fn every_ci_file_passes_a_dry_run_without_a_warning() {
    let plane = PLANE.get();
    for name in [NAMESPACE, "team-a", "team-b", "edge-network"] {
        restricted(&plane, name);
    }
    for kind in ["ServiceMonitor", "PodMonitor"] {
        let singular = kind.to_lowercase();
        let crd = MONITORING
            .replace("kind: KIND,", &format!("kind: {kind},"))
            .replace("KIND", &singular);
        plane.kubectl(&["apply", "-f", "-"], &crd).text();
        plane.established(&format!("{singular}s.monitoring.coreos.com"));
    }
    for (name, values) in ci_files() {
        let rendered = try_render(&["--values", values.to_str().expect("UTF-8")]).expect(&name);
        // Discovery of a kind that has just been defined may lag behind by a moment.
        let start = Instant::now();
        let ran = loop {
            let ran = plane.kubectl(
                &[
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    "--dry-run=server",
                    "-f",
                    "-",
                ],
                &rendered,
            );
            let is_late = ran.stderr.contains("no matches for kind");
            if ran.success || !is_late || start.elapsed() > DEADLINE {
                break ran;
            }
        };
        assert!(ran.success, "{name}: {}", ran.stderr);
        assert!(!ran.stderr.contains("Warning"), "{name}: {}", ran.stderr);
    }
}

#[test]
fn the_pods_are_restricted_ones() {
    let plane = PLANE.get();
    let namespace = "hawser-restricted";
    restricted(&plane, namespace);
    let accounts = [
        "wait",
        "--for=create",
        "--timeout=30s",
        "-n",
        namespace,
        "serviceaccount/default",
    ];
    plane.kubectl(&accounts, "").text();
    let try_pod = |pod: &Value| {
        let args = ["create", "--dry-run=server", "-n", namespace, "-f", "-"];
        plane.kubectl(&args, &pod.to_string())
    };
    for (name, values) in ci_files() {
        let objects = objects(&["--values", values.to_str().expect("UTF-8")]);
        let mut pod = pod(&objects).clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "hawser".into();
        // The chart's own is not there in a dry run.
        pod["spec"]["serviceAccountName"] = "default".into();
        let ran = try_pod(&pod);
        assert!(ran.success, "{name}: {}", ran.stderr);
        pod["spec"]["containers"][0]["securityContext"] = Value::Null;
        let refused = try_pod(&pod).failure();
        assert!(
            refused.contains("violates PodSecurity"),
            "{name}: {refused}"
        );
    }
}

/// One test for all that happens to the CRD, because a cluster has only one.
#[test]
fn routes_survive_upgrades_and_an_uninstall() {
    let plane = PLANE.get();
    let (namespace, other) =
        plane.run(async || (plane.namespace("life").await, plane.namespace("life").await));
    let kubectl = |args: &[&str]| plane.kubectl(&[&["-n", &namespace], args].concat(), "");
    let uid = || kubectl(&["get", "wsr", "chat", "-o", "jsonpath={.metadata.uid}"]).text();
    let class = format!("ingressClass.name={namespace}");
    let install = || installed(&plane, "hawser", &namespace, &["--set", &class]);
    let upgrade = |set: &str| {
        let chart = chart();
        let chart = chart.to_str().expect("UTF-8");
        let args = [
            "upgrade",
            "hawser",
            chart,
            "--reset-then-reuse-values",
            "-n",
            &namespace,
            "--set",
            set,
        ];
        plane.helm(&args).text()
    };
    let uninstall = || {
        plane
            .helm(&["uninstall", "hawser", "-n", &namespace])
            .text()
    };

    let notes = install().text();
    for line in [
        format!("kubectl -n {namespace} rollout status deployment/hawser"),
        "kubectl wait --for=condition=Programmed --timeout=30s wsr/chat".to_owned(),
        format!("kubectl -n {namespace} port-forward deployment/hawser 9100"),
        "docs/guide/troubleshoot.md".to_owned(),
    ] {
        assert!(notes.contains(&line), "{line}: {notes}");
    }
    plane.established("websocketroutes.hawser.dev");
    // The route of the notes, as they give it.
    let (_, route) = notes.split_once("<<'YAML'\n").expect("a manifest");
    let (route, _) = route.split_once("   YAML").expect("its end");
    let ran = plane.kubectl(&["apply", "-n", &namespace, "-f", "-"], route);
    ran.text();
    let before = uid();

    upgrade("replicas=3,log.level=debug");
    assert_eq!(uid(), before);
    let replicas = [
        "get",
        "deployment",
        "hawser",
        "-o",
        "jsonpath={.spec.replicas}",
    ];
    assert_eq!(kubectl(&replicas).text(), "3");

    let said = uninstall();
    assert!(
        said.contains("websocketroutes.hawser.dev"),
        "Helm says what it keeps: {said}"
    );
    assert_eq!(uid(), before);
    let workloads = kubectl(&["get", "deployments", "-o", "name"]).text();
    assert_eq!(workloads, "");

    // The CRD that was kept belongs to the release that made it.
    let set = format!("ingressClass.name={other}");
    let refused = installed(&plane, "hawser", &other, &["--set", &set]).failure();
    assert!(refused.contains("websocketroutes.hawser.dev"), "{refused}");
    installed(
        &plane,
        "hawser",
        &other,
        &["--set", &set, "--set", "crds.enabled=false"],
    )
    .text();

    install().text();
    assert_eq!(uid(), before);
    upgrade("crds.keep=false");
    assert_eq!(uid(), before);
    uninstall();
    let gone = [
        "wait",
        "--for=delete",
        "--timeout=60s",
        "crd/websocketroutes.hawser.dev",
    ];
    kubectl(&gone).text();
}

#[test]
fn installs_live_side_by_side() {
    let plane = PLANE.get();
    let (first, second) =
        plane.run(async || (plane.namespace("side").await, plane.namespace("side").await));
    let mut leases = Vec::new();
    for (release, namespace) in [
        ("hawser", &first),
        ("hawser", &second),
        ("internal", &first),
    ] {
        let set = format!(
            "crds.enabled=false,ingressClass.name={release}-{namespace},ingressClass.controllerValue=hawser.dev/{release}"
        );
        let ran = installed(&plane, release, namespace, &["--set", &set]);
        assert!(ran.success, "{release} in {namespace}: {}", ran.stderr);
        let manifest = plane
            .helm(&["get", "manifest", release, "-n", namespace])
            .text();
        let objects = super::helm::parse(&manifest);
        let args = pod(&objects)["spec"]["containers"][0]["args"].to_string();
        let (_, lease) = args.split_once("--lease=").expect("--lease");
        leases.push(lease.split('"').next().expect("its name").to_owned());
    }
    let expected = [
        format!("{first}/hawser"),
        format!("{second}/hawser"),
        format!("{first}/internal-hawser"),
    ];
    assert_eq!(leases, expected, "no two installs share a Lease");
}

/// Asked of the API server itself, with the account that the chart makes.
#[test]
fn the_service_account_may_do_what_it_needs_and_no_more() {
    let plane = PLANE.get();
    let (wide, narrow, team) = plane.run(async || {
        (
            plane.namespace("wide").await,
            plane.namespace("narrow").await,
            plane.namespace("team").await,
        )
    });
    for (namespace, watch) in [
        (&wide, String::new()),
        (&narrow, format!(",watchNamespaces={{{team}}}")),
    ] {
        let set = format!(
            "crds.enabled=false,ingressClass.name={namespace},fullnameOverride=edge{watch}"
        );
        installed(&plane, "hawser", namespace, &["--set", &set]).text();
    }
    let may = |install: &str, verb: &str, what: &str, namespace: &str| {
        let user = format!("--as=system:serviceaccount:{install}:edge");
        // Without the groups that every ServiceAccount has, which may read the keys, too.
        let ran = plane.kubectl(&["auth", "can-i", &user, verb, what, "-n", namespace], "");
        let answer = ran.stdout.trim() == "yes";
        assert!(
            answer || ran.stdout.trim() == "no",
            "{what}: {}",
            ran.stderr
        );
        answer
    };
    // The CRD may be absent here; rights are names.
    let watched = [
        "services",
        "endpointslices.discovery.k8s.io",
        "ingresses.networking.k8s.io",
    ];
    for what in watched {
        for verb in ["list", "watch"] {
            assert!(may(&wide, verb, what, &team), "{verb} {what}");
            assert!(may(&narrow, verb, what, &team), "{verb} {what}");
            assert!(!may(&narrow, verb, what, &wide), "{verb} {what} elsewhere");
        }
        for verb in ["create", "update", "patch", "delete"] {
            assert!(!may(&wide, verb, what, &team), "{verb} {what}");
        }
    }
    for install in [&wide, &narrow] {
        assert!(may(
            install,
            "list",
            "ingressclasses.networking.k8s.io",
            &team
        ));
        assert!(may(install, "get", "/openid/v1/jwks", install));
        let user = format!("--as=system:serviceaccount:{install}:edge");
        for what in ["ingresses.networking.k8s.io", "services"] {
            let status = "--subresource=status";
            let ran = plane.kubectl(
                &["auth", "can-i", &user, "patch", what, status, "-n", &team],
                "",
            );
            assert_eq!(ran.success, what != "services", "{what}: {}", ran.stderr);
        }
        assert!(may(install, "create", "events.events.k8s.io", &team));
        assert!(may(install, "create", "events.events.k8s.io", install));
        assert!(may(
            install,
            "create",
            "leases.coordination.k8s.io",
            install
        ));
        assert!(may(
            install,
            "update",
            "leases.coordination.k8s.io/edge",
            install
        ));
        assert!(!may(
            install,
            "update",
            "leases.coordination.k8s.io/other",
            install
        ));
        assert!(may(
            install,
            "list",
            "endpointslices.discovery.k8s.io",
            install
        ));
        for what in [
            "secrets",
            "configmaps",
            "pods",
            "nodes",
            "serviceaccounts/token",
        ] {
            for verb in ["get", "list", "create"] {
                assert!(!may(install, verb, what, install), "{verb} {what}");
            }
        }
    }
    // Its own Service alone, by name.
    assert!(may(&narrow, "watch", "services/edge", &narrow));
    assert!(!may(&narrow, "watch", "services", &narrow));
}

/// What Helm stores and what the API server made of it are the same where it matters.
#[test]
fn a_daemon_set_updates_as_it_says() {
    let plane = PLANE.get();
    let namespace = plane.run(async || plane.namespace("daemon").await);
    let set = format!("crds.enabled=false,ingressClass.name={namespace},kind=DaemonSet");
    installed(&plane, "hawser", &namespace, &["--set", &set]).text();
    let get = ["get", "daemonset", "hawser", "-n", &namespace, "-o", "json"];
    let stored: Value = serde_json::from_str(&plane.kubectl(&get, "").text()).expect("JSON");
    let rolling = &stored["spec"]["updateStrategy"]["rollingUpdate"];
    assert_eq!(rolling["maxUnavailable"], 0);
    assert_eq!(rolling["maxSurge"], "25%");
}
