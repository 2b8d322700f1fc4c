//! Change to live table: first from an object that a source has decoded, then from a file.
//!
//! Objects: time and processor time of `Rebuild::apply`, for a route that gets another path and for a Service that
//! gets another endpoint, with a host for each route and with all paths on one host. A cluster adds its holdoff of 2
//! to 10 ms before.
//!
//! Files: p50 and p99 for 1, 100 and 10,000 routes, one per file and all in one file. Time runs from the return of
//! the last system call of the writer to the moment in which a task that waits for the next generation runs. Each
//! change gives one route another path. Numbers as arguments choose the rows; `objects` leaves the files out.

#![allow(
    clippy::expect_used,
    clippy::unreachable,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a measurement may fail, and it prints"
)]

use std::{fmt::Write as _, fs, hint::black_box, path::Path, sync::Arc, time::Duration};

use hawser::{
    api::{Review, review},
    source::{
        directory,
        rebuild::{Change, Changes, Live, Rebuild, Verdicts},
    },
    telemetry::metrics::Metrics,
    translate::{self, Options, Prepared, SourceKind},
    upstream,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 100;

/// A route of its own host, with its Service and one endpoint.
fn route(number: usize, version: usize) -> String {
    format!(
        "apiVersion: hawser.dev/v1alpha1
kind: WebSocketRoute
metadata: {{name: app-{number}, namespace: team-{team}}}
spec:
  hostnames: [app-{number}.example.com]
  rules:
  - name: socket
    matches:
    - path: {{type: Prefix, value: /v{version}/ws}}
    backendRefs: [{{name: app-{number}, port: 80}}]
---
apiVersion: v1
kind: Service
metadata: {{name: app-{number}, namespace: team-{team}}}
spec: {{ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: app-{number}-1
  namespace: team-{team}
  labels: {{kubernetes.io/service-name: app-{number}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints: [{{addresses: [10.{a}.{b}.1], conditions: {{ready: true}}}}]
",
        team = number % 100,
        a = number / 250,
        b = number % 250,
    )
}

fn all(routes: usize, changed: usize, version: usize) -> String {
    let mut text = String::new();
    for number in 0..routes {
        let version = if number == changed { version } else { 0 };
        let _ = write!(text, "---\n{}", route(number, version));
    }
    text
}

#[derive(Clone, Copy)]
enum Layout {
    FilePerRoute,
    OneFile,
}

impl Layout {
    fn fill(self, dir: &Path, routes: usize) {
        match self {
            Self::OneFile => fs::write(dir.join("all.yaml"), all(routes, 0, 0)).expect("written"),
            Self::FilePerRoute => {
                for number in 0..routes {
                    let file = dir.join(format!("{number}.yaml"));
                    fs::write(file, route(number, 0)).expect("written");
                }
            }
        }
    }

    /// Path and new text of the file of a route.
    fn change(self, routes: usize, number: usize, version: usize) -> (String, String) {
        match self {
            Self::OneFile => ("all.yaml".into(), all(routes, number, version)),
            Self::FilePerRoute => (format!("{number}.yaml"), route(number, version)),
        }
    }
}

/// Kilobytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Processor time of the thread that reads and translates, in nanoseconds: what remains of a figure when the
/// machine is shared with others.
fn worked() -> u64 {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter(|task| {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.trim_end() == "manifests"
        })
        .filter_map(|task| {
            let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
            times.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

struct Figures {
    start: Duration,
    took: Vec<Duration>,
    worked: Vec<Duration>,
    resident: usize,
}

fn rebuild(live: &Arc<Live>) -> Rebuild {
    Rebuild::new(
        Arc::clone(live),
        Arc::new(upstream::Registry::default()),
        Metrics::new(),
        Options {
            controller_name: "hawser.dev/ingress-controller".into(),
            ingress_class: "hawser".into(),
            watch_ingress_without_class: false,
            origin: SourceKind::Directory,
            own_addresses: Vec::new(),
            peer_service: None,
            drain_window: None,
        },
        Arc::new(Verdicts::default()),
    )
}

/// The objects of a route, on a host of its own or on the one of all.
fn objects(number: usize, version: usize, one_host: bool) -> [Prepared; 3] {
    let mut text = route(number, version);
    if one_host {
        text = text.replace(&format!("[app-{number}.example.com]"), "[all.example.com]");
        text = text.replace("/ws}", &format!("/ws-{number}}}"));
        text = text.replace(&format!("team-{}", number % 100), "team");
    }
    let text = text.replace(".1],", &format!(".{}],", 1 + version % 250));
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).expect("documents");
    let prepared = documents
        .into_iter()
        .map(|document| match review(document) {
            Review::Accepted(_, object) => translate::prepare(&object),
            other => unreachable!("{other:?}"),
        });
    let prepared: Vec<_> = prepared.collect();
    prepared.try_into().expect("three objects")
}

fn set(objects: &[Prepared]) -> Changes {
    let objects = objects.iter();
    Changes {
        objects: objects
            .map(|object| (object.key(), Change::Set(object.clone())))
            .collect(),
        since: Instant::now(),
    }
}

/// Processor time of this thread: right to a few milliseconds, so it is read around many changes.
fn cpu() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = times.split_whitespace().next();
    let first = first.and_then(|it| it.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// Times of these changes, and the processor time of one of them on average.
fn apply(rebuild: &mut Rebuild, changes: Vec<Changes>) -> (Vec<Duration>, Duration) {
    let before = cpu();
    let mut took = Vec::with_capacity(changes.len());
    for changes in changes {
        let began = Instant::now();
        assert!(rebuild.apply(changes));
        took.push(began.elapsed());
    }
    let worked = cpu().saturating_sub(before) / u32::try_from(took.len()).unwrap_or(1);
    took.sort();
    (took, worked)
}

fn measure_objects(routes: usize, one_host: bool) {
    let live = Arc::new(Live::new());
    let mut rebuild = rebuild(&live);
    let all: Vec<_> = (0..routes)
        .flat_map(|number| objects(number, 0, one_host))
        .collect();
    let (first, _) = apply(&mut rebuild, vec![set(&all)]);
    // All of them before anything is measured.
    let changes = |part: usize| -> Vec<Changes> {
        let rounds = 1..=ROUNDS * 5;
        rounds
            .map(|round| {
                let objects = objects(round * 7_919 % routes, round, one_host);
                set(&objects[part..=part])
            })
            .collect()
    };
    let (of_route, of_slice) = (changes(0), changes(2));
    let generation = live.load().generation();
    for (name, changes) in [("route", of_route), ("endpoints", of_slice)] {
        let (took, worked) = apply(&mut rebuild, changes);
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let at = |share: usize| ms(took[(took.len() - 1) * share / 100]);
        println!(
            "{:14} {name:9} {routes:>7}  {:>8.1}  {:>6.2}  {:>6.2}  {:>6.2}",
            if one_host {
                "one host"
            } else {
                "host per route"
            },
            ms(first[0]),
            at(50),
            at(99),
            ms(worked),
        );
    }
    let tables = live.load().generation() - generation;
    assert_eq!(
        tables as usize,
        ROUNDS * 5,
        "a table for each route, none for endpoints"
    );
}

async fn measure(layout: Layout, routes: usize, rename: bool) -> Figures {
    let dir = tempfile::tempdir().expect("a directory");
    layout.fill(dir.path(), routes);
    let live = Arc::new(Live::new());
    let rebuild = rebuild(&live);
    let stop = CancellationToken::new();
    let began = Instant::now();
    let watching = tokio::spawn({
        let (dir, stop) = (dir.path().to_owned(), stop.clone());
        async move { directory::watch(&dir, rebuild, stop).await }
    });
    live.wait_for(1).await;
    let start = began.elapsed();
    let (mut took, mut busy) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Not at once: changes come seldom, and the one before is not to be part of this one.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let next = live.load().generation() + 1;
        let before = worked();
        let number = round * 7_919 % routes;
        let (file, text) = layout.change(routes, number, round + 1);
        let (path, temporary) = (dir.path().join(file), dir.path().join("temporary"));
        let written = if rename {
            fs::write(&temporary, text).expect("written");
            fs::rename(temporary, path).expect("renamed");
            Instant::now()
        } else {
            fs::write(path, text).expect("written");
            Instant::now()
        };
        live.wait_for(next).await;
        took.push(written.elapsed());
        busy.push(Duration::from_nanos(worked().saturating_sub(before)));
        black_box(&live);
    }
    let resident = resident();
    stop.cancel();
    watching.await.expect("no panic");
    took.sort();
    busy.sort();
    Figures {
        start,
        took,
        worked: busy,
        resident,
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    println!("empty process: {} KB resident", resident());
    let asked: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let is_asked = |routes: &usize| asked.is_empty() || asked.contains(routes);
    println!("layout         change     routes  first ms  p50 ms  p99 ms  cpu ms");
    for routes in [100, 1_000, 10_000].into_iter().filter(is_asked) {
        measure_objects(routes, false);
        measure_objects(routes, true);
    }
    if std::env::args().any(|arg| arg == "objects") {
        return;
    }
    println!(
        "layout          write    routes  start ms  p50 ms  p99 ms  max ms  cpu p50 ms  resident KB"
    );
    for routes in [1, 100, 10_000].into_iter().filter(is_asked) {
        for (layout, name) in [
            (Layout::FilePerRoute, "file per route"),
            (Layout::OneFile, "one file"),
        ] {
            for (rename, how) in [(true, "rename"), (false, "in place")] {
                let figures = runtime.block_on(measure(layout, routes, rename));
                let at = |share: usize| {
                    let place = figures.took.len().saturating_sub(1) * share / 100;
                    figures.took[place].as_secs_f64() * 1000.0
                };
                println!(
                    "{name:15} {how:8} {routes:>6}  {:>8.0}  {:>6.1}  {:>6.1}  {:>6.1}  {:>10.1}  {:>11}",
                    figures.start.as_secs_f64() * 1000.0,
                    at(50),
                    at(99),
                    at(100),
                    figures.worked[figures.worked.len() / 2].as_secs_f64() * 1000.0,
                    figures.resident,
                );
            }
        }
    }
}
