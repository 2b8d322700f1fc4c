//! Lists, events and the guard, as sequences.

use std::collections::BTreeSet;

use super::*;

const GUARD: Duration = Duration::from_secs(30);

/// What is known, and the time.
struct Case {
    known: Known<u64>,
    now: Instant,
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: "Ingress".into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("object-{number:02}")).collect()
}

impl Case {
    fn new(guard: Duration) -> Self {
        Self {
            known: Known::new(guard),
            now: Instant::now(),
        }
    }

    fn begin(&mut self, names: &[String], print: u64) {
        self.known.begin(self.now);
        for name in names {
            self.known.found(&key(name), print, || print);
        }
    }

    /// A complete list.
    fn list(&mut self, names: &[String], print: u64) -> Listed<u64> {
        self.begin(names, print);
        self.known.end(self.now).expect("a list had begun")
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn count(&self) -> usize {
        self.known.objects.len()
    }
}

fn gone(listed: &Listed<u64>) -> BTreeSet<&str> {
    let changes = listed.changes.iter();
    let gone = changes.filter(|(_, change)| change.is_none());
    gone.map(|((_, name), _)| &**name).collect()
}

#[test]
fn a_list_changes_what_differs_and_only_at_its_end() {
    let mut case = Case::new(GUARD);
    assert!(!case.known.is_complete());
    assert_eq!(case.list(&names(0..4), 1).changes.len(), 4);
    assert!(case.known.is_complete());
    assert_eq!(case.list(&names(0..4), 1).changes, []);

    // One goes, one comes.
    case.begin(&names(1..5), 1);
    assert_eq!(case.count(), 4);
    let listed = case.known.end(case.now).expect("a list");
    assert_eq!(gone(&listed), BTreeSet::from(["object-00"]));
    assert_eq!(listed.changes.len(), 2);
    assert_eq!((listed.held, case.count()), (0, 4));
}

#[test]
fn an_interrupted_list_changes_nothing() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..4), 1);
    case.begin(&names(0..1), 2);
    // The connection breaks; the next list has everything.
    assert_eq!(case.list(&names(0..4), 1).changes, []);
    // An end without a begin is none.
    assert_eq!(case.known.end(case.now), None);
}

#[test]
fn only_a_new_version_is_a_change() {
    let mut case = Case::new(GUARD);
    let set = |case: &mut Case, print| case.known.set(&key("a"), print, || print);
    assert_eq!(set(&mut case, 1), Some(1));
    assert_eq!(set(&mut case, 1), None);
    assert_eq!(set(&mut case, 2), Some(2));
    assert!(case.known.deleted(&key("a")));
    assert!(!case.known.deleted(&key("a")));
}

#[test]
fn an_empty_list_is_obeyed_when_a_second_one_agrees() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..1), 1);
    let listed = case.list(&[], 1);
    assert_eq!((listed.held, listed.changes.len()), (1, 0));
    assert_eq!(case.known.ask(), Some(case.now + GUARD));

    // A list in between neither removes nor prolongs.
    case.wait(GUARD / 2);
    assert!(!case.known.take_ask(case.now));
    let listed = case.list(&[], 1);
    assert_eq!((listed.held, listed.changes.len()), (0, 0));

    // One that began before the time is up does not count, whenever it ends.
    case.begin(&[], 1);
    case.wait(GUARD / 2);
    assert_eq!(
        case.known.end(case.now).map(|listed| listed.confirmed),
        Some(0)
    );
    assert!(case.known.take_ask(case.now));
    assert!(!case.known.take_ask(case.now), "told once");

    let listed = case.list(&[], 1);
    assert_eq!((listed.confirmed, case.count()), (1, 0));
    assert_eq!(case.known.ask(), None);
}

#[test]
fn what_comes_back_stays() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..20), 1);
    assert_eq!(case.list(&[], 1).held, 20);
    case.wait(GUARD);
    assert_eq!(case.list(&names(0..20), 1).changes, []);
    assert_eq!(case.known.ask(), None);
    // Nothing is remembered: the next empty list waits again.
    assert_eq!(case.list(&[], 1).held, 20);
}

#[test]
fn what_is_new_in_a_suspicious_list_is_live_at_once() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..12), 1);
    let listed = case.list(&names(10..14), 2);
    assert_eq!(listed.held, 10);
    assert_eq!(gone(&listed), BTreeSet::new());
    assert_eq!(listed.changes.len(), 4);
    assert_eq!(case.count(), 14);
}

#[test]
fn an_event_settles_what_is_held() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..2), 1);
    assert_eq!(case.list(&[], 1).held, 2);
    assert!(case.known.deleted(&key("object-00")));
    assert_eq!(case.known.set(&key("object-01"), 1, || 1), None);
    case.wait(GUARD);
    // object-01 was seen again, so its absence is news.
    let listed = case.list(&[], 1);
    assert_eq!((listed.held, listed.confirmed), (1, 0));
}

#[test]
fn more_that_is_missing_later_waits_for_itself() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..20), 1);
    assert_eq!(case.list(&names(15..20), 1).held, 15);
    case.wait(GUARD);
    let listed = case.list(&[], 1);
    assert_eq!((listed.confirmed, listed.held), (15, 5));
    case.wait(GUARD);
    assert_eq!(case.list(&[], 1).confirmed, 5);
}

#[test]
fn less_that_is_missing_than_the_guard_minds_goes_at_once() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..12), 1);
    assert_eq!(case.list(&names(0..4), 1).held, 8);
    let listed = case.list(&names(0..9), 1);
    assert_eq!(gone(&listed).len(), 3);
    assert_eq!(case.known.ask(), None);
}

#[test]
fn without_a_guard_a_list_is_obeyed() {
    let mut case = Case::new(Duration::ZERO);
    case.list(&names(0..20), 1);
    let listed = case.list(&[], 1);
    assert_eq!((gone(&listed).len(), listed.held, case.count()), (20, 0, 0));
}

#[test]
fn what_is_left_of_a_list_after_a_loss_is_no_list() {
    let mut case = Case::new(GUARD);
    case.list(&names(0..4), 1);
    case.begin(&names(0..2), 1);
    case.known.lost(case.now + GUARD);
    case.known.found(&key("object-02"), 1, || 1);
    // It would say that object-03 is gone.
    assert_eq!(case.known.end(case.now), None);
    assert_eq!(
        (case.count(), case.known.ask()),
        (4, Some(case.now + GUARD))
    );
    assert_eq!(case.list(&names(0..4), 1).changes, []);
    assert_eq!(case.known.ask(), None);
}

#[test]
fn an_object_that_failed_to_be_made_is_not_known() {
    let mut case = Case::new(GUARD);
    let fails =
        std::panic::AssertUnwindSafe(|| case.known.set(&key("a"), 1, || panic!("injected")));
    assert!(std::panic::catch_unwind(fails).is_err());
    assert_eq!(case.known.set(&key("a"), 1, || 1), Some(1));
}
