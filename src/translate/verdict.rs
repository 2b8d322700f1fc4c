//! What became of each object, in the words of the contract.

use std::{sync::Arc, time::Duration};

use super::{
    backend::Unresolved,
    defaults::Defaults,
    fault::{Cut, Fault, Listed, Quoted, Reason},
    member::Member,
    prepare::{RouteObject, Rule},
};
use crate::{
    api::{
        self,
        conditions::{
            ACCEPTED, PARTIALLY_INVALID, PROGRAMMED, RESOLVED_REFS, accepted, programmed,
            resolved_refs,
        },
    },
    ir::{self, HostPattern, ObjectId, Origin, PathMatch},
};

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The object.
    pub object: api::ObjectKey,
    /// Its version.
    #[serde(skip)]
    pub version: ir::ObjectVersion,
    /// Every backend that its rules refer to, each once.
    #[serde(skip)]
    pub backends: Vec<ir::BackendId>,
    /// False: another controller's, and nothing else is said about it.
    pub ours: bool,
    /// `Accepted`, `ResolvedRefs` and, while true, `PartiallyInvalid`. `Programmed` is the source's to add, except where
    /// it can never be true: then it is here, with the reason `NoValidRule`.
    pub conditions: Vec<Condition>,
    /// Things to tell the user that are no condition (unknown annotation, ignored FQDN slice, ...).
    pub warnings: Vec<String>,
}

/// A condition, as in Kubernetes, without times.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Condition {
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `PartiallyInvalid`.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// True or False; these words in JSON.
    #[serde(serialize_with = "in_words")]
    pub status: bool,
    /// A word of the closed list (contract).
    pub reason: &'static str,
    /// For people: names the rule and the field. Empty where all is well.
    pub message: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn in_words<S: serde::Serializer>(status: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *status { "True" } else { "False" })
}

impl Condition {
    fn new(type_: &'static str, status: bool, reason: &'static str, message: String) -> Self {
        Self {
            type_,
            status,
            reason,
            message,
        }
    }

    fn good(type_: &'static str, reason: &'static str) -> Self {
        Self::new(type_, true, reason, String::new())
    }
}

/// The verdict of another controller's object.
pub(super) fn foreign(object: &RouteObject) -> Verdict {
    Verdict {
        object: key(&object.id),
        version: object.version.clone(),
        backends: Vec::new(),
        ours: false,
        conditions: Vec::new(),
        warnings: Vec::new(),
    }
}

/// The object, as sources name it.
pub(super) fn key(id: &ObjectId) -> api::ObjectKey {
    api::ObjectKey {
        kind: id.kind.as_str().to_owned(),
        namespace: String::from(&*id.namespace),
        name: String::from(&*id.name),
    }
}

/// What became of the claims of an object.
struct Outcome {
    /// Whether any of it is served.
    live: bool,
    /// Rules, or matches of rules, that lost to an older claim.
    conflicts: Listed<Fault>,
}

fn outcome<'a>(
    object: &RouteObject,
    winner: impl Fn(&HostPattern, &PathMatch) -> Option<&'a ObjectId>,
    defaults: &'a Defaults,
) -> Outcome {
    let mut outcome = Outcome {
        live: !object.bare_hosts.is_empty(),
        conflicts: Listed::default(),
    };
    for rule in &object.rules {
        for host in rule.hosts.iter() {
            for matched in &rule.matches {
                let Some(winner) = winner(host, &matched.path) else {
                    outcome.live = true;
                    continue;
                };
                let field = rule.match_field(matched.item);
                let message = conflict(host, &matched.path, winner);
                outcome.conflicts.push(conflicted(rule, field, message));
            }
        }
    }
    if let Some(rule) = &object.default {
        match defaults.winner_over(&object.id.namespace) {
            None => outcome.live = true,
            Some(winner) => outcome.conflicts.push(conflicted(
                rule,
                "spec.defaultBackend".to_owned(),
                format!(
                    "requests that no rule takes belong to {winner}, whose defaultBackend is older"
                ),
            )),
        }
    }
    outcome
}

