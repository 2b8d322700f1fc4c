//! Who may have a write under way: a namespace whose writes hang or fail (objects that are too large with their status, a
//! webhook) must not keep the places from the others.

use hashbrown::HashMap;

/// Writes under way at a time: enough for 50 a second while each takes 80 ms, and two fail.
pub(super) const ALL: usize = 6;

/// Of all namespaces together that fail, each of which has one.
const FAILING: usize = 2;

/// After so many writes in a row that went well a namespace does not fail any more.
const WELL: u32 = 8;

/// Places for writes.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: HashMap<String, usize>,
    /// Namespaces that fail, and how many of their writes in a row went well since.
    failing: HashMap<String, u32>,
}

impl Places {
    /// Whether an object of this namespace may be written.
    pub(super) fn has_room(&self, namespace: &str) -> bool {
        if !self.failing.contains_key(namespace) {
            return true;
        }
        let taken = self.taken.keys();
        let failing = taken.filter(|it| self.failing.contains_key(*it)).count();
        failing < FAILING && !self.taken.contains_key(namespace)
    }

    /// It is being written.
    pub(super) fn take(&mut self, namespace: &str) {
        *self.taken.entry_ref(namespace).or_default() += 1;
    }

    /// The write is over. Whether it went well; `None`: that says nothing about the namespace.
    pub(super) fn give_back(&mut self, namespace: &str, went_well: Option<bool>) {
        if let Some(taken) = self.taken.get_mut(namespace) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.taken.remove(namespace);
            }
        }
        match went_well {
            Some(false) => {
                self.failing.insert(namespace.to_owned(), 0);
            }
            Some(true) => {
                if let Some(well) = self.failing.get_mut(namespace) {
                    *well += 1;
                    if *well == WELL {
                        self.failing.remove(namespace);
                    }
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many places as this namespace gets.
    fn fill(places: &mut Places, namespace: &str) -> usize {
        let mut count = 0;
        while places.has_room(namespace) && count < ALL {
            places.take(namespace);
            count += 1;
        }
        count
    }

    #[test]
    fn whoever_fails_leaves_room_for_the_others() {
        let mut places = Places::default();
        let bad: Vec<_> = (0..20).map(|number| format!("bad-{number}")).collect();
        for namespace in &bad {
            places.take(namespace);
            places.give_back(namespace, Some(false));
        }
        let taken: usize = bad.iter().map(|it| fill(&mut places, it)).sum();
        assert_eq!(taken, FAILING);
        assert_eq!(fill(&mut places, "good"), ALL);
    }

    #[test]
    fn some_writes_that_go_well_do_not_make_a_namespace_well() {
        let mut places = Places::default();
        let mut write = |went_well| {
            places.take("mixed");
            places.give_back("mixed", Some(went_well));
            let count = fill(&mut places, "mixed");
            (0..count).for_each(|_| places.give_back("mixed", None));
            count
        };
        for _ in 0..5 {
            assert_eq!(write(false), 1);
            for _ in 1..WELL {
                assert_eq!(write(true), 1);
            }
        }
        assert_eq!(write(true), ALL);
    }
}
