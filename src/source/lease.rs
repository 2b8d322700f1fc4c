//! Who of all replicas writes: a Lease (`coordination.k8s.io/v1`) with the algorithm and defaults of client-go.
//! The data path never looks at it.

mod campaign;
mod election;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kube::Api;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{campaign::Campaign, store::Remote};
use super::{cluster::Cluster, supervise::supervise};
use crate::telemetry::metrics::Metrics;

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

    /// Leads until then.
    #[cfg(test)]
    pub(in crate::source) fn until(until: Instant) -> Self {
        Self { until: Some(until) }
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
    supervise("lease", &stop, || {
        let store = Remote {
            api: Api::namespaced(cluster.client.clone(), &settings.namespace),
            name: settings.name.clone(),
        };
        let (leader, metrics, stop) = (leader.clone(), Arc::clone(&metrics), stop.clone());
        let campaign = Campaign::new(
            store,
            settings.clone(),
            leader.clone(),
            Arc::clone(&metrics),
        );
        let term = Term { leader, metrics };
        async move {
            campaign.run(stop).await;
            drop(term);
        }
    })
    .await;
}

/// Leadership ends with it, whatever ends it.
struct Term {
    leader: watch::Sender<Leadership>,
    metrics: Arc<Metrics>,
}

impl Drop for Term {
    fn drop(&mut self) {
        self.leader.send_replace(Leadership::default());
        self.metrics.peers().leads(false);
    }
}
