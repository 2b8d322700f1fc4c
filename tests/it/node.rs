//! Pods as processes and the L4 switch do what a cluster does: the ground that the tests of a cluster stand on.

mod goodbye;
mod hawser;
mod switch;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::{
    core::v1::{ConfigMap, ContainerStatus, Pod},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, ResourceExt,
    api::{EvictParams, ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kit::{
    client,
    control_plane::{ControlPlane, Shared},
    node::{Image, Node},
    within,
};

static PLANE: Shared = Shared::full();

/// Several processes start for one step, beside other tests.
const DEADLINE: Duration = Duration::from_mins(1);

/// A Deployment `echo` and its Service; `pod` and `container` are further fields, each with a comma before it.
fn echo(replicas: u32, pod: &str, container: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: echo}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: echo}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: echo}}}}
    spec:
      {{terminationGracePeriodSeconds: 10{pod}, containers: [{{name: echo, image: \"echo:1\",
        ports: [{{name: http, containerPort: 8080}}],
        readinessProbe: {{httpGet: {{path: /ready, port: http}}, periodSeconds: 1, failureThreshold: 1}}{container}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec: {{selector: {{app: echo}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
"
    )
}

/// A Pod `echo`; further fields as for [`echo`].
fn echo_pod(pod: &str, container: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: echo}}, spec: {{terminationGracePeriodSeconds: 10{pod},
        containers: [{{name: echo, image: echo,
        readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1}}{container}}}]}}}}"
    )
}

async fn start(plane: &ControlPlane, namespace: &str) -> Node {
    let images = [("echo", Image::echo()), ("hawser", Image::hawser())];
    Node::start(plane, namespace, &images).await
}

fn apply(plane: &ControlPlane, namespace: &str, manifest: &str) {
    plane
        .kubectl(&["apply", "-n", namespace, "-f", "-"], manifest)
        .text();
}

/// Waits for a Deployment to be complete.
fn rolled_out(plane: &ControlPlane, namespace: &str, name: &str) {
    let name = format!("deployment/{name}");
    let wait = ["rollout", "status", "-n", namespace, &name, "--timeout=60s"];
    plane.kubectl(&wait, "").text();
}

/// Waits for a Pod to be ready.
fn ready(plane: &ControlPlane, namespace: &str, pod: &str) {
    let pod = format!("pod/{pod}");
    let wait = [
        "wait",
        "--for=condition=Ready",
        "-n",
        namespace,
        &pod,
        "--timeout=60s",
    ];
    plane.kubectl(&wait, "").text();
}

/// The status of the container of the Pod `echo`.
async fn container_of(pods: &Api<Pod>) -> Option<ContainerStatus> {
    let status = pods.get("echo").await.ok()?.status?;
    status.container_statuses?.pop()
}

/// GET of a Pod's port 8080.
async fn get(address: &str, path: &str) -> String {
    let to = format!("{address}:8080").parse().expect("an address");
    let answer = client::get(to, "echo.test", path).await;
    answer.expect("the Pod answers").text()
}

/// The JSON that an echo Pod tells about itself.
async fn told(address: &str) -> Value {
    serde_json::from_str(&get(address, "/").await).expect("JSON")
}

/// An endpoint as a slice has it.
#[derive(Clone, Debug, PartialEq)]
struct Endpoint {
    address: String,
    ready: bool,
    serving: bool,
    terminating: bool,
}

fn endpoints_of(slice: &EndpointSlice) -> Vec<Endpoint> {
    let endpoints = slice.endpoints.iter();
    endpoints
        .map(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            Endpoint {
                address: endpoint.addresses[0].clone(),
                ready: conditions.ready == Some(true),
                serving: conditions.serving == Some(true),
                terminating: conditions.terminating == Some(true),
            }
        })
        .collect()
}

/// All endpoints of the Service `echo`.
async fn endpoints(client: &Client, namespace: &str) -> Vec<Endpoint> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let chosen = ListParams::default().labels("kubernetes.io/service-name=echo");
    let slices = slices.list(&chosen).await.expect("a list");
    slices.items.iter().flat_map(endpoints_of).collect()
}

/// Waits for this many ready endpoints, and no others.
async fn ready_endpoints(client: &Client, namespace: &str, count: usize) -> Vec<Endpoint> {
    within(DEADLINE, "the endpoints are ready", async || {
        let all = endpoints(client, namespace).await;
        (all.len() == count && all.iter().all(|endpoint| endpoint.ready)).then_some(all)
    })
    .await
}

