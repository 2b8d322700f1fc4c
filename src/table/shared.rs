//! What tables share: routes and regular expressions, as long as any table or tunnel holds them.

use std::{
    hash::Hash,
    sync::{Arc, Weak},
};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{Route, pattern::Pattern};
use crate::ir;

/// Shared by a table and all that follow it. Only compiling takes the lock.
#[derive(Debug)]
pub(super) struct Shared<B>(Mutex<Pools<B>>);

/// The pools, locked.
#[derive(Debug)]
pub(super) struct Pools<B> {
    pub(super) patterns: Pool<Arc<str>, Pattern>,
    /// By the address of the rule: a route holds its rule, so while there is the route no other rule has the address.
    pub(super) routes: Pool<usize, Route<B>>,
}

/// Values by key, until nobody holds them.
#[derive(Debug)]
pub(super) struct Pool<K, V> {
    known: HashMap<K, Weak<V>>,
    /// With so many it is time to forget those that nobody holds.
    full: usize,
}

/// A pool is not tidied below this.
const SMALL: usize = 64;

impl<B> Shared<B> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Pools {
            patterns: Pool::new(),
            routes: Pool::new(),
        }))
    }

    pub(super) fn pools(&self) -> parking_lot::MutexGuard<'_, Pools<B>> {
        self.0.lock()
    }
}

impl<B> Pools<B> {
    /// The expression of a source.
    pub(super) fn pattern(&mut self, source: &Arc<str>) -> Arc<Pattern> {
        let make = || Pattern::new(Arc::clone(source));
        self.patterns.get(Arc::clone(source), make)
    }

    /// The route of a rule.
    pub(super) fn route(
        &mut self,
        rule: &Arc<ir::Route>,
        make: impl FnOnce() -> Route<B>,
    ) -> Arc<Route<B>> {
        self.routes.get(Arc::as_ptr(rule).addr(), make)
    }
}

impl<K: Eq + Hash, V> Pool<K, V> {
    fn new() -> Self {
        Self {
            known: HashMap::new(),
            full: SMALL,
        }
    }

    fn get(&mut self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(known) = self.known.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if self.known.len() >= self.full {
            self.tidy();
        }
        let new = Arc::new(make());
        self.known.insert(key, Arc::downgrade(&new));
        new
    }

    /// Costs as much as what was added since the last time.
    fn tidy(&mut self) {
        self.known.retain(|_, value| value.strong_count() > 0);
        self.known.shrink_to(SMALL);
        self.full = SMALL.max(self.known.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut pool = Pool::new();
        let held: Vec<_> = (0..10).map(|key| pool.get(key, || key)).collect();
        for key in 10..10_000 {
            assert_eq!(*pool.get(key, || key), key);
        }
        assert!(pool.known.len() <= SMALL, "{}", pool.known.len());
        for (key, value) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(value, &pool.get(key, || usize::MAX)));
        }
        assert_eq!(*pool.get(10, || 11), 11, "made anew");
    }
}
