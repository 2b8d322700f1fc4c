//! One look, for `check` and `explain`.

use std::{fs, path::PathBuf};

use super::{outer, route, service};
use crate::source::directory::scan;

#[test]
fn a_scan_tells_everything_with_its_place() {
    let outer = outer();
    let dir = outer.path().join("routes");
    let bad = route("bad", "s").replace("port: 80", "port: 80000");
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n";
    fs::write(
        dir.join("b.yaml"),
        [&*route("b", "s"), &bad, other].join("---\n"),
    )
    .expect("written");
    fs::write(dir.join("a.yml"), service("s", "127.0.0.1")).expect("written");
    fs::write(dir.join("c.json"), "{\"kind\": ]").expect("written");
    fs::write(dir.join("notes.txt"), route("note", "s")).expect("written");
    fs::write(dir.join("z.yaml"), route("b", "s")).expect("written");
    let missing = dir.join("missing.yaml");
    let scan = scan(&[dir.clone(), missing.clone(), dir.join("notes.txt")]);
    let objects: Vec<_> = scan
        .objects
        .iter()
        .map(|(file, key, _)| {
            (
                file.strip_prefix(&dir).expect("below").to_owned(),
                key.to_string(),
            )
        })
        .collect();
    let expected = [
        ("a.yml", "Service default/s"),
        ("a.yml", "EndpointSlice default/s-1"),
        ("b.yaml", "WebSocketRoute default/b"),
        ("notes.txt", "WebSocketRoute default/note"),
    ];
    assert_eq!(
        objects,
        expected.map(|(file, key)| (PathBuf::from(file), key.to_owned()))
    );
    let problems: Vec<_> = scan
        .problems
        .iter()
        .map(|problem| {
            let file = problem.file.strip_prefix(&dir).expect("below");
            (
                file.to_str().expect("text"),
                problem.line,
                problem.unreadable,
            )
        })
        .collect();
    assert_eq!(
        problems,
        [
            ("b.yaml", Some(10), false),
            ("c.json", Some(1), true),
            ("missing.yaml", None, true),
            ("z.yaml", Some(1), false),
        ]
    );
    let refused = scan.problems.first().expect("the refused object");
    let text = refused.to_string();
    assert!(
        text.contains("b.yaml:10:1: WebSocketRoute default/bad: spec.rules[0]."),
        "{text}"
    );
    assert_eq!(scan.unknown.len(), 1);
    assert_eq!(
        (scan.unknown[0].line, &*scan.unknown[0].kind),
        (19, "Deployment")
    );
}
