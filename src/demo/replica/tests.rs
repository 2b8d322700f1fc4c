use serde_json::{Value, json};
use tokio_tungstenite::{MaybeTlsStream, connect_async, tungstenite::client::IntoClientRequest};

use super::*;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Two replicas of one room.
async fn replicas(stop: &CancellationToken) -> [SocketAddr; 2] {
    let room = Arc::new(Room::default());
    let mut addresses = Vec::new();
    for name in ["A", "B"] {
        let replica = Replica::bind(name, Arc::clone(&room)).await.unwrap();
        addresses.push(replica.address());
        tokio::spawn(replica.serve(stop.clone()));
    }
    addresses.try_into().unwrap()
}

async fn open(address: SocketAddr, topic: &'static str) -> Socket {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert(TOPIC, HeaderValue::from_static(topic));
    connect_async(request).await.unwrap().0
}

/// The next message of a kind.
async fn next(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let message = socket.next().await.unwrap().unwrap();
        if let Message::Text(text) = message {
            let value: Value = serde_json::from_str(&text).unwrap();
            if value["type"] == kind {
                return value;
            }
        }
    }
}

async fn send(socket: &mut Socket, value: Value) {
    let text = Message::Text(value.to_string().into());
    socket.send(text).await.unwrap();
}

#[tokio::test]
async fn windows_of_both_replicas_chat() {
    let stop = CancellationToken::new();
    let [a, b] = replicas(&stop).await;
    let mut ann = open(a, "Harbour talk").await;
    let welcome = next(&mut ann, "welcome").await;
    assert_eq!(welcome["replica"], "A");
    assert_eq!(welcome["topic"], "Harbour talk");
    let mut bob = open(b, "other").await;
    assert_eq!(next(&mut bob, "welcome").await["replica"], "B");

    send(&mut ann, json!({"type": "name", "name": "Ann"})).await;
    send(&mut ann, json!("nonsense")).await;
    send(&mut ann, json!({"type": "say", "text": "ahoy"})).await;

    let said = next(&mut bob, "said").await;
    assert_eq!(said["text"], "ahoy");
    assert_eq!(said["name"], "Ann");
}

#[tokio::test]
async fn a_window_that_closes_leaves_the_room() {
    let stop = CancellationToken::new();
    let [a, b] = replicas(&stop).await;
    let mut ann = open(a, "x").await;
    let mut bob = open(b, "x").await;
    while next(&mut ann, "people").await["people"]
        .as_array()
        .unwrap()
        .len()
        < 2
    {}
    bob.close(None).await.unwrap();
    while next(&mut ann, "people").await["people"]
        .as_array()
        .unwrap()
        .len()
        > 1
    {}
}

#[tokio::test]
async fn the_end_of_the_replica_is_a_close() {
    let stop = CancellationToken::new();
    let [a, _] = replicas(&stop).await;
    let mut ann = open(a, "x").await;
    next(&mut ann, "welcome").await;
    stop.cancel();
    let close = loop {
        if let Message::Close(close) = ann.next().await.unwrap().unwrap() {
            break close.unwrap();
        }
    };
    assert_eq!(close.code, CloseCode::Away);
}

#[tokio::test]
async fn plain_requests_are_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let stop = CancellationToken::new();
    let [a, _] = replicas(&stop).await;
    for (request, wanted) in [
        ("GET / HTTP/1.1", "HTTP/1.1 200 OK"),
        ("HEAD /chat.js HTTP/1.1", "HTTP/1.1 200 OK"),
        ("GET /ws HTTP/1.1", "HTTP/1.1 400 Bad Request"),
        ("GET /other HTTP/1.1", "HTTP/1.1 404 Not Found"),
        ("POST / HTTP/1.1", "HTTP/1.1 405 Method Not Allowed"),
    ] {
        let mut stream = TcpStream::connect(a).await.unwrap();
        let head = format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(wanted), "{request}: {answer}");
        assert!(answer.contains("x-demo-replica: A"), "{request}: {answer}");
    }
}
