//! The thread that keeps what is served equal to what the files say.

use std::{
    hash::RandomState,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tracing::error;

use super::{
    FileProblem,
    files::{Files, Found, Listing, Look, Task},
    handed::Handed,
    key::Key,
    look::{self, Bytes},
    manifest::Manifest,
    report::Report,
    signals::{Meaning, Shared, Signal, Watches, meaning},
};
use crate::{
    api::Review,
    source::rebuild::Changes,
    translate::{self, Prepared},
};

/// Time between two re-scans while events come: a safety net for file systems that tell nothing (NFS), for
/// links that lead out of the directory, and for what no event tells. 10,000 files cost some 30 ms.
const RESCAN: Duration = Duration::from_secs(15);

/// The same without events, and while the directory is not there.
const RESCAN_BLIND: Duration = Duration::from_secs(1);

/// Events that ask for a re-scan come in groups; this is the quiet time before one, as for files.
const SCAN_HOLDOFF: Duration = Duration::from_millis(8);

/// Two re-scans that events ask for are this far apart.
const SCAN_GAP: Duration = Duration::from_millis(40);

/// A directory that is new is watched a moment after it was made: what was made in it meanwhile is found by one
/// more re-scan.
const SCAN_AGAIN: Duration = Duration::from_millis(200);

/// Where changes go.
pub(super) trait Sink: Send + 'static {
    /// Files changed.
    fn event(&mut self);
    /// These changes count now; so many files and objects are broken. False: they may be lost.
    fn apply(&mut self, changes: Changes, broken: usize) -> bool;
}

/// Watches one directory.
pub(super) struct Worker<S> {
    root: PathBuf,
    sink: S,
    shared: Arc<Shared>,
    signals: Receiver<Signal>,
    watches: Watches,
    files: Files<Prepared>,
    handed: Handed,
    prints: RandomState,
    report: Report,
    /// Dirt since then is not live yet.
    since: Option<Instant>,
    /// The same where a re-scan found it and no event told.
    found: Option<Instant>,
    scan_at: Instant,
    scanned: Option<Instant>,
    scan_again: bool,
    /// The directory was there.
    listed: bool,
    published: bool,
}

impl<S: Sink> Worker<S> {
    pub(super) fn new(
        root: PathBuf,
        sink: S,
        shared: Arc<Shared>,
        signals: Receiver<Signal>,
    ) -> Self {
        Self {
            root,
            sink,
            shared,
            signals,
            watches: Watches::new(),
            files: Files::new(),
            handed: Handed::default(),
            prints: RandomState::new(),
            report: Report::default(),
            since: None,
            found: None,
            scan_at: Instant::now(),
            scanned: None,
            scan_again: false,
            listed: false,
            published: false,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            if catch_unwind(AssertUnwindSafe(|| self.turn())).is_err() {
                error!(
                    "reading manifests failed unexpectedly; what is live stays, next try in a second"
                );
                self.scan_at = Instant::now() + RESCAN_BLIND;
                self.wait_until(self.scan_at);
            }
        }
    }

    fn turn(&mut self) {
        if self.shared.lost.swap(false, Ordering::AcqRel) {
            self.ask_for_scan(Instant::now());
        }
        if self.scan_at <= Instant::now() {
            self.scan();
        }
        self.look();
        self.publish();
        let next = self.files.next();
        self.wait_until(next.map_or(self.scan_at, |next| next.min(self.scan_at)));
    }

    fn wait_until(&mut self, until: Instant) {
        let timeout = until.saturating_duration_since(Instant::now());
        match self.signals.recv_timeout(timeout) {
            Ok(signal) => self.signal(signal),
            // The worker holds a sender itself.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(signal) = self.signals.try_recv() {
            self.signal(signal);
        }
    }

    fn signal(&mut self, signal: Signal) {
        let Signal::Event(at, event) = signal else {
            return;
        };
        for path in &event.paths {
            let files = &self.files;
            match meaning(&self.root, event.kind, path, |path| files.has_below(path)) {
                Meaning::Nothing => continue,
                Meaning::File(path, _) if self.files.is_trouble(&path) => self.ask_for_scan(at),
                Meaning::File(path, change) => self.files.happened(path, change, at),
                Meaning::Scan => {
                    self.scan_again = true;
                    self.ask_for_scan(at);
                }
                Meaning::Root => {
                    self.watches.doubt();
                    self.scan_again = true;
                    self.ask_for_scan(at);
                }
            }
            self.since.get_or_insert(at);
            self.sink.event();
        }
    }

