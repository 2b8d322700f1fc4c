//! Wires everything: build order, spawn order, shutdown order. The only module that knows both worlds.

mod bind;
mod control;
mod limits;
mod source;
mod trim;

pub use bind::StartError;
pub use control::Control;
pub use source::Source;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    admin,
    proxy::{self, Proxy},
    source::{
        peers,
        rebuild::{Live, Rebuild, Verdicts},
    },
    table,
    telemetry::metrics::{BackendState, Metrics},
    translate, tunnel, upstream,
};

/// What `hawser run` was asked to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Traffic addresses, HTTP.
    pub http: Vec<SocketAddr>,
    /// Admin address.
    pub admin: Option<SocketAddr>,
    /// Status address.
    pub status: Option<SocketAddr>,
    /// Where objects come from.
    pub source: Source,
    /// What belongs to this controller.
    pub translate: translate::Options,
    /// Client connections at a time; `None` = from the limit of file descriptors.
    pub max_connections: Option<usize>,
    /// After the signal requests in flight have this long to end, and tunnels get their Close spread over it.
    pub drain_window: Duration,
    /// Large frames of tunnels are moved by splice(2).
    pub splice: bool,
}

/// A running Hawser.
pub struct App {
    /// The live table.
    pub live: Arc<Live>,
    /// Traffic addresses as bound.
    pub http: Vec<SocketAddr>,
    /// Admin address as bound.
    pub admin: Option<SocketAddr>,
    /// Status address as bound.
    pub status: Option<SocketAddr>,
    tunnels: Arc<tunnel::Registry>,
    draining: Arc<AtomicBool>,
    accepting: CancellationToken,
    leading: CancellationToken,
    background: CancellationToken,
    listeners: TaskTracker,
    helpers: TaskTracker,
    drain_window: Duration,
}

/// Binds every address, then spawns everything. Traffic is accepted once the first table is live;
/// until then connections wait in the listen queue.
pub async fn start(settings: Settings) -> Result<App, StartError> {
    let origin = source::open(&settings.source).await?;
    let bound = bind::bind(&settings).await?;
    let metrics = Metrics::new();
    let backends = Arc::new(upstream::Registry::default());
    let tunnels = Arc::new(tunnel::Registry::default());
    let live = Arc::new(table::Handle::new());
    let verdicts = Arc::new(Verdicts::default());
    let draining = Arc::new(AtomicBool::new(false));
    let accepting = CancellationToken::new();
    let leading = CancellationToken::new();
    let background = CancellationToken::new();
    let listeners = TaskTracker::new();
    let helpers = TaskTracker::new();

    metrics.set_backends(Box::new({
        let backends = Arc::clone(&backends);
        move || backends.list().iter().map(backend_state).collect()
    }));

    let app = App {
        live: Arc::clone(&live),
        http: bound.http.iter().map(proxy::Listener::local_addr).collect(),
        admin: local_addr(bound.admin.as_ref()),
        status: local_addr(bound.status.as_ref()),
        tunnels: Arc::clone(&tunnels),
        draining: Arc::clone(&draining),
        accepting: accepting.clone(),
        leading: leading.clone(),
        background: background.clone(),
        listeners: listeners.clone(),
        helpers: helpers.clone(),
        drain_window: settings.drain_window,
    };

    let rebuild = Rebuild::new(
        Arc::clone(&live),
        Arc::clone(&backends),
        Arc::clone(&metrics),
        settings.translate.clone(),
        Arc::clone(&verdicts),
    );
    let mut peers = None;
    if let (
        Source::Cluster(_, control),
        source::Opened::Cluster {
            cluster, observed, ..
        },
    ) = (&settings.source, &origin)
    {
        let parts = control::Parts {
            cluster: cluster.clone(),
            peers: control.peers(app.status),
            controller: settings.translate.controller_name.clone(),
            verdicts: Arc::clone(&verdicts),
            observed: Arc::clone(observed),
            backends: Arc::clone(&backends),
            connections: connections(&tunnels),
            metrics: Arc::clone(&metrics),
        };
        peers = control::spawn(parts, control, &helpers, &leading, &background);
    }
    helpers.spawn(origin.watch(rebuild, background.clone()));
    helpers.spawn(trim::run(Arc::clone(&tunnels), background.clone()));
    helpers.spawn({
        let (tunnels, stop) = (Arc::clone(&tunnels), background.clone());
        async move { tunnels.pace(stop).await }
    });

    helpers.spawn({
        let (tunnels, live) = (Arc::clone(&tunnels), Arc::clone(&live));
        let given_away = given_away(&verdicts);
        tunnel::Watch::new(tunnels, live, Arc::clone(&backends), given_away).run(background.clone())
    });

    let state = admin::State {
        live: Arc::clone(&live),
        backends: Arc::clone(&backends),
        tunnels: Arc::clone(&tunnels),
        metrics: Arc::clone(&metrics),
        verdicts: Arc::new(move || serde_json::to_value(verdicts.list()).unwrap_or_default()),
        peers,
        draining: Arc::new(move || draining.load(Ordering::Relaxed)),
    };
    let admin = bound
        .admin
        .map(|listener| (listener, admin::Surface::Admin));
    let status = bound
        .status
        .map(|listener| (listener, admin::Surface::Status));
    for (listener, surface) in admin.into_iter().chain(status) {
        let (state, stop) = (state.clone(), background.clone());
        helpers.spawn(admin::serve(listener, surface, state, stop));
    }

    let max_connections = settings
        .max_connections
        .unwrap_or_else(limits::max_connections);
    let limits = proxy::Limits {
        max_connections,
        drain_window: settings.drain_window,
        splice: settings.splice,
        ..proxy::Limits::default()
    };
    let proxy = Arc::new(Proxy::new(Arc::clone(&live), tunnels, metrics, limits));
    for listener in bound.http {
        let (live, proxy, stop) = (Arc::clone(&live), Arc::clone(&proxy), accepting.clone());
        listeners.spawn(async move {
            tokio::select! {
                () = live.wait_for(1) => listener.serve(proxy, stop).await,
                () = stop.cancelled() => {}
            }
        });
    }

    app.tell(max_connections);
    Ok(app)
}

