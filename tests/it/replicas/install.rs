//! A release of the chart whose Pods run, with a switch before and a backend behind it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use ::hawser::api::WebSocketRoute;
use futures_util::{SinkExt, StreamExt, future::join_all};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::DEADLINE;
use crate::{
    chart,
    kit::{
        audit::{Entry, Mark},
        client,
        control_plane::{ADDRESS, ControlPlane, Ran},
        manifest,
        node::{Image, Node},
        origin,
        switch::Switch,
        within,
    },
};

/// For one message there and back; a busy machine is no fault.
const PATIENCE: Duration = Duration::from_secs(15);

/// An installed Hawser.
pub(super) struct Install<'a> {
    plane: &'a ControlPlane,
    pub(super) namespace: String,
    pub(super) client: Client,
    pub(super) node: Node,
    pub(super) switch: Switch,
}

impl<'a> Install<'a> {
    /// Its namespace is also the name of its `IngressClass`.
    pub(super) async fn start(plane: &'a ControlPlane, name: &str, replicas: usize) -> Self {
        plane.install_crd();
        let namespace = plane.namespace(name).await;
        let client = plane.client().await;
        let node = Node::start(plane, &namespace, &[("hawser", Image::hawser())]).await;
        let set = [
            "crds.enabled=false".to_owned(),
            format!("ingressClass.name={namespace}"),
            format!("ingressClass.controllerValue=hawser.dev/{namespace}"),
            format!("replicas={replicas}"),
            "service.type=ClusterIP".to_owned(),
            "minReadySeconds=1".to_owned(),
            // The switch learns of a deletion after more than a second.
            "drain.delay=4s,drain.window=5s".to_owned(),
            "readinessProbe.periodSeconds=1,readinessProbe.timeoutSeconds=2".to_owned(),
            "readinessProbe.failureThreshold=2".to_owned(),
            // By default a container that stands still is killed after a minute; who pauses it for so long wants it
            // to go on.
            "livenessProbe.failureThreshold=20".to_owned(),
        ];
        let set = set.join(",");
        chart::installed(plane, "hawser", &namespace, &["--set", &set]).text();
        let switch = Switch::follow(plane, &format!("{namespace}/hawser"), 80).await;
        let install = Self {
            plane,
            namespace,
            client,
            node,
            switch,
        };
        install.rolled_out();
        install.spread(replicas).await;
        let backend = origin::echo_on(ADDRESS.parse().expect("an address")).await;
        install.apply(&manifest::service("echo", &[backend.addr]));
        install
    }

    /// Waits until the switch has so many endpoints.
    pub(super) async fn spread(&self, replicas: usize) {
        within(DEADLINE, "the switch has all replicas", async || {
            (self.switch.endpoints().len() == replicas).then_some(())
        })
        .await;
    }

    pub(super) fn kubectl(&self, args: &[&str]) -> Ran {
        self.plane
            .kubectl(&[&["-n", &self.namespace], args].concat(), "")
    }

    pub(super) fn apply(&self, yaml: &str) {
        let apply = ["apply", "-n", &self.namespace, "-f", "-"];
        self.plane.kubectl(&apply, yaml).text();
    }

    pub(super) fn rolled_out(&self) {
        self.kubectl(&["rollout", "status", "deployment/hawser", "--timeout=180s"])
            .text();
    }

    /// A route of this name to the backend.
    pub(super) fn route(&self, name: &str) {
        let class = format!("spec:\n  ingressClassName: {}\n", self.namespace);
        let yaml = manifest::route(name, &self.host(name), "/ws", "echo", "");
        self.apply(&yaml.replacen("spec:\n", &class, 1));
    }

