//! A handshake to a backend, and the head of its answer.
//!
//! A 101 needs one write, one read and no client: that is [`switched`]. Whatever else a backend says (an answer with
//! a body, interim responses, nonsense) is read by hyper's client from the same bytes.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, response};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

use super::{connection::Connection, error::BackendError};

/// Largest head of an answer to a handshake.
const ANSWER_BYTES: usize = 16 * 1024;

/// Most field lines of an answer to a handshake.
const ANSWER_HEADERS: usize = 100;

/// Interim (1xx) responses that a backend may send before the real one. Nobody needs more than a few;
/// they are consumed, because hyper cannot pass them on.
const MAX_INTERIM_RESPONSES: usize = 16;

/// First read of an answer: what nearly all of them have.
const FIRST_READ: usize = 1024;

/// What a backend says to a handshake.
pub(super) enum Reply {
    /// Not a 101.
    Refused(Response<Incoming>),
    /// A 101 of some kind, the socket, and what came glued to the 101.
    Switched(response::Parts, TcpStream, Bytes),
}

/// Sends the handshake and reads the head of the answer.
pub(super) async fn ask(
    connection: &Connection,
    mut socket: TcpStream,
    endpoint: SocketAddr,
    request: Request<Empty<Bytes>>,
) -> Result<Reply, BackendError> {
    let head = head(&request);
    let closed = |_: io::Error| BackendError::Closed(endpoint);
    socket.write_all(&head).await.map_err(closed)?;
    drop(head);
    let mut read = BytesMut::with_capacity(FIRST_READ);
    // A reset behind an answer does not undo the answer.
    while let Ok(more @ 1..) = socket.read_buf(&mut read).await {
        let before = read.len().saturating_sub(more);
        // A head ends with a line: one that comes byte by byte is not parsed that often.
        let is_worth_it = before == 0 || read.iter().skip(before).any(|byte| *byte == b'\n');
        let parsed = if is_worth_it {
            switched(&mut read)
        } else {
            Parsed::Partial
        };
        match parsed {
            Parsed::Switched(head) => return Ok(Reply::Switched(head, socket, read.freeze())),
            Parsed::Other => break,
            Parsed::Partial if read.len() >= ANSWER_BYTES => break,
            Parsed::Partial => {}
        }
    }
    let answer = Answer {
        socket,
        read: read.freeze(),
        asked: false,
        waiting: None,
    };
    // Boxed: most answers do without, and it is larger than all else about a handshake.
    Box::pin(answer_by_hyper(connection, answer, endpoint, request)).await
}

/// The head of the request as bytes.
fn head(request: &Request<Empty<Bytes>>) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    for part in ["GET ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// What the first bytes of an answer are.
enum Parsed {
    /// The head is not whole.
    Partial,
    /// A whole 101 of HTTP/1.1; what is left came behind it.
    Switched(response::Parts),
    /// Anything else.
    Other,
}

/// Takes a whole 101 off `read`, if it begins with one.
fn switched(read: &mut BytesMut) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; ANSWER_HEADERS];
    let mut answer = httparse::Response::new(&mut fields);
    let bytes = match answer.parse(read) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Other,
    };
    if (answer.version, answer.code) != (Some(1), Some(101)) || bytes > ANSWER_BYTES {
        return Parsed::Other;
    }
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for field in answer.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) else {
            return Parsed::Other;
        };
        headers.append(name, value);
    }
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.version = Version::HTTP_11;
    head.headers = headers;
    read.advance(bytes);
    Parsed::Switched(head)
}

/// The socket as it was before anything was read from it. What hyper writes is the handshake, which was sent already.
struct Answer {
    socket: TcpStream,
    read: Bytes,
    /// hyper takes what comes before its request for a mistake.
    asked: bool,
    waiting: Option<Waker>,
}

impl AsyncRead for Answer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.read.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Answer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.asked = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Reads an answer that is no plain 101.
async fn answer_by_hyper(
    connection: &Connection,
    answer: Answer,
    endpoint: SocketAddr,
    mut request: Request<Empty<Bytes>>,
) -> Result<Reply, BackendError> {
    let failed = |error: hyper::Error| BackendError::from_hyper(endpoint, error);
    let interim = Interim::watch(&mut request);
    let (mut sender, io) = http1::Builder::new()
        .max_buf_size(ANSWER_BYTES)
        .max_headers(ANSWER_HEADERS)
        .handshake(TokioIo::new(answer))
        .await
        .map_err(failed)?;
    let mut io = io.with_upgrades();

    // `io` moves the bytes. When it ends first, the answer, or why there is none, is there already.
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut ended = false;
    let mut response = tokio::select! {
        biased;
        response = answer.as_mut() => response,
        () = interim.exceeded() => return Err(BackendError::InterimResponses(endpoint)),
        _ = &mut io => {
            ended = true;
            answer.await
        }
    }
    .map_err(failed)?;
    if interim.is_exceeded() {
        return Err(BackendError::InterimResponses(endpoint));
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if !ended {
            // The body comes through this. It ends with the body, or when nobody reads it any more.
            connection.shutdown.tasks.spawn(async move {
                let _body_tells = io.await;
            });
        }
        return Ok(Reply::Refused(response));
    }

    let switched = hyper::upgrade::on(&mut response);
    let upgraded = if ended {
        switched.await
    } else {
        tokio::join!(switched, io).0
    }
    .map_err(failed)?;
    let parts = upgraded
        .downcast::<TokioIo<Answer>>()
        .map_err(|_| BackendError::UnaskedUpgrade(endpoint))?;
    let (head, _) = response.into_parts();
    let Answer { socket, read, .. } = parts.io.into_inner();
    // What hyper read came first.
    let early = if read.is_empty() {
        parts.read_buf
    } else {
        [parts.read_buf, read].concat().into()
    };
    Ok(Reply::Switched(head, socket, early))
}

/// Counts interim responses.
struct Interim(Arc<(AtomicUsize, Notify)>);

impl Interim {
    fn watch<B>(request: &mut Request<B>) -> Self {
        let shared = Arc::new((AtomicUsize::new(0), Notify::new()));
        let counted = shared.clone();
        hyper::ext::on_informational(request, move |_| {
            if counted.0.fetch_add(1, Ordering::Relaxed) == MAX_INTERIM_RESPONSES {
                counted.1.notify_one();
            }
        });
        Self(shared)
    }

    /// Whether there were too many.
    fn is_exceeded(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) > MAX_INTERIM_RESPONSES
    }

    /// Returns when there are too many.
    async fn exceeded(&self) {
        self.0.1.notified().await;
    }
}
