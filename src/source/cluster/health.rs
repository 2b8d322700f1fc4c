//! Which watches are open, as metrics and the log tell it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::kind::Kind;
use crate::telemetry::metrics::Metrics;

/// The same words come at most this often.
const REPEAT: Duration = Duration::from_mins(1);

/// Stands for all words about a lost API server.
const LOST: &str = "lost";

/// Different words that are remembered.
const MAX_WORDS: usize = 64;

/// The watches of a source.
pub(super) struct Health {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

struct State {
    watches: Vec<Watch>,
    /// Since when none or not all watches are open although the server should answer.
    lost: Option<(Instant, jiff::Timestamp)>,
    said: BTreeMap<String, Instant>,
}

struct Watch {
    kind: Kind,
    /// Open, or known to be of no use for now.
    fine: bool,
    open: bool,
    lost: bool,
}

impl Health {
    /// Of watches of these kinds.
    pub(super) fn new(kinds: impl Iterator<Item = Kind>, metrics: Arc<Metrics>) -> Self {
        let watch = |kind| Watch {
            kind,
            fine: false,
            open: false,
            lost: false,
        };
        let health = Self {
            metrics,
            state: Mutex::new(State {
                watches: kinds.map(watch).collect(),
                lost: None,
                said: BTreeMap::new(),
            }),
        };
        for kind in Kind::ALL {
            health.metrics.source().connected(kind.as_str(), false);
        }
        health
    }

    /// The server said something for this watch.
    pub(super) fn heard(&self, watch: usize) {
        self.metrics.source().heard(watch);
    }

    /// The watch is open.
    pub(super) fn opened(&self, watch: usize) {
        self.heard(watch);
        self.set(watch, true);
    }

    /// The watch is not open any more; whether the server is away, what follows tells.
    pub(super) fn ended(&self, watch: usize) {
        let mut state = self.state.lock();
        let Some(it) = state.watches.get_mut(watch) else {
            return;
        };
        it.open = false;
        let kind = it.kind;
        self.tell_metric(&state, kind);
    }

    /// The server answers, and there is nothing to watch.
    pub(super) fn answered(&self, watch: usize) {
        self.heard(watch);
        self.set(watch, false);
    }

    fn set(&self, watch: usize, open: bool) {
        let mut state = self.state.lock();
        let Some(it) = state.watches.get_mut(watch) else {
            return;
        };
        let same = it.fine && it.open == open && !it.lost;
        (it.fine, it.open, it.lost) = (true, open, false);
        let kind = it.kind;
        if same {
            return;
        }
        self.tell_metric(&state, kind);
        if state.lost.is_some() && state.watches.iter().all(|watch| !watch.lost) {
            if let Some((since, _)) = state.lost.take() {
                let seconds = since.elapsed().as_secs();
                // A blip is not worth a line unless there was one about it.
                if !state.said.is_empty() {
                    info!(seconds, "the API server answers again");
                }
            }
            state.said.clear();
        }
    }

    fn tell_metric(&self, state: &State, kind: Kind) {
        let mut watches = state.watches.iter().filter(|watch| watch.kind == kind);
        let all = watches.all(|watch| watch.open);
        self.metrics.source().connected(kind.as_str(), all);
    }

    /// The server cannot be asked. `live`: there is a table, or at least a list of this kind.
    pub(super) fn lost(&self, watch: usize, why: &str, live: bool) {
        let mut state = self.state.lock();
        let Some(it) = state.watches.get_mut(watch) else {
            return;
        };
        (it.fine, it.open, it.lost) = (false, false, true);
        let kind = it.kind;
        self.tell_metric(&state, kind);
        let (since, at) = *state
            .lost
            .get_or_insert_with(|| (Instant::now(), jiff::Timestamp::now()));
        // An outage has one line a minute, however many watches meet it and whatever they call it.
        if !state.may_say(LOST) {
            return;
        }
        let (seconds, at) = (since.elapsed().as_secs(), format!("{at:.0}"));
        if live {
            warn!(since = %at, seconds, "{why}; what is live stays");
        } else {
            warn!(since = %at, seconds, "{why}; not ready until every kind has been listed, trying on");
        }
    }

    /// What was said lately.
    #[cfg(test)]
    pub(super) fn words(&self) -> Vec<String> {
        self.state.lock().said.keys().cloned().collect()
    }

    /// Says something that is not about the connection, at most once a minute.
    pub(super) fn warn(&self, what: &str) {
        if self.state.lock().may_say(what) {
            warn!("{what}");
        }
    }
}

impl State {
    fn may_say(&mut self, what: &str) -> bool {
        let now = Instant::now();
        if let Some(last) = self.said.get_mut(what) {
            let due = now.duration_since(*last) >= REPEAT;
            if due {
                *last = now;
            }
            return due;
        }
        if self.said.len() >= MAX_WORDS {
            self.said
                .retain(|_, last| now.duration_since(*last) < REPEAT);
        }
        let room = self.said.len() < MAX_WORDS;
        if room {
            self.said.insert(what.to_owned(), now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(metrics: &Metrics, series: &str) -> Option<f64> {
        let text = metrics.encode();
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_words_come_once_a_minute() {
        let health = Health::new([Kind::Ingress].into_iter(), Metrics::new());
        let may_say = |what: &str| health.state.lock().may_say(what);
        assert!(may_say("a"));
        assert!(may_say("b"));
        assert!(!may_say("a"));
        tokio::time::advance(REPEAT).await;
        assert!(may_say("a"));
        let new = (0..MAX_WORDS * 2).filter(|number| may_say(&number.to_string()));
        assert!(new.count() < MAX_WORDS);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_has_one_line_a_minute() {
        let kinds = [Kind::Ingress, Kind::Service];
        let health = Health::new(kinds.into_iter(), Metrics::new());
        let said = || health.state.lock().said.clone();
        health.lost(0, "refused", true);
        let first = said();
        assert_eq!(first.len(), 1);
        tokio::time::advance(REPEAT / 2).await;
        health.lost(1, "no answer", true);
        assert_eq!(said(), first);
        tokio::time::advance(REPEAT / 2).await;
        health.lost(1, "no answer", true);
        assert_ne!(said(), first);
        health.opened(0);
        health.opened(1);
        assert!(said().is_empty(), "the next outage is told at once");
    }

    #[test]
    fn a_kind_is_connected_when_all_its_watches_are() {
        let metrics = Metrics::new();
        let kinds = [Kind::Ingress, Kind::Ingress];
        let health = Health::new(kinds.into_iter(), Arc::clone(&metrics));
        let connected = || sample(&metrics, r#"hawser_source_connected{kind="Ingress"}"#);
        assert_eq!(connected(), Some(0.0));
        health.opened(0);
        assert_eq!(connected(), Some(0.0));
        health.opened(1);
        assert_eq!(connected(), Some(1.0));
        health.lost(0, "gone", true);
        assert_eq!(connected(), Some(0.0));
        health.opened(0);
        assert_eq!(connected(), Some(1.0));
        health.ended(1);
        assert_eq!(connected(), Some(0.0));
        assert!(health.state.lock().said.len() < 2, "that is no outage");
        health.opened(1);
        assert_eq!(connected(), Some(1.0));
    }
}
