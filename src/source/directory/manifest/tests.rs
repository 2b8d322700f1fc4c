//! Sections, places and what is read again.

use super::*;

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    )
}

/// Names of the objects, or the kind of what is not one.
fn name(review: Review) -> String {
    match review {
        Review::Accepted(key, _) => key.name,
        Review::Refused(key, _) => {
            format!("refused {}", key.map(|key| key.name).unwrap_or_default())
        }
        Review::UnknownKind { kind, .. } => kind,
    }
}

fn parse(text: &str) -> Result<Manifest<String>, Broken> {
    Manifest::parse(
        text.as_bytes(),
        &Manifest::default(),
        &RandomState::new(),
        &mut name,
    )
}

fn listed(manifest: &Manifest<String>) -> Vec<(u64, &str)> {
    manifest
        .items()
        .map(|(place, name)| (place.line, name.as_str()))
        .collect()
}

#[test]
fn every_object_of_a_file_has_its_line() {
    let text = format!(
        "# comment\n{}---\n{}--- # next\nkind: Other\napiVersion: v9\n---\n---\n{}...\n{}",
        service("a"),
        service("b"),
        service("c"),
        service("d")
    );
    let manifest = parse(&text).expect("readable");
    assert_eq!(
        listed(&manifest),
        [(2, "a"), (7, "b"), (12, "Other"), (16, "c"), (21, "d")]
    );
}

#[test]
fn markers_are_lines_of_their_own() {
    let text = "a: |\n  ---\n  x\n---x: 1\n---\tb\r\n---\r\nc: 1\n---";
    let parts: Vec<_> = split(text).collect();
    assert_eq!(
        parts,
        [
            (0, "a: |\n  ---\n  x\n---x: 1\n"),
            (4, "---\tb\r\n"),
            (5, "---\r\nc: 1\n"),
            (7, "---")
        ]
    );
    assert_eq!(split("").count(), 0);
    assert_eq!(split("---\n").count(), 1);
    assert_eq!(split("%YAML 1.2\n---\na: 1\n---\nb: 2\n").count(), 1);
}

#[test]
fn errors_point_into_the_file() {
    let text = format!("{}---\n{}---\nkind: [\n", service("a"), service("b"));
    let broken = parse(&text).expect_err("an open bracket");
    assert_eq!(broken.line, Some(11), "{broken}");
    let broken = Manifest::parse(
        b"a: 1\nb: \xff\n",
        &Manifest::default(),
        &RandomState::new(),
        &mut name,
    )
    .expect_err("not UTF-8");
    assert_eq!(broken.line, Some(2));
}

#[test]
fn byte_order_marks_are_no_content() {
    let manifest = parse(&format!("\u{feff}{}", service("a"))).expect("readable");
    assert_eq!(listed(&manifest), [(1, "a")]);
}

#[test]
fn only_what_changed_is_judged_again() {
    let prints = RandomState::new();
    let mut judged = Vec::new();
    let mut judge = |review| {
        judged.push(name(review));
    };
    let first = [service("a"), service("b"), service("c")].join("---\n");
    let first = Manifest::parse(first.as_bytes(), &Manifest::default(), &prints, &mut judge)
        .expect("readable");
    let second = [service("new"), service("a"), service("c"), service("d")].join("---\n");
    let second = Manifest::parse(second.as_bytes(), &first, &prints, &mut judge).expect("readable");
    assert_eq!(second.items().count(), 4);
    // The first section has no marker before it, so `a` is another text now.
    assert_eq!(judged, ["a", "b", "c", "new", "a", "d"]);
}

#[test]
fn refused_and_unnamed_documents_are_told() {
    let manifest = parse("hello\n--- [1]\n---\nkind: Service\napiVersion: v1\n").expect("readable");
    assert_eq!(manifest.items().count(), 3);
    assert!(
        manifest
            .items()
            .all(|(_, name)| name == "refused " || name.is_empty()),
        "{manifest:?}"
    );
}
