//! One backend with its endpoints.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use arc_swap::ArcSwap;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;

use crate::ir;

/// A port of a Service with its endpoints.
#[derive(Debug)]
pub struct Backend {
    id: ir::BackendId,
    endpoints: ArcSwap<Arc<[Arc<Endpoint>]>>,
    /// Endpoints that left and that somebody still holds. Locked by who writes: two at a time could make two
    /// `Endpoint`s of one address.
    departed: Mutex<HashMap<SocketAddr, Weak<Endpoint>>>,
    /// Where the next rotation starts.
    next: AtomicUsize,
}

impl Backend {
    /// A backend without endpoints.
    pub(super) fn new(id: ir::BackendId) -> Self {
        Self {
            id,
            endpoints: ArcSwap::from_pointee(Arc::from([])),
            departed: Mutex::default(),
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

    /// Replaces the endpoints. An address that stays keeps its `Endpoint` and so its counts; so does one that comes
    /// back while a tunnel holds it. Returns whether an endpoint that has tunnels is terminating or gone from now on.
    pub fn set_endpoints(&self, endpoints: &[ir::Endpoint]) -> bool {
        let mut departed = self.departed.lock();
        let old = self.endpoints();
        let known: HashMap<SocketAddr, &Arc<Endpoint>> =
            old.iter().map(|e| (e.address, e)).collect();
        let mut changed = old.len() != endpoints.len();
        let mut leaves = false;
        let new: Arc<[Arc<Endpoint>]> = endpoints
            .iter()
            .enumerate()
            .map(|(place, state)| {
                let stays = known.get(&state.address).copied().cloned();
                changed |= match (&stays, old.get(place)) {
                    (Some(stays), Some(old)) => !Arc::ptr_eq(old, stays),
                    _ => true,
                };
                let back = || departed.remove(&state.address)?.upgrade();
                match stays.or_else(back) {
                    Some(endpoint) => {
                        leaves |= endpoint.set(state);
                        endpoint
                    }
                    None => Arc::new(Endpoint::new(state)),
                }
            })
            .collect();
        if changed {
            let here: HashSet<SocketAddr> = new.iter().map(|e| e.address).collect();
            let left = old.iter().filter(|e| !here.contains(&e.address));
            departed.extend(left.map(|e| (e.address, Arc::downgrade(e))));
            self.endpoints.store(Arc::new(new));
        }
        // Or these would be what holds them.
        drop(known);
        drop(old);
        departed.retain(|_, endpoint| {
            let held = endpoint.upgrade();
            leaves |= held.as_ref().is_some_and(|endpoint| endpoint.leave());
            held.is_some()
        });
        leaves
    }

    /// Nobody says any more what endpoints there are: nothing new goes to those that were known, and of what goes
    /// there nothing is known.
    pub(super) fn release(&self) {
        let mut departed = self.departed.lock();
        let old = self.endpoints();
        departed.extend(old.iter().map(|e| (e.address, Arc::downgrade(e))));
        self.endpoints.store(Arc::new(Arc::from([])));
        drop(old);
        departed.retain(|_, endpoint| {
            let held = endpoint.upgrade();
            if let Some(endpoint) = &held {
                endpoint.put(0);
            }
            held.is_some()
        });
    }

    /// The next ready endpoint in rotation that is not in `tried`. One that terminates and is ready all the same
    /// (`publishNotReadyAddresses`) only if there is no other.
    pub fn pick(&self, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let new = |state: u32| state & (READY | TERMINATING) == READY;
        let ready = |state: u32| state & READY != 0;
        let turn = |usable: fn(u32) -> bool| {
            let usable =
                |e: &&Arc<Endpoint>| usable(e.state.load(Relaxed)) && !tried.contains(&e.address);
            // Counted first: a rotation over all would give the neighbour of one that is not ready twice its share.
            let count = endpoints.iter().filter(usable).count();
            let turn = match (count, tried) {
                (0, _) => return None,
                (_, []) => self.next.fetch_add(1, Relaxed).checked_rem(count)?,
                // Rotation would go on with it, and might meet one that fails at every turn.
                _ => fastrand::usize(..count),
            };
            // It may have changed since.
            let next = endpoints.iter().filter(usable).nth(turn);
            next.or_else(|| endpoints.iter().find(usable)).cloned()
        };
        turn(new).or_else(|| turn(ready))
    }
}

/// One address of a backend.
#[derive(Debug)]
pub struct Endpoint {
    key: u64,
    address: SocketAddr,
    /// Bits of [`ir::Endpoint`], or `GONE`; above them how often it left.
    state: AtomicU32,
    /// Whoever counts a tunnel looks at the state afterwards, whoever changes the state at this: one of them sees
    /// both.
    tunnels: AtomicUsize,
}

/// What a tunnel must know of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is an endpoint of its backend, or nobody says what endpoints there are.
    There,
    /// It was asked to end.
    Terminating,
    /// It is in no slice of its Service, for the so-manieth time.
    Gone(u32),
}

const READY: u32 = 1;
const SERVING: u32 = 2;
const TERMINATING: u32 = 4;
const GONE: u32 = 8;
/// All of these. What is above them is the number of departures.
const BITS: u32 = 0xff;
const DEPARTURE: u32 = BITS + 1;

impl Endpoint {
    fn new(state: &ir::Endpoint) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let endpoint = Self {
            key: NEXT.fetch_add(1, Relaxed),
            address: state.address,
            state: AtomicU32::new(0),
            tunnels: AtomicUsize::new(0),
        };
        endpoint.set(state);
        endpoint
    }

