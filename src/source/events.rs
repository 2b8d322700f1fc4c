//! Events (`events.k8s.io/v1`) about objects, on transitions only.
//!
//! Two halves and a bounded queue between them: one watches what is to be told, the other writes it at a
//! steady rate. Neither keeps anything when leadership is lost: the names of events are made from what they
//! say, so whoever leads next finds what was told already. Reasons: `docs/design/012-events.md`.

mod memory;
mod note;
mod tell;
#[cfg(test)]
mod tests;
mod verdict;
mod write;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{
    tell::{Regarding, Telling},
    write::Writer,
};
use super::{
    cluster::Cluster,
    lease,
    peers::{Reached, View},
    rebuild::Verdicts,
};
use crate::telemetry::metrics::{EventResult, Metrics};

/// Events that may wait to be written, at most 1.5 KB each. At 10 in a second that is more than six minutes.
const MAX_WAITING: usize = 4096;

/// What follows a change within this time is read together with it: a Service that is applied right behind
/// its route was never missing.
const SETTLE: Duration = Duration::from_secs(1);

/// From then on a replica that does not answer is told.
const UNREACHABLE: Duration = Duration::from_mins(1);

/// What events are made of.
#[derive(Clone)]
pub struct Inputs {
    /// Where they are written.
    pub cluster: Cluster,
    /// What they tell.
    pub verdicts: Arc<Verdicts>,
    /// Whether this replica writes.
    pub leader: watch::Receiver<lease::Leadership>,
    /// Replicas that cannot be reached are told on the Lease.
    pub peers: watch::Receiver<Arc<View>>,
    /// The Lease; its identity is the `reportingInstance`.
    pub lease: lease::Settings,
    /// `--controller-name`: the `reportingController`.
    pub controller: String,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// Tells while this replica leads, until `stop`.
pub async fn tell(mut inputs: Inputs, stop: CancellationToken) {
    let mut leader = inputs.leader.clone();
    let work = async {
        loop {
            if leader.wait_for(lease::Leadership::leads).await.is_err() {
                return;
            }
            tokio::select! {
                () = lead(&mut inputs) => {}
                lost = leader.wait_for(|leader| !leader.leads()) => if lost.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = work => stop.cancelled().await,
        () = stop.cancelled() => {}
    }
}

/// One term of leadership. Like the status, nothing is written before the others were asked: who led before may still
/// be telling.
async fn lead(inputs: &mut Inputs) {
    if inputs.peers.wait_for(|view| view.complete).await.is_err() {
        std::future::pending::<()>().await;
    }
    let (queue, waiting) = mpsc::channel(MAX_WAITING);
    let queue = Queue {
        queue,
        metrics: Arc::clone(&inputs.metrics),
    };
    let writer = Writer::new(inputs);
    tokio::select! {
        () = objects(&inputs.verdicts, &queue) => {}
        () = replicas(&mut inputs.peers, &inputs.lease, &queue) => {}
        () = writer.run(waiting) => {}
    }
}

/// Where tellings wait to be written.
struct Queue {
    queue: mpsc::Sender<Telling>,
    metrics: Arc<Metrics>,
}

impl Queue {
    fn put(&self, telling: Telling) {
        if self.queue.try_send(telling).is_err() {
            self.metrics.events().told(EventResult::Dropped);
        }
    }
}

/// Follows the verdicts.
async fn objects(verdicts: &Verdicts, queue: &Queue) {
    let mut moved = verdicts.subscribe();
    let mut memory = memory::Memory::default();
    let mut cursor = 0;
    loop {
        moved.borrow_and_update();
        let news = verdicts.after(cursor);
        cursor = news.cursor;
        let limited = memory.take(&news, |telling| queue.put(telling));
        for _ in 0..limited {
            queue.metrics.events().told(EventResult::Limited);
        }
        if moved.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// Follows the other replicas: one event on the Lease for each that is gone for long, not one per route.
async fn replicas(view: &mut watch::Receiver<Arc<View>>, lease: &lease::Settings, queue: &Queue) {
    let mut told: Vec<Arc<str>> = Vec::new();
    loop {
        let now = Arc::clone(&view.borrow_and_update());
        let mut next = None;
        told.retain(|name| {
            let known = now.replicas.iter().find(|replica| replica.name == *name);
            known.is_some_and(|replica| replica.reached != Reached::Yes)
        });
        for replica in &now.replicas {
            let Reached::NoSince(since) = replica.reached else {
                continue;
            };
            if told.contains(&replica.name) {
                continue;
            }
            let due = since + UNREACHABLE;
            if due > Instant::now() {
                next = Some(next.map_or(due, |next| due.min(next)));
                continue;
            }
            told.push(Arc::clone(&replica.name));
            queue.put(Telling {
                regarding: Regarding::Lease {
                    namespace: lease.namespace.as_str().into(),
                    name: lease.name.as_str().into(),
                },
                warning: true,
                reason: "ReplicaUnreachable",
                note: note::note(&format!(
                    "the replica {} has not answered on its status address for {} s and no longer counts for \
                     Programmed: look at its pod and at what stands between the pods (NetworkPolicy, --status)",
                    replica.name,
                    UNREACHABLE.as_secs(),
                )),
            });
        }
        let due = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = view.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            () = due => {}
        }
    }
}
