//! From the system's file events to what the worker must look at.

use std::{
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use tokio::time::Instant;
use tracing::warn;

use super::{
    files::{Change, Stamp},
    look,
};

/// Events that wait for the worker. While it translates 10,000 routes (some 50 ms) a busy writer makes a few
/// hundred; what exceeds this is found by a re-scan.
const QUEUE: usize = 4096;

/// Something to wake the worker with.
#[derive(Debug)]
pub(super) enum Signal {
    Event(Instant, Event),
    Wake,
}

/// What the threads that signal share with the worker.
#[derive(Debug)]
pub(super) struct Shared {
    queue: SyncSender<Signal>,
    /// The worker shall end.
    pub(super) stop: AtomicBool,
    /// Events were lost.
    pub(super) lost: AtomicBool,
}

impl Shared {
    pub(super) fn new() -> (Arc<Self>, Receiver<Signal>) {
        let (queue, receiver) = sync_channel(QUEUE);
        let shared = Self {
            queue,
            stop: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        };
        (Arc::new(shared), receiver)
    }

    pub(super) fn end(&self) {
        self.stop.store(true, Ordering::Release);
        // With a full queue the worker is awake, and will look.
        let _ = self.queue.try_send(Signal::Wake);
    }

    fn event(&self, result: notify::Result<Event>) {
        match result {
            Ok(event) if event.need_rescan() => self.lose(),
            // Hawser's own reading makes these.
            Ok(event) if is_reading(event.kind) => {}
            Ok(event) => {
                let signal = Signal::Event(Instant::now(), event);
                if self.queue.try_send(signal).is_err() {
                    self.lost.store(true, Ordering::Release);
                }
            }
            Err(error) => {
                warn!(%error, "file events are incomplete; the directory is scanned again");
                self.lose();
            }
        }
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        let _ = self.queue.try_send(Signal::Wake);
    }
}

fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access)
        if access != AccessKind::Close(AccessMode::Write))
}

/// The watches on a directory and on its parent, where its replacement is seen.
#[derive(Debug)]
pub(super) struct Watches {
    watcher: Option<RecommendedWatcher>,
    /// The directory that is watched, as it was then.
    watched: Option<(u64, u64)>,
    failed: bool,
}

impl Watches {
    pub(super) fn new() -> Self {
        Self {
            watcher: None,
            watched: None,
            failed: false,
        }
    }

    /// Whether events can be relied on.
    pub(super) fn work(&self) -> bool {
        self.watched.is_some()
    }

    /// The directory was moved or replaced: what is watched may be another one.
    pub(super) fn doubt(&mut self) {
        self.watched = None;
    }

    /// Watches the directory that is there now.
    pub(super) fn renew(&mut self, root: &Path, shared: &Arc<Shared>) {
        let identity = look::stamp(root).map(|stamp: Stamp| stamp.identity());
        if identity.is_some() && self.watched == identity {
            return;
        }
        match self.try_renew(root, identity.is_some(), shared) {
            Ok(()) => {
                self.watched = identity;
                self.failed = false;
            }
            Err(error) => {
                self.watched = None;
                if !self.failed {
                    self.failed = true;
                    warn!(
                        directory = %root.display(), %error,
                        "the directory cannot be watched, so it is scanned every second; \
                         see fs.inotify.max_user_watches and max_user_instances"
                    );
                }
            }
        }
    }

    fn try_renew(&mut self, root: &Path, there: bool, shared: &Arc<Shared>) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => {
                let shared = Arc::clone(shared);
                none.insert(RecommendedWatcher::new(
                    move |event| shared.event(event),
                    Config::default(),
                )?)
            }
        };
        // Not watched is as good as no longer watched.
        let _ = watcher.unwatch(root);
        if let Some(parent) = root.parent() {
            let _ = watcher.unwatch(parent);
            // Without it a replaced directory is noticed by its own end, or by a re-scan.
            let _ = watcher.watch(parent, RecursiveMode::NonRecursive);
        }
        if there {
            watcher.watch(root, RecursiveMode::Recursive)?;
        }
        Ok(())
    }
}

/// What an event asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    /// One file.
    File(PathBuf, Change),
    /// Directories or links changed: all stamps are compared.
    Scan,
    /// The directory itself may be another one.
    Root,
}

/// What an event means for one of its paths. `is_parent` tells whether known files lie below a path.
pub(super) fn meaning(
    root: &Path,
    kind: EventKind,
    path: &Path,
    is_parent: impl Fn(&Path) -> bool,
) -> Meaning {
    if is_reading(kind) || kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both)) {
        // The latter repeats two events that came before it.
        return Meaning::Nothing;
    }
    if path == root || root.parent() == Some(path) {
        // Entries that come and go touch their directory; only a directory that goes itself matters.
        return match kind {
            EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Data(_)) => Meaning::Nothing,
            _ => Meaning::Root,
        };
    }
    let Ok(below) = path.strip_prefix(root) else {
        return Meaning::Nothing;
    };
    let mut names = below.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    if let Some(hidden) = names.find(|name| look::is_hidden(name)) {
        // Links lead into names that begin with two dots: this is how ConfigMaps are mounted.
        return if hidden.as_encoded_bytes().starts_with(b"..") {
            Meaning::Scan
        } else {
            Meaning::Nothing
        };
    }
    if path.is_dir() || is_parent(path) {
        return match kind {
            EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Data(_)) => Meaning::Nothing,
            _ => Meaning::Scan,
        };
    }
    if !look::is_manifest(path) {
        return Meaning::Nothing;
    }
    let change = match kind {
        EventKind::Access(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            Change::Settled
        }
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other => {
            Change::Writing
        }
    };
    Meaning::File(path.to_owned(), change)
}

#[cfg(test)]
mod tests;
