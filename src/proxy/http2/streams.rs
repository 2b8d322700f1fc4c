//! The streams of one connection: how many there are, and the right to be one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::body::{Hold, Pieces};
use crate::proxy::{Proxy, slots::Slot};

/// How much goes on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Requests whose answer has not ended.
    pub(super) requests: u32,
    /// Tunnels.
    pub(super) tunnels: u32,
    /// Streams since the connection began.
    pub(super) total: u64,
}

/// All streams of a connection.
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    proxy: Arc<Proxy>,
    load: watch::Sender<Load>,
    pieces: Arc<Pieces>,
    /// The slot of the connection has room for one stream: the client's socket and one of a backend are what
    /// `--max-connections` counts on.
    first: Arc<Semaphore>,
    /// Held by every stream: a tunnel says goodbye to its backend even when the connection is gone.
    _slot: Slot,
}

impl Streams {
    /// None yet, and where to see how many there are.
    pub(super) fn new(proxy: Arc<Proxy>, slot: Slot) -> (Self, watch::Receiver<Load>) {
        let (load, seen) = watch::channel(Load::default());
        let shared = Shared {
            proxy,
            load,
            pieces: Arc::new(Pieces::new()),
            first: Arc::new(Semaphore::new(1)),
            _slot: slot,
        };
        (Self(Arc::new(shared)), seen)
    }

    /// What the client has not taken.
    pub(super) fn pieces(&self) -> Arc<Pieces> {
        Arc::clone(&self.0.pieces)
    }

    /// A stream was opened. Each beyond the first takes one more slot, because each may have a backend's socket.
    pub(super) fn begin(&self) -> Request {
        let shared = self.0.clone();
        let first = shared.first.clone().try_acquire_owned().ok();
        let permit = first.or_else(|| shared.proxy.slots.another());
        shared.load.send_modify(|load| {
            load.requests += 1;
            load.total += 1;
        });
        Request {
            permit: permit.map(Arc::new),
            shared,
        }
    }
}

/// A request, until its answer has ended.
pub(in crate::proxy) struct Request {
    permit: Option<Arc<OwnedSemaphorePermit>>,
    shared: Arc<Shared>,
}

impl Request {
    /// Whether the limit of connections left no room for it.
    pub(super) fn is_over(&self) -> bool {
        self.permit.is_none()
    }

    /// What the pieces of its answer hold.
    pub(super) fn hold(&self) -> Hold {
        Hold::new(self.permit.clone(), Arc::clone(&self.shared.pieces))
    }

    /// The tunnel that it becomes. It keeps the slot.
    pub(in crate::proxy) fn tunnel(&self) -> Tunnel {
        self.shared.load.send_modify(|load| load.tunnels += 1);
        Tunnel {
            _permit: self.permit.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.shared.load.send_modify(|load| load.requests -= 1);
    }
}

/// A tunnel, until its end.
pub(in crate::proxy) struct Tunnel {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
    shared: Arc<Shared>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.shared.load.send_modify(|load| load.tunnels -= 1);
    }
}
