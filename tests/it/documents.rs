//! The documents speak of things that exist: links, files, test functions, dependencies.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents at the root and below docs/.
fn documents() -> Vec<PathBuf> {
    let at_root = walkdir::WalkDir::new(root()).max_depth(1);
    let below_docs = walkdir::WalkDir::new(root().join("docs"));
    at_root
        .into_iter()
        .chain(below_docs)
        .map(|entry| entry.expect("a readable tree").into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#]+)(#[^)]*)?\)").unwrap();
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for found in link.captures_iter(&text) {
            let target = &found[1];
            let is_external = target.contains("://");
            if !is_external && !document.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}

/// `src/…`, `tests/…` and the like in code spans; a threat without a test is not answered.
#[test]
fn named_files_exist() {
    let span =
        Regex::new(r"`((?:src|tests|docs|benches|examples|crds|scripts)/[\w./-]*)`").unwrap();
    let mut missing = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for found in span.captures_iter(&text) {
            if !root().join(&found[1]).exists() {
                missing.push(format!("{}: {}", document.display(), &found[1]));
            }
        }
    }
    assert!(missing.is_empty(), "files that do not exist: {missing:#?}");
}

/// The code map: each row names a module and files in it.
#[test]
fn the_code_map_leads_to_files() {
    let row = Regex::new(r"(?m)^\| [^|]+ \| `(\w+)` \| (`[^|]+) \|$").unwrap();
    let name = Regex::new(r"`([^`]+)`").unwrap();
    let architecture = read("ARCHITECTURE.md");
    let (_, map) = architecture.split_once("## Code map").expect("the map");
    let (map, _) = map.split_once("\n## ").expect("what follows");
    let rows: Vec<_> = row.captures_iter(map).collect();
    // One more is the head of the table.
    assert_eq!(
        rows.len() + 1,
        map.matches(
            "
| "
        )
        .count(),
        "a row has another form"
    );
    let mut missing = Vec::new();
    for found in rows {
        for file in name.captures_iter(&found[2]) {
            // `app` is a file of its own beside its folder.
            let places = [
                format!("src/{}/{}", &found[1], &file[1]),
                format!("src/{}", &file[1]),
            ];
            if !places.iter().any(|place| root().join(place).exists()) {
                missing.push(places[0].clone());
            }
        }
    }
    assert!(missing.is_empty(), "files that do not exist: {missing:#?}");
}

/// `function` after `tests/it/file.rs:` must be in that file.
#[test]
fn named_tests_exist() {
    let named = Regex::new(r"`((?:src|tests)/[\w/]+\.rs)`: ((?:`\w+`(?:, )?)+)").unwrap();
    let name = Regex::new(r"`(\w+)`").unwrap();
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "THREAT_MODEL.md"] {
        let text = read(document);
        for found in named.captures_iter(&text) {
            let source = read(&found[1]);
            for function in name.captures_iter(&found[2]) {
                if !source.contains(&format!("fn {}", &function[1])) {
                    missing.push(format!("{document}: {} in {}", &function[1], &found[1]));
                }
            }
        }
    }
    assert!(missing.is_empty(), "tests that do not exist: {missing:#?}");
}

#[test]
fn every_threat_names_its_test() {
    let row = Regex::new(r"(?m)^\| T(\d+) \|.*\| ([^|]*) \|$").unwrap();
    let test = Regex::new(r"`[\w/]+\.rs`: `\w+`").unwrap();
    let model = read("THREAT_MODEL.md");
    let mut numbers = Vec::new();
    for found in row.captures_iter(&model) {
        let number: usize = found[1].parse().unwrap();
        assert!(test.is_match(&found[2]), "T{number} names no test");
        numbers.push(number);
    }
    // A row keeps its number, and a new one stands where it belongs.
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    assert_eq!(
        model.matches("\n| T").count(),
        numbers.len(),
        "a row has another form"
    );
}

#[test]
fn every_dependency_has_its_job() {
    let architecture = read("ARCHITECTURE.md");
    let (_, section) = architecture
        .split_once("## Dependencies and their job")
        .expect("the section");
    let named: BTreeSet<&str> = section
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .collect();
    let manifest = read("Cargo.toml");
    let mut jobless = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (in_dependencies, line.split_once(" = "))
            && !named.contains(name)
        {
            jobless.push(name);
        }
    }
    assert!(
        jobless.is_empty(),
        "dependencies without a job in ARCHITECTURE.md: {jobless:?}"
    );
}

/// Whoever reads a reason in kubectl finds it in the guide.
#[test]
fn every_reason_is_in_the_guide() {
    let guide = read("docs/guide/troubleshoot.md");
    let reason = Regex::new(r#"pub const [A-Z_]+: &str = "(\w+)";"#).unwrap();
    let conditions = read("src/api/conditions.rs");
    let reasons: BTreeSet<&str> = reason
        .captures_iter(&conditions)
        .map(|found| found.extract::<1>().1[0])
        .collect();
    assert!(reasons.len() >= 12, "{reasons:?}");
    let missing: Vec<_> = reasons
        .into_iter()
        .filter(|reason| !guide.contains(&format!("`{reason}`")))
        .collect();
    assert!(missing.is_empty(), "not in troubleshoot.md: {missing:?}");
}

/// Values of the chart that the guides name exist.
#[test]
fn values_in_the_guides_exist() {
    let table = read("charts/hawser/VALUES.md");
    let blocks = Regex::new(r"(?m)^\| `(\w+)[.`]").unwrap();
    let blocks: BTreeSet<&str> = blocks
        .captures_iter(&table)
        .map(|found| found.extract::<1>().1[0])
        .collect();
    let value = Regex::new(r"(?:`|--set '?)([a-z]\w+(?:\.\w+)+|watchNamespaces)[=`]").unwrap();
    let mut missing = Vec::new();
    let mut found = 0;
    for guide in ["install", "first-route", "troubleshoot"] {
        let text = read(&format!("docs/guide/{guide}.md"));
        for name in value.captures_iter(&text).map(|it| it.extract::<1>().1[0]) {
            let (block, _) = name.split_once('.').unwrap_or((name, ""));
            // `spec.ingressClassName` and the like are fields of objects.
            if !blocks.contains(block) {
                continue;
            }
            found += 1;
            if !table.contains(&format!("| `{name}` |")) {
                missing.push(format!("{guide}: {name}"));
            }
        }
    }
    assert!(found > 20, "{found} values are named");
    assert!(missing.is_empty(), "not in VALUES.md: {missing:?}");
}

/// What a reader pastes into kubectl is right, and what the chart's notes show is the same.
#[test]
fn manifests_in_the_guides_are_accepted() {
    let block = Regex::new(r"(?s)<<'YAML'\n(.*?)\n *YAML\n").unwrap();
    let mut found = 0;
    for document in [
        "docs/guide/first-route.md",
        "charts/hawser/templates/NOTES.txt",
    ] {
        let text = read(document).replace("{{ .Values.ingressClass.name }}", "hawser");
        for manifest in block.captures_iter(&text) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("main.yaml"), &manifest[1]).unwrap();
            let checked = std::process::Command::new(env!("CARGO_BIN_EXE_hawser"))
                .arg("check")
                .arg(dir.path())
                .output()
                .expect("hawser runs");
            let said = String::from_utf8_lossy(&checked.stdout);
            assert!(checked.status.success(), "{document}: {said}");
            assert!(said.contains("Accepted=True"), "{document}: {said}");
            found += 1;
        }
    }
    assert_eq!(found, 3);
}
