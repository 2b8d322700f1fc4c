//! What is known of the objects of one kind, and what a list or an event changes about it. Pure: time comes in.
//!
//! Of each object only a print is kept. Between the begin and the end of a list nothing changes;
//! a list that never ends changes nothing.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::guard;
use crate::api::ObjectKey;

/// What tells one version of an object from the next: a print of what counts, and of what verdicts are about.
pub(super) type Mark = u64;

/// Namespace and name.
type Name = (Box<str>, Box<str>);

/// The objects of one kind, of one namespace or of all. `C` is what a new or changed object becomes.
#[derive(Debug)]
pub(super) struct Known<C> {
    objects: HashMap<Name, Mark>,
    list: Option<List<C>>,
    /// Objects that the last list did not have and that stay nevertheless, with the time from which on another list
    /// is believed.
    held: BTreeMap<Name, Instant>,
    /// When to list again because of them.
    ask: Option<Instant>,
    guard: Duration,
    complete: bool,
}

/// A list that has not ended.
#[derive(Debug)]
struct List<C> {
    began: Instant,
    /// What it had; with the change where it is one.
    found: HashMap<Name, Option<(Mark, C)>>,
}

/// What the end of a list changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed<C> {
    /// Objects that are new or changed; `None` for those that are gone.
    pub(super) changes: Vec<(Name, Option<C>)>,
    /// Objects that the list does not have and that stay for now, if there are new ones among them.
    pub(super) held: usize,
    /// Of those that are gone, how many were held before.
    pub(super) confirmed: usize,
    /// How many objects were known before.
    pub(super) before: usize,
}

fn name(key: &ObjectKey) -> Name {
    (key.namespace.as_str().into(), key.name.as_str().into())
}

impl<C> Known<C> {
    /// `guard`: how long a list that removes too much must wait for a second one; zero = not at all.
    pub(super) fn new(guard: Duration) -> Self {
        Self {
            objects: HashMap::new(),
            list: None,
            held: BTreeMap::new(),
            ask: None,
            guard,
            complete: false,
        }
    }

    /// Whether there is this object.
    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(&name(key))
    }

    /// Whether there was a complete list.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// When the list must be taken again; told once.
    pub(super) fn take_ask(&mut self, now: Instant) -> bool {
        let due = self.ask.is_some_and(|ask| ask <= now);
        if due {
            self.ask = None;
        }
        due
    }

    /// When [`Known::take_ask`] is true.
    pub(super) fn ask(&self) -> Option<Instant> {
        self.ask
    }

    /// Something that was told got lost: a list under way is none any more, and another one is to be taken then.
    pub(super) fn lost(&mut self, again: Instant) {
        self.list = None;
        self.ask = Some(self.ask.map_or(again, |ask| ask.min(again)));
    }

    /// A list begins. One that had begun before is forgotten.
    pub(super) fn begin(&mut self, now: Instant) {
        self.list = Some(List {
            began: now,
            found: HashMap::new(),
        });
    }

    /// The list has this object. `make` is called if it is not what it was.
    pub(super) fn found(&mut self, key: &ObjectKey, mark: Mark, make: impl FnOnce() -> C) {
        let name = name(key);
        let Some(list) = &mut self.list else {
            return;
        };
        let same = self.objects.get(&name) == Some(&mark);
        let change = (!same).then(|| (mark, make()));
        list.found.insert(name, change);
    }

    /// The list is complete.
    pub(super) fn end(&mut self, now: Instant) -> Option<Listed<C>> {
        let List { began, mut found } = self.list.take()?;
        let before = self.objects.len();
        self.held.retain(|name, _| !found.contains_key(name));
        let missing = self
            .objects
            .keys()
            .filter(|name| !found.contains_key(*name));
        let (confirmed, mut missing): (Vec<_>, Vec<_>) = missing
            .cloned()
            .partition(|name| self.held.get(name).is_some_and(|until| began >= *until));

        let suspicious = guard::is_suspicious(before - confirmed.len(), missing.len());
        let mut held = 0;
        if suspicious && !self.guard.is_zero() {
            let until = now + self.guard;
            let new = missing
                .iter()
                .filter(|name| !self.held.contains_key(*name))
                .count();
            if new > 0 {
                held = missing.len();
            }
            for name in missing.drain(..) {
                self.held.entry(name).or_insert(until);
            }
        }
        let confirmed_count = confirmed.len();
        let mut changes = Vec::new();
        for name in confirmed.into_iter().chain(missing) {
            self.objects.remove(&name);
            self.held.remove(&name);
            changes.push((name, None));
        }
        for (name, change) in found.drain() {
            if let Some((mark, change)) = change {
                self.objects.insert(name.clone(), mark);
                changes.push((name, Some(change)));
            }
        }
        self.ask = self.held.values().min().copied();
        self.complete = true;
        Some(Listed {
            changes,
            held,
            confirmed: confirmed_count,
            before,
        })
    }

    /// The object is this now. `make` is called if it is not what it was.
    pub(super) fn set(
        &mut self,
        key: &ObjectKey,
        mark: Mark,
        make: impl FnOnce() -> C,
    ) -> Option<C> {
        let name = name(key);
        self.held.remove(&name);
        if self.objects.get(&name) == Some(&mark) {
            return None;
        }
        let change = make();
        // Not before: a failure in between would make the object look known.
        self.objects.insert(name, mark);
        Some(change)
    }

    /// The object was deleted. False: it was not known.
    pub(super) fn deleted(&mut self, key: &ObjectKey) -> bool {
        let name = name(key);
        self.held.remove(&name);
        self.objects.remove(&name).is_some()
    }
}

#[cfg(test)]
mod tests;
