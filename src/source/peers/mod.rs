//! The other replicas: what they serve and how many connections they have.
//!
//! Every replica answers on its status address; the leader asks.

mod answer;
mod ask;
mod board;
mod client;
mod discovery;
mod guard;
mod message;
mod own;
mod term;
#[cfg(test)]
mod tests;
mod token;
mod view;

use std::{path::PathBuf, sync::Arc};

use hashbrown::HashMap;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::{
    discovery::Myself,
    guard::{Fetch, Guard},
};
use super::{cluster::Cluster, lease::Leadership, rebuild::Verdicts};
use crate::{ir, telemetry::metrics::Metrics};

pub use token::AUDIENCE;
pub use view::{Reached, Replica, View};

/// Open tunnels of this process by object.
pub type Connections = Arc<dyn Fn() -> HashMap<ir::ObjectId, u64> + Send + Sync>;

/// Where the others are and how they are asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace and name of the headless Service of `--peer-service`; `None`: this process is alone.
    pub service: Option<(String, String)>,
    /// Name of this pod: it is not asked.
    pub pod: String,
    /// Port of `--status`, the same on every replica.
    pub port: u16,
    /// Projected token of the peers' own audience.
    pub token_file: PathBuf,
}

/// Longest JWKS: some hundreds of keys. An API server has a few.
const MAX_KEYS: usize = 256 * 1024;

/// So much of an answer that is no JWKS goes into the log.
const MAX_WORDS: usize = 300;

/// Requests of peers that are answered at the same time: one leader asks two things.
const MAX_REQUESTS: usize = 16;

/// What this replica answers to the leader.
pub struct Server {
    verdicts: Arc<Verdicts>,
    connections: Connections,
    guard: Guard,
    places: Semaphore,
    /// Different for every process: cursors of another one mean nothing here.
    epoch: String,
}

impl Server {
    /// Answers from `verdicts` and `connections`.
    pub fn new(
        cluster: Cluster,
        settings: &Settings,
        verdicts: Arc<Verdicts>,
        connections: Connections,
    ) -> Self {
        let fetch: Fetch = Box::new(move || {
            let client = cluster.client.clone();
            Box::pin(keys(client))
        });
        Self::with(fetch, settings, verdicts, connections)
    }

    fn with(
        fetch: Fetch,
        settings: &Settings,
        verdicts: Arc<Verdicts>,
        connections: Connections,
    ) -> Self {
        Self {
            verdicts,
            connections,
            guard: Guard::new(fetch, settings.token_file.clone()),
            places: Semaphore::new(MAX_REQUESTS),
            epoch: format!("{:016x}", fastrand::u64(..)),
        }
    }
}

/// The JWKS of the API server.
async fn keys(client: kube::Client) -> Result<String, String> {
    let tell = |error: &dyn std::fmt::Display| error.to_string();
    let request = http::Request::get("/openid/v1/jwks").body(kube::client::Body::empty());
    let request = request.map_err(|error| tell(&error))?;
    let answer = client.send(request).await.map_err(|error| tell(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_KEYS).collect().await;
    let body = body.map_err(|error| tell(&error))?.to_bytes();
    let text = String::from_utf8(body.into()).map_err(|error| tell(&error))?;
    if head.status == http::StatusCode::OK {
        return Ok(text);
    }
    let words: String = text.chars().take(MAX_WORDS).collect();
    Err(format!("{}: {words}", head.status))
}

/// What was known is not known any more when nobody asks, whatever ended that.
struct Asked<'a> {
    view: &'a watch::Sender<Arc<View>>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.view.send_replace(Arc::default());
    }
}

/// Asks the others while this replica leads; `view` is what they said.
pub async fn ask(
    cluster: Cluster,
    settings: Settings,
    mut leader: watch::Receiver<Leadership>,
    view: watch::Sender<Arc<View>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let Some(service) = settings.service.clone() else {
        view.send_replace(Arc::new(View {
            complete: true,
            replicas: Vec::new(),
        }));
        return stop.cancelled().await;
    };
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = addresses
        .iter()
        .filter(|interface| !interface.is_loopback());
    let myself = Myself {
        pod: settings.pod.clone(),
        addresses: addresses.map(if_addrs::Interface::ip).collect(),
    };
    let settings = Arc::new(settings);
    let _asked = Asked { view: &view };
    loop {
        tokio::select! {
            led = leader.wait_for(Leadership::leads) => if led.is_err() { return },
            () = stop.cancelled() => return,
        }
        let (found, replicas) = watch::channel(None);
        tokio::select! {
            () = discovery::follow(cluster.clone(), service.clone(), myself.clone(), found) => {}
            () = term::run(Arc::clone(&settings), replicas, &view, &metrics) => {}
            _ = leader.wait_for(|leader| !leader.leads()) => {}
            () = stop.cancelled() => return,
        }
        // What was known is not known by a later term.
        view.send_replace(Arc::default());
        metrics.peers().replicas(0, 0);
    }
}
