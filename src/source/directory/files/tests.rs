//! The rules of what counts, with time as a number.

use std::{hash::BuildHasher as _, path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::*;
use crate::{
    api::{ObjectKey, Problem},
    source::directory::key::Key,
};

/// A directory, and a clock in milliseconds.
struct Directory {
    files: Files<String>,
    start: Instant,
    now: u64,
    hasher: std::hash::RandomState,
}

impl Directory {
    fn new() -> Self {
        Self {
            files: Files::new(),
            start: Instant::now(),
            now: 0,
            hasher: std::hash::RandomState::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    /// Lets time pass.
    fn wait(&mut self, millis: u64) {
        self.now += millis;
    }

    /// The manifest of a text like `a=1 b=2 !c`: objects with their versions, and those that are refused.
    fn manifest(&self, text: &str) -> Manifest<Found<String>> {
        let key = |name: &str| {
            Key::new(ObjectKey {
                kind: "Ingress".into(),
                namespace: "default".into(),
                name: name.into(),
            })
        };
        let items = text
            .split_whitespace()
            .map(|word| match word.split_once('=') {
                Some((name, version)) => Found::Object(key(name), version.to_owned()),
                None => Found::Refused(
                    Some(key(word.trim_start_matches('!'))),
                    Arc::from([Problem {
                        field: "spec".into(),
                        message: "is bad".into(),
                    }]),
                ),
            });
        Manifest::test(self.hasher.hash_one(text), items.collect())
    }

    /// The file is read with this text; the stamp follows the text.
    fn read(&mut self, path: &str, text: &str) -> &mut Self {
        let stamp = Stamp::test(self.hasher.hash_one(text));
        let look = Look::Read(stamp, Box::new(self.manifest(text)));
        let now = self.now();
        self.files.looked(Path::new(path), look, now);
        self
    }

    fn absent(&mut self, path: &str) -> &mut Self {
        let now = self.now();
        self.files.looked(Path::new(path), Look::Absent, now);
        self
    }

    fn broken(&mut self, path: &str) -> &mut Self {
        let problem = FileProblem::unreadable(path, "broken");
        let now = self.now();
        let look = Look::Broken(Some(Stamp::test(self.now)), problem);
        self.files.looked(Path::new(path), look, now);
        self
    }

    /// The objects that count, as `a=1 b=2`.
    fn counts(&self) -> String {
        let mut words: Vec<String> = self
            .files
            .view()
            .objects
            .iter()
            .map(|(key, version)| format!("{}={version}", key.name))
            .collect();
        words.sort();
        words.join(" ")
    }

    /// Files with problems.
    fn problems(&self) -> Vec<String> {
        let view = self.files.view();
        let problems = view.problems.iter();
        problems.map(ToString::to_string).collect()
    }

    /// The files that are to be looked at now.
    fn tasks(&mut self) -> Vec<(String, Task)> {
        let now = self.now();
        let tasks = self.files.tasks(now, false).into_iter();
        tasks
            .map(|(path, task)| (path.display().to_string(), task))
            .collect()
    }

    /// Milliseconds until the next look.
    fn next(&self) -> Option<u64> {
        let next = self.files.next()?;
        u64::try_from((next - self.now()).as_millis()).ok()
    }

    fn happened(&mut self, path: &str, change: Change) {
        let now = self.now();
        self.files.happened(path.into(), change, now);
    }

    fn listed(&mut self, files: &[(&str, &str, bool)]) {
        let listing = Listing {
            files: files
                .iter()
                .map(|(path, text, quiet)| {
                    let stamp = Stamp::test(self.hasher.hash_one(text));
                    ((*path).into(), (stamp, *quiet))
                })
                .collect(),
            ..Listing::default()
        };
        let now = self.now();
        self.files.listed(listing, now);
    }
}

fn read(path: &str) -> (String, Task) {
    (path.to_owned(), Task::Read)
}

#[test]
fn additions_and_changes_count_at_once() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1");
    assert_eq!(directory.counts(), "a=1");
    assert!(directory.files.take_changed());
    directory.read("a.yaml", "a=2 b=1");
    assert_eq!(directory.counts(), "a=2 b=1");
    assert!(directory.files.take_changed());
    assert_eq!(directory.next(), None);
    directory.read("a.yaml", "a=2 b=1");
    assert!(!directory.files.take_changed(), "the same text again");
}

#[test]
fn an_object_goes_half_a_second_after_its_file_says_nothing_of_it() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1");
    directory.read("a.yaml", "a=2");
    assert_eq!(directory.counts(), "a=2 b=1");
    assert_eq!(directory.next(), Some(500));
    directory.wait(499);
    assert!(directory.tasks().is_empty());
    directory.wait(1);
    assert_eq!(directory.tasks(), [read("a.yaml")]);
    assert_eq!(directory.counts(), "a=2 b=1", "a second read must agree");
    directory.files.take_changed();
    directory.read("a.yaml", "a=2");
    assert_eq!(directory.counts(), "a=2");
    assert!(directory.files.take_changed());
    assert_eq!(directory.next(), None);
}

#[test]
fn a_truncated_file_that_is_written_again_loses_nothing() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1");
    directory.read("a.yaml", "");
    directory.wait(300);
    directory.read("a.yaml", "a=1 b=2");
    assert_eq!(directory.counts(), "a=1 b=2");
    directory.wait(200);
    // The look that was planned for the removal finds nothing missing.
    assert_eq!(directory.tasks(), [read("a.yaml")]);
    directory.read("a.yaml", "a=1 b=2");
    assert_eq!(directory.counts(), "a=1 b=2");
    assert_eq!(directory.next(), None);
}

