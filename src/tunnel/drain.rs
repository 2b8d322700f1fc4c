//! Who is told to end, and when: one schedule for all orders of the process.
//!
//! [`Registry::pace`] is the task that gives the orders. How a tunnel that has one says goodbye is its own business.

mod schedule;

use std::{sync::Arc, sync::atomic::Ordering::SeqCst, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Registry,
    outcome::{Cause, Order},
    registry::{Entry, Open},
};
use crate::ws::close;
use schedule::Schedule;

/// The schedule, and how its task learns of changes.
#[derive(Debug)]
pub(super) struct Plan {
    schedule: Mutex<Schedule>,
    changed: Notify,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            schedule: Mutex::new(Schedule::new(Instant::now())),
            changed: Notify::new(),
        }
    }
}

impl Plan {
    /// Whatever was planned for a tunnel is no longer needed.
    pub(super) fn forget(&self, id: u64) {
        self.schedule.lock().forget(id);
    }
}

impl Registry {
    /// Gives the orders of the schedule until `stop`. To be run once, for as long as there may be tunnels.
    pub async fn pace(&self, stop: CancellationToken) {
        loop {
            let changed = self.plan.changed.notified();
            let wake = self.give_due();
            let due = async {
                match wake {
                    Some(wake) => sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed => {}
                () = due => {}
            }
        }
    }

    /// The process ends: every tunnel gets its Close (cause `drain`, `drain.code` of its route), all of a route within
    /// the smaller of `window` and its `drain.window`, evenly. A tunnel that opens from now on gets a random place in
    /// what is left. Returns at once.
    pub fn drain(&self, window: Duration) {
        self.plan.schedule.lock().begin(Instant::now(), window);
        // From here on a new tunnel looks for its place itself; those from before are in the list.
        self.draining.store(true, SeqCst);
        let all = self.entries();
        let planned = all.into_iter().map(|entry| {
            let own = entry.route.rule.policy.drain.window.value;
            (entry, Cause::Drain, own.min(window))
        });
        self.order(planned);
    }

    /// What is left of every window is divided by this.
    pub fn hurry(&self, divisor: u32) {
        self.plan.schedule.lock().hurry(Instant::now(), divisor);
        self.plan.changed.notify_one();
    }

    /// All tunnels end now, without a goodbye: sockets are closed as they are.
    pub fn cut(&self) {
        self.cut.store(true, SeqCst);
        for entry in self.entries() {
            entry.wake();
        }
    }

    /// Returns when no tunnel is left.
    pub async fn ended(&self) {
        loop {
            let gone = self.empty.notified();
            if self.is_empty() {
                return;
            }
            gone.await;
        }
    }

    /// Tells one tunnel to end, now. `false` where there is no such tunnel.
    pub fn end(&self, id: u64, order: Order) -> bool {
        let entry = self.entry(id);
        if let Some(entry) = &entry {
            entry.give(order);
        }
        entry.is_some()
    }

    /// Ends the tunnels that `filter` wants within `window`, evenly; `None` for the `drain.window` of each route. Code
    /// 1001 for cause `admin`, else `drain.code` of the route. Returns how many tunnels have an order from now on that
    /// were not ending yet.
    pub fn drain_some(
        &self,
        filter: impl Fn(&Open<'_>) -> bool,
        cause: Cause,
        window: Option<Duration>,
    ) -> usize {
        let all = self.entries().into_iter();
        let wanted = all.filter(|entry| !entry.is_ending() && filter(&entry.open()));
        let planned: Vec<_> = wanted
            .map(|entry| {
                let own = entry.route.rule.policy.drain.window.value;
                (entry, cause, window.unwrap_or(own))
            })
            .collect();
        let count = planned.len();
        self.order(planned);
        count
    }

    /// Plans orders, each spread over its window together with the others. A window of 0 is now.
    pub(super) fn order(&self, orders: impl IntoIterator<Item = (Arc<Entry>, Cause, Duration)>) {
        let orders = orders.into_iter().filter(|(entry, ..)| !entry.is_ending());
        let orders: Vec<_> = orders
            .map(|(entry, cause, window)| (entry.id, order(&entry, cause), window))
            .collect();
        self.plan
            .schedule
            .lock()
            .spread(Instant::now(), orders, &mut fastrand::Rng::new());
        self.give_due();
        self.plan.changed.notify_one();
    }

    /// A tunnel has just opened. Its place is planned where the process ends.
    pub(super) fn welcome(&self, entry: &Entry) {
        // It is in the map before this is read: one of both sides sees the other.
        if !self.draining.load(SeqCst) {
            return;
        }
        let window = entry.route.rule.policy.drain.window.value;
        self.plan.schedule.lock().join(
            Instant::now(),
            entry.id,
            order(entry, Cause::Drain),
            window,
            &mut fastrand::Rng::new(),
        );
        self.plan.changed.notify_one();
    }

    /// Gives every order whose time has come. Returns when the next one is due.
    fn give_due(&self) -> Option<Instant> {
        loop {
            let (id, order) = {
                let mut schedule = self.plan.schedule.lock();
                match schedule.next_due(Instant::now()) {
                    Some(due) => due,
                    None => return schedule.wake(),
                }
            };
            // Without a lock: to wake is to run foreign code.
            self.end(id, order);
        }
    }
}

/// What an order for this tunnel says.
fn order(entry: &Entry, cause: Cause) -> Order {
    let code = match cause {
        Cause::Admin => close::GOING_AWAY,
        _ => entry.route.rule.policy.drain.code.value,
    };
    Order { cause, code }
}
