//! What the status of a `WebSocketRoute` should say, against what it says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::judge::Judgement;
use crate::{
    api::conditions::{
        ACCEPTED, PARTIALLY_INVALID, PROGRAMMED, RESOLVED_REFS, accepted, programmed, resolved_refs,
    },
    source::cluster::{StoredCondition, StoredRoute},
    translate::Verdict,
};

/// The types that Hawser writes, in the order in which they decide `status.reason`.
const OURS: [&str; 4] = [ACCEPTED, RESOLVED_REFS, PROGRAMMED, PARTIALLY_INVALID];

/// Longest message, in characters, as the CRD has it.
const MAX_MESSAGE: usize = 32_768;

/// What the field manager `hawser` says about a `WebSocketRoute`. The default is nothing at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RouteStatus {
    /// `status.observedGeneration`.
    observed_generation: Option<i64>,
    /// `status.reason`.
    reason: Option<Box<str>>,
    /// Conditions of our types, in the order of `OURS`.
    conditions: Vec<StoredCondition>,
}

impl RouteStatus {
    /// What is stored, without the conditions of other writers.
    pub(super) fn stored(stored: &StoredRoute) -> Self {
        let find = |type_: &&str| {
            let mut conditions = stored.conditions.iter();
            conditions.find(|known| *known.type_ == **type_).cloned()
        };
        Self {
            observed_generation: stored.observed_generation,
            reason: stored.reason.clone(),
            conditions: OURS.iter().filter_map(find).collect(),
        }
    }

    /// What a verdict and the judgement about Programmed make of it. `now` counts only where a status flips.
    pub(super) fn desired(
        verdict: &Verdict,
        programmed: Judgement,
        before: &Self,
        now: &Time,
    ) -> Self {
        let generation = verdict.version.generation;
        let mut programmed = Some((programmed.status, programmed.reason, programmed.message));
        let mut reason = None;
        let mut conditions = Vec::with_capacity(OURS.len());
        for type_ in OURS {
            let known = verdict.conditions.iter().find(|known| known.type_ == type_);
            let Some((status, why, message)) = (if type_ == PROGRAMMED {
                programmed.take()
            } else {
                known.map(|known| (known.status, known.reason, known.message.clone()))
            }) else {
                continue;
            };
            if !good(why) {
                reason.get_or_insert(why);
            }
            let status = if status { "True" } else { "False" };
            let since = before.condition(type_).filter(|c| *c.status == *status);
            conditions.push(StoredCondition {
                type_: type_.into(),
                status: status.into(),
                reason: why.into(),
                message: cut(message).into(),
                observed_generation: Some(generation),
                since: since.map_or(now, |before| &before.since).clone(),
            });
        }
        Self {
            observed_generation: Some(generation),
            reason: Some(reason.unwrap_or(programmed::PROGRAMMED).into()),
            conditions,
        }
    }

    /// A condition of ours.
    pub(super) fn condition(&self, type_: &str) -> Option<&StoredCondition> {
        self.conditions.iter().find(|known| *known.type_ == *type_)
    }

    /// Whether it says anything.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The `status` of an apply: everything that the manager says, for what an apply leaves out is removed.
    pub(super) fn body(&self) -> Value {
        if self.is_empty() {
            return json!({});
        }
        let conditions: Vec<Value> = self.conditions.iter().map(condition).collect();
        json!({
            "observedGeneration": self.observed_generation,
            "reason": self.reason,
            "conditions": conditions,
        })
    }
}

/// Whether two statuses say the same; times are no part of it.
pub(super) fn same(a: &RouteStatus, b: &RouteStatus) -> bool {
    let plain = |condition: &StoredCondition| StoredCondition {
        since: Time(jiff::Timestamp::UNIX_EPOCH),
        ..condition.clone()
    };
    a.observed_generation == b.observed_generation
        && a.reason == b.reason
        && a.conditions.len() == b.conditions.len()
        && a.conditions
            .iter()
            .zip(&b.conditions)
            .all(|(a, b)| plain(a) == plain(b))
}

fn condition(condition: &StoredCondition) -> Value {
    json!({
        "type": condition.type_,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": condition.observed_generation,
        "lastTransitionTime": condition.since,
    })
}

fn good(reason: &str) -> bool {
    [
        accepted::ACCEPTED,
        resolved_refs::RESOLVED_REFS,
        programmed::PROGRAMMED,
    ]
    .contains(&reason)
}

fn cut(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests;
