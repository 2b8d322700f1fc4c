//! Who of all replicas writes: a Lease (`coordination.k8s.io/v1`) with the algorithm and defaults of client-go.
//! The data path never looks at it.

mod campaign;
mod election;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use kube::Api;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::error;

use self::{
    campaign::Campaign,
    store::{Remote, Store},
};
use super::cluster::Cluster;
use crate::telemetry::metrics::Metrics;

/// First pause before a task that died is started again; doubled up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Which Lease, and who asks for it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// `holderIdentity`: different for every process.
    pub identity: String,
}

/// Whether this process leads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leadership {
    until: Option<Instant>,
}

impl Leadership {
    /// Whether it leads now. To be asked before each write: a process that stood still (SIGSTOP) finds out here,
    /// even before the task that holds the Lease runs again.
    pub fn leads(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

/// Tries to hold the Lease until `stop`, and gives it back then. `leader` is woken when leadership begins or ends.
pub async fn hold(
    cluster: Cluster,
    settings: Settings,
    leader: watch::Sender<Leadership>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let make = || Remote {
        api: Api::namespaced(cluster.client.clone(), &settings.namespace),
        name: settings.name.clone(),
    };
    supervise(make, &settings, leader, metrics, stop).await;
}

/// The death of the task costs leadership, never the process.
async fn supervise<S: Store + 'static>(
    make: impl Fn() -> S,
    settings: &Settings,
    leader: watch::Sender<Leadership>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let campaign = Campaign::new(
            make(),
            settings.clone(),
            leader.clone(),
            Arc::clone(&metrics),
        );
        let task = AbortOnDropHandle::new(tokio::spawn(campaign.run(stop.clone())));
        let Err(error) = task.await else {
            return;
        };
        leader.send_replace(Leadership::default());
        metrics.peers().leads(false);
        error!(%error, ?pause, "the task that holds the Lease died and starts again; please report this");
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
