//! The chart gives no right that is not needed: without any one of them something is missing that a user sees, the log
//! names what is missing, and the rest goes on.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::Empty;
use kube::Client;
use serde_json::{Value, json};

use crate::kit::{
    audit, client,
    control_plane::{ControlPlane, Shared},
    hawser::{self, Hawser},
    manifest,
};

static PLANE: Shared = Shared::api();

/// What an install with all rights does, by a word each.
const ALL: [&str; 14] = [
    "ready",
    "route",
    "address",
    "told",
    "told again",
    "leads",
    "peers",
    "watches",
    "other class",
    "new route",
    "new ingress",
    "new endpoint",
    "new service",
    "new class",
];

/// A right, what is missing without it, and what the log says.
type Row = (&'static str, &'static [&'static str], &'static str);

/// Nothing is served and nothing is said before every kind was listed.
const UNREADY: &[&str] = &[
    "ready",
    "route",
    "address",
    "told",
    "told again",
    "leads",
    "watches",
    "other class",
    "new route",
    "new ingress",
    "new endpoint",
    "new service",
    "new class",
];

/// Everything is served and nothing is written.
const SILENT: &[&str] = &[
    "leads",
    "route",
    "address",
    "told",
    "told again",
    "other class",
    "new route",
    "new ingress",
    "new service",
    "new class",
];

/// Without it the first term ends after some seconds: what could be written until then differs from run to run.
const UPDATE_LEASES: &str = "update leases.coordination.k8s.io";

/// Changes come by lists, half a minute late.
const LATE: &[&str] = &["watches"];

const ROWS: [Row; 18] = [
    ("list services", UNREADY, "no permission to list services"),
    (
        "list endpointslices.discovery.k8s.io",
        UNREADY,
        "no permission to list endpointslices",
    ),
    (
        "list ingresses.networking.k8s.io",
        UNREADY,
        "no permission to list ingresses",
    ),
    (
        "list websocketroutes.hawser.dev",
        UNREADY,
        "no permission to list websocketroutes",
    ),
    (
        "list ingressclasses.networking.k8s.io",
        &["watches", "other class", "new class"],
        "until then classes match by --ingress-class alone",
    ),
    ("watch services", LATE, "no permission to watch services"),
    (
        "watch endpointslices.discovery.k8s.io",
        LATE,
        "no permission to watch endpointslices",
    ),
    (
        "watch ingresses.networking.k8s.io",
        LATE,
        "no permission to watch ingresses",
    ),
    (
        "watch websocketroutes.hawser.dev",
        LATE,
        "no permission to watch websocketroutes",
    ),
    (
        "watch ingressclasses.networking.k8s.io",
        LATE,
        "no permission to watch ingressclasses",
    ),
    (
        "patch ingresses.networking.k8s.io/status",
        &["address", "other class", "new ingress", "new class"],
        "may not write statuses",
    ),
    (
        "patch websocketroutes.hawser.dev/status",
        &["route", "new route", "new service"],
        "may not write statuses",
    ),
    (
        "create events.events.k8s.io",
        &["told", "told again"],
        "no right to write events",
    ),
    (
        "patch events.events.k8s.io",
        &["told again"],
        "no right to write events",
    ),
    (
        "create leases.coordination.k8s.io",
        SILENT,
        "the Lease cannot be held",
    ),
    (
        "get leases.coordination.k8s.io",
        SILENT,
        "the Lease cannot be held",
    ),
    (UPDATE_LEASES, SILENT, "the Lease cannot be held"),
    (
        "get /openid/v1/jwks",
        &["peers"],
        "the keys of the API server (GET /openid/v1/jwks) could not be read",
    ),
];

/// The rights that a rule gives, as the audit log names them.
fn rights_of(rule: &Value) -> Vec<String> {
    let words = |name: &str| -> Vec<String> {
        let words = rule[name].as_array().into_iter().flatten();
        words.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = Vec::new();
    for verb in words("verbs") {
        rights.extend(
            words("nonResourceURLs")
                .iter()
                .map(|path| format!("{verb} {path}")),
        );
        for group in words("apiGroups") {
            for resource in words("resources") {
                let (plural, sub) = resource
                    .split_once('/')
                    .map_or((&*resource, String::new()), |(plural, sub)| {
                        (plural, format!("/{sub}"))
                    });
                let dot = if group.is_empty() { "" } else { "." };
                rights.push(format!("{verb} {plural}{dot}{group}{sub}"));
            }
        }
    }
    rights
}

/// What the chart renders for this namespace, with a class of its own. Where routes are in another namespace, it
/// watches that one alone.
fn rendered(plane: &ControlPlane, namespace: &str, team: &str) -> Vec<Value> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/hawser");
    let watch = if team == namespace {
        String::new()
    } else {
        format!(",watchNamespaces={{{team}}}")
    };
    let set = format!(
        "crds.enabled=false,ingressClass.name={namespace},ingressClass.controllerValue=hawser.dev/{namespace}{watch}"
    );
    let ran = plane.helm(&[
        "template",
        "hawser",
        chart,
        "-n",
        namespace,
        "--kube-version=1.36.0",
        "--set",
        &set,
    ]);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ran.text()).expect("YAML");
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

fn is_role(object: &Value) -> bool {
    object["kind"] == "Role" || object["kind"] == "ClusterRole"
}

/// Takes one right away; the rules that gave it.
fn without(objects: &mut [Value], right: &str) -> usize {
    let mut taken = 0;
    for object in objects.iter_mut().filter(|object| is_role(object)) {
        for rule in object["rules"].as_array_mut().expect("rules") {
            let verb = right.split(' ').next().unwrap_or_default();
            if rights_of(rule).iter().any(|given| given == right) {
                let verbs = rule["verbs"].as_array_mut().expect("verbs");
                verbs.retain(|given| given != verb);
                if verbs.is_empty() {
                    *rule = Value::Null;
                }
                taken += 1;
            }
        }
        object["rules"]
            .as_array_mut()
            .expect("rules")
            .retain(|rule| !rule.is_null());
    }
    taken
}

/// One install.
struct Install<'a> {
    plane: &'a ControlPlane,
    client: Client,
    /// Of the install.
    namespace: String,
    /// Of the routes.
    team: String,
    hawser: Hawser,
    status: SocketAddr,
    /// What the load balancer gave the Service: no two installs have the same.
    address: String,
    peer_token: String,
    _folder: tempfile::TempDir,
}

