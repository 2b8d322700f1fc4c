//! A namespace with a Hawser that has the chart's rights in it and no others.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use kube::Client;
use serde_json::Value;

use super::BACKEND;
use crate::kit::{
    DEADLINE,
    audit::{Entry, Mark},
    control_plane::ControlPlane,
    eventually, hawser,
    hawser::Hawser,
    origin,
    origin::Origin,
    within,
};

/// A namespace, and the user that Hawser is there.
pub struct Site<'a> {
    pub plane: &'a ControlPlane,
    pub namespace: String,
    /// Namespaces that Hawser watches besides.
    others: Vec<String>,
    pub kubeconfig: PathBuf,
    client: Client,
}

impl<'a> Site<'a> {
    pub async fn new(plane: &'a ControlPlane, prefix: &str) -> Self {
        Self::with(plane, prefix, &[]).await
    }

    /// Hawser watches other namespaces, too.
    pub async fn with(plane: &'a ControlPlane, prefix: &str, others: &[&str]) -> Self {
        let namespace = plane.namespace(prefix).await;
        let mut watched = vec![namespace.clone()];
        watched.extend(others.iter().map(|&other| other.to_owned()));
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/hawser");
        let watch = format!("watchNamespaces={{{}}}", watched.join(","));
        let rights = plane.helm(&[
            "template",
            "hawser",
            chart.to_str().expect("a path in UTF-8"),
            "--namespace",
            &namespace,
            "--kube-version=1.36.0",
            "--set",
            &watch,
            "--show-only=templates/role.yaml",
            "--show-only=templates/role-watch.yaml",
            "--show-only=templates/clusterrole.yaml",
        ]);
        plane.kubectl(&["apply", "-f", "-"], &rights.text()).text();
        let token = plane.token(&namespace, "hawser", "").await;
        Self {
            plane,
            kubeconfig: plane.kubeconfig_with(&plane.url(), &namespace, &token),
            namespace,
            others: watched.split_off(1),
            client: plane.client().await,
        }
    }

    /// A Hawser that is ready.
    pub async fn hawser(&self, flags: &[&str]) -> Hawser {
        self.hawser_by(&self.kubeconfig, flags).await
    }

    /// The same with another way to the API server.
    pub async fn hawser_by(&self, kubeconfig: &Path, flags: &[&str]) -> Hawser {
        let lease = format!("--lease={}/hawser", self.namespace);
        let watched = [&self.namespace].into_iter().chain(&self.others);
        let mut all: Vec<String> = watched
            .map(|namespace| format!("--watch-namespace={namespace}"))
            .collect();
        all.push(lease);
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let hawser = hawser::on(kubeconfig, &all).await;
        hawser.ready().await;
        hawser
    }

    /// Ends a Hawser as an orchestrator does, and starts another one, which leads at once.
    pub async fn restart(&self, mut hawser: Hawser, flags: &[&str]) -> Hawser {
        hawser.signal("TERM");
        hawser.ended().await;
        let hawser = self.hawser(flags).await;
        eventually("the next one leads", async || {
            (hawser.metric("hawser_leader ").await == Some(1.0)).then_some(())
        })
        .await;
        hawser
    }

