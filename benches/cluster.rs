//! A Hawser process on a real API server: time to be ready, memory, propagation, processor time per change and
//! requests to the API server, for 100, 1,000, 5,000 and 10,000 Ingresses; and 1,000 Ingresses applied at once.
//! Numbers as arguments choose the rows, the word `at-once` the last part.
//!
//! Each Ingress has a host, a Service and an EndpointSlice of its own, and already its address, as after a restart. A
//! change gives one of them another path; it is live when a request for the new path is no longer answered with 404.
//! A changed EndpointSlice is live when the endpoint that it names gets a request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_types,
    unreachable_pub,
    unused_imports,
    dead_code,
    reason = "a measurement may fail, it prints, and it uses the half of the test kit that it needs"
)]

#[path = "../tests/it/kit/mod.rs"]
mod kit;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use kit::{
    audit::Mark,
    client,
    control_plane::{ADDRESS, ControlPlane},
    hawser::{self, Hawser, field},
};

/// Changes of each round, ten a second.
const CHANGES: usize = 200;
const PACE: Duration = Duration::from_millis(100);
/// Objects of `at-once`.
const AT_ONCE: usize = 1_000;
const NAMESPACE: &str = "default";
/// What `--publish-address` says.
const PUBLISHED: &str = "192.0.2.1";

/// User of the measured process, so that the audit log tells its requests from ours.
const USER: &str = "measured";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut rows: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let mut at_once = args.iter().any(|arg| arg == "at-once");
    if rows.is_empty() && !at_once {
        (rows, at_once) = (vec![100, 1_000, 5_000, 10_000], true);
    }
    for routes in rows {
        Row::new(routes).measure();
    }
    if at_once {
        measure_at_once();
    }
}

fn api(client: &Client, group: &str, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(group, "v1", kind);
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&gvk))
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

fn ingress(name: &str, version: usize) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"ingressClassName": "hawser", "rules": [{
            "host": format!("{name}.example.com"),
            "http": {"paths": [{
                "path": format!("/v{version}"), "pathType": "Prefix",
                "backend": {"service": {"name": name, "port": {"number": 80}}},
            }]},
        }]},
    })
}

fn slice(name: &str, endpoint: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-1"),
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4", "ports": [{"name": "http", "port": endpoint.port()}],
        "endpoints": [{"addresses": [endpoint.ip()]}],
    })
}

fn name(number: usize) -> String {
    format!("app-{number}")
}

/// An Ingress with its Service and EndpointSlice.
async fn create(client: &Client, name: &str, endpoint: SocketAddr) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
    });
    for (group, kind, value) in [
        ("", "Service", service),
        ("discovery.k8s.io", "EndpointSlice", slice(name, endpoint)),
        ("networking.k8s.io", "Ingress", ingress(name, 0)),
    ] {
        let api = api(client, group, kind);
        let made = api.create(&PostParams::default(), &object(value)).await;
        made.expect("it is created");
    }
}

/// The address that an earlier process of Hawser wrote.
async fn publish(client: &Client, name: &str) {
    let status = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "status": {"loadBalancer": {"ingress": [{"ip": PUBLISHED}]}},
    });
    let api = api(client, "networking.k8s.io", "Ingress");
    let params = PatchParams::apply("hawser").force();
    let written = api
        .patch_status(name, &params, &Patch::Apply(&status))
        .await;
    written.expect("it is written");
}

/// How many Ingresses have an address.
async fn with_address(client: &Client) -> usize {
    let api = api(client, "networking.k8s.io", "Ingress");
    let list = api.list(&ListParams::default()).await.expect("a list");
    let pointer = "/status/loadBalancer/ingress";
    let there = list
        .items
        .iter()
        .filter(|it| it.data.pointer(pointer).is_some());
    there.count()
}

fn nobody(number: usize) -> SocketAddr {
    let address = format!("10.245.{}.{}:8080", number / 250, 1 + number % 250);
    address.parse().expect("an address")
}

fn control_plane() -> (ControlPlane, PathBuf) {
    let plane = ControlPlane::api();
    plane.install_crd();
    plane
        .kubectl(
            &["apply", "-f", "-"],
            "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: hawser}, spec: {controller: hawser.dev/ingress-controller}}",
        )
        .text();
    let config = plane.kubeconfig(USER, &["system:masters"]);
    (plane, config)
}

