//! What Hawser reports about each object, written by the leader.
//!
//! `reports.rs` decides, `writer.rs` sends; here they meet.

mod counts;
mod desired;
mod entry;
mod ingress;
mod judge;
mod places;
mod queue;
mod reports;
mod told;
mod writer;

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::{
    counts::Endpoints,
    queue::Lane,
    reports::{Reports, Task},
    told::Told,
    writer::Answer,
};
use super::{
    cluster::{Address, Cluster, Observed},
    lease::Leadership,
    pace::until,
    peers::{Connections, View},
    rebuild::Verdicts,
};
use crate::{telemetry::metrics::Metrics, upstream};

/// How often counts are taken.
const COUNTS: Duration = Duration::from_secs(3);

/// What statuses are made of.
#[derive(Clone)]
pub struct Inputs {
    /// Where they are written.
    pub cluster: Cluster,
    /// What this replica serves.
    pub verdicts: Arc<Verdicts>,
    /// What is stored.
    pub observed: Arc<Observed>,
    /// Whether this replica writes: asked before each write.
    pub leader: watch::Receiver<Leadership>,
    /// What the other replicas serve.
    pub peers: watch::Receiver<Arc<View>>,
    /// Endpoints.
    pub backends: Arc<upstream::Registry>,
    /// Open tunnels of this process.
    pub connections: Connections,
    /// Addresses for Ingress objects; `None`: their status is not ours to write.
    pub addresses: Option<watch::Receiver<Option<Arc<[Address]>>>>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// Writes statuses while this replica leads, until `stop`.
pub async fn write(inputs: Inputs, stop: CancellationToken) {
    let Inputs {
        cluster,
        verdicts,
        observed,
        mut leader,
        mut peers,
        backends,
        connections,
        mut addresses,
        metrics,
    } = inputs;
    let mut reports = Reports::new(Arc::clone(&observed), Instant::now());
    let mut told = Told::default();
    let mut under_way = FuturesUnordered::new();
    let (mut judged, mut stored) = (verdicts.subscribe(), observed.subscribe());
    let mut cursor = 0;
    let mut counting = interval(COUNTS);
    counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let Some(found) = &mut addresses {
        reports.addresses(found.borrow_and_update().clone());
    }
    loop {
        let now = Instant::now();
        judged.mark_unchanged();
        let moves = verdicts.after(cursor);
        cursor = moves.cursor;
        reports.verdicts(moves, now);
        stored.mark_unchanged();
        reports.stored();
        let (leads, view) = (
            leader.borrow_and_update().leads(),
            peers.borrow_and_update().clone(),
        );
        reports.standing(leads, view, now);
        if !reports.active() {
            // Whoever leads now may write the same objects.
            under_way.clear();
        }
        let clock = Time(jiff::Timestamp::now());
        let more = reports.look(now, &clock);
        while under_way.len() < places::ALL
            && let Some(task) = reports.next(now, &clock)
        {
            under_way.push(run(&cluster, task));
        }
        let objects = reports.waiting(Lane::Conditions) + reports.waiting(Lane::Addresses);
        let status = metrics.status();
        status.queue(writer::manager(Lane::Conditions), objects);
        status.queue(writer::manager(Lane::Counts), reports.waiting(Lane::Counts));
        let busy = under_way.len() == places::ALL;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changed(&mut leader) => {}
            Some((task, answer)) = under_way.next() => {
                told.answer(&metrics, &task.write, &answer);
                reports.done(task, &answer, Instant::now());
            }
            () = changed(&mut peers) => {}
            () = tokio::task::yield_now(), if more => {}
            () = changed(&mut judged) => {}
            () = changed(&mut stored), if reports.active() => {}
            () = found(&mut addresses) => {
                if let Some(found) = &mut addresses {
                    reports.addresses(found.borrow_and_update().clone());
                }
            }
            _ = counting.tick(), if reports.active() => {
                let endpoints = Endpoints::new(&backends);
                reports.count(&endpoints, &connections(), Instant::now());
            }
            () = until(reports.wake(busy)) => {}
        }
    }
}

async fn run(cluster: &Cluster, task: Task) -> (Task, Answer) {
    let answer = writer::apply(cluster, &task.write).await;
    (task, answer)
}

/// A sender that is gone sends nothing any more.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending::<()>().await;
    }
}

async fn found(addresses: &mut Option<watch::Receiver<Option<Arc<[Address]>>>>) {
    match addresses {
        Some(addresses) => changed(addresses).await,
        None => pending().await,
    }
}