    /// Tells this endpoint from all others of the process, also from one that has the same address in another
    /// backend, or had it when nobody holds that one any more.
    pub fn key(&self) -> u64 {
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

    /// What its tunnels must know.
    pub fn standing(&self) -> Standing {
        let state = self.state.load(SeqCst);
        if state & GONE != 0 {
            Standing::Gone(state / DEPARTURE)
        } else if state & TERMINATING != 0 {
            Standing::Terminating
        } else {
            Standing::There
        }
    }

    /// How many tunnels go there at the moment.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Relaxed)
    }

    /// Counts a tunnel until the guard is dropped.
    pub fn tunnel(self: &Arc<Self>) -> TunnelGuard {
        self.tunnels.fetch_add(1, SeqCst);
        TunnelGuard(Arc::clone(self))
    }

    /// Returns whether it has tunnels and is terminating from now on.
    fn set(&self, state: &ir::Endpoint) -> bool {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let bits = bit(state.ready, READY)
            | bit(state.serving, SERVING)
            | bit(state.terminating, TERMINATING);
        let before = self.put(bits);
        bits & !before & TERMINATING != 0 && self.tunnels.load(SeqCst) > 0
    }

    /// Replaces the bits. There is one writer at a time. Returns what was before.
    fn put(&self, bits: u32) -> u32 {
        let before = self.state.load(SeqCst);
        self.state.store(before & !BITS | bits, SeqCst);
        before
    }

    /// Returns whether it has tunnels and is gone from now on.
    fn leave(&self) -> bool {
        let before = self.state.load(SeqCst);
        if before & GONE != 0 {
            return false;
        }
        let left = (before & !BITS).wrapping_add(DEPARTURE);
        self.state.store(left | GONE, SeqCst);
        self.tunnels.load(SeqCst) > 0
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
    fn another_try_takes_no_turn() {
        let backend = backend(&[endpoint(1, true), endpoint(2, true), endpoint(3, true)]);
        // One that does not answer is the first of every third request, not of every second.
        let mut first = BTreeMap::new();
        for _ in 0..30 {
            let endpoint = backend.pick(&[]).expect("an endpoint").address();
            *first.entry(endpoint).or_insert(0) += 1;
            if endpoint == address(2) {
                assert_ne!(
                    backend.pick(&[endpoint]).expect("another").address(),
                    endpoint
                );
            }
        }
        let even = BTreeMap::from([(address(1), 10), (address(2), 10), (address(3), 10)]);
        assert_eq!(first, even);
    }

    #[test]
    fn one_that_terminates_is_the_last_choice() {
        let ending = ir::Endpoint {
            terminating: true,
            ..endpoint(2, true)
        };
        let both = backend(&[endpoint(1, true), ending.clone()]);
        assert_eq!(picks(&both, 4, &[]), BTreeMap::from([(address(1), 4)]));
        assert_eq!(
            picks(&both, 4, &[address(1)]),
            BTreeMap::from([(address(2), 4)])
        );
        let other = ir::Endpoint {
            address: address(3),
            ..ending
        };
        let even = BTreeMap::from([(address(2), 5), (address(3), 5)]);
        assert_eq!(picks(&backend(&[ending, other]), 10, &[]), even);
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
    fn an_address_that_comes_back_is_the_same_for_its_tunnels() {
        let backend = backend(&[endpoint(1, true), endpoint(2, true)]);
        let (first, second) = (
            backend.endpoints()[0].clone(),
            backend.endpoints()[1].clone(),
        );
        let tunnel = first.tunnel();
        drop((first, second));
        assert!(
            backend.set_endpoints(&[endpoint(3, true)]),
            "it has a tunnel"
        );
        assert!(
            !backend.set_endpoints(&[endpoint(4, true)]),
            "it is gone already"
        );
        assert_eq!(tunnel.0.standing(), Standing::Gone(1));
        assert_eq!(
            backend.departed.lock().len(),
            1,
            "only what is held is remembered"
        );
        assert!(!backend.set_endpoints(&[endpoint(2, true), endpoint(1, true)]));
        assert!(Arc::ptr_eq(&backend.endpoints()[1], &tunnel.0));
        assert_eq!(tunnel.0.standing(), Standing::There);
        assert!(
            backend.set_endpoints(&[endpoint(1, false)]),
            "it is terminating"
        );
        assert!(
            !backend.set_endpoints(&[endpoint(1, false)]),
            "and was before"
        );
        assert_eq!(tunnel.0.standing(), Standing::Terminating);
        drop(tunnel);
        assert!(!backend.set_endpoints(&[]), "nobody has to know");
    }

    #[test]
    fn what_is_not_followed_is_not_gone() {
        let backend = backend(&[endpoint(1, true)]);
        let tunnel = backend.endpoints()[0].tunnel();
        backend.release();
        assert!(backend.endpoints().is_empty());
        assert_eq!(tunnel.0.standing(), Standing::There);
        assert!(
            backend.set_endpoints(&[endpoint(2, true)]),
            "now it is known"
        );
        assert_eq!(tunnel.0.standing(), Standing::Gone(1));
        backend.release();
        assert_eq!(tunnel.0.standing(), Standing::There);
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
