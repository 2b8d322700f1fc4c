//! What the registry knows, and that it forgets nothing and nobody.

use super::*;

#[tokio::test]
async fn a_live_tunnel_is_listed_with_its_counts() {
    let mut kit = tunnel().await;
    send(&mut kit.client, &masked(b"hello")).await;
    expect(&mut kit.backend, &masked(b"hello")).await;
    send(&mut kit.backend, &frame(b"hi")).await;
    expect(&mut kit.client, &frame(b"hi")).await;
    // The counts follow the bytes by a moment.
    while kit.registry.list()[0].bytes_from_backend == 0 {
        tokio::task::yield_now().await;
    }
    let list = kit.registry.list();
    let snapshot = serde_json::to_value(&list[0]).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(snapshot["id"], 1);
    assert_eq!(snapshot["request_id"], "00000000000000000000000000000000");
    assert_eq!(snapshot["route"]["rule"], "socket");
    assert_eq!(snapshot["endpoint"], "10.0.0.1:80");
    assert_eq!(snapshot["bytes_from_client"], 11);
    assert_eq!(snapshot["bytes_from_backend"], 4);
    assert_eq!(kit.endpoint.tunnels(), 1);
    let text = kit.metrics.encode();
    let line = |name: &str| {
        text.lines()
            .find(|l| l.starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert!(line("hawser_websocket_connections{").ends_with(" 1"));
    assert!(
        text.lines()
            .any(|l| l.contains("client_to_backend") && l.ends_with(" 11")),
        "{text}"
    );

    drop((kit.client, kit.backend));
    let outcome = kit.outcome.await.unwrap();
    assert!(kit.registry.is_empty());
    assert_eq!(kit.endpoint.tunnels(), 0);
    let ended = serde_json::to_value(&kit.registry.recently_closed()[0]).unwrap();
    assert_eq!(ended["cause"], outcome.cause.as_str());
    assert_eq!(ended["host"], "chat.example");
    let text = kit.metrics.encode();
    let closes = text
        .lines()
        .find(|l| l.starts_with("hawser_websocket_closes_total{"));
    assert!(closes.unwrap().contains(outcome.cause.as_str()), "{text}");
}

#[tokio::test]
async fn an_aborted_task_leaves_no_tunnel() {
    let mut kit = tunnel().await;
    send(&mut kit.client, &masked(b"a")).await;
    expect(&mut kit.backend, &masked(b"a")).await;
    kit.outcome.abort();
    assert!(kit.outcome.await.unwrap_err().is_cancelled());
    assert!(kit.registry.is_empty());
    assert_eq!(kit.endpoint.tunnels(), 0);
    let closed = kit.registry.recently_closed();
    assert_eq!(closed.len(), 1, "one outcome, not none");
    let expected = (Initiator::Hawser, Cause::Drain, None);
    assert_eq!(end(&closed[0].outcome), expected);
}

#[tokio::test]
async fn a_task_that_was_never_polled_leaves_no_tunnel() {
    let kit = tunnel().await;
    assert_eq!(kit.registry.len(), 1, "registered at once");
    kit.outcome.abort();
    assert!(kit.outcome.await.unwrap_err().is_cancelled());
    assert!(kit.registry.is_empty());
}

#[tokio::test]
async fn an_idle_tunnel_is_small() {
    let (client, _far_client) = pair().await;
    let (backend, _far_backend) = pair().await;
    let backends = upstream::Registry::default();
    let route = route(&backends, ir::Policy::default());
    let parts = Parts {
        client,
        client_early: Bytes::new(),
        backend,
        backend_early: Bytes::new(),
        extensions: Extensions::None,
        splice: true,
        endpoint: backends.list()[0].pick(&[]).unwrap(),
        info: Info {
            request_id: RequestId::default(),
            client: "127.0.0.1:1".parse().unwrap(),
            host: "".into(),
            path: "".into(),
            subprotocol: None,
        },
        metrics: Metrics::new().route(&route.rule.id),
        route,
        found: Found::default(),
    };
    let future = run(parts, Arc::default());
    let size = size_of_val(&future);
    // The runtime rounds what it makes of it up to 128 bytes, and this leaves it just below such a step.
    assert!(size <= 720, "{size} bytes");
}
