//! Signals in, changes out.

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::source::cluster::StoredStatus;

/// Batches that were made live: `Kind/name=word`.
#[derive(Clone, Default)]
struct Log {
    batches: Arc<Mutex<Vec<Vec<String>>>>,
    /// Say of the next batch that it failed.
    fail: Arc<Mutex<bool>>,
}

impl Sink for Log {
    fn apply(&mut self, changes: Changes) -> bool {
        if std::mem::take(&mut *self.fail.lock()) {
            return false;
        }
        let fails = |(key, _): &(ObjectKey, Change)| key.name == "poison-together";
        assert!(!changes.objects.iter().any(fails), "injected");
        let words = changes.objects.into_iter().map(|(key, change)| {
            let word = match change {
                Change::Set(_) => "set".to_owned(),
                Change::Refused { problems, .. } => {
                    problems.into_iter().map(|it| it.field).collect()
                }
                Change::Gone => "gone".to_owned(),
            };
            format!("{}/{}={word}", key.kind, key.name)
        });
        self.batches.lock().push(words.collect());
        true
    }
}

struct Case {
    feed: Feed<Log>,
    log: Log,
    now: Instant,
}

const ROUTES: usize = 0;
const INGRESSES: usize = 1;
const GUARD: Duration = Duration::from_secs(30);

impl Case {
    /// Watches of two kinds.
    fn new() -> Self {
        let log = Log::default();
        let parts = [Kind::WebSocketRoute, Kind::Ingress].map(|kind| Part {
            kind,
            namespace: None,
            known: Known::new(GUARD),
            relist: Arc::default(),
        });
        let feed = Feed::new(
            parts.into(),
            log.clone(),
            Arc::default(),
            Metrics::new(),
            GUARD,
            Managers::default(),
        );
        Self {
            feed,
            log,
            now: Instant::now(),
        }
    }

    fn ready() -> Self {
        let mut case = Self::new();
        case.take(vec![(ROUTES, What::Nothing), (INGRESSES, What::Nothing)]);
        case.batches();
        case
    }

    fn take(&mut self, signals: Vec<(usize, What)>) {
        let at = self.now;
        let signals = signals.into_iter();
        let signals = signals.map(|(watch, what)| Signal {
            watch,
            at,
            what,
            place: None,
        });
        self.feed.take(signals.collect());
    }

    fn list(&mut self, watch: usize, objects: &[Value]) {
        let page = objects.iter().cloned().map(Raw::new).collect();
        self.take(vec![
            (watch, What::Begin),
            (watch, What::Page(page)),
            (watch, What::End),
        ]);
    }

    fn set(&mut self, watch: usize, object: Value) {
        self.take(vec![(watch, What::Set(Box::new(Raw::new(object))))]);
    }

    fn delete(&mut self, watch: usize, object: Value) {
        self.take(vec![(watch, What::Deleted(Box::new(Raw::new(object))))]);
    }

    /// What was made live since the last call.
    fn batches(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.log.batches.lock())
    }

    fn stored(&self, kind: Kind, name: &str) -> Option<Arc<StoredObject>> {
        self.feed.observed.get(&ObjectKey {
            kind: kind.as_str().into(),
            namespace: "shop".into(),
            name: name.into(),
        })
    }
}

fn route(name: &str, mode: &str, status: &Value) -> Value {
    let backends = [json!({"name": "chat", "port": 80})];
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
        "spec": {"rules": [{"name": "all", "backendRefs": backends, "upgrade": {"mode": mode}}]},
        "status": status,
    })
}

fn ingress(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
        "spec": {"ingressClassName": "hawser"},
    })
}

#[test]
fn nothing_is_live_before_every_kind_is_complete() {
    let mut case = Case::new();
    case.list(ROUTES, &[route("a", "Allow", &json!({}))]);
    case.take(vec![
        (INGRESSES, What::Begin),
        (INGRESSES, What::Page(vec![Raw::new(ingress("b"))])),
    ]);
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
    case.take(vec![(INGRESSES, What::End)]);
    assert_eq!(case.batches(), [["Ingress/b=set", "WebSocketRoute/a=set"]]);
}

#[test]
fn an_empty_cluster_is_complete_too() {
    let mut case = Case::new();
    case.list(ROUTES, &[]);
    case.take(vec![(INGRESSES, What::Nothing)]);
    assert_eq!(case.batches(), [Vec::<String>::new()]);
}

