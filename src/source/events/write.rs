//! From the queue to the API server, at a steady rate.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hashbrown::HashMap;
use jiff::Timestamp;
use k8s_openapi::{
    api::{coordination::v1::Lease, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::Status,
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{debug, warn};

use super::{
    Inputs,
    bucket::Bucket,
    tell::{Regarding, Telling},
};
use crate::{
    source::lease::Leadership,
    telemetry::metrics::{EventResult, Metrics},
};

/// All events together: a burst, then so many in a second.
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_millis(100);

/// `action` of every event.
const ACTION: &str = "Translate";

/// Longest `reportingInstance` that the API server takes.
const MAX_INSTANCE: usize = 128;

/// Events that this process has told and would count when they happen again.
const MAX_TOLD: usize = 10_000;

/// How often the API server may answer with an error of its own before an event is given up.
const MAX_ERRORS: usize = 5;

/// Time between these attempts, while others are told.
const AGAIN: Duration = Duration::from_secs(4);

/// Events that wait for another attempt. Further ones are given up.
const MAX_AGAIN: usize = 256;

/// Waits between attempts while the API server does not answer.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Whoever may not write events is believed for so long. Before, it is tried again: an API server that has just
/// started knows no roles and refuses everything.
const DENIED: Duration = Duration::from_mins(10);

/// One line in the log for what goes wrong with many.
const QUIET: Duration = Duration::from_mins(1);

/// Writes events.
pub(super) struct Writer {
    client: kube::Client,
    controller: String,
    instance: String,
    metrics: Arc<Metrics>,
    leader: watch::Receiver<Leadership>,
    bucket: Bucket,
    told: Told,
    /// When it was last clear that there is no right to write events.
    denied: Option<Instant>,
    /// When something was last said about a failure.
    said: Option<Instant>,
}

/// An event that the API server did not take.
struct Again {
    at: Instant,
    telling: Telling,
    errors: usize,
}

/// How often each event was told, the oldest first.
#[derive(Default)]
struct Told {
    counts: HashMap<String, i32>,
    order: VecDeque<String>,
}

impl Writer {
    /// Of one term of leadership.
    pub(super) fn new(inputs: &Inputs) -> Self {
        Self {
            client: inputs.cluster.client.clone(),
            controller: inputs.controller.clone(),
            instance: inputs.lease.identity.chars().take(MAX_INSTANCE).collect(),
            metrics: Arc::clone(&inputs.metrics),
            leader: inputs.leader.clone(),
            bucket: Bucket::new(BURST, INTERVAL),
            told: Told::default(),
            denied: None,
            said: None,
        }
    }

    /// Writes what comes, until nothing can come any more.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Telling>) {
        let mut again: VecDeque<Again> = VecDeque::new();
        loop {
            let due = again.front().map(|again| again.at);
            let (telling, errors) = tokio::select! {
                biased;
                () = until(due) => match again.pop_front() {
                    Some(Again { telling, errors, .. }) => (telling, errors),
                    None => continue,
                },
                telling = waiting.recv() => match telling {
                    Some(telling) => (telling, 0),
                    None => return,
                },
            };
            let result = match self.write(&telling).await {
                Ok(result) => result,
                Err(status)
                    if self.is_final(&status)
                        || errors + 1 == MAX_ERRORS
                        || again.len() == MAX_AGAIN =>
                {
                    self.refused(&telling, &status)
                }
                Err(_) => {
                    again.push_back(Again {
                        at: Instant::now() + AGAIN,
                        telling,
                        errors: errors + 1,
                    });
                    continue;
                }
            };
            self.metrics.events().told(result);
        }
    }

    /// Tries until the API server has answered; while it is down, for as long as that takes.
    async fn write(&mut self, telling: &Telling) -> Result<EventResult, Box<Status>> {
        let mut wait = FIRST_WAIT;
        loop {
            while let Err(due) = self.bucket.take() {
                tokio::time::sleep_until(due).await;
            }
            if !self.leader.borrow().leads() {
                // It stood still meanwhile; whoever ends the term has not noticed yet.
                std::future::pending::<()>().await;
            }
            match self.attempt(telling).await {
                Ok(result) => return Ok(result),
                Err(kube::Error::Api(status)) => return Err(status),
                Err(error) => debug!(%error, "an event could not be written, it is tried again"),
            }
            tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// Trying again would end the same way.
    fn is_final(&self, status: &Status) -> bool {
        match status.code {
            401 | 408 | 409 | 429 => false,
            403 if !is_terminating(status) => self.denied.is_some_and(|at| at.elapsed() < DENIED),
            code => (400..500).contains(&code),
        }
    }

    async fn attempt(&mut self, telling: &Telling) -> kube::Result<EventResult> {
        let name = telling.name();
        let api: Api<Event> = Api::namespaced(self.client.clone(), telling.regarding.namespace());
        let count = self.told.count(&name);
        if let Some(count) = count {
            // A term later another process may have counted; it goes on from what this one knows.
            let series = json!({"series": {"count": count + 1, "lastObservedTime": now()}});
            match api
                .patch(&name, &PatchParams::default(), &Patch::Merge(series))
                .await
            {
                Ok(_) => {
                    self.told.set(name, count + 1);
                    return Ok(EventResult::Counted);
                }
                // Events live for an hour.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.event(&name, telling).await?;
        let result = match api.create(&PostParams::default(), &event).await {
            Ok(_) => EventResult::Created,
            Err(kube::Error::Api(status)) if status.is_already_exists() => EventResult::Known,
            Err(error) => return Err(error),
        };
        self.told.set(name, 1);
        Ok(result)
    }

    async fn event(&self, name: &str, telling: &Telling) -> kube::Result<Event> {
        let uid = match &telling.regarding {
            Regarding::Route { .. } => None,
            Regarding::Lease { namespace, name } => {
                let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
                leases.get(name).await?.metadata.uid
            }
        };
        Ok(Event {
            action: Some(ACTION.to_owned()),
            event_time: Some(now()),
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(telling.regarding.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            note: Some(telling.note.clone()),
            reason: Some(telling.reason.to_owned()),
            regarding: Some(telling.regarding.reference(uid)),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if telling.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        })
    }

    /// The API server will not take it.
    fn refused(&mut self, telling: &Telling, status: &Status) -> EventResult {
        let namespace = telling.regarding.namespace();
        if is_terminating(status) || status.is_not_found() {
            debug!(
                namespace,
                "an event about an object that is going is not told"
            );
            return EventResult::Failed;
        }
        let quiet = self.said.is_some_and(|said| said.elapsed() < QUIET);
        if !quiet {
            self.said = Some(Instant::now());
        }
        if status.is_forbidden() {
            self.denied = Some(Instant::now());
            if !quiet {
                warn!(
                    namespace,
                    answer = status.message,
                    "no right to write events: give the ServiceAccount of Hawser the verbs create and patch on events \
                     (events.k8s.io) in this namespace; statuses and routes do not need it"
                );
            }
            return EventResult::Forbidden;
        }
        if !quiet {
            warn!(
                namespace,
                answer = status.message,
                "the API server refuses an event"
            );
        }
        EventResult::Failed
    }
}

impl Told {
    fn count(&self, name: &str) -> Option<i32> {
        self.counts.get(name).copied()
    }

    fn set(&mut self, name: String, count: i32) {
        if self.counts.insert(name.clone(), count).is_some() {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > MAX_TOLD
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Forbidden only because the namespace is being deleted.
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}
