//! Wires everything: build order, spawn order, shutdown order. The only module that knows both worlds.

mod bind;
mod control;
mod ending;
mod inherited;
mod limits;
mod signals;
mod source;

pub use bind::StartError;
pub use control::Control;
pub use inherited::Inherited;
pub use signals::{Signal, Signals};
pub use source::Source;

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use ending::{Ending, Stage};
use limits::Limits;

use crate::{
    admin, api,
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
    /// Whether another process may listen on the same traffic addresses (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Admin address.
    pub admin: Option<SocketAddr>,
    /// Whether the admin address takes orders.
    pub admin_write: bool,
    /// Status address.
    pub status: Option<SocketAddr>,
    /// Where objects come from.
    pub source: Source,
    /// What belongs to this controller.
    pub translate: translate::Options,
    /// Client connections at a time; `None` = from the limit of file descriptors.
    pub max_connections: Option<usize>,
    /// From SIGTERM to the drain: not ready, but serving, while load balancers notice.
    pub drain_delay: Duration,
    /// How long the drain takes to tell all tunnels to end.
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
    /// Cancelled at the first signal: no longer ready.
    pub unready: CancellationToken,
    tunnels: Arc<tunnel::Registry>,
    accepting: proxy::Order,
    cut: proxy::Order,
    leading: CancellationToken,
    background: CancellationToken,
    listeners: TaskTracker,
    helpers: TaskTracker,
    drain_delay: Duration,
    drain_window: Duration,
}

/// Binds every address that was not handed over, then spawns everything. Traffic is accepted once the first
/// table is live; until then connections wait in the listen queue.
pub async fn start(settings: Settings, inherited: Inherited) -> Result<App, StartError> {
    let origin = source::open(&settings.source).await?;
    let bound = bind::bind(&settings, inherited).await?;
    let metrics = Metrics::new();
    let backends = Arc::new(upstream::Registry::default());
    let tunnels = Arc::new(tunnel::Registry::default());
    let live = Arc::new(table::Handle::new());
    let verdicts = Arc::new(Verdicts::default());
    let unready = CancellationToken::new();
    let leading = CancellationToken::new();
    let background = CancellationToken::new();
    let helpers = TaskTracker::new();

    metrics.set_backends(Box::new({
        let backends = Arc::clone(&backends);
        move || backends.named().iter().map(backend_state).collect()
    }));

    let app = App {
        live: Arc::clone(&live),
        http: bound.http.iter().map(proxy::Listener::local_addr).collect(),
        admin: local_addr(bound.admin.as_ref()),
        status: local_addr(bound.status.as_ref()),
        unready: unready.clone(),
        tunnels: Arc::clone(&tunnels),
        accepting: proxy::Order::default(),
        cut: proxy::Order::default(),
        leading: leading.clone(),
        background: background.clone(),
        listeners: TaskTracker::new(),
        helpers: helpers.clone(),
        drain_delay: settings.drain_delay,
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
            live: Arc::clone(&live),
        };
        peers = control::spawn(parts, control, &helpers, &leading, &background);
    }
    helpers.spawn(origin.watch(rebuild, background.clone()));
    app.follow_tunnels(&backends, &verdicts);

    let state = admin::State {
        live: Arc::clone(&live),
        backends: Arc::clone(&backends),
        tunnels: Arc::clone(&tunnels),
        metrics: Arc::clone(&metrics),
        verdicts: Arc::new(move || serde_json::to_value(verdicts.list()).unwrap_or_default()),
        peers,
        draining: Arc::new(move || unready.is_cancelled()),
        orders: settings.admin_write.then_some(admin::Orders {
            duration: |text| text.parse::<api::Duration>().map(api::Duration::get).ok(),
        }),
    };
    app.answer(bound.admin, admin::Surface::Admin, &state);
    app.answer(bound.status, admin::Surface::Status, &state);

    let found = Limits::find();
    tunnel::limit_pipes(found.pipes);
    let max_connections = settings.max_connections.unwrap_or(found.connections);
    let limits = proxy::Limits {
        max_connections,
        splice: settings.splice,
        ..proxy::Limits::default()
    };
    let proxy = Arc::new(Proxy::new(Arc::clone(&live), tunnels, metrics, limits));
    for listener in bound.http {
        app.serve(listener, Arc::clone(&proxy));
    }
    app.tell(max_connections, settings.admin_write);
    Ok(app)
}

impl App {
    /// Spawns what ends tunnels.
    fn follow_tunnels(&self, backends: &Arc<upstream::Registry>, verdicts: &Arc<Verdicts>) {
        let (tunnels, live) = (Arc::clone(&self.tunnels), Arc::clone(&self.live));
        let watch = tunnel::Watch::new(tunnels, live, Arc::clone(backends), given_away(verdicts));
        self.helpers.spawn(watch.run(self.background.clone()));
        let (tunnels, stop) = (Arc::clone(&self.tunnels), self.background.clone());
        self.helpers.spawn(async move { tunnels.pace(stop).await });
    }

