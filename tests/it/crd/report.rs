//! The status of a route, written by hand as Hawser writes it.

use serde_json::{Value, json};

use crate::kit::control_plane::Handle;

/// What the field manager `hawser` writes.
fn conditions(programmed: bool) -> Value {
    let (status, reason) = if programmed {
        ("True", "Programmed")
    } else {
        ("False", "Pending")
    };
    let condition = |type_: &str, status: &str, reason: &str| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    json!({
        "observedGeneration": 1,
        "reason": reason,
        "conditions": [
            condition("Accepted", "True", "Accepted"),
            condition("ResolvedRefs", "True", "ResolvedRefs"),
            condition("Programmed", status, reason),
        ],
    })
}

/// What the field manager `hawser-counts` writes.
fn counts() -> Value {
    json!({
        "endpoints": {"ready": 3, "total": 3, "summary": "3/3"},
        "connections": {"active": 1204},
    })
}

/// The whole status.
pub(super) fn status(programmed: bool) -> Value {
    let mut status = conditions(programmed);
    let fields = status.as_object_mut().expect("an object");
    fields.extend(counts().as_object().expect("an object").clone());
    status
}

/// Writes it: by server-side apply, conditions and counts apart.
pub(super) fn report(plane: &Handle, namespace: &str, programmed: bool) {
    for (manager, status) in [
        ("hawser", conditions(programmed)),
        ("hawser-counts", counts()),
    ] {
        let apply = json!({
            "apiVersion": "hawser.dev/v1alpha1", "kind": "WebSocketRoute",
            "metadata": {"name": "chat", "namespace": namespace}, "status": status,
        });
        let manager = format!("--field-manager={manager}");
        let args = [
            "apply",
            "--server-side",
            "--subresource=status",
            &manager,
            "-f",
            "-",
        ];
        plane.kubectl(&args, &apply.to_string()).text();
    }
}
