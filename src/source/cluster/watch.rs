//! One watch: a list in pages, then events, then again. It only carries objects; what they change is decided where
//! they arrive.
//!
//! A watch that ran until its time was up goes on where it stood. After any other end everything is listed anew: an
//! etcd that was restored has versions that look familiar and mean something else, and they cannot be compared.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Target,
    failure::Failure,
    health::Health,
    kind::Kind,
    raw::Raw,
    rights::{Rights, Standing},
};
use crate::{
    source::{pace::backoff, supervise::supervise},
    telemetry::metrics::Metrics,
};

/// Objects of one page of a list, as client-go asks for.
const PAGE: u32 = 500;

/// A watch ends and begins anew after this time: one that is dead is noticed then, if nothing else tells.
pub(super) const WATCH: Duration = Duration::from_mins(1);

/// How much later than asked a watch may end, and how much earlier it may and still count as having run its time.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// For one page, or until a watch is open. A page of 500 large objects on a slow line takes seconds.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// Pages of all watches that wait or are being taken. Lists come faster than they are decoded, and 500 objects as JSON
/// are megabytes: without a bound all of a start would be in memory at once, and what is kept between it.
pub(super) const PAGES: usize = 2;

/// Waiting time after the first failure, doubled with every further one.
const FIRST_WAIT: Duration = Duration::from_millis(400);

/// The longest: 10 s after the API server is back, everything must be current.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A watch that was open for so long was a success.
pub(super) const SUCCESS: Duration = Duration::from_secs(10);

/// After so many short watches in a row it is told.
const MANY: u32 = 5;

/// While a kind is not installed or not permitted: at first somebody may be installing it right now.
const SOON: Duration = Duration::from_secs(5);
const SOON_TIMES: u32 = 12;
const LATER: Duration = Duration::from_secs(30);

/// While a refusal may be over in a moment.
const MOMENT: Duration = Duration::from_secs(2);

/// What a watch tells.
#[derive(Debug)]
pub(super) struct Signal {
    /// Which watch.
    pub(super) watch: usize,
    /// When it came.
    pub(super) at: Instant,
    /// What.
    pub(super) what: What,
    /// Of a page: its place among [`PAGES`], until it is taken.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum What {
    /// A list begins.
    Begin,
    /// A page of it.
    Page(Vec<Raw>),
    /// It is complete.
    End,
    /// There is nothing to list, completely.
    Nothing,
    /// An object is new or changed.
    Set(Box<Raw>),
    /// An object was deleted.
    Deleted(Box<Raw>),
}

impl What {
    /// Number of objects.
    pub(super) fn objects(&self) -> usize {
        match self {
            Self::Page(objects) => objects.len(),
            _ => 1,
        }
    }
}

/// A watch.
pub(super) struct Watch {
    pub(super) number: usize,
    pub(super) target: Target,
    pub(super) client: kube::Client,
    pub(super) signals: mpsc::Sender<Signal>,
    /// [`PAGES`].
    pub(super) places: Arc<Semaphore>,
    /// Asks for a new list.
    pub(super) relist: Arc<Notify>,
    pub(super) health: Arc<Health>,
    pub(super) rights: Arc<Rights>,
    pub(super) metrics: Arc<Metrics>,
}

/// What one watch remembers between its turns.
#[derive(Default)]
struct Memory {
    /// Where to go on; `None` = list.
    from: Option<String>,
    /// There was a complete list.
    listed: bool,
    /// It is taken as listed and empty.
    absent: bool,
    /// Failures in a row.
    failures: u32,
    /// Watches in a row that were opened and ended at once.
    short: u32,
    opened: Option<Instant>,
}