#[test]
fn a_status_is_observed_and_changes_nothing_else() {
    let mut case = Case::ready();
    case.set(ROUTES, route("a", "Allow", &json!({})));
    assert_eq!(case.batches(), [["WebSocketRoute/a=set"]]);
    let mut moved = case.feed.observed.subscribe();
    moved.mark_unchanged();
    case.set(
        ROUTES,
        route("a", "Allow", &json!({"reason": "Programmed"})),
    );
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
    assert!(moved.has_changed().expect("open"));
    let stored = case.stored(Kind::WebSocketRoute, "a").expect("stored");
    let StoredStatus::Route(status) = &stored.status else {
        panic!("{stored:?}")
    };
    assert_eq!(status.reason.as_deref(), Some("Programmed"));

    moved.mark_unchanged();
    case.set(
        ROUTES,
        route("a", "Allow", &json!({"reason": "Programmed"})),
    );
    assert!(!moved.has_changed().expect("open"));
}

#[test]
fn what_only_an_interrupted_list_had_is_not_kept() {
    let mut case = Case::ready();
    let page =
        |names: &[&str]| What::Page(names.iter().map(|name| Raw::new(ingress(name))).collect());
    case.take(vec![
        (INGRESSES, What::Begin),
        (INGRESSES, page(&["a", "b"])),
        (INGRESSES, What::Begin),
        (INGRESSES, page(&["b"])),
        (INGRESSES, What::End),
    ]);
    assert!(case.stored(Kind::Ingress, "a").is_none());
    assert!(case.stored(Kind::Ingress, "b").is_some());
}