    /// The user that Hawser is.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:hawser", self.namespace)
    }

    /// kubectl with all rights in the namespace; its output.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let args: Vec<_> = ["-n", &self.namespace]
            .iter()
            .chain(args)
            .copied()
            .collect();
        self.plane.kubectl(&args, "").text()
    }

    pub fn apply(&self, yaml: &str) {
        let args = ["apply", "-n", &self.namespace, "-f", "-"];
        self.plane.kubectl(&args, yaml).text();
    }

    /// Applies to the status as another writer.
    pub fn apply_status(&self, manager: &str, yaml: &str) {
        let manager = format!("--field-manager={manager}");
        let args = [
            "apply",
            "-n",
            &self.namespace,
            "--server-side",
            "--force-conflicts",
            "--subresource=status",
            &manager,
            "-f",
            "-",
        ];
        self.plane.kubectl(&args, yaml).text();
    }

    /// Merges into an object.
    pub fn patch(&self, object: &str, patch: &str) {
        self.kubectl(&["patch", object, "--type=merge", "-p", patch]);
    }

    /// A WebSocketRoute, `null` if there is none.
    pub async fn route(&self, name: &str) -> Value {
        self.get(&format!(
            "/apis/hawser.dev/v1alpha1/namespaces/{}/websocketroutes/{name}",
            self.namespace
        ))
        .await
    }

    /// An Ingress, `null` if there is none.
    pub async fn ingress(&self, name: &str) -> Value {
        self.get(&format!(
            "/apis/networking.k8s.io/v1/namespaces/{}/ingresses/{name}",
            self.namespace
        ))
        .await
    }

    /// Events of the namespace.
    pub async fn events(&self) -> Vec<Value> {
        let list = self
            .get(&format!(
                "/apis/events.k8s.io/v1/namespaces/{}/events",
                self.namespace
            ))
            .await;
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Any path of the API.
    pub async fn get(&self, path: &str) -> Value {
        let request = http::Request::get(path)
            .body(Vec::new())
            .expect("a request");
        match self.client.request(request).await {
            Ok(value) => value,
            Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Waits until a condition of a WebSocketRoute is as said, `STATUS REASON`; gives the condition.
    pub async fn says(&self, route: &str, type_: &str, said: &str) -> Value {
        let what = format!("{type_} of {route} is {said}");
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                let object = self.route(route).await;
                if let Some(condition) = condition(&object, type_)
                    && said
                        == format!(
                            "{} {}",
                            text(&condition["status"]),
                            text(&condition["reason"])
                        )
                    && condition["observedGeneration"] == object["metadata"]["generation"]
                {
                    return condition.clone();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        if let Ok(condition) = found.await {
            return condition;
        }
        panic!("{what}: {:#}", self.route(route).await["status"])
    }

    /// Waits for an event of an object; gives all events of that reason.
    pub async fn told(&self, object: &str, reason: &str) -> Vec<Value> {
        eventually(&format!("an event {reason} about {object}"), async || {
            let found = self.events_of(object, reason).await;
            (!found.is_empty()).then_some(found)
        })
        .await
    }

    /// Events of a reason about an object.
    pub async fn events_of(&self, object: &str, reason: &str) -> Vec<Value> {
        let mut events = self.events().await;
        events.retain(|event| event["regarding"]["name"] == object && event["reason"] == reason);
        events
    }

    /// What Hawser wrote since then, but for its Lease.
    pub fn writes(&self, mark: Mark) -> Vec<Entry> {
        let mut entries = self.plane.audit().of(&self.user(), mark);
        entries.retain(|entry| entry.is_write() && entry.resource != "leases");
        entries
    }

    /// Waits until every object of a collection fulfils a condition.
    pub async fn all(&self, path: &str, count: usize, good: impl Fn(&Value) -> bool) {
        let limit = 4 * DEADLINE;
        within(
            limit,
            &format!("{count} of {path} are as they should be"),
            async || {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                let list = self.get(path).await;
                let items = list["items"].as_array()?;
                (items.iter().filter(|item| good(item)).count() == count).then_some(())
            },
        )
        .await;
    }
}

/// A WebSocket backend that EndpointSlices may name.
pub async fn echo() -> Origin {
    origin::echo_on(BACKEND.parse::<IpAddr>().expect("an address")).await
}

/// An endpoint that nothing listens on.
pub fn nowhere() -> SocketAddr {
    SocketAddr::new(BACKEND.parse().expect("an address"), 9)
}

/// A condition of an object.
pub fn condition<'v>(object: &'v Value, type_: &str) -> Option<&'v Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == type_)
}

/// A text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
