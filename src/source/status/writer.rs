//! One write: a server-side apply to the status subresource, and what the API server makes of it.

use std::time::Duration;

use http::{StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Limited};
use kube::{
    api::{Patch, PatchParams, Request},
    core::response::Status,
};
use serde_json::{Value, json};

use super::queue::Lane;
use crate::{
    api::{ObjectKey, WebSocketRoute},
    source::cluster::{self, Cluster},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Resource;

/// Longest time of one write. The API server's own limit is a minute: too long for a queue.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer is one object, which etcd limits to about this.
const MAX_ANSWER: usize = 4 << 20;

/// A write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    /// The object.
    pub(super) object: ObjectKey,
    /// Its UID: an object of the same name that came later must not get this status.
    pub(super) uid: String,
    /// Its `resourceVersion`, so that a write that is late conflicts: the API server compares no UIDs here.
    pub(super) resource_version: Box<str>,
    /// Who writes, without the name of the install.
    pub(super) manager: &'static str,
    /// Everything that this manager says.
    pub(super) status: Value,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is stored.
    Done,
    /// There is no such object.
    Gone,
    /// It is another object by now, or somebody wrote at the same time.
    Conflict,
    /// Hawser may not.
    Forbidden(String),
    /// The API server will never take it.
    Invalid(String),
    /// Too many requests; come back after so long.
    Throttled(Option<Duration>),
    /// The API server failed with this object, or did not answer in time.
    Failed(String),
    /// It cannot be reached, or knows nobody: no write can work.
    Down(String),
}

impl Answer {
    /// The label `result`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::Gone => "gone",
            Self::Conflict => "conflict",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid(_) => "invalid",
            Self::Throttled(_) => "throttled",
            Self::Failed(_) | Self::Down(_) => "failed",
        }
    }
}

/// The field manager of a lane.
pub(super) fn manager(lane: Lane) -> &'static str {
    match lane {
        Lane::Conditions | Lane::Addresses => cluster::CONDITIONS,
        Lane::Counts => cluster::COUNTS,
    }
}

/// The resource of an object, as RBAC calls it, and the path of its collection.
pub(super) fn resource(object: &ObjectKey) -> (String, String) {
    let namespace = Some(object.namespace.as_str());
    if object.kind == "Ingress" {
        (
            "ingresses/status.networking.k8s.io".to_owned(),
            Ingress::url_path(&(), namespace),
        )
    } else {
        (
            "websocketroutes/status.hawser.dev".to_owned(),
            WebSocketRoute::url_path(&(), namespace),
        )
    }
}

/// Writes.
pub(super) async fn apply(cluster: &Cluster, write: &Write) -> Answer {
    match tokio::time::timeout(TIMEOUT, send(cluster, write)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::Down(error),
        Err(_) => Answer::Failed(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn send(cluster: &Cluster, write: &Write) -> Result<Answer, String> {
    let (_, path) = resource(&write.object);
    let params = PatchParams::apply(&cluster.managers.name(write.manager)).force();
    let request = Request::new(path)
        .patch_subresource(
            "status",
            &write.object.name,
            &params,
            &Patch::Apply(body(write)),
        )
        .map_err(|error| error.to_string())?;
    let response = cluster.client.send(request.map(Into::into)).await;
    let (head, body) = response.map_err(|error| tell(&error))?.into_parts();
    // Read to its end, or the connection could not be used again.
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    if head.status.is_success() {
        return Ok(Answer::Done);
    }
    let status: Status = serde_json::from_slice(&body).unwrap_or_default();
    let seconds = head.headers.get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(classify(head.status, status.message, seconds))
}

/// What an answer means.
fn classify(status: StatusCode, message: String, retry_after: Option<u64>) -> Answer {
    // A server that asks for an hour is not obeyed for so long: it may be up again in a second.
    let wait = retry_after.map(|seconds| Duration::from_secs(seconds.min(60)));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Answer::Gone,
        StatusCode::CONFLICT => Answer::Conflict,
        StatusCode::FORBIDDEN => Answer::Forbidden(message),
        StatusCode::TOO_MANY_REQUESTS => Answer::Throttled(wait),
        StatusCode::SERVICE_UNAVAILABLE if wait.is_some() => Answer::Throttled(wait),
        // Credentials expire and come back: no fault of the object.
        StatusCode::UNAUTHORIZED
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Down(format!("{status}: {message}")),
        StatusCode::REQUEST_TIMEOUT => Answer::Failed(format!("{status}: {message}")),
        status if status.is_client_error() => Answer::Invalid(message),
        status => Answer::Failed(format!("{status}: {message}")),
    }
}

fn body(write: &Write) -> Value {
    let ObjectKey {
        kind,
        namespace,
        name,
    } = &write.object;
    let version = if kind == "Ingress" {
        Ingress::api_version(&())
    } else {
        WebSocketRoute::api_version(&())
    };
    let mut body = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": write.uid,
            "resourceVersion": write.resource_version,
        },
    });
    // An empty status would still be owned.
    let says_something = write
        .status
        .as_object()
        .is_some_and(|status| !status.is_empty());
    if says_something && let Some(fields) = body.as_object_mut() {
        fields.insert("status".to_owned(), write.status.clone());
    }
    body
}

/// An error with its causes: "service error" alone helps nobody.
fn tell(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(404, None, "gone")]
    #[case(409, None, "conflict")]
    #[case(403, None, "forbidden")]
    #[case(401, None, "failed")]
    #[case(422, None, "invalid")]
    #[case(400, None, "invalid")]
    #[case(429, Some(2), "throttled")]
    #[case(503, Some(1), "throttled")]
    #[case(503, None, "failed")]
    #[case(500, None, "failed")]
    fn answers(#[case] status: u16, #[case] retry_after: Option<u64>, #[case] label: &str) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(classify(status, String::new(), retry_after).label(), label);
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let wait = |seconds| classify(StatusCode::TOO_MANY_REQUESTS, String::new(), seconds);
        assert_eq!(
            wait(Some(2)),
            Answer::Throttled(Some(Duration::from_secs(2)))
        );
        assert_eq!(
            wait(Some(9_999)),
            Answer::Throttled(Some(Duration::from_mins(1)))
        );
    }

    #[test]
    fn an_apply_names_the_object_that_it_means() {
        let write = Write {
            object: ObjectKey {
                kind: "WebSocketRoute".to_owned(),
                namespace: "shop".to_owned(),
                name: "chat".to_owned(),
            },
            uid: "u-1".to_owned(),
            resource_version: "7".into(),
            manager: "hawser",
            status: json!({}),
        };
        let body = body(&write);
        assert_eq!(body["apiVersion"], "hawser.dev/v1alpha1");
        assert_eq!(body["metadata"]["uid"], "u-1");
        assert_eq!(body["metadata"]["resourceVersion"], "7");
        assert_eq!(
            body.get("status"),
            None,
            "nothing is said, nothing is owned"
        );
        let (resource, path) = resource(&write.object);
        assert_eq!(resource, "websocketroutes/status.hawser.dev");
        assert_eq!(
            path,
            "/apis/hawser.dev/v1alpha1/namespaces/shop/websocketroutes"
        );
    }
}
