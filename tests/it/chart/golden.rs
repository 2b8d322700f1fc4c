//! `charts/hawser/ci/NAME-values.yaml` -> `tests/golden/helm/NAME.out.yaml`. `UPDATE=1` writes what is, for a person
//! to judge.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::helm::{ci_files, helm, objects, try_render};

#[test]
fn every_ci_file_lints_and_renders_as_before() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/helm");
    let update = std::env::var_os("UPDATE").is_some();
    let mut names = BTreeSet::new();
    let mut different = Vec::new();
    for (name, values) in ci_files() {
        let values = values.to_str().expect("UTF-8");
        let chart = super::helm::chart();
        let lint = helm(&[
            "lint",
            "--strict",
            "--kube-version",
            "1.36.0",
            chart.to_str().expect("UTF-8"),
            "--values",
            values,
        ]);
        assert!(
            lint.status.success(),
            "{name}: {}{}",
            String::from_utf8_lossy(&lint.stdout),
            String::from_utf8_lossy(&lint.stderr)
        );
        let actual = without_the_crd(&try_render(&["--values", values]).expect("it renders"));
        let path = dir.join(format!("{name}.out.yaml"));
        if update {
            fs::create_dir_all(&dir).expect("the directory");
            fs::write(&path, &actual).expect("write");
        } else if fs::read_to_string(&path).unwrap_or_default() != actual {
            different.push(format!("{name}:\n{actual}"));
        }
        names.insert(format!("{name}.out.yaml"));
    }
    assert!(
        different.is_empty(),
        "different from the golden file (UPDATE=1 writes it):\n{}",
        different.join("\n")
    );
    let there: BTreeSet<_> = fs::read_dir(&dir)
        .expect("tests/golden/helm")
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .map(|name| name.expect("UTF-8"))
        .collect();
    assert_eq!(there, names, "golden files and ci files go together");
    assert!(names.len() >= 10, "{} sets of values", names.len());
}

/// Every value that can change an object does so in at least one set: none is left untried.
#[test]
fn every_value_is_tried_by_some_ci_file() {
    fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value.as_object() {
            Some(map) if !map.is_empty() => {
                for (key, value) in map {
                    let path = format!("{path}.{key}");
                    found.insert(path.clone());
                    leaves(value, &path, found);
                }
            }
            _ => {}
        }
    }
    let mut tried = BTreeSet::new();
    for (_, path) in ci_files() {
        let values: Value =
            serde_saphyr::from_str(&fs::read_to_string(path).expect("values")).expect("YAML");
        leaves(&values, "", &mut tried);
    }
    let untried: Vec<_> = super::schema::documented_keys()
        .into_iter()
        .filter(|key| !tried.contains(&format!(".{key}")))
        .collect();
    assert!(untried.is_empty(), "in no ci file: {untried:?}");
}

#[test]
fn the_crd_is_that_of_the_binary() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_hawser"))
        .arg("crd")
        .output()
        .expect("hawser runs");
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    assert_eq!(
        super::helm::file("files/websocketroutes.yaml"),
        printed,
        "run make generate"
    );
    let wanted = &super::helm::parse(&printed)[0];
    let rendered = objects(&[]);
    let rendered = super::helm::find(&rendered, "CustomResourceDefinition", None);
    assert_eq!(rendered["spec"], wanted["spec"]);
    assert_eq!(rendered["metadata"]["name"], wanted["metadata"]["name"]);
    assert_eq!(
        rendered["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
    let loose = objects(&["--set", "crds.keep=false"]);
    let loose = super::helm::find(&loose, "CustomResourceDefinition", None);
    assert!(loose["metadata"].get("annotations").is_none());
    let none = objects(&["--set", "crds.enabled=false"]);
    assert_eq!(super::helm::count(&none, "CustomResourceDefinition"), 0);
}

#[test]
fn the_chart_has_the_version_of_the_binary() {
    let chart: Value = serde_saphyr::from_str(&super::helm::file("Chart.yaml")).expect("YAML");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// The CRD is 700 lines and compared elsewhere: one line stands for it.
fn without_the_crd(rendered: &str) -> String {
    const START: &str = "---\n# Source: ";
    let documents = rendered.split(START).skip(1);
    documents
        .map(|document| {
            if document.contains("\nkind: CustomResourceDefinition\n") {
                let source = document.lines().next().unwrap_or_default();
                format!("{START}{source}\n# the CRD\n")
            } else {
                format!("{START}{document}")
            }
        })
        .collect()
}
