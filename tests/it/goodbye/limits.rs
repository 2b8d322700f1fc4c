//! `limits.connections` and `limits.connectionsPerClient`: refused with a status, counted until the tunnel has ended.

use std::{net::Ipv4Addr, sync::Arc};

use futures_util::{SinkExt, StreamExt, future::join_all};
use hawser::ir::{ConnectionsStatus, Setting};
use rstest::rstest;
use tokio::{net::TcpStream, sync::Barrier};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

use crate::kit::{
    client, eventually, origin,
    proxy::{self, Rule, Running, rule},
    raw::{self, Then},
};

fn limited(connections: u32) -> Rule {
    rule("a.test", "/")
        .policy(|policy| policy.limits.connections = Setting::field(Some(connections)))
}

async fn ws(proxy: &Running) -> Result<client::Socket, Error> {
    client::ws(proxy.addr, "a.test", "/").await
}

/// Status, `Retry-After` and `Proxy-Status` of a refusal.
fn refusal(refused: Result<client::Socket, Error>) -> (u16, u32, String) {
    let Err(Error::Http(response)) = refused else {
        panic!("expected an HTTP answer, got {refused:?}");
    };
    let header = |name| {
        let value = response.headers().get(name).expect("it is there");
        value.to_str().expect("text").to_owned()
    };
    let retry = header("retry-after").parse().expect("seconds");
    (response.status().as_u16(), retry, header("proxy-status"))
}

/// Waits until a place is free.
async fn free(proxy: &Running) -> client::Socket {
    eventually("there is room again", async || ws(proxy).await.ok()).await
}

#[rstest]
#[case::as_usual(ConnectionsStatus::ServiceUnavailable, 503)]
#[case::as_asked(ConnectionsStatus::TooManyRequests, 429)]
#[tokio::test]
async fn a_rule_takes_no_more_than_it_may(#[case] status: ConnectionsStatus, #[case] code: u16) {
    let echo = origin::echo().await;
    let rule = limited(2)
        .to(&[echo.addr])
        .policy(|policy| policy.limits.connections_status = Setting::field(status));
    let proxy = proxy::with([rule]);
    let (first, _second) = (ws(&proxy).await.unwrap(), ws(&proxy).await.unwrap());
    let (got, retry, proxy_status) = refusal(ws(&proxy).await);
    assert_eq!(got, code);
    assert!((1..=5).contains(&retry));
    let expected =
        "hawser; error=connection_limit_reached; details=\"too many connections of this route\"";
    assert_eq!(proxy_status, expected);
    let refused = proxy.metrics.encode();
    let line = refused
        .lines()
        .find(|line| {
            line.starts_with("hawser_websocket_handshakes_total") && line.contains("refused")
        })
        .expect("it is counted");
    assert!(
        line.contains("reason=\"connection_limit_reached\"") && line.ends_with(" 1"),
        "{line}"
    );
    // Plain HTTP is no tunnel.
    let plain = client::get(proxy.addr, "a.test", "/").await.unwrap();
    assert_ne!(plain.status, code);

    drop(first);
    let mut third = free(&proxy).await;
    third.send(Message::text("hello")).await.unwrap();
    assert_eq!(third.next().await.unwrap().unwrap(), Message::text("hello"));
    assert_eq!(refusal(ws(&proxy).await).0, code);
}

#[tokio::test]
async fn a_client_takes_no_more_than_it_may() {
    let echo = origin::echo().await;
    let rule = rule("a.test", "/")
        .to(&[echo.addr])
        .policy(|policy| policy.limits.connections_per_client = Setting::field(Some(1)));
    let proxy = proxy::with([rule]);
    let _first = ws(&proxy).await.unwrap();
    let (got, _, proxy_status) = refusal(ws(&proxy).await);
    assert_eq!(got, 429);
    assert!(
        proxy_status.contains("too many connections of this client"),
        "{proxy_status}"
    );
    // Another address of this host.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket
        .bind((Ipv4Addr::new(127, 0, 0, 2), 0).into())
        .unwrap();
    let stream: TcpStream = socket.connect(proxy.addr).await.unwrap();
    let request = "ws://a.test/".into_client_request().unwrap();
    tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_gets_no_more_than_there_is() {
    const RUSH: usize = 60;
    const LIMIT: u32 = 20;
    let echo = origin::echo().await;
    for _ in 0..3 {
        let proxy = proxy::with([limited(LIMIT).to(&[echo.addr])]);
        let barrier = Arc::new(Barrier::new(RUSH));
        let tries = (0..RUSH).map(|_| {
            let (barrier, addr) = (Arc::clone(&barrier), proxy.addr);
            tokio::spawn(async move {
                barrier.wait().await;
                client::ws(addr, "a.test", "/").await
            })
        });
        let sockets = join_all(tries).await.into_iter();
        let open: Vec<_> = sockets.filter_map(|socket| socket.unwrap().ok()).collect();
        assert_eq!(open.len(), LIMIT as usize);
        // A tunnel is registered a moment after its 101.
        eventually("all are tunnels", async || {
            (proxy.tunnels.len() == LIMIT as usize).then_some(())
        })
        .await;
        assert!(ws(&proxy).await.is_err());
        drop(open);
        drop(free(&proxy).await);
    }
}

#[tokio::test]
async fn a_handshake_that_fails_gives_its_place_back() {
    let refusing = raw::backend(
        |_| "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".into(),
        Then::Wait,
    )
    .await;
    let wrong = raw::backend(
        |_| "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".into(),
        Then::Wait,
    )
    .await;
    let closing = raw::backend(|_| "".into(), Then::Close).await;
    let silent = raw::backend(|_| "".into(), Then::Wait).await;
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let short = |rule: Rule| {
        let limit = std::time::Duration::from_millis(50);
        rule.policy(|policy| policy.timeouts.handshake = Setting::field(Some(limit)))
    };
    for rule in [
        limited(1).to(&[refusing.addr]),
        limited(1).to(&[wrong.addr]),
        limited(1).to(&[closing.addr]),
        short(limited(1).to(&[silent.addr])),
        limited(1).to(&[nobody]),
        limited(1).to(&[]),
        limited(1).missing(),
        limited(1).weightless(),
    ] {
        let proxy = proxy::with([rule]);
        for _ in 0..3 {
            let Err(Error::Http(answer)) = ws(&proxy).await else {
                panic!("the handshake fails");
            };
            let reason = answer
                .headers()
                .get("proxy-status")
                .map(|it| it.to_str().unwrap());
            assert!(
                !reason
                    .unwrap_or_default()
                    .contains("connection_limit_reached"),
                "{reason:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_its_handshake_gives_its_place_back() {
    let silent = raw::backend(|_| "".into(), Then::Wait).await;
    let echo = origin::echo().await;
    let proxy = proxy::with([limited(1).to(&[silent.addr])]);
    let waiting = tokio::spawn(client::ws(proxy.addr, "a.test", "/"));
    eventually("the handshake is on its way", async || {
        (silent.connections() > 0).then_some(())
    })
    .await;
    assert_eq!(refusal(ws(&proxy).await).0, 503);
    waiting.abort();
    // The count outlives the table.
    proxy.serve([limited(1).to(&[echo.addr])]);
    let _socket = free(&proxy).await;
    proxy.serve([limited(1).to(&[echo.addr, silent.addr])]);
    assert_eq!(refusal(ws(&proxy).await).0, 503);
}