    fn ask_for_scan(&mut self, now: Instant) {
        let gap = self.scanned.map_or(now, |scanned| scanned + SCAN_GAP);
        self.scan_at = self.scan_at.min((now + SCAN_HOLDOFF).max(gap));
    }

    fn scan(&mut self) {
        // Watch first: what changes while the directory is listed makes an event.
        self.watches.renew(&self.root, &self.shared);
        let listing = look::list(&self.root, SystemTime::now());
        let now = Instant::now();
        self.scanned = Some(now);
        let usual = if listing.is_ok() && self.watches.work() {
            RESCAN
        } else {
            RESCAN_BLIND
        };
        let again = std::mem::take(&mut self.scan_again);
        self.scan_at = now + if again { SCAN_AGAIN } else { usual };
        match listing {
            Ok(listing) => {
                self.listed = true;
                let was_busy = self.files.is_busy();
                self.files.listed(self.at_start(listing), now);
                if !was_busy && self.files.is_busy() {
                    self.found = Some(now);
                }
            }
            Err(error) => self.gone(&error),
        }
    }

    /// At the start everything is read at once: whatever is being written will make an event.
    fn at_start(&self, mut listing: Listing) -> Listing {
        if !self.published {
            for (_, quiet) in listing.files.values_mut() {
                *quiet = true;
            }
        }
        listing
    }

    fn gone(&mut self, error: &io::Error) {
        self.watches.doubt();
        let message = format!(
            "the directory cannot be listed ({error}); what is live stays, and it is read again when it is back"
        );
        self.files
            .freeze(FileProblem::unreadable(self.root.clone(), message));
    }

    fn look(&mut self) {
        for (path, task) in self.files.tasks(Instant::now(), !self.published) {
            self.look_at(&path, task);
        }
    }

    fn look_at(&mut self, path: &Path, task: Task) {
        if let Task::Settle(last) = task
            && let Some(stamp) = look::stamp(path)
            && last != Some(stamp)
        {
            return self.files.settle(path.to_owned(), stamp, Instant::now());
        }
        let look = match look::read(path) {
            // Not this file is gone but all of them; the re-scan says so, or finds them again.
            Bytes::Absent if !self.root.is_dir() => return self.ask_for_scan(Instant::now()),
            Bytes::Absent => Look::Absent,
            Bytes::Changing(stamp) => {
                return self.files.settle(path.to_owned(), stamp, Instant::now());
            }
            Bytes::Unreadable(stamp, message) => {
                Look::Broken(stamp, FileProblem::unreadable(path, message))
            }
            Bytes::Whole(stamp, bytes) => match self.parse(path, &bytes) {
                Ok(manifest) => Look::Read(stamp, Box::new(manifest)),
                Err(problem) => Look::Broken(Some(stamp), *problem),
            },
        };
        self.files.looked(path, look, Instant::now());
    }

    fn parse(
        &self,
        path: &Path,
        bytes: &[u8],
    ) -> Result<Manifest<Found<Prepared>>, Box<FileProblem>> {
        let none = Manifest::default();
        let previous = self.files.manifest(path).unwrap_or(&none);
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            Manifest::parse(bytes, previous, &self.prints, &mut found)
        }));
        match parsed {
            Ok(Ok(manifest)) => Ok(manifest),
            Ok(Err(broken)) => Err(Box::new(FileProblem::syntax(path, &broken))),
            Err(_) => Err(Box::new(FileProblem::unreadable(
                path,
                "made Hawser fail; its last good objects stay live. Please report this file",
            ))),
        }
    }

    fn publish(&mut self) {
        if !self.files.take_changed() && (self.published || !self.listed) {
            if !self.files.is_busy() {
                self.since = None;
                self.found = None;
            }
            return;
        }
        let view = self.files.view();
        self.report.problems(&view.problems);
        self.report.unknown(&view.unknown);
        // Before the directory was there once, nothing is complete.
        if !self.listed {
            return;
        }
        let found = self.found.take();
        if self.since.is_none() && found.is_some() {
            self.sink.event();
        }
        let changes = Changes {
            objects: self.handed.changes(&view),
            since: self.since.take().or(found).unwrap_or_else(Instant::now),
        };
        if self.sink.apply(changes, view.problems.len()) {
            self.handed.took(&view);
        }
        self.published = true;
    }
}

/// What is kept of a reviewed manifest.
fn found(review: Review) -> Found<Prepared> {
    match review {
        Review::Accepted(key, object) => Found::Object(Key::new(key), translate::prepare(&object)),
        Review::Refused(key, problems) => Found::Refused(key.map(Key::new), problems.into()),
        Review::UnknownKind { api_version, kind } => Found::Unknown { api_version, kind },
    }
}
