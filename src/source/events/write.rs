//! From the queue to the API server, at a steady rate.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
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
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{debug, warn};

use super::{
    Inputs,
    tell::{Regarding, Telling},
};
use crate::{
    source::{
        lease::Leadership,
        pace::{Bucket, backoff, until},
    },
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

/// Events that wait for another attempt, or behind one. Further ones are given up.
const MAX_BENCH: usize = 256;

/// Waits between attempts while the API server does not answer.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Whoever may not write events is believed for so long. Before, it is tried again: an API server that has just
/// started knows no roles and refuses everything.
const DENIED: Duration = Duration::from_mins(10);

/// One line in the log for what goes wrong with many.
const QUIET: Duration = Duration::from_mins(1);

/// Longest time of one request: the API server's own limit is a minute, and a webhook may use it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Writes events.
pub(super) struct Writer {
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    /// When it was last clear that there is no right to write events.
    denied: Option<Instant>,
    /// When something was last said about a failure.
    said: Option<Instant>,
}

/// What all attempts share.
struct Desk {
    client: kube::Client,
    controller: String,
    instance: String,
    leader: watch::Receiver<Leadership>,
    bucket: Mutex<Bucket>,
    told: Mutex<Told>,
}

/// An event that is to be told.
struct Waiting {
    telling: Telling,
    /// How often the API server answered with an error.
    errors: usize,
    /// Not before.
    at: Instant,
}

/// Why an event was not taken.
enum Refusal {
    Status(Box<Status>),
    Late,
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
            desk: Arc::new(Desk {
                client: inputs.cluster.client.clone(),
                controller: inputs.controller.clone(),
                instance: inputs.lease.identity.chars().take(MAX_INSTANCE).collect(),
                leader: inputs.leader.clone(),
                bucket: Mutex::new(Bucket::new(BURST, INTERVAL, Instant::now())),
                told: Mutex::default(),
            }),
            metrics: Arc::clone(&inputs.metrics),
            denied: None,
            said: None,
        }
    }

    /// Writes what comes, until nothing can come any more. What the API server answers with an error waits on a bench
    /// of its own, and so does what comes behind it in its namespace: the order stays, and others go on.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Telling>) {
        let mut bench: VecDeque<Waiting> = VecDeque::new();
        // At most one each.
        let (mut fresh, mut again) = (FuturesUnordered::new(), FuturesUnordered::new());
        // Whose attempt `again` is.
        let mut busy: Option<String> = None;
        loop {
            let due = bench.front().filter(|_| busy.is_none());
            let due = due.map(|waiting| waiting.at);
            tokio::select! {
                Some((waiting, result)) = fresh.next() => {
                    if let Some(waiting) = self.judge(waiting, result, &mut bench) {
                        bench.push_back(waiting);
                    }
                }
                Some((waiting, result)) = again.next() => {
                    busy = None;
                    if let Some(waiting) = self.judge(waiting, result, &mut bench) {
                        // Before what came behind it.
                        bench.push_front(waiting);
                    }
                }
                telling = waiting.recv(), if fresh.is_empty() => {
                    let Some(telling) = telling else { return };
                    let namespace = telling.regarding.namespace();
                    let behind = busy.as_deref() == Some(namespace)
                        || bench.iter().any(|it| it.telling.regarding.namespace() == namespace);
                    let waiting = Waiting { telling, errors: 0, at: Instant::now() };
                    if !behind {
                        fresh.push(Arc::clone(&self.desk).attempt(waiting));
                    } else if bench.len() < MAX_BENCH {
                        bench.push_back(waiting);
                    } else {
                        self.metrics.events().told(EventResult::Dropped);
                    }
                }
                () = until(due), if due.is_some() => {
                    if let Some(waiting) = bench.pop_front() {
                        busy = Some(waiting.telling.regarding.namespace().to_owned());
                        again.push(Arc::clone(&self.desk).attempt(waiting));
                    }
                }
            }
        }
    }

    /// Gives back what is to be tried again.
    fn judge(
        &mut self,
        mut waiting: Waiting,
        result: Result<EventResult, Refusal>,
        bench: &mut VecDeque<Waiting>,
    ) -> Option<Waiting> {
        let refusal = match result {
            Ok(result) => {
                self.metrics.events().told(result);
                return None;
            }
            Err(refusal) => refusal,
        };
        waiting.errors += 1;
        waiting.at = Instant::now() + AGAIN;
        let is_final = match &refusal {
            Refusal::Status(status) => self.is_final(status),
            Refusal::Late => false,
        };
        let room = bench.len() < MAX_BENCH;
        if !is_final && waiting.errors < MAX_ERRORS && room {
            return Some(waiting);
        }
        let namespace = waiting.telling.regarding.namespace();
        let result = self.refused(namespace, &refusal);
        self.metrics.events().told(result);
        if waiting.errors == MAX_ERRORS {
            // It is not about this event, so what waits behind it would not be taken either.
            bench.retain(|it| {
                let stays = it.telling.regarding.namespace() != namespace;
                if !stays {
                    self.metrics.events().told(EventResult::Failed);
                }
                stays
            });
        }
        None
    }

    /// Trying again would end the same way.
    fn is_final(&self, status: &Status) -> bool {
        match status.code {
            401 | 408 | 409 | 429 => false,
            403 if !is_terminating(status) => self.denied.is_some_and(|at| at.elapsed() < DENIED),
            code => (400..500).contains(&code),
        }
    }

    /// The API server will not take it.
    fn refused(&mut self, namespace: &str, refusal: &Refusal) -> EventResult {
        let late = Status {
            message: format!("no answer within {} s", TIMEOUT.as_secs()),
            ..Status::default()
        };
        let status = match refusal {
            Refusal::Status(status) => status,
            Refusal::Late => &late,
        };
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

impl Desk {
    /// Tries until the API server has answered; while it is down, for as long as that takes.
    async fn attempt(self: Arc<Self>, waiting: Waiting) -> (Waiting, Result<EventResult, Refusal>) {
        let mut failures = 0;
        loop {
            self.turn().await;
            let sent = tokio::time::timeout(TIMEOUT, self.send(&waiting.telling)).await;
            match sent {
                Ok(Ok(result)) => return (waiting, Ok(result)),
                Ok(Err(kube::Error::Api(status))) => {
                    return (waiting, Err(Refusal::Status(status)));
                }
                Err(_) => return (waiting, Err(Refusal::Late)),
                Ok(Err(error)) => {
                    debug!(%error, "an event could not be written, it is tried again");
                }
            }
            tokio::time::sleep(backoff(FIRST_WAIT, failures, LONGEST_WAIT)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Waits until it may write: at its pace, and while it leads. A process that stood still finds out here.
    async fn turn(&self) {
        loop {
            let due = self.bucket.lock().take(Instant::now());
            match due {
                Ok(()) => break,
                Err(due) => tokio::time::sleep_until(due).await,
            }
        }
        if self
            .leader
            .clone()
            .wait_for(Leadership::leads)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    async fn send(&self, telling: &Telling) -> kube::Result<EventResult> {
        let name = telling.name();
        let api: Api<Event> = Api::namespaced(self.client.clone(), telling.regarding.namespace());
        let count = self.told.lock().count(&name);
        if let Some(count) = count {
            // A term later another process may have counted; it goes on from what this one knows.
            let series = json!({"series": {"count": count + 1, "lastObservedTime": now()}});
            match api
                .patch(&name, &PatchParams::default(), &Patch::Merge(series))
                .await
            {
                Ok(_) => {
                    self.told.lock().set(name, count + 1);
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
        self.told.lock().set(name, 1);
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
