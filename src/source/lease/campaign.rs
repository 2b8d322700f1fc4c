//! The election against a Lease: look, write, wait, and never believe longer than the deadline.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::ObjectMeta;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Leadership, Settings,
    election::{Action, Election},
    record::{self, Holder, Record},
    store::{Store, StoreError},
};
use crate::telemetry::metrics::Metrics;

/// One line per minute tells why there is no leader to be had.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// One look or renewal: a connection that is dead does not cost leadership, the next attempt makes another.
const STEP_TIME: Duration = Duration::from_secs(4);

/// Giving the Lease back must not hold up the end of the process.
const RELEASE_TIME: Duration = Duration::from_millis(800);

/// One candidate.
pub(super) struct Campaign<S> {
    store: S,
    settings: Settings,
    election: Election,
    /// The Lease as it was read or written last, without its spec.
    meta: Option<ObjectMeta>,
    leader: watch::Sender<Leadership>,
    metrics: Arc<Metrics>,
    told: Option<Instant>,
}

/// A step that failed, and which verb it was.
struct Failed(&'static str, StoreError);

impl<S: Store> Campaign<S> {
    pub(super) fn new(
        store: S,
        settings: Settings,
        leader: watch::Sender<Leadership>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            settings,
            election: Election::default(),
            meta: None,
            leader,
            metrics,
            told: None,
        }
    }

    /// Until `stop`; then the Lease is given back.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            if stop.is_cancelled() {
                break;
            }
            let began = Instant::now();
            let end = self.election.until();
            let limit = end.map_or(began + STEP_TIME, |end| end.min(began + STEP_TIME));
            let looked = tokio::select! {
                looked = timeout_at(limit, self.step(began)) => looked,
                () = stop.cancelled() => break,
            };
            match looked {
                Ok(Ok(())) => {}
                Ok(Err(failed)) => self.complain(&failed),
                Err(_) => self.complain(&Failed(
                    "get/update",
                    StoreError::Failed("no answer in time".to_owned()),
                )),
            }
            self.publish();
            self.rest(&stop).await;
        }
        self.release().await;
    }

    /// Waits for the next look, but not past the end of our leadership.
    async fn rest(&mut self, stop: &CancellationToken) {
        let now = Instant::now();
        let wake = now + self.election.pause(now, fastrand::f64());
        let end = self.election.until().filter(|end| *end < wake);
        if let Some(end) = end {
            tokio::select! {
                () = tokio::time::sleep_until(end) => self.publish(),
                () = stop.cancelled() => return,
            }
        }
        tokio::select! {
            () = sleep(wake.saturating_duration_since(Instant::now())) => {}
            () = stop.cancelled() => {}
        }
        // The process may have stood still.
        self.publish();
    }

    /// One look at the Lease, and a write where the rules say so.
    async fn step(&mut self, began: Instant) -> Result<(), Failed> {
        if self.election.leads(began) {
            // What we wrote last is most likely still there: one request instead of two.
            match self.write(began).await {
                Err(Failed(_, StoreError::Conflict | StoreError::NotFound(_))) => {}
                other => return other,
            }
        }
        let found = match self.store.get().await {
            Ok(lease) => Some(lease),
            Err(StoreError::NotFound(_)) => None,
            Err(error) => return Err(Failed("get", error)),
        };
        let now = Instant::now();
        let record = found.map(|lease| self.take(lease));
        if record.is_none() {
            self.meta = None;
        }
        match self.election.observe(record, now) {
            Action::Wait => Ok(()),
            Action::Write => self.write(now).await,
        }
    }

    async fn write(&mut self, began: Instant) -> Result<(), Failed> {
        let spec = record::held(&self.settings.identity, self.election.record());
        let (verb, written) = if let Some(meta) = self.meta.clone() {
            ("update", self.store.replace(with(meta, spec)).await)
        } else {
            let meta = ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            };
            ("create", self.store.create(with(meta, spec)).await)
        };
        let lease = written.map_err(|error| Failed(verb, error))?;
        let record = self.take(lease);
        self.election.wrote(record, began);
        Ok(())
    }

    fn take(&mut self, lease: Lease) -> Record {
        let spec = lease.spec.unwrap_or_default();
        let mut meta = lease.metadata;
        meta.managed_fields = None;
        self.meta = Some(meta);
        Record::read(&spec, &self.settings.identity)
    }

    /// Tells everybody whether we lead now.
    fn publish(&mut self) {
        let leads = self.election.leads(Instant::now());
        if !leads {
            self.election.resign();
        }
        let until = self.election.until();
        let changed = self.leader.send_if_modified(|known| {
            // A renewal wakes nobody, but whoever looks sees it. Who saw the time run out is woken.
            let changed = known.until.is_some() != leads || known.leads() != leads;
            known.until = until;
            changed
        });
        if !changed {
            return;
        }
        self.metrics.peers().leads(leads);
        let holder = match self.election.record().map(|record| &record.holder) {
            Some(Holder::Other(name)) => name,
            _ => "nobody else",
        };
        if leads {
            info!("this replica leads: it writes statuses");
        } else {
            info!(holder, "this replica no longer leads");
        }
    }

    fn complain(&mut self, failed: &Failed) {
        let Failed(verb, error) = failed;
        if *error == StoreError::Conflict {
            return;
        }
        let now = Instant::now();
        if self.told.is_some_and(|told| now < told + TELL_EVERY) {
            return;
        }
        self.told = Some(now);
        let Settings {
            namespace, name, ..
        } = &self.settings;
        let hint = match error {
            StoreError::Forbidden(_) => {
                "; give the ServiceAccount get, create and update of leases in this namespace"
            }
            StoreError::NotFound(_) => "; does the namespace exist?",
            _ => "",
        };
        warn!(
            verb,
            resource = "leases.coordination.k8s.io",
            namespace,
            name,
            %error,
            "the Lease cannot be held{hint}; traffic is served, this replica writes no status"
        );
    }

    async fn release(mut self) {
        let held = self.election.leads(Instant::now());
        let record = self.election.record().map(record::released);
        self.election.resign();
        self.publish();
        let (true, Some(spec), Some(meta)) = (held, record, self.meta.take()) else {
            return;
        };
        let released = self.give_back(meta, spec);
        match tokio::time::timeout(RELEASE_TIME, released).await {
            Ok(Ok(())) => info!("the Lease was given back"),
            Ok(Err(error)) => warn!(%error, "the Lease was not given back; it expires"),
            Err(_) => warn!("the Lease was not given back in time; it expires"),
        }
    }

    async fn give_back(&mut self, meta: ObjectMeta, spec: LeaseSpec) -> Result<(), StoreError> {
        match self.store.replace(with(meta, spec.clone())).await {
            // A write of ours that was under way when the end came may have been done.
            Err(StoreError::Conflict) => {}
            done => return done.map(drop),
        }
        let lease = self.store.get().await?;
        let record = self.take(lease);
        match (record.holder, self.meta.take()) {
            (Holder::Us, Some(meta)) => self.store.replace(with(meta, spec)).await.map(drop),
            _ => Ok(()),
        }
    }
}

fn with(metadata: ObjectMeta, spec: LeaseSpec) -> Lease {
    Lease {
        metadata,
        spec: Some(spec),
    }
}
