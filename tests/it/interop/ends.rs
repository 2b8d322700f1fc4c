//! What Hawser does to a tunnel by itself, as clients and servers written by others see it: ends, pings, rates.

use futures_util::future::join_all;
use serde_json::Value;

use super::{Server, said, server};
use crate::kit::{eventually, hawser, hawser::Hawser, manifest};

/// The clients that have these scenarios.
const CLIENTS: [&str; 3] = [
    "python/websockets_client.py",
    "python/aiohttp_client.py",
    "node/ws_client.cjs",
];

/// Ends that the policy of a route brings about: the scenario, the route, and what both ends and all records are told.
const ENDS: &[(&str, &str, &str, u16, &str)] = &[
    (
        "quiet",
        "idle",
        "idle_timeout",
        1001,
        "idle_timeout: idle for too long",
    ),
    (
        "busy",
        "lifetime",
        "max_lifetime",
        1012,
        "max_lifetime: open for as long as allowed, please reconnect",
    ),
    (
        "big",
        "limited",
        "message_too_big",
        1009,
        "message_too_big: a message is over the limit",
    ),
    (
        "rude",
        "strict",
        "protocol_error",
        1002,
        "protocol_error: reserved opcode",
    ),
];

/// Routes by name, which is their path, too.
const ROUTES: &[(&str, &str)] = &[
    // Pings of ours are no sign of life of the application.
    (
        "idle",
        "timeouts: {idle: 1s500ms}, keepalive: {interval: 1s}",
    ),
    ("lifetime", "timeouts: {maxLifetime: 2s}"),
    ("limited", "upgrade: {maxMessageBytes: 65536}"),
    ("strict", "upgrade: {strict: true}"),
    ("pinged", "keepalive: {interval: 1s}"),
    ("slow", "limits: {bytesPerSecond: 524288}"),
    ("plain", ""),
];

#[tokio::test]
async fn websockets_sees_why_it_ends() {
    every_end_is_seen_by("python/websockets_server.py").await;
}

#[tokio::test]
async fn aiohttp_sees_why_it_ends() {
    every_end_is_seen_by("python/aiohttp_server.py").await;
}

#[tokio::test]
async fn ws_sees_why_it_ends() {
    every_end_is_seen_by("node/ws_server.cjs").await;
}

/// All clients at a time, all with permessage-deflate.
async fn every_end_is_seen_by(script: &str) {
    let mut server = server(script).await;
    let hawser = in_front_of(&server).await;
    join_all(CLIENTS.iter().map(|client| policies(client, &hawser))).await;
    for (_, route, cause, code, reason) in ENDS {
        told_everywhere(&hawser, route, cause, *code).await;
        let line = format!("closed {code} {reason}");
        eventually(&format!("{script} says {line}"), async || {
            (server.said(&line) == CLIENTS.len()).then_some(())
        })
        .await;
    }
    for target in ["client", "backend"] {
        let pongs = hawser
            .sum(
                "hawser_websocket_ping_rtt_seconds_count",
                &["pinged", target],
            )
            .await;
        assert!(pongs >= 2.0 * CLIENTS.len() as f64, "{target}: {pongs}");
    }

    hawser_ends(&server, hawser).await;
    backend_is_lost(&mut server).await;
}

/// The ends of a route's policy, and what it does besides.
async fn policies(client: &str, hawser: &Hawser) {
    let mut scenarios = Vec::new();
    let mut wanted = Vec::new();
    for (scenario, route, _, code, reason) in ENDS {
        let scenario = format!("{scenario}@/{route}");
        wanted.push(format!("ended {code} {reason}"));
        wanted.push(format!("ok {scenario}"));
        scenarios.push(scenario);
    }
    for scenario in ["pinged@/pinged", "slow@/slow"] {
        wanted.push(format!("ok {scenario}"));
        scenarios.push(scenario.to_owned());
    }
    let scenarios: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    assert_eq!(
        said(client, hawser.http, &scenarios).await,
        wanted,
        "{client}"
    );
}