#[test]
fn a_deployment_becomes_available_and_its_probes_and_budget_count() {
    let plane = PLANE.get();
    plane.run(async || {
        let namespace = plane.namespace("deployment").await;
        let client = plane.client().await;
        let node = start(&plane, &namespace).await;
        apply(&plane, &namespace, &echo(2, "", ""));
        rolled_out(&plane, &namespace, "echo");
        let all = ready_endpoints(&client, &namespace, 2).await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        for pod in pods.list(&ListParams::default()).await.expect("a list") {
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
            let told = told(&address.expect("an address")).await;
            assert_eq!(told["name"], pod.name_any(), "each address is its Pod's");
        }

        // A readiness probe that fails takes one endpoint out, and only it.
        let one = all[0].address.clone();
        get(&one, "/ready/off").await;
        let is_out = async || {
            within(DEADLINE, "the endpoint is not ready", async || {
                let now = endpoints(&client, &namespace).await;
                let out = now.iter().find(|endpoint| endpoint.address == one)?;
                let others = now.iter().filter(|endpoint| endpoint.ready).count();
                (!out.ready && !out.serving && !out.terminating && others == 1).then_some(())
            })
            .await;
        };
        is_out().await;
        get(&one, "/ready/on").await;
        ready_endpoints(&client, &namespace, 2).await;

        // So does a cable that is pulled.
        let told = told(&one).await;
        let name = told["name"].as_str().expect("a name");
        let netns = node.netns(name).expect("it runs");
        netns.ip("link set eth0 down");
        is_out().await;
        netns.ip("link set eth0 up");
        ready_endpoints(&client, &namespace, 2).await;

        // A budget refuses an eviction, and allows it when it is met.
        let budget = |least: u32| {
            format!(
                "{{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {{name: echo}},
                spec: {{minAvailable: {least}, selector: {{matchLabels: {{app: echo}}}}}}}}"
            )
        };
        apply(&plane, &namespace, &budget(2));
        let first = pods
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items[0]
            .name_any();
        // A client that does not try again by itself.
        let mut config = plane.config_of(plane.admin()).await;
        config.default_retry = false;
        let direct = Client::try_from(config).expect("a client");
        let direct: Api<Pod> = Api::namespaced(direct, &namespace);
        let evicted = direct.evict(&first, &EvictParams::default()).await;
        assert!(
            matches!(&evicted, Err(kube::Error::Api(status)) if status.code == 429),
            "{evicted:?}"
        );
        apply(&plane, &namespace, &budget(1));
        within(DEADLINE, "the eviction is allowed", async || {
            direct.evict(&first, &EvictParams::default()).await.ok()
        })
        .await;
        within(DEADLINE, "the evicted Pod is gone", async || {
            let found = pods.get_opt(&first).await.ok()?;
            found.is_none().then_some(())
        })
        .await;
        ready_endpoints(&client, &namespace, 2).await;
    });
}

#[test]
fn a_rolling_update_always_has_endpoints_and_drains_the_old_ones() {
    let plane = PLANE.get();
    plane.run(async || {
        let namespace = plane.namespace("rolling").await;
        let client = plane.client().await;
        let _node = start(&plane, &namespace).await;
        let hook = ", lifecycle: {preStop: {sleep: {seconds: 2}}}";
        apply(&plane, &namespace, &echo(2, "", hook));
        rolled_out(&plane, &namespace, "echo");
        let before = ready_endpoints(&client, &namespace, 2).await;

        let seen: Mutex<Vec<Vec<Endpoint>>> = Mutex::default();
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
        let config = watcher::Config::default().labels("kubernetes.io/service-name=echo");
        let mut events = watcher(slices, config)
            .default_backoff()
            .applied_objects()
            .boxed();
        let watching = async {
            while let Some(event) = events.next().await {
                let slice = event.expect("the API server answers");
                seen.lock().push(endpoints_of(&slice));
            }
        };
        let updating = async {
            within(DEADLINE, "the slice is watched", async || {
                (!seen.lock().is_empty()).then_some(())
            })
            .await;
            let new = format!("{hook}, env: [{{name: NEW, value: \"1\"}}]");
            apply(&plane, &namespace, &echo(2, "", &new));
            within(DEADLINE, "only new endpoints are left", async || {
                let seen = seen.lock();
                let now = seen.last()?;
                let fresh = |endpoint: &Endpoint| endpoint.ready && !before.contains(endpoint);
                (now.len() == 2 && now.iter().all(fresh)).then_some(())
            })
            .await;
        };
        tokio::select! { () = watching => {}, () = updating => {} }
        let seen = seen.into_inner();
        assert!(
            seen.iter()
                .all(|now| now.iter().filter(|one| one.ready).count() >= 2),
            "never fewer ready than wanted: {seen:#?}"
        );
        for old in before {
            let draining = |one: &Endpoint| {
                one.address == old.address && one.terminating && one.serving && !one.ready
            };
            assert!(
                seen.iter().flatten().any(draining),
                "{} serves while it terminates: {seen:#?}",
                old.address
            );
        }
    });
}