impl Watch {
    /// Watches until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = supervise(self.target.kind.as_str(), &stop, || self.forever()) => {}
        }
    }

    async fn forever(&self) {
        let api: Api<Raw> = match &self.target.namespace {
            Some(namespace) => Api::namespaced_with(
                self.client.clone(),
                namespace,
                &self.target.kind.api_resource(),
            ),
            None => Api::all_with(self.client.clone(), &self.target.kind.api_resource()),
        };
        let mut memory = Memory::default();
        loop {
            let turn = tokio::select! {
                () = self.relist.notified() => {
                    memory.from = None;
                    memory.opened = None;
                    continue;
                }
                turn = self.turn(&api, &mut memory) => turn,
            };
            let opened = memory.opened.take();
            let Err((verb, failure)) = turn else {
                memory.failures = 0;
                memory.short = 0;
                continue;
            };
            memory.from = None;
            match opened {
                Some(opened) if opened.elapsed() >= SUCCESS => {
                    memory.failures = 0;
                    memory.short = 0;
                }
                Some(_) => memory.short = memory.short.saturating_add(1),
                None => {}
            }
            if opened.is_some() {
                self.health.ended(self.number);
            }
            self.metrics
                .source()
                .restart(self.target.kind.as_str(), failure.reason());
            let failure = match failure {
                // Load balancers reset what is quiet for long. Whether the server is away, the list tells that follows.
                Failure::Unreachable(_) if opened.is_some() => Failure::Ended,
                failure => failure,
            };
            let pause = self.failed(verb, &failure, &mut memory).await;
            memory.failures = memory.failures.saturating_add(1);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.relist.notified() => {}
            }
        }
    }

    /// Lists if need be, then watches.
    async fn turn(
        &self,
        api: &Api<Raw>,
        memory: &mut Memory,
    ) -> Result<(), (&'static str, Failure)> {
        let from = match memory.from.take() {
            Some(from) => from,
            None => self
                .list(api, memory)
                .await
                .map_err(|failure| ("list", failure))?,
        };
        let end = self.watch(api, from, memory).await;
        memory.from = Some(end.map_err(|failure| ("watch", failure))?);
        Ok(())
    }

    async fn list(&self, api: &Api<Raw>, memory: &mut Memory) -> Result<String, Failure> {
        self.send(What::Begin).await;
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector.clone_from(&self.target.labels);
        loop {
            let page = timeout(ANSWER, api.list(&params)).await;
            let page = page.map_err(|_| Failure::Silent)??;
            self.health.heard(self.number);
            self.send(What::Page(page.items)).await;
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_some() {
                continue;
            }
            let version = page.metadata.resource_version;
            let Some(version) = version.filter(|version| !version.is_empty()) else {
                return Err(Failure::no_version());
            };
            self.send(What::End).await;
            self.rights.listed(self.number);
            memory.listed = true;
            if std::mem::take(&mut memory.absent) {
                info!(
                    kind = self.target.kind.as_str(),
                    "the kind can be watched now"
                );
            }
            return Ok(version);
        }
    }

    /// Where to go on when the watch ran until its time was up.
    async fn watch(
        &self,
        api: &Api<Raw>,
        mut from: String,
        memory: &mut Memory,
    ) -> Result<String, Failure> {
        let seconds = u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX);
        let mut params = WatchParams::default().timeout(seconds);
        params.label_selector.clone_from(&self.target.labels);
        let asked = Instant::now();
        let stream = timeout(ANSWER, api.watch(&params, &from)).await;
        let mut stream = pin!(stream.map_err(|_| Failure::Silent)??);
        memory.opened = Some(Instant::now());
        self.health.opened(self.number);
        let dead = asked + WATCH + SLACK;
        loop {
            let Ok(event) = timeout_at(dead, stream.next()).await else {
                return Err(Failure::Silent);
            };
            let Some(event) = event else {
                return if asked.elapsed() + SLACK >= WATCH {
                    Ok(from)
                } else {
                    Err(Failure::Ended)
                };
            };
            self.health.heard(self.number);
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    note(&mut from, &object);
                    self.send(What::Set(Box::new(object))).await;
                }
                WatchEvent::Deleted(object) => {
                    note(&mut from, &object);
                    self.send(What::Deleted(Box::new(object))).await;
                }
                WatchEvent::Bookmark(bookmark) => from = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(Failure::of_status(&status)),
            }
        }
    }

    async fn send(&self, what: What) {
        let at = Instant::now();
        // Asked for only now: an API server that is slow with one list does not hold up the others.
        let place = match &what {
            What::Page(_) => Arc::clone(&self.places).acquire_owned().await.ok(),
            _ => None,
        };
        let signal = Signal {
            watch: self.number,
            at,
            what,
            place,
        };
        // It is closed only while the process ends.
        let _ = self.signals.send(signal).await;
    }

    /// Tells, and says how long to wait.
    async fn failed(&self, verb: &str, failure: &Failure, memory: &mut Memory) -> Duration {
        let patience = if memory.failures < SOON_TIMES {
            SOON
        } else {
            LATER
        };
        if *failure != Failure::Forbidden {
            self.rights.unknown(self.number);
        }
        match failure {
            Failure::Absent if self.target.kind == Kind::WebSocketRoute => {
                self.health.answered(self.number);
                self.rights.listed(self.number);
                if !memory.absent {
                    warn!(
                        "the kind WebSocketRoute is not installed; install it with: hawser crd | kubectl apply -f - \
                     (Hawser notices; until then it serves Ingress objects)",
                    );
                }
                self.nothing(memory).await;
                patience
            }
            Failure::Absent => {
                let why = format!(
                    "the API server does not know {} (404); does the kubeconfig name a Kubernetes API server?",
                    self.target.kind.resource()
                );
                self.health.lost(self.number, &why, memory.listed);
                wait(memory.failures)
            }
            Failure::Forbidden => {
                self.health.answered(self.number);
                let settled = self.forbidden(verb, memory).await;
                if settled { patience } else { MOMENT }
            }
            Failure::Unauthorized(why) | Failure::Unreachable(why) => {
                self.health.lost(self.number, why, memory.listed);
                wait(memory.failures)
            }
            Failure::Silent => {
                self.health
                    .lost(self.number, &failure.to_string(), memory.listed);
                wait(memory.failures)
            }
            // Nothing is wrong unless it goes on.
            Failure::Desynced | Failure::Ended => {
                if memory.short >= MANY {
                    self.health.warn(&format!(
                        "the watch of {} ends at once, again and again ({}): what stands between Hawser and the API \
                         server? Until it lasts, all of them are listed every few seconds",
                        self.target.kind.resource(),
                        failure.reason()
                    ));
                }
                debug!(
                    kind = self.target.kind.as_str(),
                    reason = failure.reason(),
                    "listing anew"
                );
                wait(memory.failures)
            }
        }
    }

    /// Names exactly what is missing, and takes it as listed and empty where that is safe. False: it may be over in a
    /// moment, so nothing is said yet.
    async fn forbidden(&self, verb: &str, memory: &mut Memory) -> bool {
        let place = match (&self.target.namespace, self.target.kind.is_namespaced()) {
            (Some(namespace), _) => format!("in the namespace {namespace}"),
            (None, true) => "in all namespaces".to_owned(),
            (None, false) => "(it is cluster-scoped)".to_owned(),
        };
        let what = format!(
            "no permission to {verb} {} {place}: grant list and watch",
            self.target.kind.resource()
        );
        if memory.listed && !memory.absent {
            let rest = if verb == "watch" {
                "until then it is listed every 30 s, and changes come late"
            } else {
                "what is live stays, but changes are not seen until then"
            };
            self.health.warn(&format!("{what}; {rest}"));
            return true;
        }
        match self.rights.forbidden(self.number, Instant::now()) {
            Standing::Open => {
                debug!("{what}; waiting whether that lasts");
                return memory.absent;
            }
            Standing::Missing if memory.absent => self.health.warn(&format!(
                "{what}; until then there are none as far as Hawser knows"
            )),
            Standing::Missing => self.health.warn(&format!("{what}; not ready until then")),
            // Told once: it may be meant. The signal may have been lost with a batch that failed.
            Standing::Empty if memory.absent => {
                debug!("{what}");
                self.nothing(memory).await;
            }
            Standing::Empty if self.target.kind == Kind::IngressClass => {
                warn!("{what}; until then classes match by --ingress-class alone");
                self.nothing(memory).await;
            }
            Standing::Empty => {
                warn!(
                    "{what}; until then there are none as far as Hawser knows; everything else goes on"
                );
                self.nothing(memory).await;
            }
        }
        true
    }

    async fn nothing(&self, memory: &mut Memory) {
        memory.absent = true;
        memory.listed = true;
        self.send(What::Nothing).await;
    }
}

fn note(from: &mut String, object: &Raw) {
    if let Some(version) = object.resource_version() {
        version.clone_into(from);
    }
}

/// Waiting time after a failure that came after so many others.
pub(super) fn wait(failures: u32) -> Duration {
    backoff(FIRST_WAIT, failures, LONGEST_WAIT)
}

#[cfg(test)]
mod tests;
