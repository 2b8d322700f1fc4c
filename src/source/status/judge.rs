//! Whether an object is Programmed: a pure function of what is stored, what the replicas serve, and the time.
//!
//! Invariant: what was once reported true for a generation stays true, whichever replicas come, go or vanish.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    api::conditions::programmed::{NO_VALID_RULE, PENDING, PROGRAMMED, REPLICA_UNREACHABLE},
    ir::ObjectVersion,
    source::peers::{Reached, Replica},
};

/// How long after a change all replicas may take before one of them is reported.
const PATIENCE: Duration = Duration::from_secs(2);

/// A replica that cannot be reached for so long no longer counts.
pub(super) const UNREACHABLE: Duration = Duration::from_mins(1);

/// Names of replicas in a message.
const NAMED: usize = 3;

/// What is known about an object and about the replicas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The version that is live here.
    pub(super) version: &'a ObjectVersion,
    /// Why no rule of it can be served, if so.
    pub(super) dead: Option<&'a str>,
    /// The condition as it is stored for this object.
    pub(super) stored: Option<Stored<'a>>,
    /// Since when this version is live here.
    pub(super) since: Instant,
    /// The other replicas.
    pub(super) replicas: &'a [Replica],
}

/// A stored condition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'a> {
    /// The generation that it is about.
    pub(super) generation: Option<i64>,
    /// True.
    pub(super) status: bool,
    /// Its reason.
    pub(super) reason: &'a str,
    /// Its message.
    pub(super) message: &'a str,
}

/// What to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    /// The condition.
    pub(super) status: bool,
    /// Its reason.
    pub(super) reason: &'static str,
    /// Its message.
    pub(super) message: String,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What to report; `None`: wait, and report nothing about this object yet.
    pub(super) judgement: Option<Judgement>,
    /// No replica can change it any more.
    pub(super) settled: bool,
    /// Judge again then, whatever happens.
    pub(super) again: Option<Instant>,
}

/// Judges an object.
pub(super) fn judge(facts: Facts<'_>, now: Instant) -> Outcome {
    if let Some(message) = facts.dead {
        return Outcome::settled(Judgement::new(false, NO_VALID_RULE, message));
    }
    let generation = Some(facts.version.generation);
    let stored = facts
        .stored
        .filter(|stored| stored.generation == generation);
    let replicas = Replicas::look(facts, now);
    let settled = match stored {
        Some(stored) if stored.status && stored.reason == REPLICA_UNREACHABLE => {
            if !replicas.missing.is_empty() || !replicas.gone.is_empty() {
                // Not judged again until every replica that counts serves it.
                let kept = Judgement::new(true, REPLICA_UNREACHABLE, stored.message);
                return Outcome::open(Some(kept), None);
            }
            true
        }
        Some(stored) => stored.status,
        None => false,
    };
    if settled || (replicas.missing.is_empty() && replicas.gone.is_empty()) {
        return Outcome::settled(Judgement::new(true, PROGRAMMED, ""));
    }
    if replicas.missing.is_empty() {
        let message = format!(
            "every replica that can be reached serves it; {} cannot be reached for {} s and no longer counts",
            names(&replicas.gone),
            UNREACHABLE.as_secs()
        );
        let judgement = Judgement::new(true, REPLICA_UNREACHABLE, &message);
        return Outcome::open(Some(judgement), None);
    }
    let pending = stored.filter(|stored| stored.reason == PENDING);
    let patience = facts.since + PATIENCE;
    if pending.is_none() && now < patience {
        let again = replicas.given_up_at.map_or(patience, |at| at.min(patience));
        return Outcome::open(None, Some(again));
    }
    // A message whose replicas still lag is kept, or every replica that catches up would cost a write.
    let kept = pending.filter(|pending| {
        let said = |name: &&Arc<str>| pending.message.contains(&***name);
        replicas.missing.iter().any(said)
    });
    let message = kept.map_or_else(
        || format!("not served yet by {}", names(&replicas.missing)),
        |pending| pending.message.to_owned(),
    );
    let judgement = Judgement::new(false, PENDING, &message);
    Outcome::open(Some(judgement), replicas.given_up_at)
}

impl Judgement {
    fn new(status: bool, reason: &'static str, message: &str) -> Self {
        Self {
            status,
            reason,
            message: message.to_owned(),
        }
    }
}

impl Outcome {
    fn settled(judgement: Judgement) -> Self {
        Self {
            judgement: Some(judgement),
            settled: true,
            again: None,
        }
    }

    fn open(judgement: Option<Judgement>, again: Option<Instant>) -> Self {
        Self {
            judgement,
            settled: false,
            again,
        }
    }
}

/// Replicas that do not serve the object.
#[derive(Default)]
struct Replicas<'a> {
    /// They count: they lag, or cannot be reached since a short time.
    missing: Vec<&'a Arc<str>>,
    /// They cannot be reached for so long that they do not count.
    gone: Vec<&'a Arc<str>>,
    /// When the next of `missing` becomes one of `gone`.
    given_up_at: Option<Instant>,
}

impl<'a> Replicas<'a> {
    fn look(facts: Facts<'a>, now: Instant) -> Self {
        let mut found = Self::default();
        for replica in facts.replicas {
            let served = replica.served.get(&facts.version.uid);
            // What a replica said before it was lost still holds: generations only grow.
            if served.is_some_and(|served| *served >= facts.version.generation) {
                continue;
            }
            match replica.reached {
                Reached::NoSince(since) if now >= since + UNREACHABLE => {
                    found.gone.push(&replica.name);
                }
                Reached::NoSince(since) => {
                    let at = since + UNREACHABLE;
                    found.given_up_at = Some(found.given_up_at.map_or(at, |known| known.min(at)));
                    found.missing.push(&replica.name);
                }
                Reached::Yes => found.missing.push(&replica.name),
            }
        }
        found.missing.sort_unstable();
        found.gone.sort_unstable();
        found
    }
}

fn names(replicas: &[&Arc<str>]) -> String {
    let named: Vec<&str> = replicas.iter().take(NAMED).map(|name| &***name).collect();
    let more = replicas.len().saturating_sub(NAMED);
    let named = named.join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

#[cfg(test)]
mod tests;
