use std::collections::{BTreeMap, BTreeSet};

use tokio::time::advance;

use super::{encode::MAX_BACKENDS, routes::LINGER, routes::MAX_RULES, routes::MAX_SETS, *};

fn rule(object: &str, rule: &str) -> ir::RouteId {
    ir::RouteId {
        object: ir::ObjectId {
            namespace: "shop".into(),
            name: object.into(),
            kind: ir::RouteKind::WebSocketRoute,
        },
        rule: rule.into(),
    }
}

/// Samples by series, as text.
fn samples(metrics: &Metrics) -> BTreeMap<String, String> {
    let text = metrics.encode();
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let before = samples.insert(series.to_owned(), value.to_owned());
        assert_eq!(before, None, "{series} twice");
    }
    samples
}

#[track_caller]
fn assert_sample(metrics: &Metrics, series: &str, value: &str) {
    let samples = samples(metrics);
    assert_eq!(
        samples.get(series).map(String::as_str),
        Some(value),
        "{series} in {samples:#?}"
    );
}

fn about(metrics: &Metrics, word: &str) -> Vec<String> {
    let samples = samples(metrics).into_keys();
    samples.filter(|series| series.contains(word)).collect()
}

/// Something in every family.
fn busy() -> Arc<Metrics> {
    let metrics = Metrics::new();
    let route = metrics.route(&rule("chat", "socket"));
    route.handshake(true, "");
    route.handshake(false, "origin_not_allowed");
    drop(route.open());
    route.moved(Direction::ClientToBackend, 5, [1, 0, 0, 0, 0]);
    route.ping(PingTarget::Client, Duration::from_millis(2));
    drop(route.stalled());
    route.close("client_closed", Some(1000), Duration::from_secs(5));
    route.http(200, Duration::from_millis(3));
    metrics.unrouted().http(404, Duration::from_millis(1));
    metrics.accept_error("127.0.0.1:80".parse().expect("an address"));
    metrics.connection_refused();
    metrics.connection_panic();
    metrics.backend_connect(Duration::from_millis(1), true);
    metrics.table(3, Duration::from_millis(1), &[("Ingress", 2)]);
    metrics.table_hash(7);
    metrics.propagation(Duration::from_millis(20));
    metrics.source_event();
    metrics.source_errors(1);
    metrics.peers().request("ok");
    metrics.source().connected("Ingress", true);
    metrics.source().refused("Ingress", 1);
    metrics.source().restart("Ingress", "ended");
    metrics.source().guard_hold("Ingress");
    metrics.source().heard(0);
    metrics.set_backends(Box::new(|| vec![backend(1)]));
    metrics.status().write("Ingress", "hawser", "ok");
    metrics.status().queue("hawser", 1);
    metrics
}

fn backend(number: u16) -> BackendState {
    let endpoint = |ready, terminating| ir::Endpoint {
        address: "10.0.0.1:80".parse().expect("an address"),
        ready,
        serving: true,
        terminating,
    };
    BackendState {
        id: ir::BackendId {
            namespace: "shop".into(),
            service: format!("chat-{number}").into(),
            port: 80,
        },
        endpoints: vec![
            endpoint(true, false),
            endpoint(true, false),
            endpoint(false, true),
        ],
    }
}

#[test]
fn the_text_is_open_metrics() {
    let text = busy().encode();
    assert!(text.ends_with("# EOF\n"));
    let mut family = String::new();
    let mut families = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().expect("a name").to_owned();
            assert!(rest.ends_with('.') && !rest.ends_with(".."), "{line}");
            assert!(families.insert(family.clone()), "{family} twice");
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect("a unit");
            assert!(name.ends_with(&format!("_{unit}")), "{line}");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&family), "{line} below {family}");
            assert!(line.starts_with("hawser_"), "{line}");
        }
    }
}