#[test]
fn an_object_that_does_not_decode_is_its_own_problem() {
    let mut case = Case::ready();
    case.list(
        ROUTES,
        &[
            route("bad", "Mirror", &json!({})),
            route("good", "Deny", &json!({})),
        ],
    );
    let bad = "WebSocketRoute/bad=spec.rules[0].upgrade.mode";
    assert_eq!(case.batches(), [[bad, "WebSocketRoute/good=set"]]);
    assert!(
        case.feed
            .metrics
            .encode()
            .contains(r#"source_refused_objects{kind="WebSocketRoute"} 1"#)
    );
    // It is not told again, and a good version heals it.
    case.list(
        ROUTES,
        &[
            route("bad", "Mirror", &json!({})),
            route("good", "Deny", &json!({})),
        ],
    );
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
    case.set(ROUTES, route("bad", "Allow", &json!({})));
    assert_eq!(case.batches(), [["WebSocketRoute/bad=set"]]);
    assert!(
        case.feed
            .metrics
            .encode()
            .contains(r#"source_refused_objects{kind="WebSocketRoute"} 0"#)
    );
}

fn poison(name: &str) -> Value {
    let mut poison = route(name, "Allow", &json!({}));
    poison["spec"]["rules"][0]["name"] = "poison-alone".into();
    poison
}

#[test]
fn an_object_that_makes_hawser_fail_is_its_own_problem() {
    let mut case = Case::new();
    case.list(
        ROUTES,
        &[
            route("a", "Allow", &json!({})),
            poison("b"),
            route("c", "Allow", &json!({})),
        ],
    );
    case.list(INGRESSES, &[ingress("d")]);
    // It has no field to name.
    let all = [
        "Ingress/d=set",
        "WebSocketRoute/a=set",
        "WebSocketRoute/b=",
        "WebSocketRoute/c=set",
    ];
    assert_eq!(case.batches(), [all]);
    for line in [
        "hawser_translation_failures_total 1",
        r#"source_refused_objects{kind="WebSocketRoute"} 1"#,
    ] {
        assert!(case.feed.metrics.encode().contains(line), "{line}");
    }

    // As an event, too, and a good version heals it.
    case.take(vec![
        (ROUTES, What::Set(Box::new(Raw::new(poison("a"))))),
        (INGRESSES, What::Set(Box::new(Raw::new(ingress("e"))))),
    ]);
    assert_eq!(case.batches(), [["Ingress/e=set", "WebSocketRoute/a="]]);
    case.set(ROUTES, route("b", "Allow", &json!({})));
    assert_eq!(case.batches(), [["WebSocketRoute/b=set"]]);
}

#[tokio::test(start_paused = true)]
async fn after_any_other_failure_everything_is_listed_anew() {
    let mut case = Case::ready();
    case.set(INGRESSES, ingress("a"));
    case.batches();
    let at = case.now;
    let signals = [
        (INGRESSES, What::Begin),
        (INGRESSES, What::Page(vec![Raw::new(ingress("b"))])),
        (
            ROUTES,
            What::Set(Box::new(Raw::new(route(
                "poison-together",
                "Allow",
                &json!({}),
            )))),
        ),
    ];
    let signals = signals.map(|(watch, what)| Signal {
        watch,
        at,
        what,
        place: None,
    });
    case.feed.guarded(signals.into());
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
    let metrics = case.feed.metrics.encode();
    assert!(metrics.contains("hawser_translation_failures_total 1"));

    // The end of the list that was under way says nothing about what it lacks.
    case.take(vec![(INGRESSES, What::End)]);
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
    assert_eq!(case.feed.next(), Some(case.now + AFTER_FAILURE));
    case.feed.ask(case.now + AFTER_FAILURE);
    for part in &case.feed.parts {
        part.relist.notified().await;
    }
    case.list(ROUTES, &[]);
    case.list(INGRESSES, &[ingress("a"), ingress("b")]);
    // What was known is read again: it may have been lost on its way.
    assert_eq!(case.batches(), [["Ingress/a=set", "Ingress/b=set"]]);
}

#[test]
fn what_a_failed_batch_deleted_is_deleted_with_the_next_one() {
    let mut case = Case::ready();
    for name in ["a", "b", "c"] {
        case.set(INGRESSES, ingress(name));
    }
    case.batches();
    *case.log.fail.lock() = true;
    case.delete(INGRESSES, ingress("a"));
    *case.log.fail.lock() = true;
    case.delete(INGRESSES, ingress("b"));
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
    // Everything is listed anew, and not in a loop.
    let asked = case.feed.next().map(|at| at - Instant::now());
    assert!(asked.is_some_and(|wait| wait > Duration::ZERO && wait <= AFTER_FAILURE));
    assert_eq!(case.feed.failures, 2);

    // The list lacks them, as they are not known any more; what came back meanwhile is not deleted again.
    case.list(INGRESSES, &[ingress("b"), ingress("c")]);
    let all = ["Ingress/a=gone", "Ingress/b=set", "Ingress/c=set"];
    assert_eq!(case.batches(), [all]);
    assert_eq!(case.feed.failures, 0);
}

#[test]
fn what_happens_in_one_batch_counts_once() {
    let mut case = Case::ready();
    let object = |value| What::Set(Box::new(Raw::new(value)));
    case.take(vec![
        (INGRESSES, object(ingress("a"))),
        (INGRESSES, object(ingress("b"))),
        (INGRESSES, What::Deleted(Box::new(Raw::new(ingress("a"))))),
    ]);
    assert_eq!(case.batches(), [["Ingress/a=gone", "Ingress/b=set"]]);
    assert_eq!(case.stored(Kind::Ingress, "a"), None);
    assert!(case.stored(Kind::Ingress, "b").is_some());
}

#[test]
fn a_deleted_object_is_gone_and_an_unknown_one_is_no_news() {
    let mut case = Case::ready();
    case.set(INGRESSES, ingress("a"));
    case.batches();
    case.delete(INGRESSES, ingress("a"));
    assert_eq!(case.batches(), [["Ingress/a=gone"]]);
    assert_eq!(case.stored(Kind::Ingress, "a"), None);
    case.delete(INGRESSES, ingress("a"));
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_asked_for_again_and_then_obeyed() {
    let mut case = Case::ready();
    case.list(INGRESSES, &[ingress("a")]);
    case.batches();
    case.list(INGRESSES, &[]);
    assert_eq!(case.batches(), Vec::<Vec<String>>::new());
    assert!(
        case.feed
            .metrics
            .encode()
            .contains(r#"relist_guard_holds_total{kind="Ingress"} 1"#)
    );
    assert_eq!(case.feed.next(), Some(case.now + GUARD));

    case.now += GUARD;
    case.feed.ask(case.now);
    let relist = Arc::clone(&case.feed.parts[INGRESSES].relist);
    relist.notified().await;
    case.list(INGRESSES, &[]);
    assert_eq!(case.batches(), [["Ingress/a=gone"]]);
    assert_eq!(case.stored(Kind::Ingress, "a"), None);
}

#[tokio::test(start_paused = true)]
async fn what_comes_together_is_taken_together() {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let signal = || Signal {
        watch: 0,
        at: Instant::now(),
        what: What::Begin,
        place: None,
    };
    for _ in 0..5 {
        sender.send(signal()).await.expect("room");
    }
    assert_eq!(gather(&mut receiver, None).await.len(), 5);
    // Never longer than the holdoff, whatever comes.
    let flood = tokio::spawn(async move {
        while sender.send(signal()).await.is_ok() {
            tokio::time::sleep(QUIET / 2).await;
        }
    });
    let began = Instant::now();
    gather(&mut receiver, None).await;
    let first = began.elapsed();
    assert!(first <= HOLDOFF + QUIET, "{first:?}");
    drop(receiver);
    flood.await.expect("ended");
    let (_sender, mut quiet) = mpsc::channel(1);
    assert!(
        gather(&mut quiet, Some(Instant::now() + GUARD))
            .await
            .is_empty()
    );
}
