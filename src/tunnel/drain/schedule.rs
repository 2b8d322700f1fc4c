//! When each tunnel is told to end. Pure: it is told the time, and gives the orders that are due.
//!
//! ```text
//!   window     |----|----|----|----|----|   as many slots as tunnels
//!   orders     |  x |x   |   x| x  |   x|   one in each, anywhere in it
//! ```
//! So a second never holds more than its share and one, whatever the dice say. A tunnel that ends by itself leaves
//! its slot empty: the others keep their places.
//!
//! Places are points on a clock of its own, which runs faster once somebody is in a hurry.

use std::{
    collections::{BTreeMap, btree_map},
    time::Duration,
};

use hashbrown::{HashMap, hash_map::Entry};
use tokio::time::Instant;

use crate::tunnel::outcome::Order;

/// Orders with their times, at most one for each tunnel.
#[derive(Debug)]
pub(super) struct Schedule {
    clock: Clock,
    /// By place, then by tunnel.
    due: BTreeMap<(Duration, u64), Order>,
    places: HashMap<u64, Duration>,
    process: Option<Process>,
}

/// The end of the process.
#[derive(Debug, Clone, Copy)]
struct Process {
    since: Duration,
    /// How fast the clock ran then.
    speed: u32,
    window: Duration,
}

/// Time since the schedule was made, in which every hurry makes the rest pass faster.
#[derive(Debug)]
struct Clock {
    /// The last change of speed.
    set: Instant,
    /// What the clock said then.
    said: Duration,
    speed: u32,
}

impl Clock {
    fn at(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.set);
        self.said.saturating_add(passed.saturating_mul(self.speed))
    }

    /// When it has passed a place; `None` for never.
    fn when(&self, place: Duration) -> Option<Instant> {
        let left = place.saturating_sub(self.said) / self.speed;
        // Division rounds down, and a moment too early would be one for nothing.
        self.set
            .checked_add(left)?
            .checked_add(Duration::from_nanos(1))
    }

    /// A stretch of real time, on this clock.
    fn stretch(&self, window: Duration) -> Duration {
        window.saturating_mul(self.speed)
    }
}

impl Schedule {
    /// Without orders.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            clock: Clock {
                set: now,
                said: Duration::ZERO,
                speed: 1,
            },
            due: BTreeMap::new(),
            places: HashMap::new(),
            process: None,
        }
    }

    /// Spreads orders over their windows, from now on. Those of one window are spread together. A tunnel that has an
    /// earlier one already keeps it.
    pub(super) fn spread(
        &mut self,
        now: Instant,
        orders: impl IntoIterator<Item = (u64, Order, Duration)>,
        dice: &mut fastrand::Rng,
    ) {
        let mut windows = BTreeMap::<Duration, Vec<(u64, Order)>>::new();
        for (id, order, window) in orders {
            windows.entry(window).or_default().push((id, order));
        }
        let start = self.clock.at(now);
        for (window, mut orders) in windows {
            // Tunnels of one route or of one age are not to end together.
            dice.shuffle(&mut orders);
            let window = nanos(self.clock.stretch(window));
            let count = orders.len() as u64;
            let edge = |slot: u64| {
                let point = u128::from(window) * u128::from(slot) / u128::from(count.max(1));
                u64::try_from(point).unwrap_or(u64::MAX)
            };
            for (slot, (id, order)) in (0..).zip(orders) {
                let place = between(edge(slot), edge(slot + 1), dice);
                self.put(id, start.saturating_add(place), order);
            }
        }
    }

    /// The process begins to end: what opens from now on ends within this window, too.
    pub(super) fn begin(&mut self, now: Instant, window: Duration) {
        self.process = Some(Process {
            since: self.clock.at(now),
            speed: self.clock.speed,
            window,
        });
    }

    /// A tunnel that opens while the process ends gets a random place in what is left of the window; `window` is its
    /// route's. Nothing happens while the process does not end.
    pub(super) fn join(
        &mut self,
        now: Instant,
        id: u64,
        order: Order,
        window: Duration,
        dice: &mut fastrand::Rng,
    ) {
        let Some(process) = self.process else { return };
        let start = self.clock.at(now);
        let window = process.window.min(window).saturating_mul(process.speed);
        let end = process.since.saturating_add(window).max(start);
        let place = between(nanos(start), nanos(end), dice);
        self.put(id, place, order);
    }

    /// What is left of every window is divided by this.
    pub(super) fn hurry(&mut self, now: Instant, divisor: u32) {
        self.clock = Clock {
            set: now,
            said: self.clock.at(now),
            speed: self.clock.speed.saturating_mul(divisor.max(1)),
        };
    }

    /// The tunnel has ended, or is ending.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(place) = self.places.remove(&id) {
            self.due.remove(&(place, id));
        }
    }

    /// The next order whose time has come.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(u64, Order)> {
        let time = self.clock.at(now);
        let first = self.due.first_entry()?;
        if first.key().0 > time {
            return None;
        }
        let ((_, id), order) = btree_map::OccupiedEntry::remove_entry(first);
        self.places.remove(&id);
        Some((id, order))
    }

    /// When the next order is due; `None` where there is none.
    pub(super) fn wake(&self) -> Option<Instant> {
        let (place, _) = self.due.first_key_value()?.0;
        self.clock.when(*place)
    }

    /// How many orders wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    fn put(&mut self, id: u64, place: Duration, order: Order) {
        match self.places.entry(id) {
            Entry::Occupied(known) if *known.get() <= place => return,
            Entry::Occupied(mut known) => {
                self.due.remove(&(*known.get(), id));
                *known.get_mut() = place;
            }
            Entry::Vacant(new) => {
                new.insert(place);
            }
        }
        self.due.insert((place, id), order);
    }
}

/// Some point of a stretch, which may be empty.
fn between(start: u64, end: u64, dice: &mut fastrand::Rng) -> Duration {
    let point = if start < end {
        dice.u64(start..end)
    } else {
        start
    };
    Duration::from_nanos(point)
}

/// Half a thousand years are long enough.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
