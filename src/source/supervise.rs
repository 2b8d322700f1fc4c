//! The death of a background task costs what it does for a moment, never the process, and never for good.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Waiting time before it starts again, doubled with every death.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Runs `task` until it ends by itself, again after a panic, but not beyond `stop`. `what`: the task, for the log.
pub async fn supervise<T: Future<Output = ()>>(
    what: &str,
    stop: &CancellationToken,
    mut task: impl FnMut() -> T,
) {
    let mut pause = FIRST_PAUSE;
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        error!(
            task = what,
            ?pause,
            "a task died and starts again; please report this"
        );
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_dies_starts_again_later_each_time() {
        let (stop, begun) = (CancellationToken::new(), Cell::new(0));
        let start = Instant::now();
        supervise("test", &stop, || {
            begun.set(begun.get() + 1);
            let dies = begun.get() < 4;
            async move { assert!(!dies, "injected") }
        })
        .await;
        let pauses = Duration::from_secs(1 + 2 + 4);
        assert_eq!(
            (begun.get(), start.elapsed().as_secs()),
            (4, pauses.as_secs())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_starts_again_at_the_end() {
        let stop = CancellationToken::new();
        stop.cancel();
        supervise("test", &stop, || async { panic!("injected") }).await;
    }
}
