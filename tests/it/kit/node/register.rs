//! Node objects, their heartbeat, and the binding of Pods to them.

use std::time::Duration;

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{super::control_plane::ADDRESS, Shared, status::now};

/// Makes the Node object, ready.
pub(super) async fn node(client: &Client, name: &str, zone: usize) {
    let nodes: Api<Node> = Api::all(client.clone());
    let capacity = json!({"cpu": "64", "memory": "64Gi", "pods": "1000"});
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": format!("zone-{zone}"),
        }},
        "status": {
            "capacity": capacity, "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": ADDRESS}],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                "lastHeartbeatTime": now(), "lastTransitionTime": now(),
            }],
        },
    });
    let object: Node = serde_json::from_value(object).expect("a Node");
    match nodes.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => {
            made.expect("the Node is made");
        }
    }
}

/// Without it kube-controller-manager takes the node for dead after 50 s and evicts its Pods.
pub(super) async fn heartbeat(client: &Client, name: &str) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let parameters = PatchParams::apply("node").force();
    loop {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": time.to_string()},
        });
        // Also fails until the namespace exists.
        let done = leases.patch(name, &parameters, &Patch::Apply(lease)).await;
        let pause = if done.is_ok() { 10 } else { 1 };
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
}

/// Binds a Pod to the next node whose labels its `nodeSelector` wants; a Pod of a `DaemonSet` to the one it names.
pub(super) async fn bind(shared: &Shared, pod: &Pod) {
    let deleted = pod.metadata.deletion_timestamp.is_some();
    let selector = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.node_selector.as_ref());
    let fits = |node: &(usize, &String)| {
        selector
            .into_iter()
            .flatten()
            .all(|(key, value)| match key.as_str() {
                "kubernetes.io/hostname" => value == node.1,
                "kubernetes.io/os" => value == "linux",
                "topology.kubernetes.io/zone" => *value == format!("zone-{}", node.0 + 1),
                _ => false,
            })
    };
    let named = daemon_node(pod);
    let fits =
        |node: &(usize, &String)| fits(node) && named.as_ref().is_none_or(|name| name == node.1);
    let fitting: Vec<_> = shared.nodes.iter().enumerate().filter(fits).collect();
    if fitting.is_empty() || deleted {
        return;
    }
    let node = fitting[shared.next() % fitting.len()].1;
    let name = pod.name_any();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    // Somebody else may have bound or deleted it since.
    let _: Result<serde_json::Value, _> = shared
        .api()
        .create_subresource("binding", &name, &PostParams::default(), &binding)
        .await;
}

/// The node that the `DaemonSet` controller made a Pod for.
fn daemon_node(pod: &Pod) -> Option<String> {
    let affinity = pod
        .spec
        .as_ref()?
        .affinity
        .as_ref()?
        .node_affinity
        .as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let field = required
        .node_selector_terms
        .first()?
        .match_fields
        .as_ref()?
        .first()?;
    (field.key == "metadata.name").then(|| field.values.as_ref()?.first().cloned())?
}
