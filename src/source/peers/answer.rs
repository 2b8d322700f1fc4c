//! What this replica tells its peers.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use tokio::time::timeout;

use super::{
    Server,
    message::{CONNECTIONS, MAX_WAIT, News, SERVED},
};
use crate::{api::conditions::PROGRAMMED, translate::Verdict};

impl Server {
    /// Answers one request of another replica. The body of a refusal tells nothing.
    pub async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        if *request.method() != Method::GET {
            let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
            let allow = http::HeaderValue::from_static("GET");
            answer.headers_mut().insert(header::ALLOW, allow);
            return answer;
        }
        let Ok(_place) = self.places.try_acquire() else {
            return empty(StatusCode::SERVICE_UNAVAILABLE);
        };
        if !self.guard.admits(request.headers()).await {
            return empty(StatusCode::UNAUTHORIZED);
        }
        match request.uri().path() {
            SERVED => {
                let Some(asked) = Asked::read(request.uri().query().unwrap_or_default()) else {
                    return empty(StatusCode::BAD_REQUEST);
                };
                json(&self.served(&asked).await)
            }
            CONNECTIONS => json(&self.connections()),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    async fn served(&self, asked: &Asked) -> News {
        let known = asked.epoch == self.epoch;
        if known && !asked.wait.is_zero() {
            let mut moved = self.verdicts.subscribe();
            let news = moved.wait_for(|cursor| *cursor != asked.cursor);
            // Nothing new within the time is an answer, too.
            let _ = timeout(asked.wait, news).await;
        }
        let moves = self.verdicts.after(if known { asked.cursor } else { 0 });
        let mut answer = News {
            epoch: self.epoch.clone(),
            cursor: moves.cursor,
            complete: moves.complete,
            served: Vec::new(),
            gone: Vec::new(),
        };
        for verdict in &moves.changed {
            let version = &verdict.version;
            if version.uid.is_empty() {
                continue;
            }
            if serves(verdict) {
                answer
                    .served
                    .push((version.uid.clone(), version.generation));
            } else if !moves.complete {
                answer.gone.push(version.uid.clone());
            }
        }
        let gone = moves.gone.into_iter().map(|(_, version)| version.uid);
        answer.gone.extend(gone.filter(|uid| !uid.is_empty()));
        answer
    }

    fn connections(&self) -> BTreeMap<String, u64> {
        let open = (self.connections)();
        open.into_iter()
            .map(|(id, number)| {
                let name = format!("{}/{}/{}", id.kind.as_str(), id.namespace, id.name);
                (name, number)
            })
            .collect()
    }
}

fn serves(verdict: &Verdict) -> bool {
    verdict.ours
        && verdict
            .conditions
            .iter()
            .any(|condition| condition.type_ == PROGRAMMED && condition.status)
}

/// What was asked for.
struct Asked {
    epoch: String,
    cursor: u64,
    wait: Duration,
}

impl Asked {
    fn read(query: &str) -> Option<Self> {
        let mut asked = Self {
            epoch: String::new(),
            cursor: 0,
            wait: Duration::from_secs(MAX_WAIT),
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "epoch" => asked.epoch = value.into_owned(),
                "cursor" => asked.cursor = value.parse().ok()?,
                "wait" => {
                    let seconds: u64 = value.parse().ok()?;
                    asked.wait = Duration::from_secs(seconds.min(MAX_WAIT));
                }
                _ => {}
            }
        }
        Some(asked)
    }
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = status;
    answer
}

fn json(value: &impl serde::Serialize) -> Response<Bytes> {
    let Ok(body) = serde_json::to_vec(value) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut answer = Response::new(Bytes::from(body));
    let kind = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
