//! The tasks that hyper makes for the streams of a connection.

use std::{cell::Cell, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    proxy::{
        Order,
        connection::{self, Connection},
    },
    telemetry::metrics::Metrics,
};

tokio::task_local! {
    /// Ends the sending side of the tunnel that the stream of this task becomes.
    static SENDER: CancellationToken;
    /// Since when the client could take what was handed on of the answer of this task.
    static HANDED: Cell<Option<Instant>>;
}

/// Whether the next thing that the answer of this task waits for is its client. Only in a task of a stream.
pub(super) fn waits_for_client(waits: bool) {
    let _elsewhere = HANDED.try_with(|since| since.set(waits.then(Instant::now)));
}

/// Returns when the client has taken nothing of its answer for so long. TCP does not tell: the connection is well, and
/// only the window of the stream is closed.
async fn stalled(limit: Duration) {
    let since = || HANDED.try_with(Cell::get).unwrap_or_default();
    loop {
        let seen = since();
        sleep_until(seen.unwrap_or_else(Instant::now) + limit).await;
        if seen.is_some() && since() == seen {
            return;
        }
    }
}

/// What ends the sending side of the tunnel that the current stream becomes. Only while hyper asks for the
/// answer to a request; a new one elsewhere.
pub(super) fn sender() -> CancellationToken {
    SENDER.try_with(Clone::clone).unwrap_or_default()
}

/// Spawns them, so that each ends with something.
///
/// A stream's first task asks for the answer and sends it: it ends with the shutdown's cut, or by a reset when its client
/// takes nothing. When it becomes a
/// tunnel it makes a second one, which sends what the tunnel writes, and which hyper would leave waiting for a
/// client that takes nothing: it ends with the tunnel, by a reset.
#[derive(Clone)]
pub(super) struct Tasks {
    cut: Order,
    metrics: Arc<Metrics>,
    peer: SocketAddr,
    stall: Duration,
}

impl Tasks {
    /// Those of `connection`.
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            cut: connection.shutdown.cut.clone(),
            metrics: connection.proxy.metrics.clone(),
            peer: connection.peer,
            stall: connection.proxy.limits.stream_stall,
        }
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        if let Ok(ended) = SENDER.try_with(Clone::clone) {
            tokio::spawn(ended.run_until_cancelled_owned(task));
            return;
        }
        let Self {
            cut,
            metrics,
            peer,
            stall,
        } = self.clone();
        let task = async move {
            tokio::select! {
                () = connection::isolated(&metrics, peer, task) => {}
                () = stalled(stall) => {
                    tracing::debug!(client = %peer, "a stream is reset: its client takes nothing");
                }
                () = cut.given() => {}
            }
        };
        let task = HANDED.scope(Cell::new(None), task);
        tokio::spawn(SENDER.scope(CancellationToken::new(), task));
    }
}
