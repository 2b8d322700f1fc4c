//! F8: endpoints come and go all the time; those that stay keep their sockets.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::MissedTickBehavior};

use super::{apply, here, plane, sockets::Sockets, start};
use crate::kit::{client, eventually, hawser::Hawser, manifest};

const SOCKETS: usize = 200;
/// Changes of EndpointSlices each second, by so many writers.
const RATE: u64 = 100;
const WRITERS: u64 = 10;
/// A removed endpoint gets nothing new after this time.
const REMOVED: Duration = Duration::from_secs(1);

const LENGTH: Duration = Duration::from_secs(90);

/// An echo server that counts its connections.
struct Counted {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Counted {
    async fn new() -> Self {
        let listener = TcpListener::bind((here(), 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                        return;
                    };
                    while let Some(Ok(message)) = socket.next().await {
                        if !message.is_close() && socket.send(message).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, accepted }
    }

    fn count(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// A slice of Service `chat` with one endpoint, or with none.
fn slice(name: &str, endpoint: SocketAddr, there: bool) -> EndpointSlice {
    let endpoints: Vec<Value> = there
        .then(|| json!({"addresses": [endpoint.ip()], "conditions": {"ready": true}}))
        .into_iter()
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "chat"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": endpoint.port()}],
        "endpoints": endpoints,
    }))
    .expect("a slice")
}

async fn create(slices: &Api<EndpointSlice>, slice: &EndpointSlice) {
    let made = slices.create(&PostParams::default(), slice).await;
    made.expect("created");
}

/// Gives a slice of this name these endpoints.
async fn change(slices: &Api<EndpointSlice>, name: &str, to: &EndpointSlice) {
    let patch = Patch::Merge(json!({"endpoints": to.endpoints, "ports": to.ports}));
    let changed = slices.patch(name, &PatchParams::default(), &patch).await;
    changed.expect("changed");
}

/// Opens a WebSocket and leaves it at once.
async fn handshake(hawser: &Hawser) {
    let socket = client::ws(hawser.http, "chat.test", "/ws").await;
    let mut socket = socket.expect("the handshake succeeds");
    let _ = socket.close(None).await;
}

#[test]
fn endpoints_that_come_and_go_close_no_socket_of_others() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("churn").await;
        let stay = [Counted::new().await, Counted::new().await];
        let endpoints = stay.each_ref().map(|it| it.address);
        apply(
            &plane,
            &namespace,
            &manifest::websocket("chat", "/ws", &endpoints),
        );
        let hawser = start(&plane, plane.admin(), &["--watch-namespace", &namespace]).await;
        hawser.ready().await;
        eventually("the route takes a WebSocket", async || {
            client::ws(hawser.http, "chat.test", "/ws").await.ok()
        })
        .await;
        let sockets = Sockets::open(SOCKETS, hawser.http, "chat.test", "/ws").await;

        let slices: Api<EndpointSlice> = Api::namespaced(plane.client().await, &namespace);
        let done = Arc::<AtomicU64>::default();
        let start = Instant::now();
        let cpu = hawser.cpu();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (slices, done) = (slices.clone(), Arc::clone(&done));
            writers.spawn(churn(
                slices,
                format!("churn-{writer}"),
                start + LENGTH,
                done,
            ));
        }

        let victim = Counted::new().await;
        let name = "victim";
        create(&slices, &slice(name, victim.address, true)).await;
        // It has the fewest connections.
        eventually("the new endpoint is chosen", async || {
            handshake(&hawser).await;
            (victim.count() > 0).then_some(())
        })
        .await;
        slices
            .delete(name, &DeleteParams::default())
            .await
            .expect("deleted");
        tokio::time::sleep(REMOVED).await;
        let after = victim.count();
        while start.elapsed() < LENGTH {
            handshake(&hawser).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(victim.count(), after, "a removed endpoint gets nothing new");
        while let Some(done) = writers.join_next().await {
            done.expect("every change is accepted");
        }
        let (took, changes) = (start.elapsed(), done.load(Ordering::Relaxed));
        let cpu = hawser.cpu().checked_sub(cpu).unwrap();
        println!("{changes} changes of EndpointSlices in {took:?}: {cpu:?} of processor time");
        // An API server on a loaded machine takes fewer than it is given.
        assert!(changes >= RATE * LENGTH.as_secs() / 5, "{changes} changes");
        assert!(cpu < took, "less than one processor: {cpu:?} of {took:?}");
        sockets.close().await;
    });
}

/// Changes one slice at its share of the rate: its endpoint is there, and is not.
async fn churn(slices: Api<EndpointSlice>, name: String, end: Instant, done: Arc<AtomicU64>) {
    let endpoint = Counted::new().await;
    create(&slices, &slice(&name, endpoint.address, false)).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 * WRITERS / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut there = true;
    while Instant::now() < end {
        ticks.tick().await;
        change(&slices, &name, &slice(&name, endpoint.address, there)).await;
        done.fetch_add(1, Ordering::Relaxed);
        there = !there;
    }
}

#[test]
fn a_changed_slice_is_the_next_choice() {
    const ROUNDS: usize = 50;
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("choice").await;
        let ends = [Counted::new().await, Counted::new().await];
        apply(&plane, &namespace, &manifest::websocket("chat", "/ws", &[ends[0].address]));
        let hawser = start(&plane, plane.admin(), &["--watch-namespace", &namespace]).await;
        hawser.ready().await;
        eventually("the route takes a WebSocket", async || {
            client::ws(hawser.http, "chat.test", "/ws").await.ok()
        })
        .await;
        let slices: Api<EndpointSlice> = Api::namespaced(plane.client().await, &namespace);
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let next = &ends[(round + 1) % 2];
            let before = next.count();
            change(&slices, "chat-0", &slice("chat-0", next.address, true)).await;
            let changed = Instant::now();
            while next.count() == before {
                handshake(&hawser).await;
                assert!(changed.elapsed() < Duration::from_secs(30), "round {round}");
            }
            times.push(changed.elapsed());
        }
        times.sort();
        let (median, worst) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        println!("answer of the API server -> handshake at the new endpoint: p50 {median:?}, p99 {worst:?}");
        assert!(median < REMOVED, "{times:?}");
    });
}
