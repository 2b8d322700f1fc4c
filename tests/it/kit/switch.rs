//! An L4 switch, as kube-proxy or a load balancer of a cloud is one: it follows the endpoints of a Service with a
//! delay, splices bytes, and knows nothing of HTTP.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::control_plane::{ADDRESS, ControlPlane};

/// From a change of an EndpointSlice to its effect, as with kube-proxy and its sync period.
pub const DELAY: Duration = Duration::from_secs(1);

/// A running switch. Its connections end with it.
pub struct Switch {
    /// Where it listens, in the network namespace of the control plane.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    chosen: Mutex<Vec<SocketAddr>>,
    counts: Mutex<BTreeMap<SocketAddr, u64>>,
    turn: AtomicUsize,
    refused: AtomicU64,
}

impl Switch {
    /// Forwards to this port of the Service `NAMESPACE/NAME`. Inside of the control plane's network namespace only.
    pub async fn follow(plane: &ControlPlane, service: &str, port: u16) -> Self {
        let (namespace, name) = service.split_once('/').expect("NAMESPACE/NAME");
        let client = plane.client().await;
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let object = services.get(name).await.expect("the Service is there");
        let ports = object.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = ports
            .into_iter()
            .find(|entry| entry.port == i32::from(port));
        let port = port
            .expect("the Service has this port")
            .name
            .unwrap_or_default();
        let listener = TcpListener::bind((ADDRESS, 0)).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        let (changes, queue) = mpsc::channel(10_000);
        tasks.spawn(follow(
            client,
            namespace.to_owned(),
            name.to_owned(),
            port,
            changes,
        ));
        tasks.spawn(apply(Arc::clone(&shared), queue));
        tasks.spawn(accept(Arc::clone(&shared), listener));
        Self {
            addr,
            shared,
            _tasks: tasks,
        }
    }

    /// Where new connections go.
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        self.shared.chosen.lock().clone()
    }

    /// Connections so far, per endpoint.
    pub fn counts(&self) -> BTreeMap<SocketAddr, u64> {
        self.shared.counts.lock().clone()
    }

    /// Connections that found no endpoint, or one that did not take them.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

/// kube-proxy's rule: the ready ones; if there is none, those that still serve while they terminate.
fn choice<'a>(slices: impl Iterator<Item = &'a EndpointSlice>, port: &str) -> Vec<SocketAddr> {
    let (mut ready, mut serving) = (Vec::new(), Vec::new());
    for slice in slices {
        let mut ports = slice.ports.iter().flatten();
        let port = ports.find(|entry| entry.name.as_deref().unwrap_or_default() == port);
        let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let addresses = endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok());
            let addresses = addresses.map(|address| SocketAddr::new(address, port));
            if conditions.ready.unwrap_or(true) {
                ready.extend(addresses);
            } else if conditions.serving.unwrap_or(true) && conditions.terminating == Some(true) {
                serving.extend(addresses);
            }
        }
    }
    let mut chosen = if ready.is_empty() { serving } else { ready };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

type Change = (Instant, Vec<SocketAddr>);

async fn follow(
    client: Client,
    namespace: String,
    name: String,
    port: String,
    changes: mpsc::Sender<Change>,
) {
    let slices: Api<EndpointSlice> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={name}"));
    let mut events = watcher(slices, config).default_backoff().boxed();
    let mut known = BTreeMap::new();
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(slice)) => {
                listed.insert(slice.name_any(), slice);
                continue;
            }
            Ok(watcher::Event::InitDone) => known = std::mem::take(&mut listed),
            Ok(watcher::Event::Apply(slice)) => {
                known.insert(slice.name_any(), slice);
            }
            Ok(watcher::Event::Delete(slice)) => {
                known.remove(&slice.name_any());
            }
            Err(_) => continue,
        }
        let change = (Instant::now() + DELAY, choice(known.values(), &port));
        if changes.send(change).await.is_err() {
            return;
        }
    }
}

async fn apply(shared: Arc<Shared>, mut queue: mpsc::Receiver<Change>) {
    while let Some((time, chosen)) = queue.recv().await {
        sleep_until(time).await;
        *shared.chosen.lock() = chosen;
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(forward(Arc::clone(&shared), client));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(shared: Arc<Shared>, mut client: TcpStream) {
    let chosen = {
        let chosen = shared.chosen.lock();
        let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
        chosen.get(turn % chosen.len().max(1)).copied()
    };
    let connected = match chosen {
        Some(endpoint) => timeout(Duration::from_secs(5), TcpStream::connect(endpoint))
            .await
            .ok(),
        None => None,
    };
    let (Some(endpoint), Some(Ok(mut backend))) = (chosen, connected) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        let _ = client.set_zero_linger();
        return;
    };
    *shared.counts.lock().entry(endpoint).or_default() += 1;
    let _ = (client.set_nodelay(true), backend.set_nodelay(true));
    if copy_bidirectional(&mut client, &mut backend).await.is_err() {
        // A reset goes on as a reset.
        let _ = (client.set_zero_linger(), backend.set_zero_linger());
    }
}

#[test]
fn the_choice_is_that_of_kube_proxy() {
    let slice = |conditions: serde_json::Value| -> EndpointSlice {
        let object = serde_json::json!({
            "addressType": "IPv4", "metadata": {"name": "a"}, "ports": [{"name": "http", "port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": conditions}],
        });
        serde_json::from_value(object).expect("a slice")
    };
    let ready = slice(serde_json::json!({}));
    let leaving = slice(serde_json::json!({"ready": false, "serving": true, "terminating": true}));
    let broken = slice(serde_json::json!({"ready": false, "serving": false}));
    let count = |slices: &[&EndpointSlice], port| choice(slices.iter().copied(), port).len();
    assert_eq!(count(&[&ready, &broken], "http"), 1);
    assert_eq!(
        count(&[&leaving, &broken], "http"),
        1,
        "nothing else is left"
    );
    assert_eq!(count(&[&broken], "http"), 0);
    assert_eq!(count(&[&ready], "other"), 0);
}
