//! A proxy inside the test process, on routes built by hand.
//!
//! ```ignore
//! let proxy = proxy::with([proxy::rule("a.test", "/").to(&[origin.addr])]);
//! ```

use std::{cmp::Reverse, collections::BTreeMap, net::SocketAddr, sync::Arc};

use hawser::{
    ir::{self, Setting, defaults},
    proxy::{Limits, Listener, Order, Proxy},
    table,
    telemetry::metrics::Metrics,
    tunnel, upstream,
};
use tokio::task::JoinHandle;

/// A running proxy.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its tunnels.
    pub tunnels: Arc<tunnel::Registry>,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    live: Arc<table::Handle<Arc<upstream::Backend>>>,
    backends: Arc<upstream::Registry>,
    drain: Order,
    cut: Order,
    served: JoinHandle<()>,
}

/// One route with one match.
#[derive(Clone)]
pub struct Rule {
    host: ir::HostPattern,
    path: ir::PathMatch,
    kind: ir::RouteKind,
    traffic: ir::Traffic,
    headers: Vec<ir::HeaderMatch>,
    policy: ir::Policy,
    backend: Target,
}

#[derive(Clone)]
enum Target {
    Endpoints(Vec<ir::Endpoint>),
    Missing,
    NoWeight,
}

/// Requests for a host (`*`: any) and a path prefix, with the default policy and no endpoint.
pub fn rule(host: &str, prefix: &str) -> Rule {
    Rule {
        host: match host {
            "*" => ir::HostPattern::Any,
            host => ir::HostPattern::Exact(host.into()),
        },
        path: ir::PathMatch::Prefix(prefix.into()),
        kind: ir::RouteKind::WebSocketRoute,
        traffic: ir::Traffic::Any,
        headers: Vec::new(),
        policy: default_policy(),
        backend: Target::Endpoints(Vec::new()),
    }
}

fn default_policy() -> ir::Policy {
    let mut policy = ir::Policy::default();
    policy.timeouts.response = Setting::default(Some(defaults::RESPONSE));
    policy
}

impl Rule {
    /// Goes to these addresses, all ready.
    pub fn to(mut self, addresses: &[SocketAddr]) -> Self {
        let mut endpoints: Vec<_> = addresses
            .iter()
            .map(|&address| ir::Endpoint {
                address,
                ready: true,
                serving: true,
                terminating: false,
            })
            .collect();
        endpoints.sort();
        self.backend = Target::Endpoints(endpoints);
        self
    }

    /// Its Service does not exist.
    pub fn missing(mut self) -> Self {
        self.backend = Target::Missing;
        self
    }

    /// All its weights are 0.
    pub fn weightless(mut self) -> Self {
        self.backend = Target::NoWeight;
        self
    }

    /// `upgrade.mode`.
    pub fn mode(self, mode: ir::UpgradeMode) -> Self {
        self.policy(|policy| policy.upgrade.mode = Setting::field(mode))
    }

    /// Any change of its policy.
    pub fn policy(mut self, change: impl FnOnce(&mut ir::Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// Only handshakes: it shares its path with an Ingress.
    pub fn handshakes_only(mut self) -> Self {
        self.traffic = ir::Traffic::Handshakes;
        self
    }

    /// It comes from an Ingress.
    pub fn ingress(mut self) -> Self {
        self.kind = ir::RouteKind::Ingress;
        self
    }

    /// Takes only requests with this header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(ir::HeaderMatch {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// The path is matched exactly.
    pub fn exact(mut self) -> Self {
        self.path = ir::PathMatch::Exact(self.path.value().into());
        self
    }
}

/// The limits of production.
pub fn with(rules: impl IntoIterator<Item = Rule>) -> Running {
    with_limits(rules, Limits::default())
}

/// A proxy that serves `rules`.
pub fn with_limits(rules: impl IntoIterator<Item = Rule>, limits: Limits) -> Running {
    let metrics = Metrics::new();
    let tunnels = Arc::new(tunnel::Registry::default());
    let live = Arc::new(table::Handle::new());
    let proxy = Arc::new(Proxy::new(
        Arc::clone(&live),
        Arc::clone(&tunnels),
        Arc::clone(&metrics),
        limits,
    ));
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(any, false).expect("a port");
    let drain = Order::default();
    let cut = Order::default();
    let running = Running {
        addr: listener.local_addr(),
        tunnels,
        metrics,
        live,
        backends: Arc::new(upstream::Registry::default()),
        served: tokio::spawn(listener.serve(proxy, drain.clone(), cut.clone())),
        drain,
        cut,
    };
    running.serve(rules);
    running
}

impl Running {
    /// Replaces all routes.
    pub fn serve(&self, rules: impl IntoIterator<Item = Rule>) {
        let config = config(rules);
        self.backends.apply(&config.backends, |_| true);
        let generation = self.live.load().generation() + 1;
        let table = table::Table::compile(&config, generation, |id| self.backends.backend(id));
        self.live.publish(table);
        self.backends.apply(&config.backends, |_| true);
    }

    /// Starts the shutdown.
    pub fn drain(&self) {
        self.drain.give();
    }

    /// Ends what is left of the shutdown.
    pub fn cut(&self) {
        self.cut.give();
    }

    /// Waits until the listener has let go of its connections.
    pub async fn served(self) {
        tokio::time::timeout(super::DEADLINE, self.served)
            .await
            .expect("the listener ends in time")
            .expect("the listener does not panic");
    }

    /// The value of the metric line that starts with `series`; 0 when there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0.0)
    }
}

fn config(rules: impl IntoIterator<Item = Rule>) -> ir::Config {
    let mut hosts = BTreeMap::<ir::HostPattern, ir::HostRoutes>::new();
    let mut backends = BTreeMap::new();
    for (index, rule) in rules.into_iter().enumerate() {
        let id = ir::BackendId {
            namespace: "test".into(),
            service: format!("backend-{index}").into(),
            port: 80,
        };
        let object = ir::ObjectId {
            namespace: "test".into(),
            name: format!("route-{index}").into(),
            kind: rule.kind,
        };
        let (target, weight) = match rule.backend {
            Target::Endpoints(endpoints) => {
                backends.insert(id.clone(), ir::Backend { endpoints });
                (ir::Target::Backend(id), 1)
            }
            Target::Missing => (ir::Target::Missing("Service gone not found".to_owned()), 1),
            Target::NoWeight => (ir::Target::Backend(id), 0),
        };
        let route = ir::Route {
            id: ir::RouteId {
                object: object.clone(),
                rule: "main".into(),
            },
            backends: vec![ir::BackendRef { target, weight }],
            policy: Arc::new(rule.policy),
        };
        hosts
            .entry(rule.host)
            .or_default()
            .candidates
            .push(ir::Candidate {
                path: rule.path,
                rank: ir::Rank {
                    traffic: Reverse(rule.traffic),
                    headers: Reverse(rule.headers.len()),
                    query: Reverse(0),
                    age: ir::Age::Unknown,
                    object,
                    rule: 0,
                    item: 0,
                },
                headers: rule.headers,
                query: Vec::new(),
                traffic: rule.traffic,
                route: Arc::new(route),
            });
    }
    for routes in hosts.values_mut() {
        routes
            .candidates
            .sort_by(|a, b| (a.path.precedence(), &a.rank).cmp(&(b.path.precedence(), &b.rank)));
    }
    ir::Config {
        hosts,
        fallback: None,
        backends,
    }
}
