//! A server with the gate and a service that echoes what it saw, and a client that sends bytes.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hawser::proxy::{
    gate::{Control, Gate, InFlight, Limits, Refusal, Verdict, asks_for_tunnel},
    validate,
};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// No wait of these tests is long; one that is has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request as the service saw it: method, host, target and body, or `!` where the body failed.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server on a port of its own. It ends with the test.
pub(super) struct Server {
    address: SocketAddr,
    seen: Seen,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let mut tasks = JoinSet::new();
        let sink = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, limits.clone(), Arc::clone(&sink)));
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    /// What the service saw so far.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    pub(super) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            read: Vec::new(),
        }
    }

    /// Sends the bytes and reads until the server closes.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> Vec<Answer> {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }
}

/// Serves a connection as the proxy must.
async fn serve(stream: TcpStream, limits: Limits, seen: Seen) {
    let (gate, control) = Gate::new(stream, limits);
    let service = service_fn(move |request| {
        let (control, seen) = (control.clone(), Arc::clone(&seen));
        async move { Ok::<_, Infallible>(answer(request, &control, &seen).await) }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(gate), service)
        .with_upgrades();
    // How a connection ended is judged at the client.
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, control: &Control, seen: &Seen) -> Response<Counted> {
    let in_flight = control.begin();
    let (mut parts, body) = request.into_parts();
    if let Some(refusal) = control.refusal(&parts) {
        return refuse(refusal, in_flight);
    }
    let path = parts.uri.path().to_owned();
    let tunnel = asks_for_tunnel(&parts);
    if tunnel && path == "/ws" {
        control.upgrade(Verdict::Tunnel);
        let upgrade = parts.extensions.remove::<OnUpgrade>().unwrap();
        tokio::spawn(echo(upgrade));
        let mut response = respond(StatusCode::SWITCHING_PROTOCOLS, "", in_flight);
        set(&mut response, "connection", "upgrade");
        set(&mut response, "upgrade", "websocket");
        return response;
    }
    if path == "/slow" {
        // Long enough that everything else that the client sent is there.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if tunnel {
        control.upgrade(Verdict::Refused);
    }
    let close = tunnel && control.early_bytes();
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let host = validate::request_host(&parts).unwrap_or_else(|problem| problem.to_string());
    let mut record = format!("{} {host} {target}", parts.method);
    match body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    {
        Ok(body) if body.is_empty() => {}
        Ok(body) => record = format!("{record} {}", String::from_utf8_lossy(&body)),
        Err(_) => {
            seen.lock().push(format!("{record} !"));
            return match control.aborted() {
                Some(refusal) => refuse(refusal, in_flight),
                None => respond(StatusCode::BAD_GATEWAY, "", in_flight),
            };
        }
    }
    seen.lock().push(record.clone());
    let mut response = respond(StatusCode::OK, &record, in_flight);
    if close {
        set(&mut response, "connection", "close");
    }
    response
}

fn respond(status: StatusCode, text: &str, in_flight: InFlight) -> Response<Counted> {
    let text = (!text.is_empty()).then(|| Bytes::copy_from_slice(text.as_bytes()));
    let mut response = Response::new(Counted {
        text,
        _in_flight: in_flight,
    });
    *response.status_mut() = status;
    response
}

fn refuse(refusal: Refusal, in_flight: InFlight) -> Response<Counted> {
    let mut response = respond(refusal.status(), "refused", in_flight);
    let status = format!("hawser; error={}; details=\"{refusal}\"", refusal.error());
    set(&mut response, "proxy-status", &status);
    set(&mut response, "connection", "close");
    response
}

fn set(response: &mut Response<Counted>, name: &'static str, value: &str) {
    let name = header::HeaderName::from_static(name);
    response.headers_mut().insert(name, value.parse().unwrap());
}

/// Sends back what comes through a tunnel, early bytes first.
async fn echo(upgrade: OnUpgrade) {
    let upgraded = upgrade.await.unwrap();
    let parts = upgraded.downcast::<TokioIo<Gate<TcpStream>>>().unwrap();
    assert!(parts.read_buf.is_empty(), "the gate held what followed");
    let (mut stream, early) = parts.io.into_inner().into_parts();
    stream.write_all(&early).await.unwrap();
    let (mut read, mut write) = stream.split();
    // Until the client leaves.
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

/// A body that keeps the mark of its request until it ends.
struct Counted {
    text: Option<Bytes>,
    _in_flight: InFlight,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.text.take().map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.text.as_ref().map_or(0, |text| text.len() as u64))
    }
}

/// An answer as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    /// Whether it says that the connection closes.
    pub(super) fn closes(&self) -> bool {
        self.head.to_ascii_lowercase().contains("connection: close")
    }
}

/// The raw end of a connection.
pub(super) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // The server may have refused and closed before the end of a large input.
        let _ = timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .unwrap();
    }

    /// Sends FIN.
    pub(super) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.read);
        let count = timeout(PATIENCE, reading)
            .await
            .expect("an answer or an end");
        count.expect("a clean end, not a reset") > 0
    }

    /// The next answer, which must come.
    pub(super) async fn answer(&mut self) -> Answer {
        loop {
            if let Some(answer) = take_answer(&mut self.read) {
                return answer;
            }
            assert!(self.fill().await, "closed without the answer");
        }
    }

    /// All answers until the server closes.
    pub(super) async fn rest(&mut self) -> Vec<Answer> {
        while self.fill().await {}
        let mut answers = Vec::new();
        while let Some(answer) = take_answer(&mut self.read) {
            answers.push(answer);
        }
        assert!(self.read.is_empty(), "half an answer: {:?}", self.read);
        answers
    }

    /// Everything until the server closes, as text.
    pub(super) async fn wire(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// The next bytes of a tunnel.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.fill().await, "the tunnel ended");
        }
        self.read.drain(..count).collect()
    }
}

/// Takes a whole answer with Content-Length (or without body) from the front.
fn take_answer(read: &mut Vec<u8>) -> Option<Answer> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    if read.len() < end + length {
        return None;
    }
    let body = String::from_utf8(read[end..end + length].to_vec()).unwrap();
    read.drain(..end + length);
    Some(Answer { status, head, body })
}

/// Sends bytes that must be refused: one answer with Proxy-Status and `Connection: close`, the end of the
/// connection without reset, and a service that saw nothing. The same in front of a smuggled second request, and
/// byte by byte.
pub(super) async fn refused(bytes: &[u8], status: u16, details: &str) {
    let smuggled = [bytes, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    for input in [bytes, &smuggled] {
        let server = Server::start().await;
        let answers = server.exchange(input).await;
        expect_refusal(&answers, status, details);
        assert_eq!(server.seen(), [""; 0]);
    }
    if bytes.len() < 500 {
        let server = Server::start().await;
        let mut client = server.connect().await;
        for byte in bytes {
            client.send(&[*byte]).await;
        }
        expect_refusal(&client.rest().await, status, details);
    }
}

/// Exactly one answer, and a refusal.
pub(super) fn expect_refusal(answers: &[Answer], status: u16, details: &str) {
    let [answer] = answers else {
        panic!("one answer, not {answers:?}");
    };
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.closes(), "{answer:?}");
    let expected = format!("details=\"{details}");
    assert!(answer.head.contains(&expected), "{answer:?}");
}

/// Sends bytes that must be served, and gives what the service saw of them.
pub(super) async fn served(bytes: &[u8], count: usize) -> Vec<String> {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(bytes).await;
    for _ in 0..count {
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    client.half_close().await;
    assert_eq!(client.rest().await, []);
    server.seen()
}