fn apply(plane: &ControlPlane, namespace: &str, manifest: &str) {
    plane
        .kubectl(&["apply", "-n", namespace, "-f", "-"], manifest)
        .text();
}

fn route(name: &str, class: &str, backend: &str) -> String {
    manifest::route(name, &format!("{name}.{class}.test"), "/ws", backend, "")
        .replace("spec:\n", &format!("spec:\n  ingressClassName: {class}\n"))
}

fn ingress(name: &str, class: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  ingressClassName: {class}\n  \
         rules: [{{host: {name}.{class}.example, http: {{paths: [{{path: /, pathType: Prefix, backend: \
         {{service: {{name: echo, port: {{number: 80}}}}}}}}]}}}}]\n---\n"
    )
}

fn class(name: &str, controller: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}}}\n\
         spec: {{controller: hawser.dev/{controller}}}\n---\n"
    )
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    )
}

fn slice(name: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: \
         {{kubernetes.io/service-name: echo}}}}\naddressType: IPv4\nports: [{{name: http, port: 80}}]\n\
         endpoints: [{{addresses: [{address}]}}]\n---\n"
    )
}

impl<'a> Install<'a> {
    /// With all rights but this one; `narrow`: it watches one namespace only.
    async fn start(plane: &'a ControlPlane, right: Option<&str>, narrow: bool) -> Self {
        let namespace = plane.namespace("rights").await;
        let team = if narrow {
            plane.namespace("team").await
        } else {
            namespace.clone()
        };
        let mut objects = rendered(plane, &namespace, &team);
        if let Some(right) = right {
            assert!(
                without(&mut objects, right) > 0,
                "no rule of the chart gives: {right}"
            );
        }
        let workload = objects
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .expect("a workload");
        let args = workload["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        let not_ours = [
            "run",
            "--http=",
            "--admin=",
            "--status=",
            "--log-format=",
            "--peer-token-file=",
        ];
        let flags: Vec<String> = args
            .as_array()
            .expect("arguments")
            .iter()
            .filter_map(Value::as_str)
            .filter(|arg| !not_ours.iter().any(|not| arg.starts_with(not)))
            .map(str::to_owned)
            .collect();
        // Hawser runs as a process: its Pods and what is about them are left out.
        let kinds = [
            "ServiceAccount",
            "Role",
            "RoleBinding",
            "ClusterRole",
            "ClusterRoleBinding",
            "Service",
            "IngressClass",
        ];
        let kept: Vec<_> = objects
            .into_iter()
            .filter(|object| kinds.iter().any(|kind| object["kind"] == *kind))
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": kept});
        plane
            .kubectl(&["apply", "-f", "-"], &list.to_string())
            .text();
        let address = format!("{namespace}.example");
        let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": address}]}}});
        let status = status.to_string();
        let patch = [
            "patch",
            "service",
            "hawser",
            "--subresource=status",
            "--type=merge",
            "-p",
            &status,
            "-n",
            &namespace,
        ];
        plane.kubectl(&patch, "").text();
        let second = format!("{namespace}-second");
        let before = [
            service("echo"),
            slice("echo-1", "10.244.9.1"),
            route("chat", &namespace, "echo"),
            route("late", &namespace, "late"),
            route("soon", &namespace, "soon"),
            ingress("page", &namespace),
            class(&second, &namespace),
            ingress("second", &second),
        ];
        apply(plane, &team, &before.concat());

        let token = plane.token(&namespace, "hawser", "").await;
        let kubeconfig = plane.kubeconfig_with(&plane.url(), &namespace, &token);
        let peer_token = plane.token(&namespace, "hawser", "hawser.dev/peers").await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, &peer_token).expect("written");
        let file = format!("--peer-token-file={}", file.display());
        let mut all: Vec<&str> = flags.iter().map(String::as_str).collect();
        all.push(&file);
        let hawser = hawser::on(&kubeconfig, &all).await;
        let line = hawser
            .logged("the status address", |line| {
                hawser::field(line, "message") == Some("listening for status requests")
            })
            .await;
        let status = hawser::field(&line, "address")
            .expect("an address")
            .parse()
            .expect("an address");
        Self {
            plane,
            client: plane.client().await,
            namespace,
            team,
            hawser,
            status,
            address,
            peer_token,
            _folder: folder,
        }
    }

    /// What is made while it runs.
    fn change(&self) {
        let third = format!("{}-third", self.namespace);
        let after = [
            service("soon"),
            slice("echo-2", "10.244.9.2"),
            route("new", &self.namespace, "echo"),
            ingress("new", &self.namespace),
            class(&third, &self.namespace),
            ingress("third", &third),
        ];
        apply(self.plane, &self.team, &after.concat());
    }

    async fn read(&self, path: &str) -> Value {
        let path = path.replace("NS", &self.team);
        let request = Request::get(path).body(Vec::new()).expect("a request");
        self.client.request(request).await.unwrap_or(Value::Null)
    }

    /// Which words of [`ALL`] are true now.
    async fn seen(&self) -> BTreeSet<&'static str> {
        let mut seen = BTreeSet::new();
        let mut note = |word, is: bool| {
            if is {
                seen.insert(word);
            }
        };
        let routes = self
            .read("/apis/hawser.dev/v1alpha1/namespaces/NS/websocketroutes")
            .await;
        let ingresses = self
            .read("/apis/networking.k8s.io/v1/namespaces/NS/ingresses")
            .await;
        let events = self
            .read("/apis/events.k8s.io/v1/namespaces/NS/events")
            .await;
        let named = |list: &Value, name: &str| -> Value {
            let mut items = list["items"].as_array().into_iter().flatten();
            items
                .find(|item| item["metadata"]["name"] == name)
                .cloned()
                .unwrap_or_default()
        };
        let is = |route: &Value, condition: &str| {
            let mut conditions = route["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten();
            conditions.any(|it| it["type"] == condition && it["status"] == "True")
        };
        let addressed = |name| {
            named(&ingresses, name)["status"]["loadBalancer"]["ingress"][0]["hostname"]
                == *self.address
        };
        note("route", is(&named(&routes, "chat"), "Programmed"));
        note("new route", is(&named(&routes, "new"), "Programmed"));
        note("new service", is(&named(&routes, "soon"), "ResolvedRefs"));
        note("address", addressed("page"));
        note("other class", addressed("second"));
        note("new ingress", addressed("new"));
        note("new class", addressed("third"));
        let mut about = events["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|event| {
                event["regarding"]["name"] == "late" && event["reason"] == "BackendNotFound"
            });
        let event = about.next();
        note("told", event.is_some());
        note(
            "told again",
            event.is_some_and(|event| event["series"]["count"].as_u64() >= Some(2)),
        );
        note("ready", self.hawser.is_ready().await);
        note(
            "leads",
            self.hawser.metric("hawser_leader ").await == Some(1.0),
        );
        let metrics = client::get(self.hawser.admin, "localhost", "/metrics")
            .await
            .expect("metrics")
            .text();
        let endpoints = metrics.lines().any(|line| {
            line.starts_with("hawser_backend_endpoints")
                && line.contains(&format!("namespace=\"{}\"", self.team))
                && line.contains("service=\"echo\"")
                && line.contains("state=\"ready\"")
                && line.ends_with(" 2")
        });
        note("new endpoint", endpoints);
        let mut connected = metrics
            .lines()
            .filter(|line| line.starts_with("hawser_source_connected{"));
        note("watches", connected.all(|line| line.ends_with(" 1")));
        let ask = Request::get("/peer/v1/served?wait=0")
            .header("host", "peer")
            .header("authorization", format!("Bearer {}", self.peer_token))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let answer = client::send(self.status, ask).await.expect("an answer");
        note("peers", answer.status == 200);
        seen
    }

    fn says(&self, text: &str) -> bool {
        self.hawser
            .log()
            .iter()
            .any(|line| line.to_string().contains(text))
    }

    /// Makes the backend of the route `late` come and go until the end of the test.
    async fn toggle(&self) {
        let late = service("late");
        loop {
            for args in [["create", "-f", "-"], ["delete", "service", "late"]] {
                tokio::time::sleep(Duration::from_secs(5)).await;
                self.plane
                    .kubectl(&[&args[..], &["-n", &self.team]].concat(), &late);
            }
        }
    }
}