async fn start(config: &std::path::Path) -> Hawser {
    let level = "warn,hawser::app=info,hawser::source::rebuild=debug,hawser::source::rebuild::verdicts=warn";
    let flags = ["--publish-address", PUBLISHED, "--log-level", level];
    let hawser = hawser::on(config, &flags).await;
    kit::within(Duration::from_mins(2), "hawser is ready", async || {
        hawser.is_ready().await.then_some(())
    })
    .await;
    hawser
}

/// A backend that answers once per connection and counts them.
struct Counted {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
}

impl Counted {
    async fn new() -> Self {
        let here: IpAddr = ADDRESS.parse().expect("an address");
        let listener = TcpListener::bind((here, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let count = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).await;
                    let answer =
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                });
            }
        });
        Self { address, count }
    }
}

/// Milliseconds.
struct Times(Vec<f64>);

impl Times {
    fn new(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        Self(times)
    }

    fn at(&self, share: f64) -> f64 {
        let place = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }

    fn text(&self) -> String {
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
            self.at(0.5),
            self.at(0.99),
            self.at(1.0)
        )
    }
}

/// What a number of changes took.
struct Round {
    applied: Times,
    seen: Times,
    cpu: f64,
    requests: f64,
}

struct Row {
    routes: usize,
    plane: ControlPlane,
    config: PathBuf,
}

impl Row {
    fn new(routes: usize) -> Self {
        let (plane, config) = control_plane();
        Self {
            routes,
            plane,
            config,
        }
    }

    fn say(&self, text: &str) {
        println!("{} routes: {text}", self.routes);
    }

    fn measure(&self) {
        self.plane.run(async || {
            let client = self.plane.client().await;
            stream::iter(0..self.routes)
                .for_each_concurrent(16, async |number| {
                    create(&client, &name(number), nobody(number)).await;
                    publish(&client, &name(number)).await;
                })
                .await;
            let ends = [Counted::new().await, Counted::new().await];
            create(&client, "switch", ends[0].address).await;
            publish(&client, "switch").await;

            let began = Instant::now();
            let hawser = start(&self.config).await;
            let cpu = hawser.cpu().as_secs_f64();
            let took = began.elapsed().as_secs_f64();
            self.say(&format!("ready after {took:.2} s, {cpu:.2} s CPU"));
            tokio::time::sleep(Duration::from_secs(20)).await;
            self.memory(&hawser);
            self.idle(&hawser).await;

            let ingresses = api(&client, "networking.k8s.io", "Ingress");
            let change = async |change: usize| {
                let name = name(change * 7919 % self.routes);
                let patch = Patch::Merge(ingress(&name, change));
                let params = PatchParams::default();
                let changed = ingresses.patch(&name, &params, &patch);
                changed.await.expect("a patch");
            };
            let live = async |change: usize| {
                let host = format!("{}.example.com", name(change * 7919 % self.routes));
                let answer = client::get(hawser.http, &host, &format!("/v{change}")).await;
                // No backend listens: 502. Only 404 says that the route is not there.
                !answer.is_ok_and(|answer| answer.status == 404)
            };
            let round = self.round(&hawser, 1, change, live).await;
            self.say(&format!("a changed route: {}", round.text()));
            let round = self
                .round(&hawser, CHANGES + 1, change, async |_| true)
                .await;
            self.say(&format!(
                "a changed route, nobody asks: {:.2} ms CPU per change",
                round.cpu
            ));

            let slices = api(&client, "discovery.k8s.io", "EndpointSlice");
            let change = async |change: usize| {
                let patch = Patch::Merge(slice("switch", ends[change % 2].address));
                let params = PatchParams::default();
                let changed = slices.patch("switch-1", &params, &patch);
                changed.await.expect("a patch");
            };
            let live = async |change: usize| {
                let next = &ends[change % 2].count;
                let before = next.load(Ordering::Relaxed);
                let answer = client::get(hawser.http, "switch.example.com", "/v0").await;
                answer.is_ok_and(|answer| answer.status == 200)
                    && next.load(Ordering::Relaxed) > before
            };
            let round = self.round(&hawser, 1, change, live).await;
            self.say(&format!("a changed slice: {}", round.text()));
            let round = self
                .round(&hawser, CHANGES + 1, change, async |_| true)
                .await;
            self.say(&format!(
                "a changed slice, nobody asks: {:.2} ms CPU per change",
                round.cpu
            ));
            self.memory(&hawser);
        });
    }

