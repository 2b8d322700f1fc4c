//! Who follows from a cursor misses nothing.

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: "WebSocketRoute".into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn verdict(name: &str, uid: &str, generation: i64) -> Arc<Verdict> {
    Arc::new(Verdict {
        object: key(name),
        version: ObjectVersion {
            uid: uid.into(),
            generation,
        },
        backends: Vec::new(),
        ours: true,
        conditions: Vec::new(),
        warnings: Vec::new(),
    })
}

fn put(verdicts: &Verdicts, name: &str, uid: &str, generation: i64) {
    verdicts.apply([(key(name), Some(verdict(name, uid, generation)))]);
}

/// `name uid generation` of what changed, and `name uid` of what is gone.
fn words(moves: &Moves) -> (Vec<String>, Vec<String>) {
    let changed = moves.changed.iter().map(|it| {
        let version = &it.version;
        format!("{} {} {}", it.object.name, version.uid, version.generation)
    });
    let gone = moves.gone.iter();
    let gone = gone.map(|(key, version)| format!("{} {}", key.name, version.uid));
    (changed.collect(), gone.collect())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_follower_gets_what_is_new_in_its_order() {
    let verdicts = Verdicts::default();
    put(&verdicts, "b", "1", 1);
    put(&verdicts, "a", "2", 1);
    let all = verdicts.after(0);
    assert!(all.complete);
    assert_eq!(words(&all), (owned(&["b 1 1", "a 2 1"]), Vec::new()));

    put(&verdicts, "b", "1", 2);
    put(&verdicts, "b", "1", 3);
    verdicts.apply([(key("a"), None)]);
    let next = verdicts.after(all.cursor);
    assert!(!next.complete);
    assert_eq!(words(&next), (owned(&["b 1 3"]), owned(&["a 2"])));
    let last = verdicts.after(next.cursor);
    assert_eq!(words(&last), (Vec::new(), Vec::new()));
    assert_eq!(last.cursor, next.cursor);
}

#[test]
fn an_object_made_anew_is_another_one() {
    let verdicts = Verdicts::default();
    put(&verdicts, "a", "old", 4);
    let seen = verdicts.after(0);
    put(&verdicts, "a", "new", 1);
    let next = verdicts.after(seen.cursor);
    assert_eq!(words(&next), (owned(&["a new 1"]), owned(&["a old"])));
}

#[test]
fn who_is_too_far_behind_reads_everything() {
    let verdicts = Verdicts::default();
    put(&verdicts, "stays", "0", 1);
    let seen = verdicts.after(0);
    for number in 0..=MAX_GONE {
        put(&verdicts, "a", &number.to_string(), 1);
    }
    assert!(!verdicts.after(verdicts.after(0).cursor - 1).complete);
    let next = verdicts.after(seen.cursor);
    assert!(!next.complete, "so many are remembered");
    assert_eq!(next.gone.len(), MAX_GONE);
    put(&verdicts, "a", "last", 1);
    put(&verdicts, "a", "very last", 1);
    let next = verdicts.after(seen.cursor);
    assert!(next.complete);
    assert_eq!(next.changed.len(), 2);
}

#[test]
fn only_a_change_wakes_followers() {
    let verdicts = Verdicts::default();
    let mut cursor = verdicts.subscribe();
    verdicts.apply([]);
    assert!(!cursor.has_changed().expect("open"));
    verdicts.apply([(key("never there"), None)]);
    put(&verdicts, "a", "1", 1);
    assert!(cursor.has_changed().expect("open"));
    assert_eq!(*cursor.borrow_and_update(), verdicts.after(0).cursor);
}

#[test]
fn who_knows_the_same_has_the_same_print() {
    let (one, other) = (Verdicts::default(), Verdicts::default());
    put(&one, "a", "1", 1);
    put(&one, "b", "2", 1);
    put(&other, "b", "2", 1);
    assert_ne!(one.print(), other.print());
    put(&other, "a", "1", 4);
    assert_ne!(one.print(), other.print());
    put(&one, "a", "1", 4);
    assert_eq!(one.print(), other.print(), "in whatever order it came");
    put(&one, "a", "3", 4);
    assert_ne!(one.print(), other.print(), "another object");
    for verdicts in [&one, &other] {
        verdicts.apply([(key("a"), None), (key("b"), None)]);
        assert_eq!(verdicts.print(), 0);
    }
}
