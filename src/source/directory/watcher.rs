//! The task that owns the worker thread.

use std::{path::Path, sync::Arc, thread, time::Duration};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    signals::Shared,
    worker::{Sink, Worker},
};
use crate::source::rebuild::{Changes, Rebuild};

/// Time between two attempts to start the thread.
const RETRY: Duration = Duration::from_secs(1);

impl Sink for Rebuild {
    fn event(&mut self) {
        self.metrics.source_event();
    }

    fn apply(&mut self, changes: Changes, broken: usize) -> bool {
        self.metrics.source_errors(broken);
        Self::apply(self, changes)
    }
}

/// Watches `dir` until `stop`, feeding `rebuild`. Never returns early: a directory that disappears is an
/// error in the log, not an end.
pub async fn watch(dir: &Path, rebuild: Rebuild, stop: CancellationToken) {
    run(dir, rebuild, stop).await;
}

/// Ends the worker when the task is dropped, too.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Reading and translating takes milliseconds of processor time, so it has a thread of its own (and not one of
/// tokio's, whose clock may be paused).
pub(super) async fn run(dir: &Path, sink: impl Sink, stop: CancellationToken) {
    // Events name absolute paths.
    let root = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let (shared, signals) = Shared::new();
    let worker = Worker::new(root, sink, Arc::clone(&shared), signals);
    let owner = Owner(shared);
    let worker = Arc::new(Mutex::new(Some(worker)));
    let (ended, mut end) = oneshot::channel::<()>();
    let ended = Arc::new(Mutex::new(Some(ended)));
    loop {
        let (worker, ended) = (Arc::clone(&worker), Arc::clone(&ended));
        let spawned = thread::Builder::new()
            .name("manifests".into())
            .spawn(move || {
                let _ended = ended.lock().take();
                let worker = worker.lock().take();
                if let Some(worker) = worker {
                    worker.run();
                }
            });
        match spawned {
            Ok(_) => break,
            Err(error) => error!(%error, "no thread to read manifests with; next try in a second"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    tokio::select! {
        () = stop.cancelled() => {}
        _ = &mut end => {}
    }
    drop(owner);
    // An update that is being made is finished first.
    let _ = end.await;
}