    /// Routes that nothing ever happens to, with all of their status written.
    pub(super) async fn quiet(&self, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|number| format!("quiet-{number}")).collect();
        for name in &names {
            self.route(name);
        }
        for name in &names {
            self.settled(name).await;
        }
        names
    }

    /// Waits until a route has all of its status.
    pub(super) async fn settled(&self, name: &str) {
        within(DEADLINE, "the status is complete", async || {
            let route = self.get(name).await;
            let status = route.status.clone()?;
            let counted = status.endpoints.is_some() && status.connections.is_some();
            (counted && programmed(&route)?.status == "True").then_some(())
        })
        .await;
    }

    /// The route gets another path, and so a generation.
    pub(super) fn change(&self, name: &str, path: &str) {
        let change = format!(
            r#"[{{"op": "replace", "path": "/spec/rules/0/matches/0/path/value", "value": "{path}"}}]"#
        );
        self.kubectl(&["patch", "wsr", name, "--type=json", "-p", &change])
            .text();
    }

    pub(super) fn host(&self, name: &str) -> String {
        format!("{name}.{}.test", self.namespace)
    }

    pub(super) fn routes(&self) -> Api<WebSocketRoute> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn get(&self, route: &str) -> WebSocketRoute {
        self.routes().get(route).await.expect("the route is there")
    }

    /// Waits for the Programmed of the newest generation to be like this.
    pub(super) async fn judged(
        &self,
        deadline: Duration,
        route: &str,
        wanted: impl Fn(&Condition) -> bool,
    ) {
        let what = format!("the status of {route} says so");
        within(deadline, &what, async || {
            let route = self.get(route).await;
            let condition = programmed(&route)?;
            (condition.observed_generation == route.metadata.generation && wanted(&condition))
                .then_some(())
        })
        .await;
    }

    /// Names of its Pods that are not on their way out.
    pub(super) async fn pods(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = pods.list(&ListParams::default()).await.expect("a list");
        let pods = pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.map(|pod| pod.name_any()).collect()
    }

    /// Where a Pod takes connections of clients.
    pub(super) fn http(&self, pod: &str) -> SocketAddr {
        self.port(pod, 8080)
    }

    fn port(&self, pod: &str, port: u16) -> SocketAddr {
        let address = self.node.address(pod).expect("the Pod runs");
        SocketAddr::new(address.parse().expect("an address"), port)
    }

    /// The first metric of a Pod that starts like this; `None` also for a Pod that does not answer.
    pub(super) async fn metric(&self, pod: &str, series: &str) -> Option<f64> {
        let asked = client::get(self.port(pod, 9101), "localhost", "/metrics");
        let text = timeout(Duration::from_secs(2), asked)
            .await
            .ok()?
            .ok()?
            .text();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The Pod that leads among these, and the others.
    pub(super) async fn leader(&self, among: &[String]) -> (String, Vec<String>) {
        within(DEADLINE, "one leads", async || {
            let leads = among.iter().map(|pod| self.metric(pod, "hawser_leader "));
            let leads = join_all(leads).await;
            let (mut first, mut rest) = (Vec::new(), Vec::new());
            for (pod, leads) in among.iter().zip(leads) {
                if leads == Some(1.0) {
                    &mut first
                } else {
                    &mut rest
                }
                .push(pod.clone());
            }
            (first.len() == 1).then(|| (first.remove(0), rest))
        })
        .await
    }

    /// Opens a WebSocket to a route.
    pub(super) async fn open(
        &self,
        to: SocketAddr,
        route: &str,
        path: &str,
    ) -> Result<client::Socket, Error> {
        client::ws(to, &self.host(route), path).await
    }

    /// New handshakes through the switch, one after the other: each must succeed.
    pub(super) async fn handshakes(&self, route: &str, count: usize) {
        for _ in 0..count {
            let opened = timeout(PATIENCE, self.open(self.switch.addr, route, "/ws")).await;
            opened.expect("in time").expect("a WebSocket");
        }
    }

    /// Writes of status in its namespace since then, whoever wrote, in order of their arrival.
    pub(super) fn writes(&self, mark: Mark) -> Vec<Entry> {
        let mut entries = self.plane.audit().since(mark);
        entries.retain(|entry| {
            let status = entry.is_write() && entry.subresource == "status";
            status && entry.namespace == self.namespace && entry.group == "hawser.dev"
        });
        entries.sort_by(|a, b| a.at.cmp(&b.at));
        entries
    }

    /// Nobody else wrote; no object was written by one Pod, then by another, then by the first; and none of these was
    /// written at all.
    pub(super) fn no_fight(&self, mark: Mark, unchanged: &[String]) {
        let user = format!("system:serviceaccount:{}:hawser", self.namespace);
        let mut writers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in self.writes(mark) {
            assert_eq!(entry.user, user, "{}", entry.raw);
            assert!(
                !unchanged.contains(&entry.name),
                "nothing happened to it: {}",
                entry.raw
            );
            let from = entry.raw["sourceIPs"][0].as_str().expect("an address");
            let known = writers.entry(entry.name).or_default();
            if known.last().is_none_or(|last| last != from) {
                known.push(from.to_owned());
            }
        }
        for (object, writers) in writers {
            let mut once = writers.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(
                once.len(),
                writers.len(),
                "{object} is written in turns: {writers:?}"
            );
        }
    }
}

/// The condition Programmed.
pub(super) fn programmed(route: &WebSocketRoute) -> Option<Condition> {
    let conditions = &route.status.as_ref()?.conditions;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Programmed")
        .cloned()
}

/// Open WebSockets.
pub(super) struct Sockets(Vec<client::Socket>);

impl Sockets {
    /// So many to one route.
    pub(super) async fn open(
        to: SocketAddr,
        install: &Install<'_>,
        route: &str,
        count: usize,
    ) -> Self {
        within(DEADLINE, "the route is served", async || {
            install.open(to, route, "/ws").await.ok()
        })
        .await;
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(install.open(to, route, "/ws").await.expect("a WebSocket"));
        }
        Self(sockets)
    }

    /// Every one of them echoes.
    pub(super) async fn go_on(&mut self) {
        join_all(self.0.iter_mut().map(async |socket| {
            timeout(PATIENCE, echoes(socket))
                .await
                .expect("in time")
                .expect("it is open");
        }))
        .await;
    }
}

/// One message there and back.
pub(super) async fn echoes(socket: &mut client::Socket) -> Result<(), Error> {
    let message = Message::text("hello");
    socket.send(message.clone()).await?;
    let answer = socket.next().await.ok_or(Error::ConnectionClosed)??;
    if answer == message {
        Ok(())
    } else {
        Err(Error::ConnectionClosed)
    }
}
