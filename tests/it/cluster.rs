//! A cluster as the source: what a user applies is what is served, whatever happens to the API server.

mod churn;
mod crd;
mod noise;
mod outage;
mod partition;
mod relist;
mod restore;
mod rights;
mod scale;
mod sockets;
mod start;
mod tenants;

use std::{
    net::IpAddr,
    ops::Deref,
    path::Path,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::kit::{
    client,
    control_plane::{ADDRESS, ControlPlane, Handle, Shared},
    eventually,
    hawser::{self, Hawser, field},
    manifest,
    netns::Netns,
    origin,
};

static PLANE: Shared = Shared::api();

/// Changes are live within 10 s once the API server answers again. The same again for a loaded machine.
const CONVERGED: Duration = Duration::from_secs(20);

/// The control plane of this file, for tests that leave it whole.
fn plane() -> Handle {
    let plane = PLANE.get();
    prepare(&plane);
    plane
}

/// One for a test that breaks it.
fn own_plane() -> ControlPlane {
    let plane = ControlPlane::api();
    prepare(&plane);
    plane
}

fn prepare(plane: &ControlPlane) {
    plane.install_crd();
    plane.share(manifest::CLASS);
}

/// The address of the control plane's host: EndpointSlices may name it.
fn here() -> IpAddr {
    ADDRESS.parse().expect("an address")
}

fn apply(plane: &ControlPlane, namespace: &str, yaml: &str) {
    plane
        .kubectl(&["apply", "-n", namespace, "-f", "-"], yaml)
        .text();
}

fn delete(plane: &ControlPlane, namespace: &str, what: &str) {
    plane
        .kubectl(&["delete", "-n", namespace, "--wait=false", what], "")
        .text();
}

/// A route of this name with a path of its own to Service `pages`.
fn page(name: &str) -> String {
    manifest::route(name, "pages.test", &format!("/{name}"), "pages", "")
}

/// Routes `page-FROM` to `page-(UNTIL-1)`.
fn pages(numbers: std::ops::Range<usize>) -> String {
    numbers
        .map(|number| page(&format!("page-{number}")))
        .collect()
}

/// Status of the answer for the path of [`page`].
async fn status(hawser: &Hawser, name: &str) -> Option<u16> {
    let answer = client::get(hawser.http, "pages.test", &format!("/{name}")).await;
    Some(answer.ok()?.status)
}

/// Waits until the path of [`page`] has this status.
async fn answers(hawser: &Hawser, name: &str, wanted: u16) {
    crate::kit::within(
        2 * CONVERGED,
        &format!("/{name} answers {wanted}"),
        async || (status(hawser, name).await? == wanted).then_some(()),
    )
    .await;
}

/// How many routes the live table was made of.
async fn routes(hawser: &Hawser) -> usize {
    let series = r#"hawser_table_objects{kind="WebSocketRoute"}"#;
    hawser.metric(series).await.unwrap_or_default() as usize
}

async fn connected(hawser: &Hawser, kind: &str) -> bool {
    let series = format!("hawser_source_connected{{kind=\"{kind}\"}}");
    hawser.metric(&series).await == Some(1.0)
}

/// Lines of the log from this one on that warn, with all their fields as text.
fn warnings(hawser: &Hawser, from: usize) -> Vec<String> {
    let log = hawser.log();
    let lines = log.iter().skip(from);
    lines
        .filter(|line| matches!(field(line, "level"), Some("WARN" | "ERROR")))
        .map(Value::to_string)
        .collect()
}

static HOSTS: AtomicU8 = AtomicU8::new(1);

/// A host of its own on the bridge of the control plane, with this address.
fn host(plane: &ControlPlane) -> (Netns, IpAddr) {
    let number = HOSTS.fetch_add(1, Ordering::Relaxed);
    let netns = Netns::new("pod");
    let peer = format!("v{}-{number}", std::process::id());
    netns.ip(&format!(
        "link add eth0 type veth peer name {peer} netns {}",
        plane.netns().name()
    ));
    netns.ip(&format!("addr add 10.244.7.{number}/16 dev eth0"));
    netns.ip("link set eth0 up");
    plane.netns().ip(&format!("link set {peer} master br0 up"));
    let address = format!("10.244.7.{number}");
    (netns, address.parse().expect("an address"))
}

/// A Hawser on a host of its own: endpoints with an address of its own host would be refused.
struct Pod {
    // Dropped first.
    hawser: Hawser,
    _netns: Netns,
}

impl Deref for Pod {
    type Target = Hawser;

    fn deref(&self) -> &Hawser {
        &self.hawser
    }
}

/// Starts one with this kubeconfig. It need not be ready yet.
async fn start(plane: &ControlPlane, kubeconfig: &Path, flags: &[&str]) -> Pod {
    let (netns, address) = host(plane);
    let hawser = hawser::inside(&netns, address, "hawser-0", kubeconfig, flags).await;
    Pod {
        hawser,
        _netns: netns,
    }
}

#[test]
fn what_is_applied_is_served() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("served").await;
        let hawser = start(&plane, plane.admin(), &["--watch-namespace", &namespace]).await;
        hawser.ready().await;
        let echo = origin::echo_on(here()).await;
        let yaml = manifest::websocket("served", "/ws", &[echo.addr]);
        apply(&plane, &namespace, &yaml);
        eventually("the route takes a WebSocket", async || {
            client::ws(hawser.http, "served.test", "/ws").await.ok()
        })
        .await;
    });
}
