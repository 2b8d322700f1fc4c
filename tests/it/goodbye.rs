//! Who is told to end when a route or an endpoint goes: through the files of a directory, with real sockets.

mod limits;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::select_all};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, hawser, hawser::Hawser, manifest, origin, within};

/// So many share a window of 60 s: the first of them ends within about a second.
const SOCKETS: usize = 60;

/// What was missing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than patience and all that comes to it, on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// A Close: who closed, with which code, and since when it was known.
#[derive(Debug)]
struct Close {
    code: u16,
    reason: String,
    at: Instant,
}

async fn open(hawser: &Hawser, host: &str, count: usize) -> Vec<client::Socket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = client::ws(hawser.http, host, "/ws").await;
        sockets.push(socket.expect("the handshake succeeds"));
    }
    sockets
}

/// Waits for the Close of one.
async fn closed(socket: &mut client::Socket) -> Close {
    let message = socket.next().await.expect("a message").expect("no error");
    let Message::Close(Some(frame)) = message else {
        panic!("expected a Close, got {message:?}");
    };
    Close {
        code: frame.code.into(),
        reason: frame.reason.to_string(),
        at: Instant::now(),
    }
}

/// Waits for the first Close of all of them.
async fn first(sockets: &mut [client::Socket]) -> Close {
    let all = sockets.iter_mut().map(|socket| Box::pin(closed(socket)));
    let first = tokio::time::timeout(DEADLINE, select_all(all)).await;
    first.expect("one of them is closed in time").0
}

/// How many tunnels of an object are open.
async fn count(hawser: &Hawser, object: &str) -> usize {
    let path = format!("/api/v1/connections?route=default/{object}");
    let view = hawser.view(&path).await;
    view.as_array().map_or(0, Vec::len)
}

/// Causes of the tunnels of an object that have ended.
async fn causes(hawser: &Hawser, object: &str) -> Vec<String> {
    let path = format!("/api/v1/connections?route=default/{object}&closed=recent");
    let view = hawser.view(&path).await;
    let all = view.as_array().into_iter().flatten();
    all.filter_map(|it| it["cause"].as_str().map(str::to_owned))
        .collect()
}

/// Waits until an object has a cause.
async fn has_ended(hawser: &Hawser, object: &str, cause: &str) {
    within(DEADLINE, "the outcome is told", async || {
        let causes = causes(hawser, object).await;
        causes.contains(&cause.to_owned()).then_some(())
    })
    .await;
}

/// Waits until the live table has these routes, by object.
async fn serves(hawser: &Hawser, objects: &[&str]) {
    within(DEADLINE, "the routes are live", async || {
        let view = hawser.view("/api/v1/routes").await;
        let routes = view["routes"].as_array()?;
        let mut names: Vec<_> = routes.iter().filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        (names == objects).then_some(())
    })
    .await;
}

fn name(route: &Value) -> Option<&str> {
    route["object"]["name"].as_str()
}

#[tokio::test]
async fn a_route_that_is_gone_and_one_that_only_moved() {
    let echo = origin::echo().await;
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: edge}\nspec: {controller: hawser.dev/ingress-controller}\n---\n";
    let of_class = |name: &str| {
        let host = format!("{name}.test");
        let route = manifest::route(name, &host, "/ws", "echo", "");
        route.replace("spec:\n", "spec:\n  ingressClassName: edge\n")
    };
    let hawser = hawser::with(&manifest::service("echo", &[echo.addr])).await;
    hawser.write("class.yaml", class);
    for name in ["gone", "moved", "renamed"] {
        hawser.write(&format!("{name}.yaml"), &of_class(name));
    }
    serves(&hawser, &["gone", "moved", "renamed"]).await;
    let mut gone = open(&hawser, "gone.test", SOCKETS).await;
    let moved = open(&hawser, "moved.test", SOCKETS).await;
    let renamed = open(&hawser, "renamed.test", SOCKETS).await;

    // All are deleted at first.
    let start = Instant::now();
    for name in ["gone", "moved", "renamed"] {
        hawser.delete(&format!("{name}.yaml"));
    }
    serves(&hawser, &[]).await;
    hawser.write("moved.yaml", &of_class("moved"));
    let other = of_class("renamed").replace("{name: renamed}", "{name: another}");
    hawser.write("another.yaml", &other);
    serves(&hawser, &["another", "moved"]).await;
    let close = first(&mut gone).await;
    assert_eq!(
        (close.code, &*close.reason),
        (1012, "route_removed: the route was removed")
    );
    let after = close.at - start;
    assert!(after >= PATIENCE, "{after:?}");
    has_ended(&hawser, "gone", "route_removed").await;
    assert!(
        count(&hawser, "gone").await > SOCKETS / 2,
        "spread over a minute"
    );
    // They were missing at the same time and are not told to end.
    assert_eq!(count(&hawser, "moved").await, moved.len());
    assert_eq!(count(&hawser, "renamed").await, renamed.len());

    // A class that is deleted is a removal, too.
    let start = Instant::now();
    hawser.delete("class.yaml");
    let mut moved = moved;
    let after = first(&mut moved).await.at - start;
    assert!(after >= PATIENCE, "{after:?}");
    has_ended(&hawser, "moved", "route_removed").await;
}

