//! The result of a translation for people: what golden files hold. Settings that nobody set are left out.

use std::collections::BTreeMap;

use hawser::{
    ir::{Backend, Candidate, Config, Explanation, Route, Traffic},
    translate::{Output, Verdict},
};
use serde::Serialize;

/// The whole output, as YAML.
pub(super) fn output(output: &Output) -> String {
    let view = View {
        config: ConfigView::new(&output.config),
        verdicts: output
            .verdicts
            .iter()
            .map(|verdict| (verdict.object.to_string(), VerdictView::new(verdict)))
            .collect(),
    };
    serde_saphyr::to_string(&view).expect("YAML")
}

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    config: ConfigView,
    verdicts: BTreeMap<String, VerdictView>,
}

/// What is served.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ConfigView {
    hosts: BTreeMap<String, HostView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<RouteView>,
    backends: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, PartialEq, Serialize)]
struct HostView {
    candidates: Vec<CandidateView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<RouteView>,
}

#[derive(Debug, PartialEq, Serialize)]
struct CandidateView {
    path: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<&'static str>,
    #[serde(flatten)]
    route: RouteView,
}

#[derive(Debug, PartialEq, Serialize)]
struct RouteView {
    route: String,
    to: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    policy: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct VerdictView {
    ours: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl ConfigView {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            hosts: config
                .hosts
                .iter()
                .map(|(host, routes)| {
                    let view = HostView {
                        candidates: routes.candidates.iter().map(CandidateView::new).collect(),
                        default: routes.default.as_deref().map(RouteView::new),
                    };
                    (host.to_string(), view)
                })
                .collect(),
            fallback: config.fallback.as_deref().map(RouteView::new),
            backends: config
                .backends
                .iter()
                .map(|(id, backend)| (id.to_string(), endpoints(backend)))
                .collect(),
        }
    }
}

impl CandidateView {
    fn new(candidate: &Candidate) -> Self {
        Self {
            path: candidate.path.to_string(),
            headers: candidate
                .headers
                .iter()
                .map(|header| format!("{}: {}", header.name, header.value))
                .collect(),
            query: candidate
                .query
                .iter()
                .map(|query| format!("{}={}", query.name, query.value))
                .collect(),
            traffic: (candidate.traffic == Traffic::Handshakes).then_some("handshakes"),
            route: RouteView::new(&candidate.route),
        }
    }
}

impl RouteView {
    fn new(route: &Route) -> Self {
        let explained = Explanation::new(route, None);
        let default_response = |value: &str| value == "5m";
        let policy = explained.policy.into_iter().filter(|line| {
            line.origin != "default"
                || (line.name == "timeouts.response" && !default_response(&line.value))
        });
        Self {
            route: route.id.to_string(),
            to: explained.backends,
            policy: policy
                .map(|line| (line.name, format!("{} ({})", line.value, line.origin)))
                .collect(),
        }
    }
}

impl VerdictView {
    fn new(verdict: &Verdict) -> Self {
        let condition = |it: &hawser::translate::Condition| {
            let status = if it.status { "True" } else { "False" };
            let line = format!("{}={status} {}: {}", it.type_, it.reason, it.message);
            line.trim_end_matches(": ").to_owned()
        };
        Self {
            ours: verdict.ours,
            conditions: verdict.conditions.iter().map(condition).collect(),
            warnings: verdict.warnings.clone(),
        }
    }
}

fn endpoints(backend: &Backend) -> Vec<String> {
    let lines = backend.endpoints.iter().map(|endpoint| {
        let words = [
            (endpoint.ready, " ready"),
            (endpoint.serving, " serving"),
            (endpoint.terminating, " terminating"),
        ];
        let words = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
        format!("{}{}", endpoint.address, words.collect::<String>())
    });
    lines.collect()
}
