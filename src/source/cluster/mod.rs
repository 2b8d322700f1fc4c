//! A cluster, watched.
//!
//! ```text
//!   watch (one per kind and namespace) ── raw objects, bounded queue ──► feed ──► rebuild
//!     list in pages, then events            known: what is new; guard     │
//!     failure, health: words, metrics       decode ► translate::prepare   └────► observed
//! ```
//!
//! The first table goes live when every kind has been listed completely. From then on the API server may come and
//! go: what is live stays until a complete list or an event says otherwise.

mod connect;
mod decode;
mod failure;
mod feed;
mod follow;
mod guard;
mod health;
mod kind;
mod known;
mod managers;
mod observed;
mod raw;
mod rights;
mod stored;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    feed::{Feed, Part},
    health::Health,
    kind::Kind,
    known::Known,
    rights::Rights,
    watch::Watch,
};
use super::rebuild::Rebuild;
use crate::translate::SERVICE_NAME;

pub use connect::{Cluster, ConnectError, connect};
pub(in crate::source) use failure::Failure;
pub(in crate::source) use follow::{Event, Follow};
#[cfg(test)]
pub(in crate::source) use managers::Managers;
pub(in crate::source) use managers::{CONDITIONS, COUNTS};
pub use observed::{
    Address, Observed, StoredCondition, StoredIngress, StoredObject, StoredRoute, StoredStatus,
};

/// Which cluster, and what of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--kubeconfig`; `None` = `KUBECONFIG`, the pod's service account, or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`; `None` = the current one.
    pub context: Option<String>,
    /// `--watch-namespace`; empty = all.
    pub namespaces: Vec<String>,
    /// `--peer-service`: no endpoint may have the address of another replica, so its slices are watched, too.
    pub peer_service: Option<(String, String)>,
    /// `--relist-guard`; zero = off.
    pub relist_guard: Duration,
    /// `--controller-name`: what is written is written in its name.
    pub controller_name: String,
}

/// Watches the cluster until `stop`, feeding `rebuild` and `observed`. Never returns early.
pub async fn watch(
    cluster: Cluster,
    settings: Settings,
    rebuild: Rebuild,
    observed: Arc<Observed>,
    stop: CancellationToken,
) {
    let metrics = Arc::clone(&rebuild.metrics);
    let targets = targets(&settings.namespaces, settings.peer_service.as_ref());
    let kinds = targets.iter().map(|target| target.kind);
    let health = Arc::new(Health::new(kinds, Arc::clone(&metrics)));
    let targets: Vec<_> = targets
        .into_iter()
        .map(|target| (target, Arc::new(Notify::new())))
        .collect();
    let rights = targets
        .iter()
        .map(|(target, relist)| (target.kind, target.namespace.clone(), Arc::clone(relist)));
    let rights = Arc::new(Rights::new(rights));
    let (signals, received) = mpsc::channel(feed::QUEUE);
    let places = Arc::new(Semaphore::new(watch::PAGES));
    let watches = TaskTracker::new();
    let mut parts = Vec::new();
    for (number, (target, relist)) in targets.into_iter().enumerate() {
        parts.push(Part {
            kind: target.kind,
            namespace: target.namespace.clone(),
            known: Known::new(settings.relist_guard),
            relist: Arc::clone(&relist),
        });
        let watch = Watch {
            number,
            target,
            client: cluster.client.clone(),
            signals: signals.clone(),
            places: Arc::clone(&places),
            relist,
            health: Arc::clone(&health),
            rights: Arc::clone(&rights),
            metrics: Arc::clone(&metrics),
        };
        watches.spawn(watch.run(stop.clone()));
    }
    drop(signals);
    watches.close();
    let feed = Feed::new(
        parts,
        rebuild,
        observed,
        metrics,
        settings.relist_guard,
        cluster.managers,
    );
    tokio::join!(feed::run(feed, received, stop), watches.wait());
}

/// What one watch is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    kind: Kind,
    /// `None`: of all namespaces, or none.
    namespace: Option<String>,
    /// Only objects with these labels.
    labels: Option<String>,
}

/// What is watched: with namespaces, no call is made that needs rights on the whole cluster, but the one for
/// `IngressClass`, which has no namespace and may fail.
fn targets(namespaces: &[String], peers: Option<&(String, String)>) -> Vec<Target> {
    let mut names: Vec<_> = namespaces.iter().cloned().map(Some).collect();
    names.sort();
    names.dedup();
    let target = |kind, namespace| Target {
        kind,
        namespace,
        labels: None,
    };
    let all = Kind::ALL.into_iter();
    let all = all.flat_map(|kind| {
        if names.is_empty() || !kind.is_namespaced() {
            return vec![target(kind, None)];
        }
        let names = names.iter().cloned();
        names.map(|name| target(kind, name)).collect()
    });
    // The replicas' own namespace need not be one of those.
    let unwatched = peers
        .filter(|(namespace, _)| !names.is_empty() && !names.contains(&Some(namespace.clone())));
    let peers = unwatched.map(|(namespace, service)| Target {
        kind: Kind::EndpointSlice,
        namespace: Some(namespace.clone()),
        labels: Some(format!("{SERVICE_NAME}={service}")),
    });
    all.chain(peers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_namespaces_only_classes_are_asked_of_the_whole_cluster() {
        assert_eq!(targets(&[], None).len(), 5);
        let names = ["b", "a", "b"].map(str::to_owned);
        let targets = targets(&names, None);
        assert_eq!(targets.len(), 9);
        let whole = targets.iter().filter(|target| target.namespace.is_none());
        let whole: Vec<_> = whole.map(|target| target.kind).collect();
        assert_eq!(whole, [Kind::IngressClass]);
    }

    #[test]
    fn the_other_replicas_are_seen_where_nothing_else_is_watched() {
        let peers = ("home".to_owned(), "peers".to_owned());
        let names = |name: &str| [name.to_owned()];
        let with = |name| targets(&names(name), Some(&peers));
        let more = Target {
            kind: Kind::EndpointSlice,
            namespace: Some("home".to_owned()),
            labels: Some("kubernetes.io/service-name=peers".to_owned()),
        };
        let mut expected = targets(&names("shop"), None);
        expected.push(more);
        assert_eq!(with("shop"), expected);
        assert_eq!(with("home"), targets(&names("home"), None));
        assert_eq!(targets(&[], Some(&peers)), targets(&[], None));
    }
}
