//! What a replica does besides serving: leadership, peers, status, events. None of it is on the path of a request.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin,
    source::{
        cluster::{Cluster, Observed},
        events, lease, peers, publish,
        rebuild::{Live, Verdicts},
        status,
        supervise::supervise,
    },
    telemetry::metrics::Metrics,
    upstream,
};

/// How a replica finds the others and what it reports.
#[derive(Debug, Clone)]
pub struct Control {
    /// Namespace and name of the Lease; `None` = `hawser-leader` in the namespace of the pod or context.
    pub lease: Option<(String, String)>,
    /// Name of this pod.
    pub pod: String,
    /// Namespace and name of the headless Service of all replicas.
    pub peer_service: Option<(String, String)>,
    /// The token that is shown to the others.
    pub peer_token_file: PathBuf,
    /// The addresses for the status of Ingress objects; `None`: it is not written.
    pub publish: Option<publish::Publish>,
}

/// Name of the Lease where none is named.
const LEASE: &str = "hawser-leader";

impl Control {
    fn lease(&self, cluster: &Cluster) -> lease::Settings {
        let default = || (cluster.namespace.clone(), LEASE.to_owned());
        let (namespace, name) = self.lease.clone().unwrap_or_else(default);
        lease::Settings {
            namespace,
            name,
            // A pod that starts anew is another candidate.
            identity: format!("{}_{:08x}", self.pod, fastrand::u32(..)),
        }
    }

    /// How the other replicas are reached; they listen on the same status port.
    pub(super) fn peers(&self, status: Option<SocketAddr>) -> peers::Settings {
        peers::Settings {
            service: self.peer_service.clone(),
            pod: self.pod.clone(),
            port: status.map_or(0, |address| address.port()),
            token_file: self.peer_token_file.clone(),
        }
    }
}

/// What the tasks read.
pub(super) struct Parts {
    pub(super) cluster: Cluster,
    pub(super) peers: peers::Settings,
    pub(super) controller: String,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) observed: Arc<Observed>,
    pub(super) backends: Arc<upstream::Registry>,
    pub(super) connections: peers::Connections,
    pub(super) metrics: Arc<Metrics>,
    pub(super) live: Arc<Live>,
}

/// Spawns everything and gives what answers the other replicas. `leading` ends leadership, so that another one takes
/// over while this one drains; `stop` ends the rest.
pub(super) fn spawn(
    parts: Parts,
    control: &Control,
    tasks: &TaskTracker,
    leading: &CancellationToken,
    stop: &CancellationToken,
) -> Option<admin::PeerService> {
    let service = peer_service(&parts);
    let Parts {
        cluster,
        peers,
        controller,
        verdicts,
        observed,
        backends,
        connections,
        metrics,
        live,
    } = parts;
    let lease = control.lease(&cluster);
    let (leader_is, leader) = watch::channel(lease::Leadership::default());
    let (seen, view) = watch::channel(Arc::default());

    // Who serves nothing yet has nothing to report, and must not keep one from it that has.
    let campaign = lease::hold(
        cluster.clone(),
        lease.clone(),
        leader_is,
        Arc::clone(&metrics),
        leading.clone(),
    );
    let ended = leading.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = ended.cancelled() => return,
            () = live.wait_for(1) => {}
        }
        // It gives the Lease back at its end.
        campaign.await;
    });
    let lasting = Lasting { tasks, stop };
    lasting.spawn("peers", {
        let (cluster, leader, metrics) = (cluster.clone(), leader.clone(), Arc::clone(&metrics));
        move |stop| {
            let (cluster, peers, leader) = (cluster.clone(), peers.clone(), leader.clone());
            peers::ask(
                cluster,
                peers,
                leader,
                seen.clone(),
                Arc::clone(&metrics),
                stop,
            )
        }
    });
    let addresses = control.publish.clone().map(|publish| {
        let (found, addresses) = watch::channel(None);
        let cluster = cluster.clone();
        lasting.spawn("published addresses", move |stop| {
            publish::follow(cluster.clone(), publish.clone(), found.clone(), stop)
        });
        addresses
    });
    let status = status::Inputs {
        cluster: cluster.clone(),
        verdicts: Arc::clone(&verdicts),
        observed,
        leader: leader.clone(),
        peers: view.clone(),
        backends,
        connections,
        addresses,
        metrics: Arc::clone(&metrics),
    };
    lasting.spawn("status", move |stop| status::write(status.clone(), stop));
    let events = events::Inputs {
        cluster,
        verdicts,
        leader,
        peers: view,
        lease,
        controller,
        metrics,
    };
    lasting.spawn("events", move |stop| events::tell(events.clone(), stop));
    service
}

/// Spawns tasks that outlive their panics.
struct Lasting<'a> {
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Lasting<'_> {
    fn spawn<T>(
        &self,
        what: &'static str,
        make: impl Fn(CancellationToken) -> T + Send + Sync + 'static,
    ) where
        T: Future<Output = ()> + Send,
    {
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { supervise(what, &stop, || make(stop.clone())).await });
    }
}

/// The peer endpoint of the status address, where there are other replicas.
fn peer_service(parts: &Parts) -> Option<admin::PeerService> {
    parts.peers.service.as_ref()?;
    let server = Arc::new(peers::Server::new(
        parts.cluster.clone(),
        &parts.peers,
        Arc::clone(&parts.verdicts),
        Arc::clone(&parts.connections),
    ));
    Some(Arc::new(move |request| {
        let server = Arc::clone(&server);
        Box::pin(async move { server.answer(request).await })
    }))
}