#[test]
fn names_and_labels_are_those_of_the_contract() {
    let metrics = busy();
    let chat = r#"kind="WebSocketRoute",namespace="shop",route="chat",rule="socket""#;
    for (series, value) in [
        (format!("hawser_websocket_connections{{{chat}}}"), "0"),
        (
            format!(
                r#"hawser_websocket_handshakes_total{{{chat},result="accepted",reason=""}}"#
            ),
            "1",
        ),
        (
            format!(
                r#"hawser_websocket_handshakes_total{{{chat},result="refused",reason="origin_not_allowed"}}"#
            ),
            "1",
        ),
        (
            format!(
                r#"hawser_websocket_closes_total{{{chat},cause="client_closed",code="1000"}}"#
            ),
            "1",
        ),
        (
            format!(r#"hawser_websocket_bytes_total{{{chat},direction="client_to_backend"}}"#),
            "5",
        ),
        (
            format!(r#"hawser_websocket_bytes_total{{{chat},direction="backend_to_client"}}"#),
            "0",
        ),
        (
            format!("hawser_websocket_duration_seconds_count{{{chat}}}"),
            "1",
        ),
        (
            format!(r#"hawser_websocket_duration_seconds_bucket{{le="10.0",{chat}}}"#),
            "1",
        ),
        (format!(r#"hawser_http_requests_total{{{chat},code="200"}}"#), "1"),
        (
            format!("hawser_http_request_duration_seconds_count{{{chat}}}"),
            "1",
        ),
        (
            r#"hawser_http_requests_total{kind="",namespace="",route="",rule="",code="404"}"#
                .to_owned(),
            "1",
        ),
        (
            r#"hawser_backend_connect_seconds_count{result="ok"}"#.to_owned(),
            "1",
        ),
        (
            r#"hawser_backend_endpoints{namespace="shop",service="chat-1",port="80",state="ready"}"#
                .to_owned(),
            "2",
        ),
        (
            r#"hawser_backend_endpoints{namespace="shop",service="chat-1",port="80",state="terminating"}"#
                .to_owned(),
            "1",
        ),
        ("hawser_table_generation".to_owned(), "3"),
        ("hawser_table_hash".to_owned(), "7"),
        ("hawser_table_build_seconds_count".to_owned(), "1"),
        (r#"hawser_table_objects{kind="Ingress"}"#.to_owned(), "2"),
        ("hawser_propagation_seconds_count".to_owned(), "1"),
        (
            r#"hawser_accept_errors_total{listener="127.0.0.1:80"}"#.to_owned(),
            "1",
        ),
        (
            concat!(
                r#"hawser_build_info{version=""#,
                env!("CARGO_PKG_VERSION"),
                r#""}"#
            )
            .to_owned(),
            "1",
        ),
        ("hawser_connections".to_owned(), "0"),
        ("hawser_connections_refused_total".to_owned(), "1"),
        ("hawser_connection_panics_total".to_owned(), "1"),
        ("hawser_source_errors".to_owned(), "1"),
    ] {
        assert_sample(&metrics, &series, value);
    }
    assert_eq!(
        about(&metrics, "source_last_event_timestamp_seconds").len(),
        1
    );
}

#[test]
fn an_event_that_never_was_has_no_time() {
    assert!(about(&Metrics::new(), "last_event").is_empty());
}

#[test]
fn labels_are_escaped() {
    let metrics = Metrics::new();
    let id = rule("chat", "a\"b\\c\nd");
    metrics.route(&id).http(200, Duration::ZERO);
    let text = metrics.encode();
    assert!(text.contains(r#"rule="a\"b\\c\nd",code="200""#), "{text}");
}

#[test]
fn a_connection_is_open_until_its_guard_goes() {
    let metrics = Metrics::new();
    let guards = [metrics.connection(), metrics.connection()];
    assert_sample(&metrics, "hawser_connections", "2");
    drop(guards);
    assert_sample(&metrics, "hawser_connections", "0");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_open_tunnels_moves() {
    let metrics = Metrics::new();
    let route = metrics.route(&rule("chat", "socket"));
    let labels = r#"{kind="WebSocketRoute",namespace="shop",route="chat",rule="socket"}"#;
    let time = format!("hawser_websocket_connection_seconds_total{labels}");
    let open = format!("hawser_websocket_connections{labels}");

    let (first, second) = (route.open(), route.open());
    assert_sample(&metrics, &open, "2");
    advance(Duration::from_secs(10)).await;
    assert_sample(&metrics, &time, "20.0");
    drop(first);
    advance(Duration::from_secs(5)).await;
    assert_sample(&metrics, &time, "25.0");
    drop(second);
    advance(Duration::from_secs(5)).await;
    assert_sample(&metrics, &time, "25.0");
    assert_sample(&metrics, &open, "0");
}

#[tokio::test(start_paused = true)]
async fn series_of_a_removed_rule_go_after_its_last_tunnel() {
    let metrics = Metrics::new();
    let (gone, stays) = (rule("chat", "gone"), rule("chat", "stays"));
    metrics.route(&stays).handshake(true, "");
    let tunnel = {
        let route = metrics.route(&gone);
        route.handshake(true, "");
        route.open()
    };
    metrics.set_rules(&mut [&stays].into_iter());
    advance(LINGER * 2).await;
    assert!(!about(&metrics, "gone").is_empty(), "a tunnel is open");
    drop(tunnel);
    advance(LINGER / 2).await;
    assert!(
        !about(&metrics, "gone").is_empty(),
        "its last tunnel was just now"
    );
    advance(LINGER / 2).await;
    assert!(about(&metrics, "gone").is_empty());
    assert!(!about(&metrics, "stays").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_comes_back_goes_on() {
    let metrics = Metrics::new();
    let id = rule("chat", "socket");
    metrics.route(&id).http(200, Duration::ZERO);
    metrics.set_rules(&mut std::iter::empty());
    advance(LINGER / 2).await;
    metrics.set_rules(&mut [&id].into_iter());
    advance(LINGER * 2).await;
    metrics.route(&id).http(200, Duration::ZERO);
    let series = r#"hawser_http_requests_total{kind="WebSocketRoute",namespace="shop",route="chat",rule="socket",code="200"}"#;
    assert_sample(&metrics, series, "2");
}

#[test]
fn above_the_limit_the_rule_is_dropped_and_nothing_is_lost() {
    let metrics = Metrics::new();
    let rules: Vec<_> = (0..=MAX_RULES)
        .map(|number| rule("chat", &number.to_string()))
        .collect();
    let [first, second, ..] = rules.as_slice() else {
        panic!("too few rules");
    };
    let held = metrics.route(first);
    held.http(200, Duration::ZERO);
    metrics.route(second).http(200, Duration::ZERO);
    metrics.set_rules(&mut rules.iter());

    let series = r#"hawser_http_requests_total{kind="WebSocketRoute",namespace="shop",route="chat",code="200"}"#;
    assert_sample(&metrics, series, "2");
    held.http(200, Duration::ZERO);
    metrics.route(first).http(200, Duration::ZERO);
    assert_sample(&metrics, series, "4");
    drop(held);
    metrics.set_rules(&mut rules.iter());
    assert_sample(&metrics, series, "4");
    assert!(about(&metrics, "rule=").is_empty());

    // The label comes back well below the limit only.
    metrics.set_rules(&mut rules.iter().take(MAX_RULES));
    metrics.route(first).http(200, Duration::ZERO);
    assert_sample(&metrics, series, "5");
    metrics.set_rules(&mut rules.iter().take(MAX_RULES / 2));
    metrics.route(first).http(200, Duration::ZERO);
    let detailed = r#"hawser_http_requests_total{kind="WebSocketRoute",namespace="shop",route="chat",rule="0",code="200"}"#;
    assert_sample(&metrics, detailed, "1");
}

#[test]
fn the_number_of_sets_has_a_hard_limit() {
    let metrics = Metrics::new();
    for number in 0..MAX_SETS + 3 {
        let id = rule(&number.to_string(), "socket");
        metrics.route(&id).http(200, Duration::ZERO);
    }
    let series =
        r#"hawser_http_requests_total{kind="other",namespace="",route="",rule="",code="200"}"#;
    assert_sample(&metrics, series, "3");
}

#[test]
fn too_many_backends_are_counted_by_namespace() {
    let metrics = Metrics::new();
    metrics.set_backends(Box::new(|| {
        let numbers = 0..=u16::try_from(MAX_BACKENDS).expect("fits");
        numbers.map(backend).collect()
    }));
    let series = r#"hawser_backend_endpoints{namespace="shop",state="ready"}"#;
    assert_sample(&metrics, series, &((MAX_BACKENDS + 1) * 2).to_string());
    assert!(about(&metrics, "service=").is_empty());
}

/// The table in `docs/metrics.md`, made from the metrics themselves.
#[test]
fn the_page_lists_every_metric() {
    let text = busy().encode();
    let mut kinds = BTreeMap::new();
    let mut helps = BTreeMap::new();
    let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help");
            helps.insert(name, help);
            family = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            kinds.insert(name, kind);
        } else if let Some((_, rest)) = line.split_once('{') {
            let names = rest.split(',').filter_map(|pair| pair.split_once('='));
            let known = labels.entry(family).or_default();
            for (name, _) in names {
                if name != "le" && !known.contains(&name) {
                    known.push(name);
                }
            }
        }
    }
    let mut table = String::from("| Name | Type | Labels | What it says |\n|---|---|---|---|\n");
    for (name, help) in &helps {
        let kind = kinds.get(name).expect("a type");
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels = labels.get(name).cloned().unwrap_or_default();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let row = format!("| `{name}{suffix}` | {kind} | {labels} | {help} |\n");
        table.push_str(&row);
    }
    let page = include_str!("../../../docs/metrics.md");
    assert!(
        page.contains(&table),
        "docs/metrics.md must contain this table:\n{table}"
    );
}
