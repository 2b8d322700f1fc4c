//! A timer that is moved only when it would fire too late, so that what is fast touches no timer at all: a deadline
//! that is over before its time leaves it as it is.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready from `deadline` on. It may be another one each time.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    async fn until(timer: &mut Timer, deadline: Instant) {
        poll_fn(|cx| timer.poll_until(cx, deadline)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_kept_whatever_came_before() {
        const SECOND: Duration = Duration::from_secs(1);
        let mut timer = Timer::default();
        for seconds in [5, 0, 1, 20, 3] {
            // One that is given up leaves its time behind, an early one or a late one.
            for given_up in [SECOND / 2, 60 * SECOND] {
                let late = until(&mut timer, Instant::now() + given_up);
                assert!(tokio::time::timeout(SECOND / 10, late).await.is_err());
            }
            let start = Instant::now();
            until(&mut timer, start + seconds * SECOND).await;
            let wanted = seconds * SECOND;
            let range = wanted..=wanted + Duration::from_millis(1);
            assert!(range.contains(&start.elapsed()), "{:?}", start.elapsed());
        }
    }
}
