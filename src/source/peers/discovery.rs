//! Which replicas there are: the ready endpoints of the headless Service.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, ResourceExt, api::ListParams};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use crate::{
    source::cluster::{Cluster, Event, Follow},
    translate::SERVICE_NAME,
};

const TELL_EVERY: Duration = Duration::from_mins(1);

/// Ready replicas by name, each with its addresses in order.
pub(super) type Ready = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// This process, which is no replica of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Myself {
    /// Name of the pod.
    pub pod: String,
    /// Addresses of the pod.
    pub addresses: Vec<IpAddr>,
}

/// Sends the replicas to `found` on each change; `None` until they are known. Never ends by itself.
pub(super) async fn follow(
    cluster: Cluster,
    service: (String, String),
    myself: Myself,
    found: watch::Sender<Option<Ready>>,
) {
    let (namespace, name) = service;
    let api: Api<EndpointSlice> = Api::namespaced(cluster.client, &namespace);
    let which = ListParams::default().labels(&format!("{SERVICE_NAME}={name}"));
    let mut followed = Follow::new(api, which);
    let mut slices: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    let mut told: Option<Instant> = None;
    loop {
        match followed.next().await {
            Ok(Event::Listed(all)) => {
                let named = all.into_iter().map(|slice| (slice.name_any(), slice));
                slices = named.collect();
            }
            Ok(Event::Set(slice)) => {
                slices.insert(slice.name_any(), slice);
            }
            Ok(Event::Deleted(slice)) => {
                slices.remove(&slice.name_any());
            }
            Err(error) => {
                let now = Instant::now();
                if told.is_none_or(|told| now >= told + TELL_EVERY) {
                    told = Some(now);
                    warn!(
                        verb = "list/watch",
                        resource = "endpointslices.discovery.k8s.io",
                        namespace,
                        service = name,
                        %error,
                        "the other replicas cannot be found; those known stay known"
                    );
                }
                continue;
            }
        }
        let ready = replicas(slices.values(), &myself);
        found.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&ready);
            *known = Some(ready);
            changed
        });
    }
}

/// The ready replicas of all slices. A pod with an IPv4 and an IPv6 address is in two slices and one replica; it
/// does not count while any of them says that it is terminating.
pub(super) fn replicas<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    myself: &Myself,
) -> Ready {
    let mut ready = Ready::new();
    let mut leaving: Vec<Arc<str>> = Vec::new();
    for slice in slices {
        for endpoint in &slice.endpoints {
            let addresses: Vec<IpAddr> = endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .collect();
            let Some(first) = addresses.first() else {
                continue;
            };
            let target = endpoint.target_ref.as_ref();
            let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
            let name = pod.and_then(|pod| pod.name.clone());
            let ours = match &name {
                Some(name) => *name == myself.pod,
                None => false,
            };
            if ours || addresses.iter().any(|a| myself.addresses.contains(a)) {
                continue;
            }
            let name: Arc<str> = name.unwrap_or_else(|| first.to_string()).into();
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|conditions| conditions.terminating) == Some(true) {
                leaving.push(name);
            } else if conditions.and_then(|conditions| conditions.ready) != Some(false) {
                ready.entry(name).or_default().extend(addresses);
            }
        }
    }
    for name in leaving {
        ready.remove(&name);
    }
    for addresses in ready.values_mut() {
        addresses.sort_unstable();
        addresses.dedup();
    }
    ready
}