impl App {
    /// Says in the log where it listens.
    fn tell(&self, max_connections: usize) {
        for address in &self.http {
            info!(%address, max_connections, "listening for HTTP");
        }
        if let Some(address) = self.admin {
            info!(%address, "listening for admin requests");
            if !address.ip().is_loopback() {
                warn!(
                    %address,
                    "the admin address is not on loopback: whoever reaches it sees clients, routes and endpoints"
                );
            }
        }
        if let Some(address) = self.status {
            info!(%address, "listening for status requests");
        }
    }

    /// Runs until `stop`, then ends in this order: not ready, no new connection, requests finish and
    /// tunnels get their Close side by side, background tasks last. Bounded by the drain window and 10 s.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
        let tunnels = self.tunnels.len();
        info!(tunnels, window = ?self.drain_window, "draining");
        self.draining.store(true, Ordering::Relaxed);
        // Another replica takes over at once.
        self.leading.cancel();
        self.accepting.cancel();
        self.listeners.close();
        self.tunnels.drain(self.drain_window);
        tokio::join!(self.listeners.wait(), self.tunnels_end());
        self.background.cancel();
        self.helpers.close();
        if tokio::time::timeout(BACKGROUND_DEADLINE, self.helpers.wait())
            .await
            .is_err()
        {
            warn!("background tasks did not end in time");
        }
        info!("ended");
    }

    /// Waits for the tunnels, no longer than they may take.
    async fn tunnels_end(&self) {
        let latest = self.drain_window.saturating_add(LAST_GOODBYE);
        if tokio::time::timeout(latest, self.tunnels.ended())
            .await
            .is_err()
        {
            warn!(
                tunnels = self.tunnels.len(),
                "tunnels did not end in time, cutting them"
            );
            self.tunnels.cut();
            self.tunnels.ended().await;
        }
    }
}

/// From the end of the drain window until tunnels that still run are cut: the last goodbye needs 6 s.
const LAST_GOODBYE: Duration = Duration::from_secs(10);

/// Cancels `stop` at the first SIGTERM or SIGINT. Further ones change nothing.
pub fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// The admin server and the source only have to notice the token; a second is long.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(1);

fn local_addr(listener: Option<&TcpListener>) -> Option<SocketAddr> {
    listener.and_then(|listener| listener.local_addr().ok())
}

/// Open tunnels by object.
fn connections(tunnels: &Arc<tunnel::Registry>) -> peers::Connections {
    let tunnels = Arc::clone(tunnels);
    Arc::new(move || tunnels.count_by_object())
}

/// Whether an object names the class of another controller now.
fn given_away(verdicts: &Arc<Verdicts>) -> tunnel::GivenAway {
    let verdicts = Arc::clone(verdicts);
    Box::new(move |object| verdicts.is_given_away(object))
}

fn backend_state(backend: &Arc<upstream::Backend>) -> BackendState {
    BackendState {
        id: backend.id().clone(),
        endpoints: backend
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.state())
            .collect(),
    }
}