#[test]
fn a_change_starts_the_half_second_anew() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1");
    directory.read("a.yaml", "a=2");
    directory.wait(400);
    directory.happened("a.yaml", Change::Settled);
    directory.wait(10);
    assert_eq!(directory.tasks(), [read("a.yaml")]);
    directory.read("a.yaml", "a=3");
    directory.wait(499);
    directory.read("a.yaml", "a=3");
    assert_eq!(directory.counts(), "a=3 b=1");
    directory.wait(1);
    directory.read("a.yaml", "a=3");
    assert_eq!(directory.counts(), "a=3");
}

#[test]
fn a_file_that_is_gone_keeps_its_objects_for_half_a_second() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1").read("b.yaml", "b=1");
    directory.absent("a.yaml");
    assert_eq!(directory.counts(), "a=1 b=1");
    directory.wait(500);
    assert_eq!(directory.tasks(), [read("a.yaml")]);
    directory.absent("a.yaml");
    assert_eq!(directory.counts(), "b=1");
    directory.absent("a.yaml");
    assert_eq!(directory.next(), None);
}

#[test]
fn a_file_that_comes_back_in_time_was_never_gone() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1");
    directory.absent("a.yaml");
    directory.wait(499);
    directory.read("a.yaml", "a=1 b=1");
    assert_eq!(directory.counts(), "a=1 b=1");
    directory.wait(1);
    assert_eq!(directory.tasks(), [read("a.yaml")]);
    directory.read("a.yaml", "a=1 b=1");
    assert_eq!(directory.counts(), "a=1 b=1");
    assert_eq!(directory.next(), None);
}

#[test]
fn a_broken_file_keeps_its_last_good_objects() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1").read("b.yaml", "c=1");
    directory.broken("a.yaml");
    directory.read("b.yaml", "c=2");
    directory.wait(10_000);
    assert_eq!(directory.counts(), "a=1 b=1 c=2");
    assert_eq!(directory.problems(), ["a.yaml: broken"]);
    assert_eq!(directory.next(), None, "it does not go with time");
    directory.read("a.yaml", "a=2");
    assert_eq!(directory.counts(), "a=2 b=1 c=2");
    assert!(directory.problems().is_empty());
    directory.wait(500);
    directory.read("a.yaml", "a=2");
    assert_eq!(directory.counts(), "a=2 c=2");
}

#[test]
fn breaking_a_file_does_not_confirm_a_removal() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1");
    directory.read("a.yaml", "a=1");
    directory.wait(100);
    directory.broken("a.yaml");
    directory.wait(1000);
    directory.broken("a.yaml");
    assert_eq!(directory.counts(), "a=1 b=1");
}

