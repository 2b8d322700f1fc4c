//! Orders at the admin address, with real tunnels.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{
    client,
    client::{Answer, Socket},
    eventually, hawser,
    hawser::Hawser,
    manifest, origin,
};

async fn order(hawser: &Hawser, path: &str) -> Answer {
    client::post(hawser.admin, "localhost", path, Bytes::new())
        .await
        .expect("an answer")
}

fn json(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

async fn open(hawser: &Hawser, host: &str) -> Socket {
    let mut socket = client::ws(hawser.http, host, "/ws")
        .await
        .expect("a handshake");
    socket.send(Message::text("hello")).await.expect("sent");
    let echo = socket.next().await.expect("open").expect("a message");
    assert_eq!(echo, Message::text("hello"));
    socket
}

/// The Close says so, and nothing follows it.
async fn assert_closed(mut socket: Socket) {
    let close = socket.next().await.expect("a message").expect("no error");
    let Message::Close(Some(frame)) = close else {
        panic!("{close:?}");
    };
    assert_eq!(u16::from(frame.code), 1001);
    assert_eq!(frame.reason.as_str(), "admin: closed by an administrator");
    assert!(socket.next().await.is_none());
}

async fn assert_open(socket: &mut Socket) {
    socket.send(Message::text("still")).await.expect("sent");
    let echo = socket.next().await.expect("open").expect("a message");
    assert_eq!(echo, Message::text("still"));
}

#[tokio::test]
async fn one_tunnel_is_closed_and_the_others_stay() {
    let echo = origin::echo().await;
    let yaml = manifest::websocket("chat", "/ws", &[echo.addr]);
    let hawser = hawser::with_flags(&yaml, &["--admin-write"]).await;
    let first = open(&hawser, "chat.test").await;
    let mut second = open(&hawser, "chat.test").await;
    let view = hawser.view("/api/v1/connections").await;
    let id = view[0]["id"].as_u64().expect("a number");
    let done = json(&order(&hawser, &format!("/api/v1/connections/{id}/close")).await);
    assert_eq!(done, json!({"tunnels": 1, "window_seconds": 0.0}));
    assert_closed(first).await;
    assert_open(&mut second).await;
    let closed = eventually("it is among the ended ones", async || {
        let view = hawser.view("/api/v1/connections?closed=recent").await;
        view.get(0).cloned()
    })
    .await;
    assert_eq!(closed["id"], id);
    assert_eq!(closed["cause"], "admin");
    assert_eq!(closed["code"], 1001);
    assert_eq!(closed["initiator"], "hawser");
    let told = hawser.said("order at the admin address: close a tunnel");
    assert_eq!(told, 1, "every order has its line");
    let gone = order(&hawser, &format!("/api/v1/connections/{id}/close")).await;
    assert_eq!(gone.status, 404);
    assert!(gone.text().contains(&id.to_string()), "{}", gone.text());
}

#[tokio::test]
async fn tunnels_of_a_route_or_an_endpoint_are_drained() {
    let origins = [origin::echo().await, origin::echo().await];
    let yaml = manifest::websocket("chat", "/ws", &[origins[0].addr])
        + &manifest::websocket("news", "/ws", &[origins[0].addr])
        + &manifest::websocket("shop", "/ws", &[origins[1].addr]);
    let hawser = hawser::with_flags(&yaml, &["--admin-write"]).await;
    let chat = [
        open(&hawser, "chat.test").await,
        open(&hawser, "chat.test").await,
    ];
    let news = open(&hawser, "news.test").await;
    let mut shop = open(&hawser, "shop.test").await;

    let both = format!(
        "/api/v1/drain?route=default/shop&endpoint={}",
        origins[0].addr
    );
    let done = json(&order(&hawser, &both).await);
    assert_eq!(done["tunnels"], 0, "both must fit");

    let path = "/api/v1/drain?route=default/chat&window=500ms";
    let done = json(&order(&hawser, path).await);
    assert_eq!(done, json!({"tunnels": 2, "window_seconds": 0.5}));
    for socket in chat {
        assert_closed(socket).await;
    }
    let path = format!("/api/v1/drain?endpoint={}&window=0s", origins[0].addr);
    let done = json(&order(&hawser, &path).await);
    assert_eq!(done, json!({"tunnels": 1, "window_seconds": 0.0}));
    assert_closed(news).await;
    assert_open(&mut shop).await;

    // The route's own window, by default a minute.
    let done = json(&order(&hawser, "/api/v1/drain?route=default/shop").await);
    assert_eq!(done, json!({"tunnels": 1, "window_seconds": 60.0}));
    assert_eq!(hawser.said("order at the admin address: drain"), 4);
}

#[tokio::test]
async fn nobody_gives_orders_unless_the_flag_is_set() {
    let echo = origin::echo().await;
    let yaml = manifest::websocket("chat", "/ws", &[echo.addr]);
    let hawser = hawser::with_flags(&yaml, &["--status", "127.0.0.1:0"]).await;
    let mut socket = open(&hawser, "chat.test").await;
    for path in [
        "/api/v1/connections/1/close",
        "/api/v1/drain?route=default/chat",
    ] {
        let answer = order(&hawser, path).await;
        assert_eq!(answer.status, 403);
        assert!(answer.text().contains("--admin-write"), "{}", answer.text());
    }
    assert_open(&mut socket).await;
    assert_eq!(hawser.said("an order at the admin address was refused"), 2);
}
