//! Connections that wait for a request.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::Instant};

use super::{Endpoint, SendBody, link::Link};

/// How long an idle connection is kept. Less than the 5 s after which a Node server closes it: of the common
/// servers only some Python ones are quicker. A request that meets such a close is lost (502), while
/// a new connection inside of a cluster costs less than a millisecond.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(4);

/// Idle connections to one endpoint: enough for the pauses between bursts, few enough for a backend with
/// a thread per connection.
pub(super) const MAX_PER_ENDPOINT: usize = 64;

/// Idle connections in all: a small part of the file descriptors of a process that serves tunnels.
pub(super) const MAX_TOTAL: usize = 1024;

/// The idle connections of a pool.
pub(super) struct Idle<B: SendBody> {
    state: Mutex<State<B>>,
}

struct State<B: SendBody> {
    /// By [`Endpoint::key`]; the newest last. No list is empty.
    lists: HashMap<u64, Vec<Waiting<B>>>,
    /// Length of all lists together.
    total: usize,
    /// A task looks for connections whose time is over.
    swept: bool,
}

struct Waiting<B: SendBody> {
    link: Box<Link<B>>,
    since: Instant,
}

impl<B: SendBody> Default for Idle<B> {
    fn default() -> Self {
        let state = State {
            lists: HashMap::new(),
            total: 0,
            swept: false,
        };
        Self {
            state: Mutex::new(state),
        }
    }
}

impl<B: SendBody> fmt::Debug for Idle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.lock().total.fmt(f)
    }
}

impl<B: SendBody> Idle<B> {
    /// The connection to this endpoint that was used last. Whether the backend has closed it meanwhile, the next exchange tells.
    pub(super) fn take(&self, endpoint: &Endpoint) -> Option<Box<Link<B>>> {
        let mut state = self.state.lock();
        loop {
            let list = state.lists.get_mut(&endpoint.key())?;
            let newest = list.pop();
            if list.is_empty() {
                state.lists.remove(&endpoint.key());
            }
            let newest = newest?;
            state.total = state.total.saturating_sub(1);
            if newest.since.elapsed() < IDLE_TIME {
                return Some(newest.link);
            }
        }
    }

    /// How many connections to this endpoint are idle.
    #[cfg(test)]
    pub(super) fn count(&self, endpoint: &Endpoint) -> usize {
        let state = self.state.lock();
        state.lists.get(&endpoint.key()).map_or(0, Vec::len)
    }

    /// Keeps a connection, if it can take another request.
    pub(super) fn put(self: &Arc<Self>, key: u64, link: Box<Link<B>>) {
        if !link.is_ready() {
            return;
        }
        link.rest();
        let mut state = self.state.lock();
        if state.total >= MAX_TOTAL {
            return;
        }
        let list = state.lists.entry(key).or_default();
        if list.len() >= MAX_PER_ENDPOINT {
            return;
        }
        list.push(Waiting {
            link,
            since: Instant::now(),
        });
        state.total += 1;
        // There is no runtime any more when it drops what is left at its end.
        if !state.swept
            && let Ok(runtime) = Handle::try_current()
        {
            state.swept = true;
            drop(runtime.spawn(sweep(Arc::downgrade(self))));
        }
    }

    /// Drops what is closed or too old. Whether anything is left.
    fn drop_old(&self) -> bool {
        let mut state = self.state.lock();
        state.lists.retain(|_, list| {
            list.retain_mut(|waiting| {
                waiting.since.elapsed() < IDLE_TIME && waiting.link.is_open()
            });
            !list.is_empty()
        });
        state.total = state.lists.values().map(Vec::len).sum();
        state.swept = state.total > 0;
        state.swept
    }
}

/// Ends with the pool, or when there is nothing left to look after.
async fn sweep<B: SendBody>(pool: Weak<Idle<B>>) {
    loop {
        tokio::time::sleep(IDLE_TIME / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.drop_old() {
            return;
        }
    }
}
