//! The addresses that go into the status of Ingress objects.

mod address;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, api::ListParams};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cluster::{Address, Cluster, Event, Failure, Follow};

pub use address::{AddressError, MAX_ADDRESSES, parse};

/// That there is no address must have been true for so long. DNS records are made from the status: emptied for
/// a moment, while a Service is made anew or before its load balancer has answered, they would go and stay away
/// for their time to live.
const GRACE: Duration = Duration::from_mins(1);

/// One line in the log in this time while something is wrong.
const QUIET: Duration = Duration::from_mins(1);

/// Where the addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publish {
    /// `--publish-service`: namespace and name.
    Service(String, String),
    /// `--publish-address`: IP addresses and host names.
    Addresses(Vec<Address>),
}

/// Sends the addresses to `found` whenever they change; `None` until they are known.
pub async fn follow(
    cluster: Cluster,
    publish: Publish,
    found: watch::Sender<Option<Arc<[Address]>>>,
    stop: CancellationToken,
) {
    match publish {
        Publish::Addresses(addresses) => send(&found, &addresses),
        Publish::Service(namespace, name) => {
            let api: Api<Service> = Api::namespaced(cluster.client, &namespace);
            let which = ListParams::default().fields(&format!("metadata.name={name}"));
            let events = stream::unfold(Follow::new(api, which), async |mut follow| {
                Some((follow.next().await, follow))
            });
            let followed = Followed {
                namespace,
                name,
                found: &found,
                empty_since: None,
                said: None,
                told: None,
            };
            tokio::select! {
                () = followed.run(events) => {}
                () = stop.cancelled() => return,
            }
        }
    }
    stop.cancelled().await;
}

/// Unchanged addresses are not sent.
fn send(found: &watch::Sender<Option<Arc<[Address]>>>, addresses: &[Address]) {
    found.send_if_modified(|known| {
        let changed = known.as_deref() != Some(addresses);
        if changed {
            info!(addresses = %words(addresses), "addresses for the status of Ingress objects");
            *known = Some(addresses.into());
        }
        changed
    });
}

fn words(addresses: &[Address]) -> String {
    let words: Vec<_> = addresses
        .iter()
        .map(|address| match address {
            Address::Ip(text) | Address::Hostname(text) => &**text,
        })
        .collect();
    words.join(", ")
}

/// One Service as it is seen.
struct Followed<'a> {
    namespace: String,
    name: String,
    found: &'a watch::Sender<Option<Arc<[Address]>>>,
    /// Since when there is no address.
    empty_since: Option<Instant>,
    /// When a problem was last written to the log.
    said: Option<Instant>,
    /// What was said last about a Service without addresses: whether it is missing. Each list finds it so again.
    told: Option<bool>,
}

impl Followed<'_> {
    async fn run(mut self, events: impl Stream<Item = Result<Event<Service>, Failure>>) {
        let mut events = std::pin::pin!(events);
        loop {
            let empty = async {
                match self.empty_since {
                    Some(since) => tokio::time::sleep_until(since + GRACE).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.take(event),
                    Some(Err(failure)) => self.failed(&failure),
                    None => return,
                },
                () = empty => {
                    self.empty_since = None;
                    send(self.found, &[]);
                }
            }
        }
    }

    fn take(&mut self, event: Event<Service>) {
        match event {
            Event::Listed(all) => self.look(all.first().map(address::of_service)),
            Event::Set(service) => self.look(Some(address::of_service(&service))),
            Event::Deleted(_) => self.look(None),
        }
    }

    /// The addresses of the Service; `None` if there is no Service.
    fn look(&mut self, addresses: Option<Vec<Address>>) {
        let missing = addresses.is_none();
        match addresses {
            Some(addresses) if !addresses.is_empty() => {
                self.empty_since = None;
                self.told = None;
                send(self.found, &addresses);
                return;
            }
            _ => {}
        }
        let known = self.found.borrow().as_deref().is_some_and(<[_]>::is_empty);
        if !known {
            self.empty_since.get_or_insert_with(Instant::now);
        }
        if self.told == Some(missing) || !self.may_speak() {
            return;
        }
        self.told = Some(missing);
        let service = format!("{}/{}", self.namespace, self.name);
        if missing {
            warn!(
                service,
                "the Service of --publish-service does not exist: create it or correct the flag; the last addresses \
                 stay in the status of Ingress objects for {} s",
                GRACE.as_secs()
            );
        } else {
            warn!(
                service,
                "the Service of --publish-service has no address yet; Ingress objects get theirs when it has"
            );
        }
    }

    /// The API server is down or says no: the last addresses stay.
    fn failed(&mut self, failure: &Failure) {
        if !self.may_speak() {
            return;
        }
        let service = format!("{}/{}", self.namespace, self.name);
        if *failure == Failure::Forbidden {
            warn!(
                service,
                "no right to read the Service of --publish-service: give the ServiceAccount of Hawser the verbs list and \
                 watch on services in its namespace; the last addresses stay"
            );
        } else {
            warn!(
                service,
                "the Service of --publish-service cannot be watched, the last addresses stay: {failure}"
            );
        }
    }

    fn may_speak(&mut self) -> bool {
        let may = self.said.is_none_or(|said| said.elapsed() >= QUIET);
        if may {
            self.said = Some(Instant::now());
        }
        may
    }
}
