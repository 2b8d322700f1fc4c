//! One client connection: the gate, hyper on top of it, and its end. HTTP/2 goes on in [`super::http2`].

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt;
use http::HeaderValue;
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_util::task::TaskTracker;

use crate::telemetry::{address, metrics::Metrics};

use super::{
    Order, Proxy,
    gate::{Control, Gate},
    http2, service,
    slots::Slot,
    timer::Timer,
    upgrade::Handoff,
};

/// hyper's buffer: a whole head of 32 KiB fits, and a slow reader on either side holds back no more
/// than this per direction.
const BUFFER: usize = 64 * 1024;

/// From the beginning of a drain to the first byte on a connection that was opened a moment before. A client that
/// has something to say sends it within a round trip, or two seconds later when a packet is lost.
const FIRST_BYTE: Duration = Duration::from_secs(3);

/// How connections learn of the shutdown.
#[derive(Debug, Clone)]
pub(super) struct Shutdown {
    /// Finish what runs, start nothing new.
    pub(super) drain: Order,
    /// End now.
    pub(super) cut: Order,
    /// Tasks that the shutdown waits for.
    pub(super) tasks: TaskTracker,
}

/// What the requests of a connection have in common.
pub(super) struct Connection {
    /// The proxy.
    pub(super) proxy: Arc<Proxy>,
    /// Address of the client.
    pub(super) peer: SocketAddr,
    /// The same as a field value, without its port.
    pub(super) forwarded_for: HeaderValue,
    /// The gate's side of the story. About HTTP/2 it has nothing to say.
    pub(super) control: Control,
    /// Whether `--max-connections` was reached: every request is refused.
    pub(super) over: bool,
    /// Shutdown.
    pub(super) shutdown: Shutdown,
    /// Whether the last request was one of HTTP/1.0: the end of its answer may be the end of the connection.
    pub(super) unframed: AtomicBool,
    /// For the request that waits for its response; another one meanwhile (of HTTP/2) makes its own.
    pub(super) response_timer: Mutex<Timer>,
    /// Filled by the request whose 101 makes the connection a tunnel.
    pub(super) handoff: Mutex<Option<Handoff>>,
}

/// Serves a connection to its end. A panic ends this connection and nothing else.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    slot: Slot,
    proxy: Arc<Proxy>,
    shutdown: Shutdown,
) {
    let cut = shutdown.cut.clone();
    let metrics = proxy.metrics.clone();
    // Boxed: it is kilobytes, and would be moved several times on its way to its task, and out of it.
    let requests = in_place(|| requests(stream, peer, slot, proxy, shutdown));
    tokio::select! {
        biased;
        () = cut.given() => {}
        () = isolated(&metrics, peer, requests) => {}
    }
}

/// A boxed future that is made where it stays: `Box::pin` makes it first and then moves it, which are kilobytes.
fn in_place<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

/// Keeps a panic to itself.
pub(super) async fn isolated(metrics: &Metrics, peer: SocketAddr, work: impl Future<Output = ()>) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        metrics.connection_panic();
        tracing::error!(client = %peer, "a connection ended by a panic; this is a bug, please report it");
    }
}

