//! What the log and the metrics say about writes.

use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::writer::{Answer, Write, resource};
use crate::telemetry::metrics::Metrics;

/// The same thing is told once in this time.
const ONCE: Duration = Duration::from_mins(1);

/// Things that were told. One per namespace and kind at most; further ones wait for room.
const MAX_TOLD: usize = 256;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<String, Instant>);

impl Told {
    /// Tells how a write went.
    pub(super) fn answer(&mut self, metrics: &Metrics, write: &Write, answer: &Answer) {
        metrics
            .status()
            .write(&write.object.kind, write.manager, answer.label());
        let object = &write.object;
        match answer {
            Answer::Done => debug!(%object, manager = write.manager, "status is written"),
            Answer::Gone => debug!(%object, "gone before its status was written"),
            Answer::Conflict => {
                metrics.status().retry();
                debug!(%object, "changed while its status was written, trying again");
            }
            Answer::Forbidden(message) => {
                metrics.status().retry();
                let (resource, _) = resource(object);
                let namespace = &object.namespace;
                if self.first(format!("forbidden {resource} {namespace}")) {
                    warn!(
                        verb = "patch", %resource, %namespace, answer = %message,
                        "may not write statuses: grant this verb in a ClusterRole or Role; trying again, once a minute in the end"
                    );
                }
            }
            Answer::Invalid(message) => warn!(
                %object, manager = write.manager, answer = %message,
                "the API server refuses the status, and nothing is tried until the object changes; if the CRD is \
                 older than this Hawser, apply the output of `hawser crd`"
            ),
            Answer::Throttled(wait) => {
                metrics.status().retry();
                metrics.status().throttled();
                if self.first("throttled".to_owned()) {
                    warn!(
                        ?wait,
                        "the API server asks for fewer requests: statuses come later"
                    );
                }
            }
            Answer::Failed(error) | Answer::Down(error) => {
                metrics.status().retry();
                if self.first("failed".to_owned()) {
                    warn!(%object, %error, "statuses cannot be written, trying again; traffic is not affected");
                }
            }
        }
    }

    /// Whether this was not told in the last minute.
    fn first(&mut self, what: String) -> bool {
        let now = Instant::now();
        self.0.retain(|_, at| now < *at + ONCE);
        if self.0.contains_key(&what) || self.0.len() >= MAX_TOLD {
            return false;
        }
        self.0.insert(what, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_a_minute() {
        let mut told = Told::default();
        assert!(told.first("a".to_owned()));
        assert!(!told.first("a".to_owned()));
        assert!(told.first("b".to_owned()));
        tokio::time::advance(ONCE).await;
        assert!(told.first("a".to_owned()));
    }

    #[test]
    fn it_is_bounded() {
        let mut told = Told::default();
        let count = (0..2 * MAX_TOLD).filter(|n| told.first(n.to_string()));
        assert_eq!(count.count(), MAX_TOLD);
    }
}
