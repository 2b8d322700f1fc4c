//! An order to all connections, given once: drain, or cut.
//!
//! A [`CancellationToken`] that is cheap to look at. The token alone has one lock for all of its holders, and each poll
//! of each connection would take it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use tokio_util::sync::CancellationToken;

/// All clones are the same order.
#[derive(Debug, Clone, Default)]
pub struct Order {
    given: Arc<AtomicBool>,
    wakes: CancellationToken,
}

impl Order {
    /// Gives it.
    pub fn give(&self) {
        self.given.store(true, Ordering::Release);
        self.wakes.cancel();
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    /// Returns when it is given.
    pub async fn given(&self) {
        let mut woken = pin!(self.wakes.cancelled());
        // Who will be woken, as every `Pending` of the token promises. As long as that is who asks, asking again
        // changes nothing.
        let mut known: Option<Waker> = None;
        poll_fn(|cx| {
            let waker = cx.waker();
            let is_known = known.as_ref().is_some_and(|known| known.will_wake(waker));
            if is_known && !self.is_given() {
                return Poll::Pending;
            }
            known = Some(waker.clone());
            woken.as_mut().poll(cx)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::Notify, time::timeout};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_waits_is_told_also_after_other_news() {
        for _ in 0..200 {
            let order = Order::default();
            let other = Arc::new(Notify::new());
            let waiting = tokio::spawn({
                let (order, other) = (order.clone(), other.clone());
                async move {
                    let given = order.given();
                    tokio::pin!(given);
                    loop {
                        tokio::select! {
                            () = &mut given => return order.is_given(),
                            () = other.notified() => {}
                        }
                    }
                }
            });
            other.notify_one();
            tokio::task::yield_now().await;
            other.notify_one();
            order.give();
            let told = timeout(Duration::from_secs(10), waiting).await;
            assert!(told.expect("in time").expect("no panic"));
        }
    }

    #[tokio::test]
    async fn whoever_comes_late_and_whoever_moves_is_told() {
        let order = Order::default();
        let mut given = Box::pin({
            let order = order.clone();
            async move { order.given().await }
        });
        assert!(futures_util::poll!(&mut given).is_pending());
        assert!(!order.is_given());
        // In another task from here on.
        let moved = tokio::spawn(given);
        tokio::task::yield_now().await;
        order.give();
        timeout(Duration::from_secs(10), moved)
            .await
            .expect("in time")
            .expect("no panic");
        order.given().await;
    }
}
