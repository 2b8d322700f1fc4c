//! Accepts connections and bounds them.

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{State, Surface, service};

/// Connections at a time: a few probes, a scraper and some people. With one more the oldest goes, so that idle
/// connections cannot keep a liveness probe out.
const MAX_CONNECTIONS: usize = 64;

/// A request head is one packet; whoever needs longer holds a place for nothing.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// One request with its answer, however slowly it is read.
const CONNECTION_TIME: Duration = Duration::from_mins(1);

/// Room for a request head.
const HEAD_BYTES: usize = 16 * 1024;

/// After a failed accept: file descriptors do not come back within a microsecond.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, with at most 64 connections. Each takes one request: 10 s for its head, 60 s in all.
pub async fn serve(listener: TcpListener, surface: Surface, state: State, stop: CancellationToken) {
    let state = Arc::new(state);
    let mut connections = Connections::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, client)) => connections.add(stream, client, surface, Arc::clone(&state)),
            Err(error) => {
                warn!(%error, "an admin connection could not be accepted");
                if let Ok(address) = listener.local_addr() {
                    state.metrics.accept_error(address);
                }
                tokio::select! {
                    () = sleep(ACCEPT_PAUSE) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

/// The open connections; they end with the value.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Oldest first.
    order: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, stream: TcpStream, client: SocketAddr, surface: Surface, state: Arc<State>) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        let task = self.tasks.spawn(connection(stream, client, surface, state));
        self.order.push_back(task);
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, surface: Surface, state: Arc<State>) {
    let answer = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(service::answer(&request, client, surface, &state).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin connection ended early"),
        Err(_) => debug!("an admin connection took too long"),
    }
}
