//! Routes and endpoints that are gone, and what that means for tunnels: with real sockets and a paused clock.

mod endpoints;
mod routes;

use std::collections::BTreeSet;

use hashbrown::HashSet;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ir::{Reaction, UpgradeMode};

/// All that a watch follows.
struct Site {
    registry: Arc<Registry>,
    live: Arc<table::Handle<Arc<upstream::Backend>>>,
    backends: Arc<upstream::Registry>,
    given_away: Arc<Mutex<HashSet<ir::ObjectId>>>,
    /// Since then nothing was changed.
    changed: Instant,
}

/// One match of a rule.
#[derive(Clone)]
struct Rule {
    object: ir::ObjectId,
    host: ir::HostPattern,
    /// `None`: a `defaultBackend`.
    path: Option<ir::PathMatch>,
    header: Option<(&'static str, &'static str)>,
    query: Option<(&'static str, &'static str)>,
    policy: ir::Policy,
}

/// A rule of object `chat` for a host and a prefix.
fn rule(host: &str, path: &str) -> Rule {
    Rule {
        object: object("shop", "chat"),
        host: match host.strip_prefix("*.") {
            Some(suffix) => ir::HostPattern::Wildcard(suffix.into()),
            None => ir::HostPattern::Exact(host.into()),
        },
        path: Some(ir::PathMatch::Prefix(path.into())),
        header: None,
        query: None,
        policy: policy(|_| {}),
    }
}

fn object(namespace: &str, name: &str) -> ir::ObjectId {
    ir::ObjectId {
        namespace: namespace.into(),
        name: name.into(),
        kind: ir::RouteKind::WebSocketRoute,
    }
}

impl Rule {
    fn of(mut self, namespace: &str, name: &str) -> Self {
        self.object = object(namespace, name);
        self
    }

    fn path(mut self, path: Option<ir::PathMatch>) -> Self {
        self.path = path;
        self
    }

    fn mode(self, mode: UpgradeMode) -> Self {
        self.policy(|policy| policy.upgrade.mode = Setting::field(mode))
    }

    fn policy(mut self, change: impl FnOnce(&mut ir::Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn query(mut self, name: &'static str, value: &'static str) -> Self {
        self.query = Some((name, value));
        self
    }

    fn candidate(&self, path: ir::PathMatch) -> ir::Candidate {
        let header = self.header.iter().map(|(name, value)| ir::HeaderMatch {
            name: (*name).into(),
            value: (*value).into(),
        });
        let query = self.query.iter().map(|(name, value)| ir::QueryMatch {
            name: (*name).into(),
            value: (*value).into(),
        });
        ir::Candidate {
            path,
            headers: header.collect(),
            query: query.collect(),
            traffic: ir::Traffic::Any,
            rank: ir::Rank {
                traffic: std::cmp::Reverse(ir::Traffic::Any),
                headers: std::cmp::Reverse(usize::from(self.header.is_some())),
                query: std::cmp::Reverse(usize::from(self.query.is_some())),
                age: ir::Age::Unknown,
                object: self.object.clone(),
                rule: 0,
                item: 0,
            },
            route: self.route(),
        }
    }

    fn route(&self) -> Arc<ir::Route> {
        Arc::new(ir::Route {
            id: ir::RouteId {
                object: self.object.clone(),
                rule: "socket".into(),
            },
            backends: vec![ir::BackendRef {
                target: ir::Target::Backend(backend_id()),
                weight: 1,
            }],
            policy: Arc::new(self.policy.clone()),
        })
    }
}

fn backend_id() -> ir::BackendId {
    ir::BackendId {
        namespace: "shop".into(),
        service: "chat".into(),
        port: 80,
    }
}

/// A handshake that is looked up.
struct Asked<'a> {
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
}

impl table::Request for Asked<'_> {
    fn host(&self) -> &str {
        self.host
    }
    fn path(&self) -> &str {
        self.path
    }
    fn query(&self) -> Option<&str> {
        self.query
    }
    fn has_header(&self, name: &str, value: &str) -> bool {
        self.headers.contains(&(name, value))
    }
    fn is_handshake_attempt(&self) -> bool {
        true
    }
}

