//! Every verdict with the moment at which it last changed, so that whoever follows asks only for what is new.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{
    api::ObjectKey,
    ir::{ObjectId, ObjectVersion},
    translate::Verdict,
};

/// Deletions that are remembered for those who follow. Who is further behind reads everything anew.
const MAX_GONE: usize = 4096;

/// The verdicts of the live table.
#[derive(Debug)]
pub struct Verdicts {
    state: RwLock<State>,
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<ObjectKey, Entry>,
    /// The same by the cursor of their last change.
    order: BTreeMap<u64, Arc<Verdict>>,
    /// Deletions, the oldest first.
    gone: VecDeque<(u64, ObjectKey, ObjectVersion)>,
    /// Deletions up to here are no longer in `gone`.
    forgotten: u64,
    cursor: u64,
    /// Objects that exist and were ours until they named another class themselves.
    given_away: BTreeSet<ObjectKey>,
    /// Of all of them, whatever their order.
    print: u32,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    verdict: Arc<Verdict>,
}

/// What happened after a cursor.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// Ask with this next time.
    pub cursor: u64,
    /// True: `changed` is all that there is, and whatever it does not name is gone.
    pub complete: bool,
    /// Verdicts that are new or changed, those that changed first come first.
    pub changed: Vec<Arc<Verdict>>,
    /// Objects that are gone, with the version that they had.
    pub gone: Vec<(ObjectKey, ObjectVersion)>,
}

impl Verdicts {
    /// All of them in the order of their objects.
    pub fn list(&self) -> Vec<Arc<Verdict>> {
        let state = self.state.read();
        let verdicts = state.known.values();
        verdicts.map(|entry| Arc::clone(&entry.verdict)).collect()
    }

    /// The verdict of an object.
    pub fn get(&self, object: &ObjectKey) -> Option<Arc<Verdict>> {
        let state = self.state.read();
        let entry = state.known.get(object)?;
        Some(Arc::clone(&entry.verdict))
    }

    /// What happened after a cursor; 0 for everything.
    pub fn after(&self, cursor: u64) -> Moves {
        let state = self.state.read();
        let complete = cursor == 0 || cursor < state.forgotten || cursor > state.cursor;
        let from = if complete { 0 } else { cursor };
        let changed = state.order.range(from.saturating_add(1)..);
        let gone = state.gone.iter().filter(|(at, ..)| !complete && *at > from);
        Moves {
            cursor: state.cursor,
            complete,
            changed: changed.map(|(_, verdict)| Arc::clone(verdict)).collect(),
            gone: gone
                .map(|(_, key, version)| (key.clone(), version.clone()))
                .collect(),
        }
    }

    /// Whether an object was ours until it was changed to name a class that is not. One whose class was deleted, or
    /// that is gone itself, was not given to anybody.
    pub fn is_given_away(&self, object: &ObjectId) -> bool {
        let key = ObjectKey {
            kind: object.kind.as_str().to_owned(),
            namespace: object.namespace.to_string(),
            name: object.name.to_string(),
        };
        self.state.read().given_away.contains(&key)
    }

    /// Notes who was given away, or came back: `moved` are the objects that name another class, `now` are the
    /// verdicts that are about to be told. To be called before a table goes live that does without them.
    pub(in crate::source) fn give_away<'a>(
        &self,
        moved: impl IntoIterator<Item = &'a ObjectKey>,
        now: &BTreeMap<ObjectKey, Option<Verdict>>,
    ) {
        let is_ours = |verdict: &Option<Verdict>| verdict.as_ref().is_some_and(|it| it.ours);
        let mut state = self.state.write();
        for (key, verdict) in now {
            if verdict.is_none() || is_ours(verdict) {
                state.given_away.remove(key);
            }
        }
        for key in moved {
            let was_ours = state.known.get(key).is_some_and(|known| known.verdict.ours);
            if was_ours && matches!(now.get(key), Some(Some(verdict)) if !verdict.ours) {
                state.given_away.insert(key.clone());
            }
        }
    }

    /// The same wherever verdicts are about the same versions of the same objects, in every replica of this version.
    pub fn print(&self) -> u32 {
        self.state.read().print
    }

    /// The cursor, to wait for its next move.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Replaces verdicts; `None` for an object that is gone.
    pub(in crate::source) fn apply(
        &self,
        changes: impl IntoIterator<Item = (ObjectKey, Option<Arc<Verdict>>)>,
    ) {
        let cursor = {
            let mut state = self.state.write();
            for (key, verdict) in changes {
                state.put(key, verdict);
            }
            state.cursor
        };
        self.moved.send_if_modified(|last| {
            let moved = *last != cursor;
            *last = cursor;
            moved
        });
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            moved: watch::Sender::new(0),
        }
    }
}

impl State {
    fn put(&mut self, key: ObjectKey, verdict: Option<Arc<Verdict>>) {
        self.cursor += 1;
        let at = self.cursor;
        let before = self.known.remove(&key);
        if let Some(before) = &before {
            self.print ^= print(&key, &before.verdict.version);
            self.order.remove(&before.at);
            // Made anew under its name it is another object: the one that followers know is gone.
            let version = &before.verdict.version;
            let stays = verdict
                .as_ref()
                .is_some_and(|new| new.version.uid == version.uid);
            if !stays {
                self.forget(at, key.clone(), version.clone());
            }
        }
        if let Some(verdict) = verdict {
            self.print ^= print(&key, &verdict.version);
            self.order.insert(at, Arc::clone(&verdict));
            self.known.insert(key, Entry { at, verdict });
        }
    }

    fn forget(&mut self, at: u64, key: ObjectKey, version: ObjectVersion) {
        self.gone.push_back((at, key, version));
        while self.gone.len() > MAX_GONE {
            if let Some((at, ..)) = self.gone.pop_front() {
                self.forgotten = at;
            }
        }
    }
}

/// The same in every process.
fn print(key: &ObjectKey, version: &ObjectVersion) -> u32 {
    let mut hasher = DefaultHasher::new();
    (&key.kind, &key.namespace, &key.name).hash(&mut hasher);
    (&version.uid, version.generation).hash(&mut hasher);
    let [.., a, b, c, d] = hasher.finish().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