/// Starts without this right and holds what is seen against the row.
async fn check(plane: &ControlPlane, right: Option<&str>, narrow: bool, lost: &[&str], text: &str) {
    let mark = plane.audit().mark();
    let install = Install::start(plane, right, narrow).await;
    let user = format!("system:serviceaccount:{}:hawser", install.namespace);
    let expected: BTreeSet<_> = ALL
        .into_iter()
        .filter(|word| !lost.contains(word))
        .collect();
    let work = async {
        // Changes are what comes after the first lists.
        if expected.contains("ready") {
            install.hawser.ready().await;
        }
        install.change();
        let start = Instant::now();
        loop {
            let mut seen = install.seen().await;
            if right == Some(UPDATE_LEASES) {
                seen.retain(|word| *word == "leads" || !SILENT.contains(word));
            }
            let entries = plane.audit().of(&user, mark);
            let refused: BTreeSet<_> = audit::refused(&entries)
                .iter()
                .map(|entry| entry.needs().0)
                .collect();
            let only: BTreeSet<_> = right.into_iter().map(str::to_owned).collect();
            let says = text.is_empty() || install.says(text);
            if seen == expected && refused == only && says {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_mins(2),
                "without {right:?}: missing {:?}, not missing {:?}, refused {refused:?}, says {text:?}: {says}",
                expected.difference(&seen).collect::<Vec<_>>(),
                seen.difference(&expected).collect::<Vec<_>>(),
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = install.toggle() => {}
    }
}

#[test]
fn no_right_of_the_chart_can_be_left_out() {
    let plane = PLANE.get();
    plane.install_crd();
    // It lets every ServiceAccount read the keys, in most clusters.
    let binding = "clusterrolebinding/system:service-account-issuer-discovery";
    plane.kubectl(&["delete", binding], "").text();
    let given: BTreeSet<String> = rendered(&plane, "any", "any")
        .iter()
        .filter(|object| is_role(object))
        .flat_map(|role| {
            role["rules"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(rights_of)
                .collect::<Vec<_>>()
        })
        .collect();
    let rows: BTreeSet<String> = ROWS.iter().map(|(right, ..)| (*right).to_owned()).collect();
    assert_eq!(given, rows, "a row for each right that the chart gives");
    plane.run(async || {
        tokio::join!(
            check(&plane, None, false, &[], ""),
            check(&plane, None, true, &[], "")
        );
        let rows = stream::iter(ROWS)
            .map(|(right, lost, text)| check(&plane, Some(right), false, lost, text));
        rows.buffer_unordered(6).collect::<Vec<()>>().await;
    });
}
