//! The tasks that hyper makes for the streams of a connection.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    proxy::connection::{self, Connection},
    telemetry::metrics::Metrics,
};

tokio::task_local! {
    /// Ends the sending side of the tunnel that the stream of this task becomes.
    static SENDER: CancellationToken;
}

/// What ends the sending side of the tunnel that the current stream becomes. Only while hyper asks for the
/// answer to a request; a new one elsewhere.
pub(super) fn sender() -> CancellationToken {
    SENDER.try_with(Clone::clone).unwrap_or_default()
}

/// Spawns them, so that each ends with something.
///
/// A stream's first task asks for the answer and sends it: it ends with the shutdown's cut. When it becomes a
/// tunnel it makes a second one, which sends what the tunnel writes, and which hyper would leave waiting for a
/// client that takes nothing: it ends with the tunnel, by a reset.
#[derive(Clone)]
pub(super) struct Tasks {
    cut: CancellationToken,
    metrics: Arc<Metrics>,
    peer: SocketAddr,
}

impl Tasks {
    /// Those of `connection`.
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            cut: connection.shutdown.cut.clone(),
            metrics: connection.proxy.metrics.clone(),
            peer: connection.peer,
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
        let Self { cut, metrics, peer } = self.clone();
        tokio::spawn(SENDER.scope(CancellationToken::new(), async move {
            let task = connection::isolated(&metrics, peer, task);
            cut.run_until_cancelled(task).await;
        }));
    }
}