    fn memory(&self, hawser: &Hawser) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", hawser.id()));
        let status = status.expect("it runs");
        let mb = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let word = line.and_then(|line| line.split_whitespace().nth(1));
            word.and_then(|word| word.parse::<f64>().ok())
                .unwrap_or_default()
                * 1024.0
                / 1e6
        };
        self.say(&format!(
            "resident {:.1} MB, of it anonymous {:.1} MB; peak {:.1} MB",
            mb("VmRSS:"),
            mb("RssAnon:"),
            mb("VmHWM:")
        ));
    }

    async fn idle(&self, hawser: &Hawser) {
        let (mark, since, before) = (self.plane.audit().mark(), Instant::now(), hawser.cpu());
        tokio::time::sleep(Duration::from_mins(1)).await;
        let (requests, leases) = self.requests(mark, since.elapsed());
        let cpu = (hawser.cpu().checked_sub(before))
            .expect("it grows")
            .as_secs_f64()
            / 60.0;
        self.say(&format!(
            "idle: {requests:.1} requests/min and {leases:.1} for the Lease, {:.2} ms CPU/s",
            cpu * 1e3
        ));
    }

    /// Makes changes at their pace and waits for each to be live, asking all the time.
    async fn round(
        &self,
        hawser: &Hawser,
        first: usize,
        apply: impl AsyncFn(usize),
        live: impl AsyncFn(usize) -> bool,
    ) -> Round {
        let mut applied = Vec::new();
        let (mark, since, before) = (self.plane.audit().mark(), Instant::now(), hawser.cpu());
        let lines = hawser.log().len();
        for change in first..first + CHANGES {
            let next = Instant::now() + PACE;
            apply(change).await;
            let asked = Instant::now();
            while !live(change).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            applied.push(asked.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep_until(next.into()).await;
        }
        let (requests, _) = self.requests(mark, since.elapsed());
        let cpu = hawser.cpu().checked_sub(before).expect("it grows");
        let log = hawser.log();
        let seen = log.iter().skip(lines);
        let seen = seen.filter(|line| field(line, "message") == Some("changes are live"));
        let seen = seen.filter_map(|line| line["propagation_seconds"].as_f64());
        Round {
            applied: Times::new(applied),
            seen: Times::new(seen.map(|seconds| seconds * 1e3).collect()),
            cpu: cpu.as_secs_f64() * 1e3 / CHANGES as f64,
            requests,
        }
    }

    /// Requests per minute since the mark, and those of the Lease.
    fn requests(&self, mark: Mark, took: Duration) -> (f64, f64) {
        let all = self.plane.audit().of(USER, mark);
        let leases = all.iter().filter(|entry| entry.resource == "leases");
        let leases = leases.count();
        let minutes = took.as_secs_f64() / 60.0;
        (
            (all.len() - leases) as f64 / minutes,
            leases as f64 / minutes,
        )
    }
}

impl Round {
    fn text(&self) -> String {
        format!(
            "apply -> live {}; seen -> live {} ({} tables or endpoints); {:.1} ms CPU per change, asking included; {:.0} requests/min",
            self.applied.text(),
            self.seen.text(),
            self.seen.0.len(),
            self.cpu,
            self.requests,
        )
    }
}

/// Ingresses that are new, all at once, in front of a Hawser that runs.
fn measure_at_once() {
    let (plane, config) = control_plane();
    plane.run(async || {
        let client = plane.client().await;
        let hawser = start(&config).await;
        let (mark, began) = (plane.audit().mark(), Instant::now());
        stream::iter(0..AT_ONCE)
            .for_each_concurrent(16, async |number| {
                create(&client, &name(number), nobody(number)).await;
            })
            .await;
        let made = began.elapsed().as_secs_f64();
        kit::within(Duration::from_mins(5), "all have an address", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            (with_address(&client).await == AT_ONCE).then_some(())
        })
        .await;
        let took = began.elapsed().as_secs_f64();
        // A write too much would come now.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let writes = plane.audit().of(USER, mark);
        let writes = writes.iter().filter(|entry| entry.subresource == "status");
        println!(
            "{AT_ONCE} at once: made in {made:.1} s, all have an address after {took:.1} s, {} writes of status, resident {:.1} MB",
            writes.count(),
            hawser.rss() as f64 / 1e6
        );
    });
}
