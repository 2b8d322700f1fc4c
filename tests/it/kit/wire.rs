//! Tunnels through a Hawser with the test at both far ends, byte by byte.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{DEADLINE, eventually, hawser, hawser::Hawser, manifest, raw};

/// A Hawser and the one endpoint behind all of its routes.
pub struct Site {
    /// The process.
    pub hawser: Hawser,
    listener: TcpListener,
}

/// Both ends of one tunnel.
pub struct Ends {
    /// The client's.
    pub client: TcpStream,
    /// The backend's.
    pub backend: TcpStream,
}

/// The manifests of routes to an endpoint: for each a name, which is also its path prefix, and further fields of its rule.
pub fn routes(endpoint: SocketAddr, routes: &[(&str, &str)]) -> String {
    let mut yaml = manifest::service("wire", &[endpoint]);
    for (name, fields) in routes {
        yaml += &manifest::route(name, "wire.test", &format!("/{name}"), "wire", fields);
    }
    yaml
}

impl Site {
    /// See [`routes`].
    pub async fn start(fields: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::behind(listener, fields).await
    }

    /// The same with this socket as the endpoint.
    pub async fn behind(listener: TcpListener, fields: &[(&str, &str)]) -> Self {
        let endpoint = listener.local_addr().expect("an address");
        let hawser = hawser::with(&routes(endpoint, fields)).await;
        Self { hawser, listener }
    }

    /// Opens a tunnel to a path.
    pub async fn open(&self, path: &str) -> Ends {
        self.open_from(TcpSocket::new_v4().expect("a socket"), path)
            .await
    }

    /// The same from this socket.
    pub async fn open_from(&self, near: TcpSocket, path: &str) -> Ends {
        open(near, self.hawser.http, &self.listener, path, "").await
    }

    /// The same, and both ends have agreed on permessage-deflate.
    pub async fn open_deflate(&self, path: &str) -> Ends {
        let near = TcpSocket::new_v4().expect("a socket");
        let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        open(near, self.hawser.http, &self.listener, path, deflate).await
    }

    /// What Hawser knows of the open tunnel of a path.
    pub async fn seen(&self, path: &str, field: &str) -> Option<u64> {
        let view = self.hawser.view("/api/v1/connections").await;
        let mut tunnels = view.as_array()?.iter();
        let tunnel = tunnels.find(|tunnel| tunnel["path"] == path)?;
        tunnel[field].as_u64()
    }

    /// The access line of the end of the tunnel of a path.
    pub async fn outcome(&self, path: &str) -> Value {
        let what = format!("the end of {path} is logged");
        let line = |line: &Value| {
            hawser::field(line, "event") == Some("tunnel_close")
                && hawser::field(line, "path") == Some(path)
        };
        self.hawser.logged(&what, line).await
    }

    /// Cause and code of the end of the tunnel of a path.
    pub async fn cause(&self, path: &str) -> (String, Option<u64>) {
        let line = self.outcome(path).await;
        let cause = hawser::field(&line, "cause").unwrap_or_default();
        (cause.to_owned(), number(&line, "code"))
    }
}

/// A number of a log line.
pub fn number(line: &Value, name: &str) -> Option<u64> {
    line.get("fields")
        .and_then(|fields| fields.get(name))
        .or_else(|| line.get(name))?
        .as_u64()
}

/// Opens a tunnel from this socket to a path of `wire.test`; nobody else may connect to the backend meanwhile.
pub async fn open(
    near: TcpSocket,
    http: SocketAddr,
    backend: &TcpListener,
    path: &str,
    headers: &str,
) -> Ends {
    let opened = async {
        let mut client = near.connect(http).await.expect("connected");
        client.set_nodelay(true).expect("nodelay");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: wire.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        send(&mut client, request.as_bytes()).await;
        let (mut backend, _) = backend.accept().await.expect("a connection");
        backend.set_nodelay(true).expect("nodelay");
        let asked = head(&mut backend).await;
        let key = raw::header(&asked, "sec-websocket-key").expect("a key");
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n"
        );
        send(&mut backend, answer.as_bytes()).await;
        let answer = head(&mut client).await;
        assert_eq!(raw::status(&answer), 101, "{answer}");
        Ends { client, backend }
    };
    timeout(DEADLINE, opened).await.expect("a tunnel in time")
}

/// A head, and not a byte more.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// Writes all of it.
pub async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("sent");
}

/// Reads exactly these bytes.
pub async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    timeout(DEADLINE, stream.read_exact(&mut got))
        .await
        .expect("bytes in time")
        .expect("no end before them");
    assert!(got == bytes, "got {}, wanted {}", show(&got), show(bytes));
}

/// Reads to the end of the stream; a reset is an end, too.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _reset = timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .expect("an end in time");
    rest
}

/// Reads FIN, and nothing before it.
pub async fn expect_end(stream: &mut TcpStream) {
    let rest = rest(stream).await;
    assert!(rest.is_empty(), "{}", show(&rest));
}

/// Reads a Close of Hawser's: code and reason.
pub async fn expect_close(stream: &mut TcpStream) -> (u16, String) {
    expect_close_within(DEADLINE, stream).await
}

/// The same with a deadline of its own.
pub async fn expect_close_within(deadline: Duration, stream: &mut TcpStream) -> (u16, String) {
    let read = async {
        let (first, second) = (stream.read_u8().await?, stream.read_u8().await?);
        assert_eq!(first, 0x88, "a Close");
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            stream.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; usize::from(second & 0x7f)];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        std::io::Result::Ok(payload)
    };
    let payload = timeout(deadline, read).await.expect("a Close in time");
    let payload = payload.expect("a Close before the end");
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    let reason = String::from_utf8(payload[2..].to_vec());
    (code, reason.expect("text"))
}

/// Ends a connection by RST.
pub fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("linger can be set");
    drop(stream);
}

/// Writes these bytes again and again until the kernel has taken nothing for a moment: the other side does not read, and
/// every buffer is full.
pub async fn fill(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    loop {
        let next = &bytes[written % bytes.len()..];
        match timeout(Duration::from_millis(300), stream.write(next)).await {
            Ok(result) => written += result.expect("open"),
            Err(_full) => return written,
        }
    }
}

/// A frame with this first byte, masked with zeros if it comes from a client: its payload stays readable.
pub fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, masked, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// Its header alone, for any length.
pub fn header(first: u8, masked: bool, length: u64) -> Vec<u8> {
    let mask_bit = if masked { 0x80 } else { 0 };
    let mut header = vec![first];
    match length {
        0..126 => header.push(mask_bit | length as u8),
        126..=0xffff => {
            header.push(mask_bit | 0x7e);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend(length.to_be_bytes());
        }
    }
    if masked {
        header.extend([0; 4]);
    }
    header
}

/// A Close with this code.
pub fn close(masked: bool, code: u16) -> Vec<u8> {
    frame(0x88, masked, &code.to_be_bytes())
}

/// Waits until Hawser has read so many bytes of the client of a path.
pub async fn has_read(site: &Site, path: &str, bytes: usize) {
    eventually("Hawser has read them", async || {
        let seen = site.seen(path, "bytes_from_client").await?;
        (seen == bytes as u64).then_some(())
    })
    .await;
}

/// The beginning of some bytes, for messages.
fn show(bytes: &[u8]) -> String {
    let few = &bytes[..bytes.len().min(40)];
    format!("{} bytes {few:02x?}", bytes.len())
}