#[test]
fn a_broken_file_that_was_never_good_has_nothing() {
    let mut directory = Directory::new();
    directory.broken("a.yaml").read("b.yaml", "b=1");
    assert_eq!(directory.counts(), "b=1");
    directory.absent("a.yaml");
    directory.wait(500);
    directory.absent("a.yaml");
    assert!(directory.problems().is_empty());
}

#[test]
fn a_refused_object_keeps_its_own_last_version() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1");
    directory.read("a.yaml", "!a b=2 !c");
    directory.wait(10_000);
    directory.read("a.yaml", "!a b=2 !c");
    assert_eq!(directory.counts(), "a=1 b=2");
    let view = directory.files.view();
    let refused: Vec<_> = view
        .refused
        .iter()
        .map(|refusal| (&*refusal.key.name, refusal.kept))
        .collect();
    assert_eq!(refused, [("a", true), ("c", false)]);
    assert_eq!(
        directory.problems(),
        [
            "a.yaml:1:1: Ingress default/a: spec: is bad",
            "a.yaml:3:1: Ingress default/c: spec: is bad"
        ]
    );
    directory.read("a.yaml", "a=3 b=2");
    assert_eq!(directory.counts(), "a=3 b=2");
    assert!(directory.files.view().refused.is_empty());
}

#[test]
fn a_refused_object_that_is_removed_goes() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1 b=1");
    directory.read("a.yaml", "!a b=1");
    directory.read("a.yaml", "b=1");
    assert_eq!(directory.counts(), "a=1 b=1");
    directory.wait(500);
    directory.read("a.yaml", "b=1");
    assert_eq!(directory.counts(), "b=1");
}

#[test]
fn a_good_definition_elsewhere_beats_a_kept_copy() {
    type Step = fn(&mut Directory);
    let steps: [Step; 4] = [
        |directory| {
            directory.absent("a.yaml");
        },
        |directory| {
            directory.broken("a.yaml");
        },
        |directory| {
            directory.read("a.yaml", "!x");
        },
        |directory| {
            directory.read("a.yaml", "y=1");
        },
    ];
    for keep in steps {
        let mut directory = Directory::new();
        directory.read("a.yaml", "x=1");
        keep(&mut directory);
        directory.read("b.yaml", "x=2");
        assert!(
            directory.counts().starts_with("x=2"),
            "{}",
            directory.counts()
        );
        assert!(
            directory.files.view().refused.is_empty(),
            "it is well defined elsewhere"
        );
        assert!(
            !directory
                .problems()
                .iter()
                .any(|text| text.contains("already")),
            "a copy is no second definition"
        );
        directory.read("b.yaml", "");
        directory.wait(500);
        directory.read("b.yaml", "");
        assert!(
            directory.counts().starts_with("x=1"),
            "{}",
            directory.counts()
        );
    }
}

#[test]
fn of_two_definitions_the_first_by_path_counts() {
    let mut directory = Directory::new();
    directory.read("b.yaml", "x=2").read("a.yaml", "x=1 x=3");
    assert_eq!(directory.counts(), "x=1");
    let problems = directory.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    for (problem, place) in problems.iter().zip(["a.yaml:2:1", "b.yaml:1:1"]) {
        assert!(problem.starts_with(place), "{problem}");
        assert!(problem.contains("already defined in a.yaml"), "{problem}");
    }
    directory.absent("a.yaml");
    assert_eq!(directory.counts(), "x=2");
    assert!(directory.problems().is_empty());
}

#[test]
fn events_come_in_batches() {
    let mut directory = Directory::new();
    directory.happened("a.yaml", Change::Settled);
    directory.wait(3);
    directory.happened("b.yaml", Change::Settled);
    assert!(directory.next() <= Some(10));
    assert!(directory.tasks().is_empty());
    directory.wait(10);
    assert_eq!(directory.tasks(), [read("a.yaml"), read("b.yaml")]);
    assert_eq!(directory.next(), None);
}

#[test]
fn a_batch_ends_even_if_events_keep_coming() {
    let mut directory = Directory::new();
    let mut waited = 0;
    loop {
        directory.happened("a.yaml", Change::Settled);
        directory.wait(1);
        waited += 1;
        if !directory.tasks().is_empty() {
            break;
        }
        assert!(waited < 100, "at most 100 ms");
    }
}