/// A rule or match that lost.
fn conflicted(rule: &Rule, field: String, message: String) -> Fault {
    Fault {
        rule: Some(Arc::clone(&rule.id.rule)),
        reason: Reason::Conflicted,
        field,
        message,
    }
}

fn conflict(host: &HostPattern, path: &PathMatch, winner: &ObjectId) -> String {
    let on = match host {
        HostPattern::Any => "every host".to_owned(),
        host => format!("host {host}"),
    };
    match path {
        PathMatch::Regex(_) => format!(
            "Regex paths on {on} belong to namespace {}: {winner} has the oldest claim there",
            winner.namespace
        ),
        path => format!(
            "{} on {on} belongs to {winner}, which is older",
            Cut(&path.to_string())
        ),
    }
}

/// The verdict of an object that is ours. `winner` says who has a path that the object lost.
pub(super) fn verdict<'a>(
    member: &Member,
    winner: impl Fn(&HostPattern, &PathMatch) -> Option<&'a ObjectId>,
    defaults: &'a Defaults,
    drain_window: Option<Duration>,
) -> Verdict {
    let object = &member.object;
    let outcome = outcome(object, winner, defaults);
    let mut conditions = Vec::with_capacity(3);
    // First, so that the winner is always named, however many faults there are.
    let mut faults = outcome.conflicts;
    faults.extend(object.faults.clone());
    if outcome.live {
        conditions.push(Condition::good(ACCEPTED, accepted::ACCEPTED));
    } else {
        conditions.push(Condition::new(
            ACCEPTED,
            false,
            reason(&faults),
            faults.to_string(),
        ));
    }
    conditions.push(resolved(&member.unresolved));
    if !outcome.live {
        conditions.push(Condition::new(
            PROGRAMMED,
            false,
            programmed::NO_VALID_RULE,
            "no rule can be served, see Accepted".to_owned(),
        ));
    } else if !faults.is_empty() {
        conditions.push(Condition::new(
            PARTIALLY_INVALID,
            true,
            reason(&faults),
            format!("left out: {faults}"),
        ));
    }
    let mut warnings = object.warnings.clone();
    warnings.extend(member.warnings.clone());
    if let Some(limit) = drain_window {
        drains_too_long(object, limit, &mut warnings);
    }
    Verdict {
        object: key(&object.id),
        version: object.version.clone(),
        backends: member.backends.clone(),
        ours: true,
        conditions,
        warnings: warnings.into_lines(),
    }
}

/// At the end of the process `--drain-window` is all the time there is.
fn drains_too_long(object: &RouteObject, limit: Duration, warnings: &mut Listed<String>) {
    let shown = |time: Duration| api::Duration::from(time);
    for rule in object.all_rules() {
        let window = rule.policy.drain.window;
        if window.value <= limit {
            continue;
        }
        let place = match window.origin {
            Origin::Default => continue,
            Origin::Annotation => "annotation hawser.dev/drain-window".to_owned(),
            Origin::Field => format!("rule {}: drain.window", Quoted(&rule.id.rule)),
        };
        warnings.push_once(format!(
            "{place}: {} is more than the {} of --drain-window; when the process ends the smaller one counts",
            shown(window.value),
            shown(limit)
        ));
    }
}

/// A rule that would have been served but for another object says more than one that never could.
fn reason(faults: &Listed<Fault>) -> &'static str {
    use Reason::{Conflicted, InvalidSpec};
    let conflict = faults.iter().find(|fault| fault.reason == Conflicted);
    let first = conflict.or_else(|| faults.iter().next());
    first.map_or(InvalidSpec, |fault| fault.reason).as_str()
}

fn resolved(unresolved: &Listed<Unresolved>) -> Condition {
    match unresolved.iter().next() {
        None => Condition::good(RESOLVED_REFS, resolved_refs::RESOLVED_REFS),
        Some(first) => Condition::new(RESOLVED_REFS, false, first.reason, unresolved.to_string()),
    }
}
