//! Hawser itself as a Pod, with its probes and its identity.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{PLANE, apply, echo, echo_pod, ready, ready_endpoints, rolled_out, start};
use crate::kit::{client, eventually, manifest};

/// What the Pod at the other end of a WebSocket through Hawser at this address calls itself.
async fn who(address: &str) -> Option<String> {
    let to = format!("{address}:8080").parse().expect("an address");
    let mut socket = client::ws(to, "chat.test", "/ws").await.ok()?;
    socket.send(Message::text("who")).await.ok()?;
    let answer = socket.next().await?.ok()?;
    Some(answer.into_text().ok()?.to_string())
}

/// Fields of a Hawser's container that both ways of running share.
const CONTAINER: &str = "name: hawser, image: 'registry.test/hawser:0.1.0',
    ports: [{name: http, containerPort: 8080}, {name: status, containerPort: 9101}],
    startupProbe: {httpGet: {path: /livez, port: status}, periodSeconds: 1, failureThreshold: 30},
    livenessProbe: {httpGet: {path: /livez, port: status}, periodSeconds: 2},
    readinessProbe: {httpGet: {path: /readyz, port: status}, periodSeconds: 1},
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]},
        runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}";

#[test]
fn manifests_of_a_config_map_are_served() {
    let plane = PLANE.get();
    plane.run(async || {
        let namespace = plane.namespace("standalone").await;
        let node = start(&plane, &namespace).await;
        apply(&plane, &namespace, &echo_pod("", ""));
        ready(&plane, &namespace, "echo");
        let echo = node.address("echo").expect("it runs");
        let backend = format!("{echo}:8080").parse().expect("an address");
        let routes = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "routes"},
            "data": {"main.yaml": manifest::websocket("chat", "/ws", &[backend])},
        });
        apply(&plane, &namespace, &routes.to_string());
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: hawser}}, spec: {{
            automountServiceAccountToken: false, terminationGracePeriodSeconds: 10,
            volumes: [{{name: routes, configMap: {{name: routes}}}}],
            containers: [{{{CONTAINER}, args: [run, --manifests, /etc/routes, --status, '0.0.0.0:9101'],
            volumeMounts: [{{name: routes, mountPath: /etc/routes, readOnly: true}}]}}]}}}}"
        );
        apply(&plane, &namespace, &pod);
        ready(&plane, &namespace, "hawser");
        let address = node.address("hawser").expect("it runs");
        assert_eq!(who(&address).await.as_deref(), Some("echo"));
    });
}

/// A Hawser that watches the cluster, with rights of its own. Names of cluster-wide objects have the namespace in them.
fn in_cluster(namespace: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: hawser}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {namespace}}}
rules:
- {{apiGroups: [\"\"], resources: [services], verbs: [list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
- {{apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}}
- {{apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [patch]}}
- {{apiGroups: [hawser.dev], resources: [websocketroutes], verbs: [list, watch]}}
- {{apiGroups: [hawser.dev], resources: [websocketroutes/status], verbs: [patch]}}
- {{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}}
- {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}}}
subjects: [{{kind: ServiceAccount, name: hawser, namespace: {namespace}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: hawser}}
spec:
  selector: {{matchLabels: {{app: hawser}}}}
  template:
    metadata: {{labels: {{app: hawser}}}}
    spec: {{serviceAccountName: hawser, terminationGracePeriodSeconds: 10, containers: [{{{CONTAINER}, args: [run],
        env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]}}]}}
"
    )
}

#[test]
fn a_cluster_is_served_under_its_own_service_account() {
    let plane = PLANE.get();
    plane.install_crd();
    plane.share(manifest::CLASS);
    plane.run(async || {
        let namespace = plane.namespace("in-cluster").await;
        let client = plane.client().await;
        let node = start(&plane, &namespace).await;
        apply(&plane, &namespace, &echo(2, "", ""));
        apply(
            &plane,
            &namespace,
            &manifest::route("chat", "chat.test", "/ws", "echo", ""),
        );
        apply(&plane, &namespace, &in_cluster(&namespace));
        rolled_out(&plane, &namespace, "echo");
        ready_endpoints(&client, &namespace, 2).await;
        rolled_out(&plane, &namespace, "hawser");
        let chosen = [
            "get",
            "pods",
            "-n",
            &namespace,
            "-l",
            "app=hawser",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ];
        let pod = plane.kubectl(&chosen, "").text();
        let address = node.address(&pod).expect("it runs");
        let name = eventually("the route takes a WebSocket", async || who(&address).await).await;
        assert!(name.starts_with("echo-"), "{name}: {}", node.logs(&pod));
    });
}
