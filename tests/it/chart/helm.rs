//! Helm as a user calls it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::kit::control_plane;

/// Namespace that everything is rendered for; `ci/namespaced-strict-values.yaml` names it.
pub(super) const NAMESPACE: &str = "hawser-ci";

/// The chart's folder.
pub(super) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/hawser")
}

/// A file of the chart.
pub(super) fn file(name: &str) -> String {
    let path = chart().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files `ci/NAME-values.yaml`: name and path, by name.
pub(super) fn ci_files() -> Vec<(String, PathBuf)> {
    let mut files: Vec<_> = fs::read_dir(chart().join("ci"))
        .expect("ci")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix("-values.yaml")?;
            Some((name.to_owned(), path))
        })
        .collect();
    files.sort();
    files
}

/// `helm ARGS` without a cluster.
pub(super) fn helm(args: &[&str]) -> Output {
    Command::new(control_plane::programs().join("helm"))
        .args(args)
        .output()
        .expect("helm runs")
}

/// `helm template` with further arguments; what Helm says when it refuses.
pub(super) fn try_render(args: &[&str]) -> Result<String, String> {
    let chart = chart();
    let mut all = vec!["template", "hawser", chart.to_str().expect("UTF-8")];
    // Helm alone knows no cluster: it is told one that the chart accepts.
    all.extend(["--namespace", NAMESPACE, "--kube-version", "1.36.0"]);
    all.extend(args);
    let output = helm(&all);
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("UTF-8"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// `helm template` with further arguments, as objects.
pub(super) fn objects(args: &[&str]) -> Vec<Value> {
    let text = try_render(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    parse(&text)
}

/// Documents of a manifest.
pub(super) fn parse(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// The only object of a kind, and of this name if one is given.
#[track_caller]
pub(super) fn find<'a>(objects: &'a [Value], kind: &str, name: Option<&str>) -> &'a Value {
    let found: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .filter(|object| name.is_none_or(|name| object["metadata"]["name"] == name))
        .collect();
    assert_eq!(found.len(), 1, "{kind} {name:?}");
    found[0]
}

/// How many objects of a kind there are.
pub(super) fn count(objects: &[Value], kind: &str) -> usize {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .count()
}

/// The pod template of the workload.
#[track_caller]
pub(super) fn pod(objects: &[Value]) -> &Value {
    let workload = objects
        .iter()
        .find(|object| object["kind"] == "Deployment" || object["kind"] == "DaemonSet");
    &workload.expect("a workload")["spec"]["template"]
}