#[test]
fn the_end_of_a_pod_has_a_hook_a_signal_and_a_kill() {
    let plane = PLANE.get();
    plane.run(async || {
        let namespace = plane.namespace("end").await;
        let pods: Api<Pod> = Api::namespaced(plane.client().await, &namespace);
        let node = start(&plane, &namespace).await;
        let stubborn = ", lifecycle: {preStop: {sleep: {seconds: 2}}}, env: [{name: IGNORE_TERM, value: \"1\"}]";
        apply(&plane, &namespace, &echo_pod("", stubborn));
        ready(&plane, &namespace, "echo");

        // A crash is a restart.
        node.signal("echo", Signal::KILL);
        within(DEADLINE, "the container is started again", async || {
            let container = container_of(&pods).await?;
            let exit = container.last_state?.terminated?.exit_code;
            (container.restart_count == 1 && container.ready && exit == 137).then_some(())
        })
        .await;

        // The node's clock is this one.
        let pid = node.pid("echo").expect("it runs");
        let start = Instant::now();
        let asked = jiff::Timestamp::now().as_millisecond();
        let delete = ["delete", "pod/echo", "-n", &namespace, "--grace-period=4"];
        plane.kubectl(&delete, "").text();
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(4), "the grace period is used: {took:?}");
        assert!(took < Duration::from_secs(20), "and not more: {took:?}");
        let log = node.logs("echo");
        let line = log.lines().find(|line| line.ends_with("SIGTERM"));
        let line = line.unwrap_or_else(|| panic!("SIGTERM was sent: {log}"));
        let time: i64 = line.split(' ').next().expect("a time").parse().expect("a number");
        assert!(time - asked >= 1_990, "the hook comes before SIGTERM: {} ms", time - asked);
        let process = std::path::PathBuf::from(format!("/proc/{pid}"));
        assert!(!process.exists(), "SIGKILL ended it");
    });
}

#[test]
fn a_container_has_its_environment_its_volumes_and_its_identity() {
    let plane = PLANE.get();
    plane.run(async || {
        let namespace = plane.namespace("identity").await;
        let client = plane.client().await;
        let node = start(&plane, &namespace).await;
        let sources = "{apiVersion: v1, kind: ConfigMap, metadata: {name: words}, data: {word: one}}
---
{apiVersion: v1, kind: Secret, metadata: {name: keys}, stringData: {key: hidden}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}
";
        apply(&plane, &namespace, sources);
        let pod = ", serviceAccountName: robot, volumes: [{name: words, configMap: {name: words}}],
            securityContext: {runAsUser: 65532, runAsGroup: 65532}";
        let container = ", volumeMounts: [{name: words, mountPath: /etc/words, readOnly: true}],
            securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}},
            args: [--name, $(POD_NAME)],
            startupProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 60},
            livenessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 1},
            env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
                {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}},
                {name: WORD, valueFrom: {configMapKeyRef: {name: words, key: word}}},
                {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: key}}}]";
        apply(&plane, &namespace, &echo_pod(pod, container));
        ready(&plane, &namespace, "echo");
        let address = node.address("echo").expect("it runs");
        let told = told(&address).await;
        for (name, value) in [
            ("POD_NAME", "echo"),
            ("POD_IP", address.as_str()),
            ("WORD", "one"),
            ("KEY", "hidden"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
        ] {
            assert_eq!(told["env"][name], value, "{name}: {told}");
        }
        assert_eq!(told["arguments"], json!(["--name", "echo"]));
        assert_eq!(told["uid"], if Node::has_users() { 65_532 } else { 0 });

        let own = get(&address, "/file/proc/self/status").await;
        for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"] {
            assert!(own.contains(line) , "{line}: {own}");
        }
        let mounts = get(&address, "/file/proc/self/mounts").await;
        let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/"));
        assert!(root.is_some_and(|line| line.contains(" tmpfs ro,")), "{mounts}");

        // A change of a ConfigMap arrives in the file.
        assert_eq!(get(&address, "/file/etc/words/word").await, "one");
        let maps: Api<ConfigMap> =
            Api::namespaced(client.clone(), &namespace);
        let two = Patch::Merge(json!({"data": {"word": "two"}}));
        maps.patch("words", &PatchParams::default(), &two).await.expect("the change is made");
        within(DEADLINE, "the file changes", async || {
            (get(&address, "/file/etc/words/word").await == "two").then_some(())
        })
        .await;

        // The token is the ServiceAccount's, and is swapped when it is renewed.
        let path = "/file/var/run/secrets/kubernetes.io/serviceaccount/token";
        let ca = get(&address, "/file/var/run/secrets/kubernetes.io/serviceaccount/ca.crt").await;
        assert_eq!(ca.trim(), plane.ca().trim());
        let first = get(&address, path).await;
        let whoami = |token: &str| {
            let config = plane.kubeconfig_with(&plane.url(), &namespace, token);
            plane.kubectl_as(&config, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"], "").text()
        };
        let name = format!("system:serviceaccount:{namespace}:robot");
        assert_eq!(whoami(&first), name);
        node.rotate_tokens("echo");
        let second = within(DEADLINE, "the token is swapped", async || {
            let now = get(&address, path).await;
            (now != first).then_some(now)
        })
        .await;
        assert_eq!(whoami(&second), name);

        // A liveness probe that fails is a restart, after an orderly end.
        get(&address, "/ready/off").await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        within(DEADLINE, "the container is started again", async || {
            let container = container_of(&pods).await?;
            let exit = container.last_state?.terminated?.exit_code;
            (container.restart_count == 1 && container.ready && exit == 0).then_some(())
        })
        .await;
    });
}