impl Site {
    /// With these rules and one endpoint, 10.0.0.1.
    async fn new(rules: &[Rule]) -> Self {
        let mut site = Self {
            registry: Arc::default(),
            live: Arc::default(),
            backends: Arc::default(),
            given_away: Arc::default(),
            changed: Instant::now(),
        };
        let registry = Arc::clone(&site.registry);
        tokio::spawn(async move { registry.pace(CancellationToken::new()).await });
        let given_away = Arc::clone(&site.given_away);
        let watch = Watch::new(
            Arc::clone(&site.registry),
            Arc::clone(&site.live),
            Arc::clone(&site.backends),
            Box::new(move |object| given_away.lock().contains(object)),
        );
        tokio::spawn(watch.run(CancellationToken::new()));
        site.endpoints(&[(1, false)]);
        site.serve(rules);
        site.seen().await;
        site
    }

    /// Replaces all rules.
    fn serve(&mut self, rules: &[Rule]) {
        let mut config = ir::Config::default();
        for rule in rules {
            let host = config.hosts.entry(rule.host.clone()).or_default();
            match rule.path.clone() {
                Some(path) => host.candidates.push(rule.candidate(path)),
                None => host.default = Some(rule.route()),
            }
        }
        for host in config.hosts.values_mut() {
            host.candidates.sort_by(|a, b| {
                (a.path.precedence(), &a.rank).cmp(&(b.path.precedence(), &b.rank))
            });
        }
        let table = self.live.load_full();
        let table = table.next(&config, |id| self.backends.backend(id));
        assert!(self.live.publish(table));
        self.changed = Instant::now();
    }

    /// Replaces the endpoints: last byte of the address, and whether it is terminating.
    fn endpoints(&mut self, endpoints: &[(u8, bool)]) {
        let endpoints = endpoints.iter().map(|(number, terminating)| ir::Endpoint {
            address: ([10, 0, 0, *number], 80).into(),
            ready: !terminating,
            serving: true,
            terminating: *terminating,
        });
        let backend = ir::Backend {
            endpoints: endpoints.collect(),
        };
        self.backends.set([(&backend_id(), &backend)]);
        self.changed = Instant::now();
    }

    /// Waits until the watch has seen the live table.
    async fn seen(&self) {
        let generation = self.live.load().generation();
        while self.registry.seen.load(std::sync::atomic::Ordering::SeqCst) < generation {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn open(&self, host: &str, path: &str) -> Kit {
        self.open_as(&Asked {
            host,
            path,
            query: None,
            headers: &[],
        })
        .await
    }

    async fn open_as(&self, asked: &Asked<'_>) -> Kit {
        let table = self.live.load_full();
        self.open_with(&table, asked).await
    }

    /// As a handshake does that looked into this table.
    async fn open_with(
        &self,
        table: &table::Table<Arc<upstream::Backend>>,
        asked: &Asked<'_>,
    ) -> Kit {
        let hit = table.find(asked).unwrap();
        let (client, near_client) = pair().await;
        let (backend, near_backend) = pair().await;
        let endpoint = Arc::clone(&self.backends.backend(&backend_id()).endpoints()[0]);
        let metrics = Metrics::new();
        let parts = Parts {
            client: near_client,
            client_early: Bytes::new(),
            backend: near_backend,
            backend_early: Bytes::new(),
            extensions: Extensions::None,
            splice: true,
            endpoint: Arc::clone(&endpoint),
            info: Info {
                request_id: RequestId::default(),
                client: client.local_addr().unwrap(),
                host: asked.host.into(),
                path: asked.path.into(),
                subprotocol: None,
            },
            metrics: metrics.route(&hit.route.rule.id),
            route: Arc::clone(hit.route),
            found: Found::new(table, &hit),
        };
        Kit {
            client,
            backend,
            outcome: tokio::spawn(run(parts, Arc::clone(&self.registry))),
            registry: Arc::clone(&self.registry),
            endpoint,
            metrics,
        }
    }

    /// How this tunnel ends, in which code, and how long after the last change.
    async fn end(&self, kit: Kit) -> (Cause, Option<u16>, Duration) {
        let Kit {
            mut client,
            backend,
            outcome,
            ..
        } = kit;
        assert_eq!(client.read_u8().await.unwrap(), 0x88, "a Close");
        let after = self.changed.elapsed();
        drop((client, backend));
        let outcome = outcome.await.unwrap();
        (outcome.cause, outcome.code, after)
    }

    /// Asserts that nobody is told to end for a long time.
    async fn stays(&self, kits: &[Kit]) {
        tokio::time::sleep(Duration::from_mins(10)).await;
        let open: BTreeSet<_> = self.registry.list().iter().map(|it| it.id).collect();
        assert_eq!(open.len(), kits.len(), "{open:?}");
        assert!(self.registry.entries().iter().all(|it| !it.is_ending()));
    }
}