    /// Answers admin requests until the very end.
    fn answer(&self, listener: Option<TcpListener>, surface: admin::Surface, state: &admin::State) {
        if let Some(listener) = listener {
            let (state, stop) = (state.clone(), self.background.clone());
            self.helpers
                .spawn(admin::serve(listener, surface, state, stop));
        }
    }

    /// Serves traffic from the first table on.
    fn serve(&self, listener: proxy::Listener, proxy: Arc<Proxy>) {
        let live = Arc::clone(&self.live);
        let (stop, cut) = (self.accepting.clone(), self.cut.clone());
        self.listeners.spawn(async move {
            tokio::select! {
                () = live.wait_for(1) => listener.serve(proxy, stop, cut).await,
                () = stop.given() => {}
            }
        });
    }

    /// Says in the log where it listens.
    fn tell(&self, max_connections: usize, admin_write: bool) {
        for address in &self.http {
            info!(%address, max_connections, "listening for HTTP");
        }
        if let Some(address) = self.admin {
            info!(%address, "listening for admin requests");
            if !address.ip().is_loopback() {
                let and_ends = if admin_write {
                    ", and can end every WebSocket (--admin-write)"
                } else {
                    ""
                };
                warn!(
                    %address,
                    "the admin address is not on loopback: whoever reaches it sees clients, routes and endpoints{and_ends}"
                );
            }
        }
        if let Some(address) = self.status {
            info!(%address, "listening for status requests");
        }
    }

    /// Runs until the first signal, then ends in this order: not ready but serving, nothing new, requests finish and
    /// tunnels get their Close side by side, what is left is cut, background tasks last. Bounded by the delay, the
    /// window and 10 s; every further signal shortens it, see `ending.rs`.
    pub async fn run(self, mut signals: Signals) {
        let signal = signals.next().await;
        // Without a table it has never been ready: no load balancer has anything to notice.
        let delay = match self.live.load().generation() {
            0 => Duration::ZERO,
            _ => self.drain_delay,
        };
        let now = Instant::now();
        let mut ending = Ending::begin(signal, now, delay, self.drain_window);
        // Another replica leads at once.
        self.leading.cancel();
        self.unready.cancel();
        let left = ending.left(now);
        info!(%signal, delay = ?left.delay, window = ?left.window, next = ending.next(), "ending: not ready any more");
        self.leave(&mut ending, &mut signals).await;
        self.drain(&mut ending, &mut signals).await;
        self.background.cancel();
        self.helpers.close();
        if timeout(BACKGROUND_DEADLINE, self.helpers.wait())
            .await
            .is_err()
        {
            warn!("background tasks did not end in time");
        }
        info!("ended");
    }

    /// Serves as ever until the delay is over.
    async fn leave(&self, ending: &mut Ending, signals: &mut Signals) {
        while let Stage::Leaving { until, .. } = ending.stage() {
            tokio::select! {
                biased;
                signal = signals.next() => {
                    let now = Instant::now();
                    ending.receive(signal, now);
                    let left = ending.left(now);
                    info!(%signal, delay = ?left.delay, window = ?left.window, next = ending.next(), "ending faster");
                }
                () = sleep_until(until) => ending.advance(Instant::now()),
            }
        }
    }

    /// Takes nothing new and waits for what is open, until that is cut.
    async fn drain(&self, ending: &mut Ending, signals: &mut Signals) {
        self.accepting.give();
        self.listeners.close();
        let window = ending.left(Instant::now()).window;
        let tunnels = self.tunnels.len();
        if ending.stage() != Stage::Cut {
            info!(
                tunnels,
                ?window,
                next = ending.next(),
                "draining: no new connections, tunnels are closed one by one"
            );
            self.tunnels.drain(window);
        }
        // In this order: a connection may become a tunnel as long as it lives.
        let mut gone = pin!(async {
            self.listeners.wait().await;
            self.tunnels.ended().await;
        });
        while let Some(deadline) = ending.deadline() {
            tokio::select! {
                biased;
                () = &mut gone => return,
                signal = signals.next() => {
                    let now = Instant::now();
                    let by = ending.receive(signal, now);
                    if by > 1 {
                        self.tunnels.hurry(by);
                    }
                    let window = ending.left(now).window;
                    info!(%signal, ?window, tunnels = self.tunnels.len(), next = ending.next(), "draining faster");
                }
                () = sleep_until(deadline) => ending.advance(Instant::now()),
            }
        }
        warn!(tunnels = self.tunnels.len(), "cutting what is still open");
        self.tunnels.cut();
        self.cut.give();
        if timeout(CUT_DEADLINE, gone).await.is_err() {
            warn!("connections did not end in time");
        }
    }
}

/// The admin server and the source only have to notice the token; a second is long.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(1);

/// A task that is cut only has to be dropped; with very many of them that takes a moment.
const CUT_DEADLINE: Duration = Duration::from_secs(2);

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
