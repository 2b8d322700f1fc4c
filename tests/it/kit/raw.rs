//! Bytes as they are: clients and backends that break rules.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::DEADLINE;

/// A client connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Connects and sends.
pub async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Client {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    let mut client = Client {
        stream,
        buffer: Vec::new(),
    };
    client.send(bytes).await;
    client
}

impl Client {
    /// Sends more.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// The next response head, with its final empty line.
    pub async fn head(&mut self) -> String {
        loop {
            let end = self
                .buffer
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).expect("text");
            }
            assert!(
                self.more().await,
                "the connection ended inside a head: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    /// The next `count` bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(
                self.more().await,
                "the connection ended after {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
        self.buffer.drain(..count).collect()
    }

    /// The next response: its head, and its body by Content-Length.
    pub async fn response(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = header(&head, "content-length").map_or(0, |value| {
            value.parse().expect("Content-Length is a number")
        });
        let body = self.bytes(length).await;
        (head, String::from_utf8(body).expect("text"))
    }

    /// The next line, without its end.
    pub async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.bytes(1).await);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).expect("text")
    }

    /// The next chunk of a chunked body; empty at its end, before the trailers.
    pub async fn chunk(&mut self) -> String {
        let line = self.line().await;
        let size = usize::from_str_radix(&line, 16).expect("a chunk size");
        let data = self.bytes(size).await;
        if size > 0 {
            assert_eq!(self.line().await, "");
        }
        String::from_utf8(data).expect("text")
    }

    /// The rest of a chunked body, and its trailer section.
    pub async fn chunks(&mut self) -> (String, Vec<String>) {
        let mut body = String::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                break;
            }
            body += &chunk;
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return (body, trailers);
            }
            trailers.push(line);
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Whether more came; false at the end.
    async fn more(&mut self) -> bool {
        let read = timeout(DEADLINE, self.stream.read_buf(&mut self.buffer)).await;
        read.expect("bytes or an end in time")
            .is_ok_and(|count| count > 0)
    }
}

/// Status code of a head.
pub fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {head:?}"))
}

/// Value of a header field, the first one.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The error in Proxy-Status; empty when Hawser did not answer itself.
pub fn word(head: &str) -> &str {
    let value = header(head, "proxy-status").unwrap_or_default();
    let rest = value.strip_prefix("hawser; error=").unwrap_or_default();
    rest.split(';').next().unwrap_or_default()
}

/// A script: the right 101 to a handshake, with more header lines.
pub fn accept(request: &str, more: &str) -> Vec<u8> {
    let key = header(request, "sec-websocket-key").unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// A script: 200 with the body `plain`.
pub fn ok(_request: &str) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain".to_vec()
}

/// What a backend does after its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Closes.
    Close,
    /// Says nothing more.
    Wait,
    /// Answers the next request in the same way.
    Again,
}

/// A backend that follows a script.
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it received, one entry per connection.
    pub received: Arc<Mutex<Vec<Vec<u8>>>>,
    /// One permit per answer; see [`held`].
    pub release: Arc<Semaphore>,
}

impl Backend {
    /// What came over all connections.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().concat()).into_owned()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.received.lock().len()
    }
}

/// Reads a request head, then writes what `answer` makes of it.
pub async fn backend<A>(answer: A, then: Then) -> Backend
where
    A: Fn(&str) -> Vec<u8> + Send + Sync + 'static,
{
    scripted(answer, then, Semaphore::MAX_PERMITS).await
}

/// The same, but every answer waits for a permit of [`Backend::release`].
pub async fn held<A>(answer: A, then: Then) -> Backend
where
    A: Fn(&str) -> Vec<u8> + Send + Sync + 'static,
{
    scripted(answer, then, 0).await
}

async fn scripted<A>(answer: A, then: Then, permits: usize) -> Backend
where
    A: Fn(&str) -> Vec<u8> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let received = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
    let release = Arc::new(Semaphore::new(permits));
    let (log, permits, answer) = (
        Arc::clone(&received),
        Arc::clone(&release),
        Arc::new(answer),
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (log, permits, answer) =
                (Arc::clone(&log), Arc::clone(&permits), Arc::clone(&answer));
            let number = {
                let mut log = log.lock();
                log.push(Vec::new());
                log.len() - 1
            };
            tokio::spawn(async move {
                let mut answered = 0;
                let mut scratch = [0; 4096];
                loop {
                    let Ok(count @ 1..) = stream.read(&mut scratch).await else {
                        return;
                    };
                    let head = {
                        let mut log = log.lock();
                        log[number].extend_from_slice(&scratch[..count]);
                        let text = String::from_utf8_lossy(&log[number]);
                        text[answered..].contains("\r\n\r\n").then(|| {
                            let head = text[answered..].to_owned();
                            answered = text.len();
                            head
                        })
                    };
                    let Some(head) = head else { continue };
                    permits.acquire().await.expect("never closed").forget();
                    if stream.write_all(&answer(&head)).await.is_err() || then == Then::Close {
                        return;
                    }
                    if then == Then::Wait {
                        // Only listens from now on.
                        while let Ok(count @ 1..) = stream.read(&mut scratch).await {
                            log.lock()[number].extend_from_slice(&scratch[..count]);
                        }
                        return;
                    }
                }
            });
        }
    });
    Backend {
        addr,
        received,
        release,
    }
}

/// An address that refuses connections.
pub async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// An address that answers no SYN, as long as what comes with it lives.
pub async fn silent_port() -> (SocketAddr, impl Sized) {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a port");
    socket.listen(0).expect("it listens");
    let addr = socket.local_addr().expect("an address");
    let addr = addr.as_socket().expect("an internet address");
    // Its queue is full as soon as a connection has to wait.
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(
        std::time::Duration::from_millis(200),
        TcpStream::connect(addr),
    )
    .await
    {
        held.push(stream);
    }
    (addr, (socket, held))
}
