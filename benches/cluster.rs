//! A Hawser process on a real API server: time to be ready, memory, propagation, processor time per change and
//! requests to the API server, for 100, 1,000, 5,000 and 10,000 Ingresses. Numbers as arguments choose the rows.
//!
//! Each Ingress has a host, a Service and an EndpointSlice of its own. A change gives one of them another path;
//! it is live when a request for the new path is no longer answered with 404.

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
    fs,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use kit::{
    client,
    control_plane::ControlPlane,
    hawser::{self, Hawser},
};

const CHANGES: usize = 200;
const NAMESPACE: &str = "default";

/// User of the measured process, so that the audit log tells its requests from ours.
const USER: &str = "measured";

fn main() {
    let rows: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let rows = if rows.is_empty() {
        vec![100, 1_000, 5_000, 10_000]
    } else {
        rows
    };
    for row in rows {
        measure(row);
    }
}

fn api(client: &Client, group: &str, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(group, "v1", kind);
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&gvk))
}

fn ingress(number: usize, version: usize) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": format!("app-{number}")},
        "spec": {"ingressClassName": "hawser", "rules": [{
            "host": format!("app-{number}.example.com"),
            "http": {"paths": [{
                "path": format!("/v{version}"), "pathType": "Prefix",
                "backend": {"service": {"name": format!("app-{number}"), "port": {"number": 80}}},
            }]},
        }]},
    })
}

async fn create(client: &Client, number: usize) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("app-{number}")},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("app-{number}-1"),
            "labels": {"kubernetes.io/service-name": format!("app-{number}")},
        },
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [format!("10.245.{}.{}", number / 250, 1 + number % 250)]}],
    });
    for (group, kind, object) in [
        ("", "Service", service),
        ("discovery.k8s.io", "EndpointSlice", slice),
        ("networking.k8s.io", "Ingress", ingress(number, 0)),
    ] {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let api = api(client, group, kind);
        let made = api.create(&PostParams::default(), &object).await;
        made.expect("it is created");
    }
}

fn cpu(hawser: &Hawser) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", hawser.id())).expect("it runs");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().expect("ticks"))
        .sum();
    ticks / 100.0
}

async fn answers(hawser: &Hawser, number: usize, version: usize) -> bool {
    let host = format!("app-{number}.example.com");
    let answer = client::get(hawser.http, &host, &format!("/v{version}")).await;
    // No backend listens: 502, or 504 from an address that nobody has. Only 404 says that the route is not there.
    !answer.is_ok_and(|answer| answer.status == 404)
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let place = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[place].as_secs_f64() * 1000.0
}

/// Requests per minute since the mark, leases apart.
fn requests(plane: &ControlPlane, mark: kit::audit::Mark, took: Duration) -> (f64, f64) {
    let audit = plane.audit();
    let all = audit.of(USER, mark);
    let leases = all
        .iter()
        .filter(|entry| entry.resource == "leases")
        .count();
    let minutes = took.as_secs_f64() / 60.0;
    (
        (all.len() - leases) as f64 / minutes,
        leases as f64 / minutes,
    )
}

fn measure(routes: usize) {
    let plane = ControlPlane::api();
    plane.install_crd();
    plane
        .kubectl(
            &["apply", "-f", "-"],
            "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: hawser}, spec: {controller: hawser.dev/ingress-controller}}",
        )
        .text();
    plane.run(async || {
        let client = plane.client().await;
        stream::iter(0..routes)
            .for_each_concurrent(16, |number| create(&client, number))
            .await;
        let config = plane.kubeconfig(USER, &["system:masters"]);
        let start = Instant::now();
        let hawser = hawser::on(&config, &["--publish-address", "192.0.2.1", "--log-level", "warn,hawser::app=info"]).await;
        hawser.ready().await;
        println!("{routes} routes: ready after {:.2} s", start.elapsed().as_secs_f64());
        // Until every Ingress has its address: 50 a second.
        let patience = Duration::from_secs(20 + routes as u64 / 40);
        let api = api(&client, "networking.k8s.io", "Ingress");
        kit::within(patience, "all have an address", async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let list = api.list(&ListParams::default()).await.expect("a list");
            let with = |ingress: &&DynamicObject| ingress.data.pointer("/status/loadBalancer/ingress").is_some();
            (list.items.iter().filter(with).count() == routes).then_some(())
        })
        .await;
        println!("{routes} routes: all addresses after {:.1} s", start.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(5)).await;
        println!("{routes} routes: resident {:.1} MB", hawser.rss() as f64 / 1e6);

        let (mark, since, before) = (plane.audit().mark(), Instant::now(), cpu(&hawser));
        tokio::time::sleep(Duration::from_mins(1)).await;
        let (idle, leases) = requests(&plane, mark, since.elapsed());
        println!("{routes} routes: idle {idle:.1} requests/min and {leases:.1} for the Lease, {:.2} ms CPU/s", (cpu(&hawser) - before) * 1000.0 / 60.0);

        let mut took = Vec::new();
        let (mark, since, before) = (plane.audit().mark(), Instant::now(), cpu(&hawser));
        for change in 0..CHANGES {
            let number = change * 7919 % routes;
            let version = change + 1;
            let next = Instant::now() + Duration::from_millis(100);
            let patch = Patch::Merge(ingress(number, version));
            api.patch(&format!("app-{number}"), &PatchParams::default(), &patch).await.expect("a patch");
            let applied = Instant::now();
            while !answers(&hawser, number, version).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            took.push(applied.elapsed());
            tokio::time::sleep_until(next.into()).await;
        }
        let (busy, _) = requests(&plane, mark, since.elapsed());
        let cpu = (cpu(&hawser) - before) * 1000.0 / CHANGES as f64;
        took.sort_unstable();
        println!(
            "{routes} routes: apply -> live p50 {:.1} ms, p99 {:.1} ms; {cpu:.1} ms CPU per change, asking included; {busy:.0} requests/min",
            quantile(&took, 0.5),
            quantile(&took, 0.99),
        );
        for bound in ["0.002", "0.005", "0.01", "0.015", "0.025", "0.05", "0.1", "+Inf"] {
            let count = hawser.metric(&format!("hawser_propagation_seconds_bucket{{le=\"{bound}\"}}")).await;
            print!("{routes} routes: seen -> live within {bound} s: {}  ", count.unwrap_or(0.0));
        }
        println!();
    });
}