#[tokio::test]
async fn a_revocation_does_not_wait() {
    let echo = origin::echo().await;
    let route = |name: &str, extra: &str| {
        manifest::route(name, &format!("{name}.test"), "/ws", "echo", extra)
    };
    let hawser = hawser::with(&manifest::service("echo", &[echo.addr])).await;
    for name in ["denied", "given"] {
        hawser.write(&format!("{name}.yaml"), &route(name, ""));
    }
    serves(&hawser, &["denied", "given"]).await;
    let mut denied = open(&hawser, "denied.test", SOCKETS).await;
    let mut given = open(&hawser, "given.test", SOCKETS).await;

    let start = Instant::now();
    hawser.write("denied.yaml", &route("denied", "upgrade: {mode: Deny}"));
    let close = first(&mut denied).await;
    assert_eq!(
        (close.code, &*close.reason),
        (1012, "route_removed: the route was removed")
    );
    let after = close.at - start;
    assert!(after < PATIENCE, "{after:?}");
    has_ended(&hawser, "denied", "route_removed").await;

    let start = Instant::now();
    let other = route("given", "").replace("spec:\n", "spec:\n  ingressClassName: other\n");
    hawser.write("given.yaml", &other);
    let after = first(&mut given).await.at - start;
    assert!(after < PATIENCE, "{after:?}");
    has_ended(&hawser, "given", "route_removed").await;
}

/// The Service `echo` with these slices: name, address, and further fields of the endpoint.
fn slices(slices: &[(&str, SocketAddr, &str)]) -> String {
    let mut text = manifest::service("echo", &[]);
    for (name, address, extra) in slices {
        text += &format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: echo}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints: [{{addresses: [\"{}\"]{extra}}}]\n---\n",
            address.port(),
            address.ip(),
        );
    }
    text
}

/// Waits until so many endpoints are known, and so many of them terminating.
async fn endpoints(hawser: &Hawser, ready: f64, terminating: f64) {
    within(DEADLINE, "the endpoints are live", async || {
        let series = |state| {
            format!("hawser_backend_endpoints{{namespace=\"default\",service=\"echo\",port=\"80\",state=\"{state}\"}}")
        };
        let now = [
            hawser.metric(&series("ready")).await.unwrap_or_default(),
            hawser.metric(&series("terminating")).await.unwrap_or_default(),
        ];
        // Small whole numbers, which are exact.
        let is = |now: f64, wanted: f64| (now - wanted).abs() < 0.5;
        (is(now[0], ready) && is(now[1], terminating)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_deleted_while_its_route_stays() {
    let echo = origin::echo().await;
    let route = manifest::route("chat", "chat.test", "/ws", "echo", "drain: {window: 1s}");
    let hawser = hawser::with(&route).await;
    hawser.write("slices.yaml", &slices(&[("a", echo.addr, "")]));
    endpoints(&hawser, 1.0, 0.0).await;
    let mut sockets = open(&hawser, "chat.test", SOCKETS).await;
    let start = Instant::now();
    hawser.delete("slices.yaml");
    let close = first(&mut sockets).await;
    let reason = "backend_removed: the server was removed, please reconnect";
    assert_eq!((close.code, &*close.reason), (1012, reason));
    assert!(close.at - start >= PATIENCE, "{:?}", close.at - start);
}

#[tokio::test]
async fn an_endpoint_that_ends_and_one_that_only_moved() {
    let (ends, moves) = (origin::echo().await, origin::echo().await);
    let hawser = hawser::with(&manifest::route("chat", "chat.test", "/ws", "echo", "")).await;
    let write = |text: &[(&str, SocketAddr, &str)]| hawser.write("slices.yaml", &slices(text));
    write(&[("a", ends.addr, ""), ("b", moves.addr, "")]);
    endpoints(&hawser, 2.0, 0.0).await;
    let mut sockets = open(&hawser, "chat.test", SOCKETS).await;

    // One is terminating: its half of the sockets ends over 20 s. The other is in another slice, with nothing in
    // between, and then its Service is made anew.
    let start = Instant::now();
    let terminating = ", conditions: {ready: false, serving: true, terminating: true}";
    write(&[("a", ends.addr, terminating), ("c", moves.addr, "")]);
    endpoints(&hawser, 1.0, 1.0).await;
    let close = first(&mut sockets).await;
    let reason = "backend_terminating: the server is restarting, please reconnect";
    assert_eq!((close.code, &*close.reason), (1012, reason));
    assert!(close.at - start < PATIENCE, "{:?}", close.at - start);
    has_ended(&hawser, "chat", "backend_terminating").await;
    hawser.delete("slices.yaml");
    within(DEADLINE, "the Service is gone", async || {
        let answer = client::get(hawser.http, "chat.test", "/ws").await.ok()?;
        (answer.status == 500).then_some(())
    })
    .await;
    write(&[("d", ends.addr, terminating), ("c", moves.addr, "")]);
    endpoints(&hawser, 1.0, 1.0).await;
    within(DEADLINE, "the first half has ended", async || {
        (count(&hawser, "chat").await == SOCKETS / 2).then_some(())
    })
    .await;
    let ended = causes(&hawser, "chat").await;
    assert_eq!(ended, vec!["backend_terminating"; SOCKETS / 2]);

    // Now it is in no slice.
    let start = Instant::now();
    write(&[("d", ends.addr, "")]);
    within(DEADLINE, "the second half has ended", async || {
        (count(&hawser, "chat").await == 0).then_some(())
    })
    .await;
    let after = start.elapsed();
    assert!(after >= PATIENCE, "{after:?}");
    let mut closes = Vec::new();
    for socket in &mut sockets {
        if let Some(Ok(Message::Close(Some(frame)))) = socket.next().await {
            closes.push((u16::from(frame.code), frame.reason.to_string()));
        }
    }
    let removed = (
        1012,
        "backend_removed: the server was removed, please reconnect".to_owned(),
    );
    let count = closes.iter().filter(|close| **close == removed).count();
    assert_eq!(count, SOCKETS / 2, "{closes:?}");
}
