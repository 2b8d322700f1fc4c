//! `NAME.in.yaml` -> `NAME.out.yaml`. `UPDATE=1` writes what is, for a person to judge.

use std::{fs, path::Path};

use super::{objects, view};

/// Pairs that the directory must at least hold, of which this many have something wrong with them: a rename must
/// not silence them.
const PAIRS: usize = 40;
const BAD: usize = 15;

#[test]
fn golden_pairs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/translate");
    let update = std::env::var_os("UPDATE").is_some();
    let mut names: Vec<String> = fs::read_dir(&dir)
        .expect("tests/golden/translate")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".in.yaml").map(str::to_owned))
        .collect();
    names.sort();
    let mut bad = 0;
    let mut different = Vec::new();
    for name in &names {
        let input = fs::read_to_string(dir.join(format!("{name}.in.yaml"))).expect("input");
        let input = objects::read(&input);
        let output = objects::run(&input.objects, &input.options);
        let is_bad = output.verdicts.iter().any(|verdict| {
            verdict
                .conditions
                .iter()
                .any(|condition| condition.type_ == "PartiallyInvalid" || !condition.status)
        });
        bad += usize::from(is_bad);
        let actual = view::output(&output);
        let path = dir.join(format!("{name}.out.yaml"));
        if update {
            fs::write(&path, &actual).expect("write");
        } else if fs::read_to_string(&path).unwrap_or_default() != actual {
            different.push(format!("{name}:\n{actual}"));
        }
    }
    assert!(
        different.is_empty(),
        "different from the golden file (UPDATE=1 writes it):\n{}",
        different.join("\n")
    );
    assert!(names.len() >= PAIRS, "{} pairs", names.len());
    assert!(bad >= BAD, "{bad} bad pairs");
}
