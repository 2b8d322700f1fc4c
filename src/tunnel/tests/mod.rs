//! A tunnel between two real sockets, with the test at both far ends.

mod bytes;
mod causes;
mod drain;
mod keepalive;
mod limits;
mod pacing;
mod registry;
mod splice;
mod still;
mod streams;
mod turns;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    ir::{self, Setting},
    telemetry::metrics::Metrics,
    ws::{
        close,
        frame::{Rules, Step, Tracker},
    },
};

/// A tunnel and its two far ends.
struct Kit {
    client: TcpStream,
    backend: TcpStream,
    outcome: JoinHandle<Outcome>,
    registry: Arc<Registry>,
    endpoint: Arc<upstream::Endpoint>,
    metrics: Arc<Metrics>,
}

/// How a tunnel is opened.
struct Open {
    policy: ir::Policy,
    client_early: &'static [u8],
    backend_early: &'static [u8],
    registry: Arc<Registry>,
    extensions: Extensions,
    splice: bool,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            policy: policy(|_| {}),
            client_early: b"",
            backend_early: b"",
            registry: Arc::default(),
            extensions: Extensions::None,
            splice: true,
        }
    }
}

impl Open {
    async fn tunnel(self) -> Kit {
        let (client, near_client) = pair().await;
        let (backend, near_backend) = pair().await;
        let backends = upstream::Registry::default();
        let route = route(&backends, self.policy);
        let endpoint = backends.list()[0].pick(&[]).unwrap();
        let metrics = Metrics::new();
        let parts = Parts {
            client: near_client,
            client_early: Bytes::from_static(self.client_early),
            backend: near_backend,
            backend_early: Bytes::from_static(self.backend_early),
            extensions: self.extensions,
            splice: self.splice,
            endpoint: Arc::clone(&endpoint),
            info: Info {
                request_id: RequestId::default(),
                client: client.local_addr().unwrap(),
                host: "chat.example".into(),
                path: "/ws".into(),
                subprotocol: None,
            },
            metrics: metrics.route(&route.rule.id),
            route,
            found: Found::default(),
        };
        let future = run(parts, Arc::clone(&self.registry));
        Kit {
            client,
            backend,
            outcome: tokio::spawn(future),
            registry: self.registry,
            endpoint,
            metrics,
        }
    }
}

async fn tunnel() -> Kit {
    Open::default().tunnel().await
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap());
    let (far, near) = tokio::join!(far, listener.accept());
    let (far, near) = (far.unwrap(), near.unwrap().0);
    far.set_nodelay(true).unwrap();
    near.set_nodelay(true).unwrap();
    (far, near)
}

/// A policy without any limit, but for what `set` sets.
fn policy(set: impl FnOnce(&mut ir::Policy)) -> ir::Policy {
    let mut policy = ir::Policy::default();
    policy.timeouts.idle = Setting::default(None);
    policy.limits.write_stall = Setting::default(None);
    set(&mut policy);
    policy
}

fn route(backends: &upstream::Registry, policy: ir::Policy) -> Arc<Route> {
    let id = ir::BackendId {
        namespace: "shop".into(),
        service: "chat".into(),
        port: 80,
    };
    let rule = ir::Route {
        id: ir::RouteId {
            object: ir::ObjectId {
                namespace: "shop".into(),
                name: "chat".into(),
                kind: ir::RouteKind::WebSocketRoute,
            },
            rule: "socket".into(),
        },
        backends: vec![ir::BackendRef {
            target: ir::Target::Backend(id.clone()),
            weight: 1,
        }],
        policy: Arc::new(policy),
    };
    let endpoint = ir::Endpoint {
        address: "10.0.0.1:80".parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
    };
    let config = ir::Config {
        fallback: Some(Arc::new(rule)),
        backends: BTreeMap::from([(
            id,
            ir::Backend {
                endpoints: vec![endpoint],
            },
        )]),
        ..ir::Config::default()
    };
    backends.apply(&config.backends, |_| true);
    let table = table::Table::empty().next(&config, |id| backends.backend(id));
    Arc::clone(table.find(&Anything).unwrap().route)
}

struct Anything;

impl table::Request for Anything {
    fn host(&self) -> &'static str {
        "chat.example"
    }
    fn path(&self) -> &'static str {
        "/ws"
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

#[test]
fn kinds_are_what_metrics_count() {
    let kinds = crate::ws::frame::Kind::ALL.map(crate::ws::frame::Kind::as_str);
    assert_eq!(kinds, crate::telemetry::metrics::MESSAGE_TYPES);
}

/// A frame of the backend: unmasked, final, binary.
fn frame(payload: &[u8]) -> Vec<u8> {
    fragment(0x82, payload)
}

/// An unmasked frame with this first byte.
fn fragment(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            frame.push(126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A frame of the client: masked with 0, which leaves the payload readable.
fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(payload);
    frame[1] |= 0x80;
    let header = frame.len() - payload.len();
    frame.splice(header..header, [0; 4]);
    frame
}

/// A Close of the client.
fn masked_close(code: u16) -> Vec<u8> {
    close::masked_frame(code, "", [1, 2, 3, 4])
}

/// The Close that Hawser sends to a client with this code.
fn own_close(code: u16) -> Vec<u8> {
    let reason = match code {
        1012 => "drain: the proxy is restarting, please reconnect",
        1014 => "backend_lost: the backend is gone",
        1001 => "idle_timeout: idle for too long",
        _ => panic!("{code} is none of ours"),
    };
    close::frame(code, reason)
}

/// A Close of Hawser's to the client that says why.
fn close_with(code: u16, reason: &str) -> Vec<u8> {
    close::frame(code, reason)
}

/// Reads exactly these bytes.
async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, bytes);
}

/// Reads one masked Close with this code.
async fn expect_masked_close(stream: &mut TcpStream, code: u16) {
    let mut got = vec![0; 2];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!((got[0], got[1] & 0x80), (0x88, 0x80), "a masked Close");
    let length = usize::from(got[1] & 0x7f);
    got.resize(2 + 4 + length, 0);
    stream.read_exact(&mut got[2..]).await.unwrap();
    assert!(length > 2, "the reason is told");
    match Tracker::default().next(&got, &Rules::NONE) {
        Step::Control(close) => assert_eq!(close.close_code(), Some(code)),
        other => panic!("{other:?}"),
    }
}

/// Reads FIN and nothing before it.
async fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}

/// Ends a connection by RST.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

fn end(outcome: &Outcome) -> (Initiator, Cause, Option<u16>) {
    (outcome.initiator, outcome.cause, outcome.code)
}

/// Sends whole frames to the client until nothing moves any more. How many bytes were taken.
async fn fill(kit: &Kit) -> usize {
    let bytes = frame(&vec![7; 60_000]);
    let (mut still, mut sent) = (0, 0);
    while still < 10 {
        let next = &bytes[sent % bytes.len()..];
        match kit.backend.try_write(next) {
            Ok(count) => {
                still = 0;
                sent += count;
            }
            Err(_) => still += 1,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sent
}
