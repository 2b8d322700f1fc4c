//! What the leader knows of each replica, gathered from the tasks that ask, and made into a [`View`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    message::News,
    view::{Reached, Replica, View},
};

/// A replica that has not answered for this long since it was first asked no longer keeps a new leader from writing.
const PATIENCE: Duration = Duration::from_secs(2);

/// The replicas of one term of leadership.
#[derive(Default)]
pub(super) struct Board {
    replicas: Mutex<BTreeMap<Arc<str>, Known>>,
    /// Everyone was asked once in this term. It stays: a pod that is new holds up no write.
    complete: AtomicBool,
    /// Something changed.
    pub changed: Notify,
}

struct Known {
    first_asked: Instant,
    reached: Reached,
    served: Option<Arc<HashMap<Arc<str>, i64>>>,
    connections: Option<Arc<HashMap<Box<str>, u64>>>,
}

impl Board {
    /// A replica appeared.
    pub(super) fn add(&self, name: &Arc<str>) {
        let now = Instant::now();
        let known = Known {
            first_asked: now,
            reached: Reached::NoSince(now),
            served: None,
            connections: None,
        };
        self.replicas.lock().insert(Arc::clone(name), known);
    }

    /// A replica went.
    pub(super) fn remove(&self, name: &str) {
        self.replicas.lock().remove(name);
    }

    /// It told what it serves.
    pub(super) fn served(&self, name: &str, news: News) {
        self.with(name, |known| {
            let mut served = match &known.served {
                Some(served) if !news.complete => HashMap::clone(served),
                _ => HashMap::new(),
            };
            for uid in &news.gone {
                served.remove(uid);
            }
            served.extend(news.served);
            known.served = Some(Arc::new(served));
            known.reached = Reached::Yes;
        });
    }

    /// It is there and has nothing new.
    pub(super) fn reached(&self, name: &str) {
        self.with(name, |known| known.reached = Reached::Yes);
    }

    /// It told its connections.
    pub(super) fn connections(&self, name: &str, open: HashMap<Box<str>, u64>) {
        self.with(name, |known| known.connections = Some(Arc::new(open)));
    }

    /// It did not answer.
    pub(super) fn failed(&self, name: &str) {
        self.with(name, |known| {
            if known.reached == Reached::Yes {
                known.reached = Reached::NoSince(Instant::now());
            }
        });
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.replicas.lock().get_mut(name) {
            change(known);
        }
        self.changed.notify_one();
    }

    /// What is known at `now`, and when that may change by itself. To be called when the replicas are in.
    pub(super) fn view(&self, now: Instant) -> (View, Option<Instant>) {
        let replicas = self.replicas.lock();
        let waits = |known: &Known| {
            let told = known.served.is_some() && known.connections.is_some();
            (!told && now < known.first_asked + PATIENCE).then(|| known.first_asked + PATIENCE)
        };
        let next = if self.complete.load(Ordering::Relaxed) {
            None
        } else {
            replicas.values().filter_map(waits).min()
        };
        self.complete.store(next.is_none(), Ordering::Relaxed);
        let replicas = replicas.iter().map(|(name, known)| Replica {
            name: Arc::clone(name),
            reached: known.reached,
            served: known.served.clone().unwrap_or_default(),
            connections: known.connections.clone().unwrap_or_default(),
        });
        let view = View {
            complete: next.is_none(),
            replicas: replicas.collect(),
        };
        (view, next)
    }
}
