//! Lookup and compile of the routing table, beside matchit.
//!
//! Keys are `host -> /api/vN/room-M/ws`; a request asks for a matching path and two more elements, and requests
//! walk over all routes, so large tables pay for the memory that they touch. Before criterion starts, a
//! table of 100,000 routes is compiled once in the fresh process to see what it adds to the resident set.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a bench may panic, prints its figures, and measures real time"
)]
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BatchSize, BenchmarkId, Criterion};
use hawser::{
    ir,
    table::{Request, Table},
};

/// Hosts and paths per host.
const SHAPES: [(usize, usize); 5] = [
    (100, 10),
    (1_000, 10),
    (1, 10_000),
    (10_000, 10),
    (100, 1_000),
];

struct Asked {
    host: String,
    path: String,
}

impl Request for Asked {
    fn host(&self) -> &str {
        &self.host
    }
    fn path(&self) -> &str {
        &self.path
    }
    fn query(&self) -> Option<&str> {
        None
    }
    fn has_header(&self, _name: &str, _value: &str) -> bool {
        false
    }
    fn is_handshake_attempt(&self) -> bool {
        true
    }
}

fn host_name(host: usize) -> String {
    format!("h{host}.apps.example.com")
}

fn path(path: usize) -> String {
    format!("/api/v{}/room-{path}/ws", path % 10)
}

fn policy() -> Arc<ir::Policy> {
    Arc::default()
}

/// One object per host, one rule per path.
fn config(hosts: usize, paths: usize) -> ir::Config {
    let mut map = BTreeMap::new();
    for host in 0..hosts {
        let policy = policy();
        let object = ir::ObjectId {
            namespace: "default".into(),
            name: format!("app-{host}").into(),
            kind: ir::RouteKind::WebSocketRoute,
        };
        let mut candidates: Vec<_> = (0..paths)
            .map(|number| ir::Candidate {
                path: ir::PathMatch::Prefix(path(number).into()),
                headers: Vec::new(),
                query: Vec::new(),
                traffic: ir::Traffic::Any,
                rank: ir::Rank {
                    traffic: Reverse(ir::Traffic::Any),
                    headers: Reverse(0),
                    query: Reverse(0),
                    age: ir::Age::Unknown,
                    object: object.clone(),
                    rule: number,
                    item: 0,
                },
                route: Arc::new(ir::Route {
                    id: ir::RouteId {
                        object: object.clone(),
                        rule: format!("rule-{number}").into(),
                    },
                    backends: vec![ir::BackendRef {
                        target: ir::Target::Backend(ir::BackendId {
                            namespace: "default".into(),
                            service: format!("app-{host}").into(),
                            port: 80,
                        }),
                        weight: 1,
                    }],
                    policy: Arc::clone(&policy),
                }),
            })
            .collect();
        candidates.sort_by(|a, b| a.path.precedence().cmp(&b.path.precedence()));
        map.insert(
            ir::HostPattern::Exact(host_name(host).into()),
            ir::HostRoutes {
                candidates,
                default: None,
            },
        );
    }
    ir::Config {
        hosts: map,
        fallback: None,
        backends: BTreeMap::new(),
    }
}

/// A request for every route, in an order that jumps around.
fn requests(hosts: usize, paths: usize) -> Vec<Asked> {
    let total = hosts * paths;
    // Prime, so that every route is visited.
    (0..total)
        .map(|n| n * 7_919 % total)
        .map(|n| Asked {
            host: host_name(n / paths),
            path: format!("{}/more/of-it", path(n % paths)),
        })
        .collect()
}

/// Stands for the handle of a backend.
fn compile(config: &ir::Config) -> Table<Arc<()>> {
    let backend = Arc::new(());
    Table::compile(config, 1, |_| Arc::clone(&backend))
}

type Routers = HashMap<String, matchit::Router<usize>>;

fn routers(hosts: usize, paths: usize) -> Routers {
    (0..hosts)
        .map(|host| {
            let mut router = matchit::Router::new();
            for number in 0..paths {
                let path = path(number);
                // An element-wise prefix is two patterns there.
                router
                    .insert(format!("{path}/{{*rest}}"), number)
                    .expect("new");
                router.insert(path, number).expect("new");
            }
            (host_name(host), router)
        })
        .collect()
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    for (hosts, paths) in SHAPES {
        let shape = format!("{}/{hosts}x{paths}", hosts * paths);
        let requests = requests(hosts, paths);
        let table = compile(&config(hosts, paths));
        let routers = routers(hosts, paths);
        assert!(requests.iter().all(|asked| table.find(asked).is_some()));
        let mut next = requests.iter().cycle();
        group.bench_function(BenchmarkId::new("table", &shape), |b| {
            b.iter(|| {
                let asked = next.next().expect("endless");
                black_box(
                    table
                        .find(black_box(asked))
                        .map(|hit| Arc::clone(hit.route)),
                )
            });
        });
        let mut next = requests.iter().cycle();
        group.bench_function(BenchmarkId::new("matchit", &shape), |b| {
            b.iter(|| {
                let asked = black_box(next.next().expect("endless"));
                black_box(
                    routers
                        .get(&asked.host)
                        .and_then(|router| router.at(&asked.path).ok())
                        .map(|found| *found.value),
                )
            });
        });
    }
    group.finish();
}

fn compiling(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    for (hosts, paths) in SHAPES {
        let shape = format!("{}/{hosts}x{paths}", hosts * paths);
        let config = config(hosts, paths);
        group.bench_function(BenchmarkId::new("table", &shape), |b| {
            b.iter_batched(|| (), |()| compile(&config), BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("matchit", &shape), |b| {
            b.iter_batched(|| (), |()| routers(hosts, paths), BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Resident set of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<usize>().ok())
        .unwrap_or(0);
    pages * 4096
}

fn memory() {
    let mb = |from: usize, to: usize| to.saturating_sub(from) / 1_000_000;
    println!("memory of 100,000 routes in MB, growth of the resident set:");
    for (hosts, paths) in [(10_000, 10), (100, 1_000)] {
        let empty = resident();
        let config = config(hosts, paths);
        let configured = resident();
        let table = compile(&config);
        let compiled = resident();
        println!(
            "  {hosts}x{paths}: configuration (names, rules, policies) {}, table {}, both {}; \
             of that the lists that are dropped when it is compiled {}",
            mb(empty, configured),
            mb(configured, compiled),
            mb(empty, compiled),
            hosts * paths * size_of::<ir::Candidate>() / 1_000_000,
        );
        // Both stay, or the next shape would grow into what they leave.
        std::mem::forget((config, table));
    }
    let before = resident();
    let routers = routers(10_000, 10);
    println!("  10000x10: matchit {}", mb(before, resident()));
    std::mem::forget(routers);
}

fn main() {
    let started = Instant::now();
    memory();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args();
    lookup(&mut criterion);
    compiling(&mut criterion);
    criterion.final_summary();
    println!("took {:?}", started.elapsed());
}
