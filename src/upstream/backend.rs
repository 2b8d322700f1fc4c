//! One backend with its endpoints.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::ir;

/// A port of a Service with its endpoints.
#[derive(Debug)]
pub struct Backend {
    id: ir::BackendId,
    endpoints: ArcSwap<Arc<[Arc<Endpoint>]>>,
    /// Writers one at a time, or two of them could make two `Endpoint`s of one address.
    writer: Mutex<()>,
    /// Where the next rotation starts.
    next: AtomicUsize,
}

impl Backend {
    /// A backend without endpoints.
    pub(super) fn new(id: ir::BackendId) -> Self {
        Self {
            id,
            endpoints: ArcSwap::from_pointee(Arc::from([])),
            writer: Mutex::new(()),
            next: AtomicUsize::new(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> &ir::BackendId {
        &self.id
    }

    /// All endpoints, ready or not.
    pub fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(&self.endpoints.load())
    }

    /// Replaces the endpoints. An address that stays keeps its `Endpoint` and so its counts.
    pub fn set_endpoints(&self, endpoints: &[ir::Endpoint]) {
        let _one_at_a_time = self.writer.lock();
        let old = self.endpoints();
        let known: hashbrown::HashMap<SocketAddr, &Arc<Endpoint>> =
            old.iter().map(|e| (e.address, e)).collect();
        let mut changed = old.len() != endpoints.len();
        let new: Arc<[Arc<Endpoint>]> = endpoints
            .iter()
            .enumerate()
            .map(|(place, state)| {
                if let Some(stays) = known.get(&state.address) {
                    stays.set(state);
                    changed |= !old.get(place).is_some_and(|e| Arc::ptr_eq(e, stays));
                    Arc::clone(stays)
                } else {
                    changed = true;
                    Arc::new(Endpoint::new(state))
                }
            })
            .collect();
        if changed {
            self.endpoints.store(Arc::new(new));
        }
    }

    /// The next ready endpoint in rotation that is not in `tried`.
    pub fn pick(&self, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let usable = |e: &&Arc<Endpoint>| e.is_ready() && !tried.contains(&e.address);
        // Counted first: a rotation over all would give the neighbour of one that is not ready twice its share.
        let count = endpoints.iter().filter(usable).count();
        let turn = self.next.fetch_add(1, Relaxed).checked_rem(count)?;
        endpoints.iter().filter(usable).nth(turn).cloned()
    }
}

/// One address of a backend.
#[derive(Debug)]
pub struct Endpoint {
    key: u64,
    address: SocketAddr,
    /// Bits of [`ir::Endpoint`].
    state: AtomicU8,
    tunnels: AtomicUsize,
}

const READY: u8 = 1;
const SERVING: u8 = 2;
const TERMINATING: u8 = 4;

impl Endpoint {
    fn new(state: &ir::Endpoint) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let endpoint = Self {
            key: NEXT.fetch_add(1, Relaxed),
            address: state.address,
            state: AtomicU8::new(0),
            tunnels: AtomicUsize::new(0),
        };
        endpoint.set(state);
        endpoint
    }

    /// Tells this endpoint from all others of the process, also from one that has the same address in another
    /// backend or at another time.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its state.
    pub fn state(&self) -> ir::Endpoint {
        let bits = self.state.load(Relaxed);
        ir::Endpoint {
            address: self.address,
            ready: bits & READY != 0,
            serving: bits & SERVING != 0,
            terminating: bits & TERMINATING != 0,
        }
    }

    /// How many tunnels go there at the moment.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Relaxed)
    }

    /// Counts a tunnel until the guard is dropped.
    pub fn tunnel(self: &Arc<Self>) -> TunnelGuard {
        self.tunnels.fetch_add(1, Relaxed);
        TunnelGuard(Arc::clone(self))
    }

    fn is_ready(&self) -> bool {
        self.state.load(Relaxed) & READY != 0
    }

    fn set(&self, state: &ir::Endpoint) {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let bits = bit(state.ready, READY)
            | bit(state.serving, SERVING)
            | bit(state.terminating, TERMINATING);
        self.state.store(bits, Relaxed);
    }
}

/// A live tunnel to an endpoint. Also keeps the endpoint.
#[derive(Debug)]
pub struct TunnelGuard(Arc<Endpoint>);

impl Drop for TunnelGuard {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 80))
    }

    fn endpoint(n: u8, ready: bool) -> ir::Endpoint {
        ir::Endpoint {
            address: address(n),
            ready,
            serving: ready,
            terminating: !ready,
        }
    }

    fn backend(endpoints: &[ir::Endpoint]) -> Backend {
        let backend = Backend::new(ir::BackendId {
            namespace: "shop".into(),
            service: "chat".into(),
            port: 80,
        });
        backend.set_endpoints(endpoints);
        backend
    }

    fn picks(backend: &Backend, count: usize, tried: &[SocketAddr]) -> BTreeMap<SocketAddr, usize> {
        let mut picks = BTreeMap::new();
        for _ in 0..count {
            if let Some(endpoint) = backend.pick(tried) {
                *picks.entry(endpoint.address()).or_default() += 1;
            }
        }
        picks
    }

    #[test]
    fn rotates_evenly_over_the_ready_ones() {
        let backend = backend(&[
            endpoint(1, true),
            endpoint(2, false),
            endpoint(3, true),
            endpoint(4, true),
        ]);
        let even = BTreeMap::from([(address(1), 10), (address(3), 10), (address(4), 10)]);
        assert_eq!(picks(&backend, 30, &[]), even);
        let rest = BTreeMap::from([(address(3), 5)]);
        assert_eq!(picks(&backend, 5, &[address(1), address(4)]), rest);
        let all = [address(1), address(3), address(4)];
        assert_eq!(picks(&backend, 5, &all), BTreeMap::new());
    }

    #[test]
    fn without_endpoints_there_is_none() {
        assert!(backend(&[]).pick(&[]).is_none());
        assert!(backend(&[endpoint(1, false)]).pick(&[]).is_none());
    }

    #[test]
    fn an_address_that_stays_keeps_its_endpoint() {
        let backend = backend(&[endpoint(1, true), endpoint(2, true)]);
        let first = Arc::clone(&backend.endpoints()[0]);
        let tunnel = first.tunnel();
        backend.set_endpoints(&[endpoint(0, true), endpoint(1, false)]);
        let now = backend.endpoints();
        assert!(Arc::ptr_eq(&now[1], &first));
        assert_eq!(now[1].state(), endpoint(1, false), "its state follows");
        assert_eq!(now[1].tunnels(), 1);
        assert_eq!(now.len(), 2);
        backend.set_endpoints(&[]);
        drop(tunnel);
        assert_eq!(
            first.tunnels(),
            0,
            "a guard outlives the endpoint's removal"
        );
    }

    #[test]
    fn the_list_is_stored_only_when_it_changed() {
        let backend = backend(&[endpoint(1, true), endpoint(2, true)]);
        let before = backend.endpoints();
        backend.set_endpoints(&[endpoint(1, false), endpoint(2, true)]);
        assert!(Arc::ptr_eq(&before, &backend.endpoints()));
        backend.set_endpoints(&[endpoint(2, true), endpoint(1, true)]);
        assert_eq!(backend.endpoints()[0].address(), address(2));
    }
}