#[test]
fn a_file_that_nobody_closes_is_read_when_it_is_stable() {
    let mut directory = Directory::new();
    directory.happened("a.yaml", Change::Writing);
    directory.wait(10);
    assert_eq!(directory.tasks(), [("a.yaml".into(), Task::Settle(None))]);
    for size in 1..5 {
        let stamp = Stamp::test(size);
        let now = directory.now();
        directory.files.settle("a.yaml".into(), stamp, now);
        directory.wait(directory.next().expect("another look"));
        assert_eq!(
            directory.tasks(),
            [("a.yaml".into(), Task::Settle(Some(stamp)))]
        );
    }
    assert_eq!(
        directory.next(),
        None,
        "the caller reads it or tells another stamp"
    );
}

#[test]
fn a_close_ends_the_wait_and_a_new_write_begins_it() {
    let mut directory = Directory::new();
    directory.happened("a.yaml", Change::Writing);
    directory.happened("a.yaml", Change::Settled);
    directory.happened("b.yaml", Change::Settled);
    directory.happened("b.yaml", Change::Writing);
    directory.wait(10);
    assert_eq!(
        directory.tasks(),
        [read("a.yaml"), ("b.yaml".into(), Task::Settle(None))]
    );
}

#[test]
fn a_rescan_finds_what_no_event_told() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1").read("b.yaml", "b=1");
    directory.listed(&[
        ("a.yaml", "a=1", true),
        ("c.yaml", "c=1", true),
        ("d.yaml", "d=1", false),
    ]);
    directory.wait(10);
    assert_eq!(
        directory.tasks(),
        [
            read("b.yaml"),
            read("c.yaml"),
            ("d.yaml".into(), Task::Settle(None))
        ]
    );
}

#[test]
fn what_cannot_be_listed_is_not_gone() {
    let mut directory = Directory::new();
    directory.read("shop/a.yaml", "a=1").read("b.yaml", "b=1");
    let now = directory.now();
    let problem = FileProblem::unreadable("shop", "cannot be listed");
    directory.files.listed(
        Listing {
            unreadable: vec!["shop".into()],
            problems: vec![problem],
            ..Listing::default()
        },
        now,
    );
    assert_eq!(directory.tasks(), [read("b.yaml")]);
    assert_eq!(directory.problems(), ["shop: cannot be listed"]);
    directory.listed(&[("shop/a.yaml", "a=1", true)]);
    assert!(directory.problems().is_empty());
}

#[test]
fn a_directory_that_disappears_takes_nothing_with_it() {
    let mut directory = Directory::new();
    directory.read("a.yaml", "a=1").read("b.yaml", "b=1 c=1");
    directory.read("b.yaml", "b=1");
    directory.absent("a.yaml");
    directory
        .files
        .freeze(FileProblem::unreadable("dir", "is gone"));
    directory.wait(10_000);
    assert_eq!(directory.next(), None);
    assert!(directory.tasks().is_empty());
    assert_eq!(directory.counts(), "a=1 b=1 c=1");
    assert_eq!(directory.problems(), ["dir: is gone"]);
    // It is back; what is missing now is missing for half a second first.
    directory.listed(&[("b.yaml", "b=1", true)]);
    assert!(directory.problems().is_empty());
    assert_eq!(directory.tasks(), [read("a.yaml"), read("b.yaml")]);
    directory.absent("a.yaml").read("b.yaml", "b=1");
    assert_eq!(directory.counts(), "a=1 b=1 c=1");
    directory.wait(500);
    assert_eq!(directory.tasks(), [read("a.yaml"), read("b.yaml")]);
    directory.absent("a.yaml").read("b.yaml", "b=1");
    assert_eq!(directory.counts(), "b=1");
}

#[test]
fn files_below_a_directory_are_known() {
    let mut directory = Directory::new();
    directory
        .read("dir/shop/a.yaml", "a=1")
        .read("dir/shop2.yaml", "b=1");
    for (path, expected) in [
        ("dir", true),
        ("dir/shop", true),
        ("dir/shop/a.yaml", false),
        ("dir/sho", false),
        ("dir/shop2", false),
        ("other", false),
    ] {
        assert_eq!(
            directory.files.has_below(Path::new(path)),
            expected,
            "{path}"
        );
    }
}
