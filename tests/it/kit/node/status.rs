//! The status of a Pod, as a kubelet writes it.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::super::control_plane::ADDRESS;

/// This moment, as the API writes it.
pub(super) fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What a Pod's status is made of.
pub(super) struct Status {
    pub(super) name: String,
    pub(super) container: String,
    pub(super) image: String,
    pub(super) address: Option<String>,
    pub(super) phase: &'static str,
    pub(super) message: String,
    pub(super) started: bool,
    pub(super) ready: bool,
    pub(super) restarts: u32,
    /// `waiting`, `running` or `terminated` with its content.
    pub(super) state: Value,
    pub(super) last: Value,
    since: String,
    flipped: (bool, String),
    sent: Value,
}

impl Status {
    pub(super) fn new(name: String, container: String, image: String) -> Self {
        Self {
            name,
            container,
            image,
            address: None,
            phase: "Pending",
            message: String::new(),
            started: false,
            ready: false,
            restarts: 0,
            state: json!({"waiting": {"reason": "ContainerCreating"}}),
            last: json!({}),
            since: now(),
            flipped: (false, now()),
            sent: Value::Null,
        }
    }

    /// Writes it if it differs from what was written; tries again at the next call if that fails.
    pub(super) async fn send(&mut self, pods: &Api<Pod>) {
        if self.flipped.0 != self.ready {
            self.flipped = (self.ready, now());
        }
        let condition = |kind: &str, status: bool, since: &str| {
            let text = if status { "True" } else { "False" };
            json!({"type": kind, "status": text, "lastTransitionTime": since})
        };
        let ready = |kind| condition(kind, self.ready, &self.flipped.1);
        let mut status = json!({
            "phase": self.phase, "message": self.message,
            "hostIP": ADDRESS, "hostIPs": [{"ip": ADDRESS}], "startTime": self.since,
            "conditions": [
                condition("PodScheduled", true, &self.since), condition("Initialized", true, &self.since),
                ready("ContainersReady"), ready("Ready"),
            ],
            "containerStatuses": [{
                "name": self.container, "image": self.image, "imageID": self.image, "ready": self.ready,
                "started": self.started, "restartCount": self.restarts, "state": self.state, "lastState": self.last,
            }],
        });
        if let Some(address) = &self.address {
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{"ip": address}]);
        }
        if status == self.sent {
            return;
        }
        let patch = Patch::Strategic(json!({"status": status}));
        let parameters = PatchParams::default();
        if pods
            .patch_status(&self.name, &parameters, &patch)
            .await
            .is_ok()
        {
            self.sent = status;
        }
    }
}