/// The requests of one connection, one after the other.
async fn requests(
    stream: TcpStream,
    peer: SocketAddr,
    slot: Slot,
    proxy: Arc<Proxy>,
    shutdown: Shutdown,
) {
    let drain = shutdown.drain.clone();
    let (gate, control) = Gate::new(stream, proxy.limits.gate.clone());
    let connection = Arc::new(Connection {
        proxy,
        peer,
        // RFC 7239 section 6.2 calls an address that cannot be told so.
        forwarded_for: HeaderValue::try_from(address::ip(peer.ip()))
            .unwrap_or(HeaderValue::from_static("unknown")),
        control,
        over: slot.over,
        shutdown,
        unframed: AtomicBool::new(false),
        response_timer: Mutex::default(),
        handoff: Mutex::new(None),
    });
    let answer = service_fn(|request| {
        let connection = connection.clone();
        // Boxed, so that an idle connection does not hold the room for a request.
        in_place(|| async move { Ok::<_, Infallible>(service::answer(&connection, request).await) })
    });
    // No time limits and no limits of heads here: the gate has both, and answers what hyper would cut off.
    let mut http = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(connection.proxy.limits.gate.headers)
        .max_buf_size(BUFFER.max(2 * connection.proxy.limits.gate.head_bytes))
        .serve_connection(TokioIo::new(gate), answer);
    let mut ended = tokio::select! {
        biased;
        ended = &mut http => ended,
        () = drain.given() => {
            // hyper would also close a new connection whose request is on its way, and one over a head that is half
            // here, and add a `close` to the `Upgrade` of a 101. Their answers say `Connection: close` anyway.
            let control = &connection.control;
            if control.is_used() && !control.is_reading() && !control.may_be_tunnel() {
                Pin::new(&mut http).graceful_shutdown();
            }
            tokio::select! {
                ended = &mut http => ended,
                // Browsers open connections ahead, and may never use them.
                () = unused(&connection.control) => return,
            }
        }
    };
    if ended.is_ok() {
        ended = written(&mut http, &connection.control).await;
    }
    if let Err(error) = ended {
        // Mostly clients that left. Whatever matters about it is in the access line of the request.
        tracing::trace!(client = %peer, %error, "connection ended");
        if error.is_user() && connection.unframed.load(Ordering::Relaxed) {
            // The backend's body broke off. A FIN would make it look whole, a reset does not.
            let (client, _) = http.into_parts().io.into_inner().into_parts();
            let reset = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            tracing::trace!(client = %peer, ?reset, "reset");
        }
        return;
    }
    let parts = http.into_parts();
    let mut gate = parts.io.into_inner();
    if gate.is_http2() {
        let (stream, early) = gate.into_parts();
        return http2::start(connection.clone(), slot, stream, early);
    }
    let handoff = connection.handoff.lock().take();
    match handoff {
        Some(handoff) => {
            let (client, held) = gate.into_parts();
            // What hyper read behind the handshake came before what the gate held. The gate lets nothing
            // through there; should it ever, nothing gets lost.
            let early = match (parts.read_buf.is_empty(), held.is_empty()) {
                (true, _) => held,
                (false, true) => parts.read_buf,
                (false, false) => [parts.read_buf, held].concat().into(),
            };
            handoff.start(&connection.proxy, client, early, slot);
        }
        // hyper leaves this to us when a request asked for an upgrade and got none.
        None => drop(gate.shutdown().await),
    }
}

/// Returns during a drain when nothing has come on a new connection.
async fn unused(control: &Control) {
    tokio::time::sleep(FIRST_BYTE).await;
    if control.is_used() || control.is_reading() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the client took all of the last answer. Where an upgrade was asked for, hyper ends with what a
/// slow reader has not taken in its buffer, and nobody else has it.
async fn written<I, S, B>(
    http: &mut http1::Connection<I, S>,
    control: &Control,
) -> hyper::Result<()>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = B> + Unpin,
    S::Future: Unpin,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    poll_fn(|cx| {
        if !control.has_unwritten() {
            return Poll::Ready(Ok(()));
        }
        match http.poll_without_shutdown(cx) {
            Poll::Ready(Ok(())) if control.has_unwritten() => Poll::Pending,
            polled => polled,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use http::Response;
    use http_body_util::Full;
    use hyper::service::Service;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_slow_reader_gets_all_of_an_answer_to_an_upgrade() {
        const ANSWER: usize = 4096;
        let (mut client, near) = duplex(64);
        let serving = async {
            let (gate, control) = Gate::new(near, super::super::gate::Limits::default());
            let service = service_fn(async |_| {
                let answer = Response::new(Full::<bytes::Bytes>::from(vec![b'z'; ANSWER]));
                Ok::<_, Infallible>(answer)
            });
            let service = service_fn(move |request| Box::pin(service.call(request)));
            let mut http = http1::Builder::new().serve_connection(TokioIo::new(gate), service);
            (&mut http).await.unwrap();
            written(&mut http, &control).await.unwrap();
        };
        let read = async {
            let head =
                "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n";
            let request = format!("{head}Content-Length: 9\r\n\r\nabc");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer.ends_with(&[b'z'; ANSWER])
        };
        assert!(tokio::join!(serving, read).1, "all of it");
    }

    #[tokio::test]
    async fn a_panic_stays_in_its_connection_and_is_counted() {
        let metrics = Metrics::new();
        let peer = "192.0.2.1:1".parse().unwrap();
        isolated(&metrics, peer, async { panic!("on purpose") }).await;
        isolated(&metrics, peer, async {}).await;
        let text = metrics.encode();
        let line = text
            .lines()
            .find(|line| line.starts_with("hawser_connection_panics_total"));
        assert_eq!(line, Some("hawser_connection_panics_total 1"), "{text}");
    }
}