/// Access line, admin view and metric agree about the ends on a route, one for each client.
async fn told_everywhere(hawser: &Hawser, route: &str, cause: &str, code: u16) {
    let is_it = |cause_field: Option<&str>, code_field: Option<u64>| {
        cause_field == Some(cause) && code_field == Some(code.into())
    };
    eventually(&format!("{cause} {code} is logged"), async || {
        let lines = hawser.log().into_iter().filter(|line| {
            hawser::field(line, "route") == Some(route)
                && is_it(hawser::field(line, "cause"), line["code"].as_u64())
        });
        (lines.count() == CLIENTS.len()).then_some(())
    })
    .await;
    let view = hawser
        .view(&format!(
            "/api/v1/connections?closed=recent&route=default/{route}"
        ))
        .await;
    let ended = view.as_array().expect("a list");
    let good = ended.iter().filter(|entry| {
        is_it(entry["cause"].as_str(), entry["code"].as_u64())
            && entry["client_got_close"] == Value::Bool(true)
            && entry["backend_got_close"] == Value::Bool(true)
    });
    assert_eq!(good.count(), CLIENTS.len(), "{view:#}");
    let code = code.to_string();
    let counted = hawser
        .sum("hawser_websocket_closes_total", &[route, cause, &code])
        .await;
    assert_eq!(counted as usize, CLIENTS.len(), "{route}");
}

/// SIGTERM while messages are under way.
async fn hawser_ends(server: &Server, mut hawser: Hawser) {
    let http = hawser.http;
    let clients = join_all(
        CLIENTS
            .iter()
            .map(|client| said(client, http, &["busy@/plain"])),
    );
    let end = async {
        talking(&hawser).await;
        hawser.signal("TERM");
        assert!(hawser.ended().await.success());
    };
    let (said, ()) = tokio::join!(clients, end);
    let reason = "drain: the proxy is restarting, please reconnect";
    for lines in said {
        assert_eq!(
            lines,
            [format!("ended 1012 {reason}"), "ok busy@/plain".to_owned()]
        );
    }
    let line = format!("closed 1012 {reason}");
    eventually("the server was told, too", async || {
        (server.said(&line) == CLIENTS.len()).then_some(())
    })
    .await;
    let is_it = |line: &&Value| {
        hawser::field(line, "cause") == Some("drain") && line["code"].as_u64() == Some(1012)
    };
    assert_eq!(hawser.log().iter().filter(is_it).count(), CLIENTS.len());
}

/// The server is killed while messages are under way.
async fn backend_is_lost(server: &mut Server) {
    let hawser = in_front_of(server).await;
    let clients = join_all(
        CLIENTS
            .iter()
            .map(|client| said(client, hawser.http, &["busy@/plain"])),
    );
    let end = async {
        talking(&hawser).await;
        server.child.kill().await.expect("killed");
    };
    let (said, ()) = tokio::join!(clients, end);
    for lines in said {
        assert_eq!(
            lines,
            [
                "ended 1014 backend_lost: the backend is gone",
                "ok busy@/plain"
            ]
        );
    }
    let lost = hawser
        .sum(
            "hawser_websocket_closes_total",
            &["plain", "backend_lost", "1014"],
        )
        .await;
    assert_eq!(lost as usize, CLIENTS.len());
}

/// Waits until every client has exchanged some messages on the route `plain`.
async fn talking(hawser: &Hawser) {
    eventually("every client talks", async || {
        let view = hawser.view("/api/v1/connections?route=default/plain").await;
        let open = view.as_array()?.clone();
        let talks = |entry: &Value| entry["messages_from_backend"].as_u64() > Some(20);
        (open.len() == CLIENTS.len() && open.iter().all(talks)).then_some(())
    })
    .await;
}

/// A Hawser with all routes to the server.
async fn in_front_of(server: &Server) -> Hawser {
    let address = ([127, 0, 0, 1], server.port).into();
    let mut yaml = manifest::service("other", &[address]);
    for (name, policy) in ROUTES {
        let rewrite = "rewrite: {prefix: /ws}";
        let more = if policy.is_empty() {
            rewrite.to_owned()
        } else {
            format!("{rewrite}, {policy}")
        };
        yaml += &manifest::route(name, "localhost", &format!("/{name}"), "other", &more);
    }
    hawser::with(&yaml).await
}
