//! Hawser as a new user meets it: the commands of the guide, the chart, Pods under their own rights, the examples.

mod rights;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{
    audit::{self, Mark},
    client,
    control_plane::{self, ControlPlane, Ran, Shared},
    eventually,
    node::{Image, Node},
    switch::Switch,
    within,
};

static PLANE: Shared = Shared::full();

/// The account that the guide's install runs under.
const USER: &str = "system:serviceaccount:hawser:hawser";

/// What the load balancer of a cloud would give the Service.
const ADDRESS: &str = "203.0.113.10";

/// All that an install uses, no more and no less.
const RIGHTS: [&str; 18] = [
    "create events.events.k8s.io",
    "create leases.coordination.k8s.io",
    "get /openid/v1/jwks",
    "get leases.coordination.k8s.io",
    "list endpointslices.discovery.k8s.io",
    "list ingressclasses.networking.k8s.io",
    "list ingresses.networking.k8s.io",
    "list services",
    "list websocketroutes.hawser.dev",
    "patch events.events.k8s.io",
    "patch ingresses.networking.k8s.io/status",
    "patch websocketroutes.hawser.dev/status",
    "update leases.coordination.k8s.io",
    "watch endpointslices.discovery.k8s.io",
    "watch ingressclasses.networking.k8s.io",
    "watch ingresses.networking.k8s.io",
    "watch services",
    "watch websocketroutes.hawser.dev",
];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shell commands below a heading of a page of the guide.
fn commands(page: &str, heading: &str) -> String {
    let path = folder().join("docs/guide").join(page);
    let text = fs::read_to_string(path).expect("a page of the guide");
    let (_, section) = text.split_once(&format!("{heading}\n")).expect("a heading");
    let section = section.split("\n#").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().expect("its end"))
        .collect()
}

