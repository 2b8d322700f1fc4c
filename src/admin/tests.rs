mod orders;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{ir, telemetry::RequestId, ws::frame::Extensions};

/// An admin server of a process without routes.
struct Server {
    address: SocketAddr,
    state: State,
    draining: Arc<AtomicBool>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn server(surface: Surface) -> Server {
    server_with(surface, |_| {}).await
}

async fn server_with(surface: Surface, change: impl FnOnce(&mut State)) -> Server {
    let draining = Arc::new(AtomicBool::new(false));
    let mut state = State {
        live: Arc::default(),
        backends: Arc::default(),
        tunnels: Arc::default(),
        metrics: telemetry::metrics::Metrics::new(),
        verdicts: Arc::new(|| json!([{"object": "chat"}])),
        peers: None,
        draining: {
            let draining = Arc::clone(&draining);
            Arc::new(move || draining.load(Ordering::Relaxed))
        },
        orders: None,
    };
    change(&mut state);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, surface, state.clone(), stop.clone()));
    Server {
        address,
        state,
        draining,
        stop,
        task,
    }
}

/// Head and body of an answer.
struct Answer {
    head: String,
    body: String,
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Server {
    /// Sends the request as it is (HTTP/1.0, so that no body is chunked) and reads to the end.
    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("an answer");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        Answer {
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        self.send(&request).await
    }
}

fn publish(state: &State, config: &ir::Config) {
    state.backends.apply(&config.backends, |_| true);
    let resolve = |id: &ir::BackendId| state.backends.backend(id);
    let table = state.live.load().next(config, resolve);
    assert!(state.live.publish(table));
}

fn chat() -> ir::Config {
    let id = ir::BackendId {
        namespace: "shop".into(),
        service: "chat".into(),
        port: 80,
    };
    let backend = ir::Backend {
        endpoints: vec![ir::Endpoint {
            address: "10.0.0.1:8080".parse().expect("an address"),
            ready: true,
            serving: true,
            terminating: false,
        }],
    };
    ir::Config {
        hosts: BTreeMap::from([
            host("chat.example.com", "chat", &id),
            host("news.example.com", "news", &id),
        ]),
        fallback: None,
        backends: BTreeMap::from([(id, backend)]),
    }
}

fn host(host: &str, object: &str, backend: &ir::BackendId) -> (ir::HostPattern, ir::HostRoutes) {
    let object = ir::ObjectId {
        namespace: "shop".into(),
        name: object.into(),
        kind: ir::RouteKind::WebSocketRoute,
    };
    let rule = ir::Route {
        id: ir::RouteId {
            object: object.clone(),
            rule: "socket".into(),
        },
        backends: vec![
            ir::BackendRef {
                target: ir::Target::Backend(backend.clone()),
                weight: 3,
            },
            ir::BackendRef {
                target: ir::Target::Missing("Service shop/old does not exist".into()),
                weight: 1,
            },
        ],
        policy: Arc::new(policy()),
    };
    let candidate = ir::Candidate {
        path: ir::PathMatch::Prefix("/ws".into()),
        headers: vec![ir::HeaderMatch {
            name: "x-tenant".into(),
            value: "a".into(),
        }],
        query: Vec::new(),
        traffic: ir::Traffic::Any,
        rank: ir::Rank {
            traffic: std::cmp::Reverse(ir::Traffic::Any),
            headers: std::cmp::Reverse(1),
            query: std::cmp::Reverse(0),
            age: ir::Age::Unknown,
            object,
            rule: 0,
            item: 0,
        },
        route: Arc::new(rule),
    };
    let routes = ir::HostRoutes {
        candidates: vec![candidate],
        default: None,
    };
    (ir::HostPattern::Exact(host.into()), routes)
}

fn policy() -> ir::Policy {
    let mut policy = ir::Policy::default();
    policy.upgrade.mode = ir::Setting::field(ir::UpgradeMode::Require);
    policy.timeouts.handshake = ir::Setting::field(Some(Duration::from_millis(1500)));
    policy.timeouts.response = ir::Setting::annotation(Some(Duration::from_mins(5)));
    policy.timeouts.idle = ir::Setting::field(None);
    policy.limits.connections_per_client = ir::Setting::field(Some(25));
    policy.limits.connections_status = ir::Setting::field(ir::ConnectionsStatus::TooManyRequests);
    policy.drain.window = ir::Setting::field(Duration::ZERO);
    policy
}

#[tokio::test]
async fn ready_means_a_table_and_not_draining() {
    for surface in [Surface::Admin, Surface::Status] {
        let server = server(surface).await;
        assert_eq!(server.get("/livez").await.status(), "200");
        let answer = server.get("/readyz").await;
        assert_eq!(answer.status(), "503");
        assert!(answer.body.starts_with("starting"), "{}", answer.body);

        publish(&server.state, &ir::Config::default());
        let answer = server.get("/readyz").await;
        assert_eq!((answer.status(), answer.body.as_str()), ("200", "ok\n"));

        server.draining.store(true, Ordering::Relaxed);
        let answer = server.get("/readyz").await;
        assert_eq!(answer.status(), "503");
        assert!(answer.body.starts_with("draining"), "{}", answer.body);
        assert_eq!(server.get("/livez").await.status(), "200");
    }
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let server = server(Surface::Status).await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status(), "200");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(answer.head.contains(kind), "{}", answer.head);
    assert!(answer.body.contains("hawser_build_info"));
    assert!(answer.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn routes_show_policy_and_origins() {
    let server = server(Surface::Admin).await;
    publish(&server.state, &chat());
    let view = server.get("/api/v1/routes").await.json();
    assert_eq!(view["generation"], 1);
    assert_eq!(view["verdicts"], json!([{"object": "chat"}]));
    assert_eq!(view["routes"].as_array().map(Vec::len), Some(2));
    let mut route = view["routes"][0].clone();
    let policy = route["policy"].take();
    assert_eq!(
        route,
        json!({
            "host": "chat.example.com",
            "path": {"type": "Prefix", "value": "/ws"},
            "headers": [{"name": "x-tenant", "value": "a"}],
            "traffic": "Any",
            "object": {"kind": "WebSocketRoute", "namespace": "shop", "name": "chat"},
            "rule": "socket",
            "backends": [
                {"namespace": "shop", "service": "chat", "port": 80, "weight": 3},
                {"missing": "Service shop/old does not exist", "weight": 1},
            ],
            "policy": null,
        })
    );
    assert_eq!(
        policy["timeouts"],
        json!({
            "connect": {"value": "5s", "origin": "Default"},
            "handshake": {"value": "1s500ms", "origin": "Field"},
            "response": {"value": "5m", "origin": "Annotation"},
            "idle": {"value": "0s", "origin": "Field"},
            "maxLifetime": {"value": "0s", "origin": "Default"},
        })
    );
    assert_eq!(
        policy["keepalive"],
        json!({
            "interval": {"value": "0s", "origin": "Default"},
            "timeout": {"value": "20s", "origin": "Default"},
            "target": {"value": "Both", "origin": "Default"},
        })
    );
    assert_eq!(
        policy["limits"],
        json!({
            "connections": {"value": 0, "origin": "Default"},
            "connectionsPerClient": {"value": 25, "origin": "Field"},
            "connectionsStatus": {"value": 429, "origin": "Field"},
            "messagesPerSecond": {"value": 0, "origin": "Default"},
            "bytesPerSecond": {"value": 0, "origin": "Default"},
            "writeStall": {"value": "1m", "origin": "Default"},
        })
    );
    assert_eq!(
        policy["drain"],
        json!({
            "window": {"value": "0s", "origin": "Field"},
            "backendGrace": {"value": "20s", "origin": "Default"},
            "code": {"value": 1012, "origin": "Default"},
            "onBackendTerminating": {"value": "Drain", "origin": "Default"},
            "onBackendRemoved": {"value": "Close", "origin": "Default"},
            "onRouteRemoved": {"value": "Drain", "origin": "Default"},
        })
    );
    let unlimited = json!({"value": 0, "origin": "Default"});
    assert_eq!(policy["upgrade"]["maxMessageBytes"], unlimited);
    assert_eq!(policy["upgrade"]["subprotocols"]["value"], json!(null));
    let mode = json!({"value": "Require", "origin": "Field"});
    assert_eq!(policy["upgrade"]["mode"], mode);
}

#[tokio::test]
async fn routes_can_be_filtered() {
    let server = server(Surface::Admin).await;
    publish(&server.state, &chat());
    for (query, count) in [
        ("host=chat.example.com", 1),
        ("route=shop/news", 1),
        ("route=shop/news&host=chat.example.com", 0),
        ("route=other/news", 0),
    ] {
        let view = server.get(&format!("/api/v1/routes?{query}")).await.json();
        assert_eq!(view["routes"].as_array().map(Vec::len), Some(count));
    }
    let answer = server.get("/api/v1/routes?route=chat").await;
    assert_eq!(answer.status(), "400");
    assert!(answer.body.contains("namespace/name"));
}

#[tokio::test]
async fn backends_show_their_endpoints() {
    let server = server(Surface::Admin).await;
    publish(&server.state, &chat());
    let endpoint = json!({
        "address": "10.0.0.1:8080",
        "ready": true,
        "serving": true,
        "terminating": false,
        "tunnels": 0,
    });
    let expected = json!([
        {"namespace": "shop", "service": "chat", "port": 80, "endpoints": [endpoint]},
    ]);
    assert_eq!(server.get("/api/v1/backends").await.json(), expected);
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connected"), far.expect("accepted").0)
}

#[tokio::test]
async fn connections_show_open_and_ended_tunnels() {
    let server = server(Surface::Admin).await;
    publish(&server.state, &chat());
    let table = Arc::clone(&server.state.live.load());
    let route = &table.routes().next().expect("a route").route;
    let backend = server.state.backends.list().pop().expect("a backend");
    let (mut client, client_side) = pair().await;
    let (backend_side, mut origin) = pair().await;
    let parts = tunnel::Parts {
        client: client_side,
        client_early: Bytes::new(),
        backend: backend_side,
        backend_early: Bytes::new(),
        extensions: Extensions::None,
        splice: true,
        route: Arc::clone(route),
        found: tunnel::Found::default(),
        endpoint: backend.pick(&[]).expect("an endpoint"),
        info: tunnel::Info {
            request_id: RequestId::default(),
            client: "192.0.2.1:5000".parse().expect("an address"),
            host: "chat.example.com".into(),
            path: "/ws".into(),
            subprotocol: Some("chat.v1".into()),
        },
        metrics: server.state.metrics.route(&route.rule.id),
    };
    let registry = Arc::clone(&server.state.tunnels);
    let tunnel = tokio::spawn(tunnel::run(parts, registry));
    // A masked empty text frame.
    let frame = [0x81, 0x80, 0, 0, 0, 0];
    client.write_all(&frame).await.expect("sent");
    origin.read_exact(&mut [0; 6]).await.expect("received");

    let mut expected = json!({
        "id": 1,
        "object": {"kind": "WebSocketRoute", "namespace": "shop", "name": "chat"},
        "rule": "socket",
        "endpoint": "10.0.0.1:8080",
        "request_id": "00000000000000000000000000000000",
        "client": "192.0.2.1:5000",
        "host": "chat.example.com",
        "path": "/ws",
        "subprotocol": "chat.v1",
        "bytes_from_client": 6,
        "bytes_from_backend": 0,
        "messages_from_client": 1,
        "messages_from_backend": 0,
    });
    let mut open = server
        .get("/api/v1/connections?route=shop/chat")
        .await
        .json();
    let age = open[0]
        .as_object_mut()
        .and_then(|fields| fields.remove("age_seconds"));
    assert!(age.is_some_and(|age| age.is_f64()));
    assert_eq!(open, json!([expected]));
    let other = server.get("/api/v1/connections?route=shop/news").await;
    assert_eq!(other.json(), json!([]));

    drop(client);
    drop(origin);
    let outcome = tunnel.await.expect("no panic");
    assert_eq!(server.get("/api/v1/connections").await.json(), json!([]));
    let path = "/api/v1/connections?closed=recent&route=shop/chat";
    let mut closed = server.get(path).await.json();
    let age = closed[0]
        .as_object_mut()
        .and_then(|fields| fields.remove("duration_seconds"));
    assert!(age.is_some_and(|age| age.is_f64()));
    expected["initiator"] = json!(outcome.initiator);
    expected["client_got_close"] = json!(outcome.client_got_close);
    expected["backend_got_close"] = json!(outcome.backend_got_close);
    expected["cause"] = json!(outcome.cause);
    expected["code"] = json!(outcome.code);
    expected["loss"] = json!("fin");
    assert_eq!(closed, json!([expected]));
}

#[tokio::test]
async fn the_index_and_a_miss_list_what_there_is() {
    let server = server(Surface::Admin).await;
    for (path, status) in [("/", "200"), ("/api/v1/nothing", "404"), ("/livez/", "404")] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        for known in ["/livez", "/readyz", "/metrics", "/api/v1/connections"] {
            assert!(answer.body.contains(known), "{path}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn the_status_address_has_no_views() {
    let server = server(Surface::Status).await;
    for path in ["/api/v1/routes", "/api/v1/backends", "/api/v1/connections"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), "404", "{path}");
        assert!(!answer.body.contains("/api/"), "{}", answer.body);
    }
    assert!(!server.get("/").await.body.contains("/api/"));
}

#[tokio::test]
async fn only_get_and_head() {
    let server = server(Surface::Admin).await;
    for method in ["POST", "DELETE", "OPTIONS", "BREW"] {
        let request = format!("{method} /livez HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        let answer = server.send(&request).await;
        assert_eq!(answer.status(), "405", "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    for path in ["/livez", "/metrics", "/api/v1/routes"] {
        let answer = server.send(&format!("HEAD {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(answer.status(), "200", "{path}");
        assert_eq!(answer.body, "", "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_local_is_refused() {
    let request = "GET /api/v1/routes HTTP/1.0\r\nHost: evil.example:9100\r\n\r\n";
    let admin = server(Surface::Admin).await;
    let answer = admin.send(request).await;
    assert_eq!(answer.status(), "421");
    assert!(answer.body.contains("127.0.0.1"), "{}", answer.body);
    // A scraper may know the status address by any name.
    let request = "GET /metrics HTTP/1.0\r\nHost: hawser.example\r\n\r\n";
    assert_eq!(
        server(Surface::Status).await.send(request).await.status(),
        "200"
    );
}

#[tokio::test]
async fn no_browser_may_keep_or_guess_an_answer() {
    let server = server(Surface::Admin).await;
    let head = server.get("/").await.head;
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(!head.contains("access-control-allow-origin"), "{head}");
}

#[tokio::test]
async fn idle_connections_do_not_keep_a_probe_out() {
    let server = server(Surface::Status).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(server.address).await.expect("connected"));
    }
    assert_eq!(server.get("/livez").await.status(), "200");
    // The oldest went.
    let oldest = idle.first_mut().expect("a connection");
    let read = oldest.read(&mut [0; 16]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let server = server(Surface::Status).await;
    let mut slow = TcpStream::connect(server.address).await.expect("connected");
    slow.write_all(b"GET /livez HT").await.expect("sent");
    let mut answer = Vec::new();
    let start = tokio::time::Instant::now();
    let _ = slow.read_to_end(&mut answer).await;
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn it_ends_when_told() {
    let server = server(Surface::Admin).await;
    let mut idle = TcpStream::connect(server.address).await.expect("connected");
    assert_eq!(server.get("/livez").await.status(), "200");
    server.stop.cancel();
    server.task.await.expect("no panic");
    assert!(matches!(idle.read(&mut [0; 16]).await, Ok(0) | Err(_)));
}
