//! The pods: time to end, arguments, labels, and when there is a budget.

use std::{collections::BTreeSet, process::Command};

use rstest::rstest;

use super::helm::{ci_files, count, find, objects, pod};

#[rstest]
#[case("10s", "60s", 85)]
#[case("0s", "0s", 15)]
#[case("0s", "500ms", 16)]
#[case("500ms", "500ms", 16)]
#[case("1m5s", "1h500ms", 65 + 3601 + 15)]
#[case("1000ms", "1h30m15s1ms", 1 + 5416 + 15)]
fn the_grace_period_covers_the_drain(
    #[case] delay: &str,
    #[case] window: &str,
    #[case] seconds: i64,
) {
    let objects = objects(&[
        "--set",
        &format!("drain.delay={delay},drain.window={window}"),
    ]);
    let spec = &pod(&objects)["spec"];
    assert_eq!(spec["terminationGracePeriodSeconds"], seconds);
    let container = &spec["containers"][0];
    let args = container["args"].as_array().expect("args");
    for flag in [
        format!("--drain-delay={delay}"),
        format!("--drain-window={window}"),
    ] {
        assert!(args.iter().any(|arg| arg == &flag), "{args:?}");
    }
    // One mechanism: a pod that sleeps before SIGTERM is ready all that time.
    assert!(container.get("lifecycle").is_none());
}

/// A rendered flag that the binary does not have would stop every pod.
#[test]
fn the_binary_has_every_flag_that_is_rendered() {
    let help = Command::new(env!("CARGO_BIN_EXE_hawser"))
        .args(["run", "--help"])
        .output()
        .expect("hawser runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let known: BTreeSet<_> = help
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .collect();
    let mut unknown = BTreeSet::new();
    for (_, values) in ci_files() {
        let objects = objects(&["--values", values.to_str().expect("UTF-8")]);
        let args = &pod(&objects)["spec"]["containers"][0]["args"];
        for arg in args.as_array().expect("args") {
            let arg = arg.as_str().expect("text");
            let (flag, _) = arg.split_once('=').unwrap_or((arg, ""));
            if flag != "run" && !known.contains(flag) {
                unknown.insert(flag.to_owned());
            }
        }
    }
    assert!(unknown.is_empty(), "hawser run does not know {unknown:?}");
}

/// Pods that are replaced lose their connections: a new chart around the same image must not do that.
#[test]
fn the_version_of_the_chart_is_not_in_the_pods() {
    let objects = objects(&[]);
    let labels = pod(&objects)["metadata"]["labels"].as_object().unwrap();
    let names: Vec<_> = labels.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["app.kubernetes.io/instance", "app.kubernetes.io/name"]
    );
}

#[rstest]
#[case::two("replicas=2", 1)]
#[case::one("replicas=1", 0)]
#[case::somebody_elses("replicas=null", 1)]
#[case::scaled("replicas=1,autoscaling.enabled=true", 1)]
#[case::scaled_to_one("autoscaling.enabled=true,autoscaling.minReplicas=1", 0)]
#[case::daemon_set("kind=DaemonSet", 0)]
fn a_budget_needs_more_than_one_replica(#[case] set: &str, #[case] budgets: usize) {
    let objects = objects(&["--set", set]);
    assert_eq!(count(&objects, "PodDisruptionBudget"), budgets);
}

#[test]
fn replicas_are_left_to_who_sets_them() {
    for set in ["replicas=null", "autoscaling.enabled=true"] {
        let objects = objects(&["--set", set]);
        let deployment = find(&objects, "Deployment", None);
        assert!(deployment["spec"].get("replicas").is_none(), "{set}");
    }
}

/// Probes, status and metrics are for others; the admin API is for nobody but the pod.
#[test]
fn the_admin_port_is_on_loopback_and_not_published() {
    for (name, values) in ci_files() {
        let objects = objects(&["--values", values.to_str().expect("UTF-8")]);
        let container = &pod(&objects)["spec"]["containers"][0];
        let admin = container["args"]
            .as_array()
            .and_then(|args| {
                args.iter()
                    .find_map(|arg| arg.as_str()?.strip_prefix("--admin="))
            })
            .expect("--admin")
            .to_owned();
        let port = admin.strip_prefix("127.0.0.1:").expect("loopback");
        for ports in objects
            .iter()
            .filter(|object| object["kind"] == "Service")
            .map(|service| &service["spec"]["ports"])
            .chain([&container["ports"]])
        {
            assert!(!ports.to_string().contains(port), "{name}: {ports}");
        }
    }
}

#[test]
fn the_class_of_the_chart_is_what_its_pods_look_for() {
    for (name, values) in ci_files() {
        let objects = objects(&["--values", values.to_str().expect("UTF-8")]);
        let args = pod(&objects)["spec"]["containers"][0]["args"].to_string();
        // Whoever renders none makes it elsewhere.
        if count(&objects, "IngressClass") == 0 {
            continue;
        }
        let class = find(&objects, "IngressClass", None);
        for (flag, value) in [
            ("--ingress-class", &class["metadata"]["name"]),
            ("--controller-name", &class["spec"]["controller"]),
        ] {
            let value = value.as_str().expect("text");
            assert!(
                args.contains(&format!("\"{flag}={value}\"")),
                "{name}: {args}"
            );
        }
    }
}

/// A scaler on a metric that nobody exports never scales.
#[test]
fn the_metric_of_the_scaler_exists() {
    let objects = objects(&["--set", "autoscaling.enabled=true"]);
    let scaler = find(&objects, "HorizontalPodAutoscaler", None);
    let metric = &scaler["spec"]["metrics"][0]["pods"]["metric"]["name"];
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let metrics = std::fs::read_to_string(path).expect("docs/metrics.md");
    let row = format!("| `{}` | gauge |", metric.as_str().expect("a name"));
    assert!(metrics.contains(&row), "{row}");
}