/// Runs commands as a user with all rights would, in this repository; what they print.
fn shell(plane: &ControlPlane, script: &str) -> Ran {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = plane
        .netns()
        .command("sh")
        .args(["-ec", script])
        .current_dir(folder())
        .env(
            "PATH",
            format!("{}:{path}", control_plane::programs().display()),
        )
        .env("HOME", plane.folder())
        .env("KUBECONFIG", plane.admin())
        .output()
        .expect("sh runs");
    Ran {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every manifest below `examples/`.
fn examples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder().join("examples")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Names of the Pods of the install.
fn pods(plane: &ControlPlane) -> Vec<String> {
    let get = "kubectl -n hawser get pods -o jsonpath='{.items[*].metadata.name}'";
    let names = shell(plane, get).text();
    names.split_whitespace().map(str::to_owned).collect()
}

/// What a WebSocket through this Pod is answered, and with which status a page comes.
async fn asked(node: &Node, pod: &str) -> Option<(String, u16)> {
    through(format!("{}:8080", node.address(pod)?).parse().ok()?).await
}

async fn through(address: SocketAddr) -> Option<(String, u16)> {
    let mut socket = client::ws(address, "chat.example.com", "/ws").await.ok()?;
    socket.send(Message::text("who")).await.ok()?;
    let who = socket.next().await?.ok()?.into_text().ok()?.to_string();
    let page = client::get(address, "chat.example.com", "/").await.ok()?;
    Some((who, page.status))
}

fn no_request_was_refused(plane: &ControlPlane, mark: Mark) {
    let entries = plane.audit().of(USER, mark);
    assert!(!entries.is_empty());
    let refused = audit::refused(&entries);
    assert!(refused.is_empty(), "{refused:#?}");
}

/// One test, because a release of Helm owns the CRD of the cluster.
#[test]
fn a_new_user_installs_routes_upgrades_and_uninstalls() {
    let plane = PLANE.get();
    let mark = plane.audit().mark();
    plane.run(async || {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        shell(
            &plane,
            &format!(
                "kubectl create namespace hawser; kubectl label namespace hawser {label}
                for name in chat examples; do kubectl create namespace $name; done"
            ),
        )
        .text();
        let images = [("hawser", Image::hawser()), ("chat", Image::echo())];
        let nodes = Node::several(&plane, "hawser", &images, &["n1", "n2"]).await;
        let _shop = Node::several(&plane, "shop", &images, &["n1", "n2"]).await;

        // No image can be built here.
        let install = commands("install.md", "# Install Hawser in a cluster");
        let lines = install.lines();
        let lines: Vec<_> = lines.filter(|line| !line.starts_with("docker ")).collect();
        let install = lines.join("\n");
        let said = shell(&plane, &install).text();
        assert!(said.contains("successfully rolled out"), "{said}");
        let replicas = pods(&plane);
        assert_eq!(replicas.len(), 2, "{replicas:?}");

        // As a cloud would.
        let status = format!("{{\"status\":{{\"loadBalancer\":{{\"ingress\":[{{\"ip\":\"{ADDRESS}\"}}]}}}}}}");
        let patch = format!("kubectl -n hawser patch service hawser --subresource=status --type=merge -p '{status}'");
        shell(&plane, &patch).text();

        for heading in [
            "## An application",
            "## An Ingress works as it is",
            "## A WebSocketRoute says more",
        ] {
            let ran = shell(&plane, &commands("first-route.md", heading));
            assert!(ran.success, "{heading}: {}{}", logs(&nodes, &replicas), ran.stderr);
        }
        shell(&plane, "kubectl -n shop rollout status deployment/chat --timeout=60s").text();
        for pod in &replicas {
            let (who, page) = eventually("the guide's routes are served", async || asked(&nodes, pod).await).await;
            assert!(who.starts_with("chat-"), "{who}");
            assert_eq!(page, 200);
        }
        let balancer = Switch::follow(&plane, "hawser/hawser", 80).await;
        eventually("the Service is served", async || through(balancer.addr).await).await;
        let wait = "kubectl -n shop wait --for=jsonpath='{.status.loadBalancer.ingress[0].ip}'=203.0.113.10 \
            ingress/page --timeout=30s; kubectl -n shop get ingress page; kubectl -n shop get wsr -o wide; \
            kubectl -n shop describe wsr chat";
        let said = shell(&plane, wait).text();
        assert!(said.contains("chat.example.com   203.0.113.10   80"), "{said}");

        apply_examples(&plane);
        tell_twice(&plane).await;
        no_request_was_refused(&plane, mark);
        let expected: Vec<_> = RIGHTS.into_iter().map(str::to_owned).collect();
        let uses = within(Duration::from_secs(30), "every right is used", async || {
            let uses: Vec<_> = audit::uses(&plane.audit().of(USER, mark)).into_iter().map(|used| used.0).collect();
            (uses.len() >= expected.len()).then_some(uses)
        })
        .await;
        assert_eq!(uses, expected);

        upgrade_and_uninstall(&plane, &nodes, mark).await;
    });
}

fn logs(nodes: &Node, pods: &[String]) -> String {
    pods.iter().map(|pod| nodes.logs(pod)).collect()
}

fn apply_examples(plane: &ControlPlane) {
    let files = examples();
    assert!(files.len() >= 10, "{files:?}");
    for path in files {
        let file = path.display();
        let namespace = if path.parent().is_some_and(|folder| folder.ends_with("chat")) {
            "chat"
        } else {
            "examples"
        };
        let ran = shell(plane, &format!("kubectl apply -n {namespace} -f {file}"));
        if path.ends_with("chat/endpointslice.yaml") {
            // For `hawser run --manifests` on one machine.
            let why = ran.failure();
            assert!(why.contains("may not be in the loopback range"), "{why}");
        } else {
            assert!(ran.success, "{file}: {}", ran.stderr);
        }
    }
    for namespace in ["chat", "examples"] {
        let wait = format!(
            "kubectl -n {namespace} wait --for=condition=Programmed --timeout=30s wsr --all
            kubectl -n {namespace} wait --for=jsonpath='{{.status.loadBalancer.ingress[0].ip}}'={ADDRESS} --timeout=30s \
            ingress --all
            kubectl -n {namespace} get wsr,ingress"
        );
        let ran = shell(plane, &wait);
        assert!(ran.success, "{namespace}: {}", ran.stderr);
    }
}

/// An event, and the same again.
async fn tell_twice(plane: &ControlPlane) {
    let route = crate::kit::manifest::route("late", "late.test", "/", "late", "");
    let route = route.replace("spec:\n", "spec:\n  ingressClassName: hawser\n");
    plane
        .kubectl(&["apply", "-n", "shop", "-f", "-"], &route)
        .text();
    let told = async |least: u64| {
        eventually("it is told", async || {
            let get = ["get", "events.v1.events.k8s.io", "-n", "shop", "-o", "json"];
            let list: Value = serde_json::from_str(&plane.kubectl(&get, "").text()).ok()?;
            let event = list["items"].as_array()?.iter().find(|event| {
                event["regarding"]["name"] == "late" && event["reason"] == "BackendNotFound"
            })?;
            let count = event["series"]["count"].as_u64().unwrap_or(1);
            (count >= least).then_some(())
        })
        .await;
    };
    told(1).await;
    let ready = "-o=jsonpath={.status.conditions[?(@.type=='ResolvedRefs')].status}";
    plane
        .kubectl(
            &[
                "create",
                "service",
                "clusterip",
                "late",
                "--tcp=80",
                "-n",
                "shop",
            ],
            "",
        )
        .text();
    eventually("the Service is found", async || {
        let ran = plane.kubectl(&["get", "wsr", "late", "-n", "shop", ready], "");
        (ran.stdout == "True").then_some(())
    })
    .await;
    // What is told again so soon that nobody could have seen it is not told.
    eventually("it is told that it is over", async || {
        let ran = plane.kubectl(&["events", "--for", "wsr/late", "-n", "shop"], "");
        ran.stdout.contains("Accepted").then_some(())
    })
    .await;
    plane
        .kubectl(&["delete", "service", "late", "-n", "shop"], "")
        .text();
    told(2).await;
}

async fn upgrade_and_uninstall(plane: &ControlPlane, nodes: &Node, mark: Mark) {
    let uids = || {
        shell(
            plane,
            "kubectl get wsr -A -o jsonpath='{.items[*].metadata.uid}'",
        )
        .text()
    };
    let before = uids();
    let programmed = "kubectl get wsr -A \
        -o jsonpath='{range .items[*]}{.status.conditions[?(@.type==\"Programmed\")].lastTransitionTime}{\"\\n\"}{end}'";
    let since = shell(plane, programmed).text();
    let upgrade = commands("install.md", "## Upgrade");
    let upgrade = upgrade.trim_end();
    let set = "replicas=3,drain.window=5s,drain.delay=2s,minReadySeconds=1";
    let ran = shell(plane, &format!("{upgrade} --set {set} --wait --timeout 3m"));
    assert!(ran.success, "{}", ran.stderr);
    assert_eq!(uids(), before);
    assert_eq!(
        shell(plane, programmed).text(),
        since,
        "a rollout does not touch a condition"
    );
    let replicas = within(
        Duration::from_mins(1),
        "the old Pods are gone",
        async || Some(pods(plane)).filter(|pods| pods.len() == 3),
    )
    .await;
    for pod in &replicas {
        eventually("a new Pod serves", async || asked(nodes, pod).await).await;
    }

    no_request_was_refused(plane, mark);

    // The rights go before the Pods do: from here on a refused request is no wonder.
    let uninstall = commands("install.md", "## Uninstall");
    let said = shell(plane, &uninstall).text();
    assert!(said.contains("websocketroutes.hawser.dev"), "{said}");
    assert_eq!(uids(), before);
    within(Duration::from_mins(1), "the Pods end", async || {
        pods(plane).is_empty().then_some(())
    })
    .await;
    // The same release takes the CRD over again.
    let again = "helm install hawser charts/hawser --namespace hawser --set replicas=0
        helm uninstall hawser --namespace hawser";
    let ran = shell(plane, again);
    assert!(ran.success, "{}", ran.stderr);
    assert_eq!(uids(), before);
}
