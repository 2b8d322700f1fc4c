//! Every object against all others: what it may serve, what it refers to.

use std::sync::Arc;

use super::{
    backend::{Backends, Unresolved},
    claim::{Claims, Served},
    fault::{Cut, Fault, Listed, Quoted, Reason},
    inputs::Inputs,
    prepare::{RouteObject, Rule},
};
use crate::ir::{HostPattern, ObjectId, PathMatch, Route};

/// All judgements.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) claims: Claims<'a>,
    /// Every `defaultBackend`, the oldest first.
    pub(super) defaults: Vec<DefaultBackend<'a>>,
    /// One per object that is ours, in the order of the inputs.
    pub(super) outcomes: Vec<Outcome>,
}

/// What became of an object.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Whether any of it is served.
    pub(super) live: bool,
    /// Rules, or matches of rules, that lost to an older claim.
    pub(super) conflicts: Listed<Fault>,
    /// References that lead nowhere, each with the words of the condition.
    pub(super) unresolved: Listed<Unresolved>,
    pub(super) warnings: Listed<String>,
}

/// A `defaultBackend`.
#[derive(Debug)]
pub(super) struct DefaultBackend<'a> {
    pub(super) object: &'a RouteObject,
    pub(super) rule: &'a Rule,
    pub(super) route: Arc<Route>,
    /// Place of the object among the inputs.
    pub(super) position: usize,
}

/// Judges all objects that are ours.
pub(super) fn judge<'a>(inputs: &Inputs<'a>, backends: &Backends<'a>) -> Judged<'a> {
    let mut judged = Judged {
        claims: Claims::with_capacity(inputs.routes.len()),
        defaults: Vec::new(),
        outcomes: Vec::with_capacity(inputs.routes.len()),
    };
    for (position, &object) in inputs.routes.iter().enumerate() {
        let mut outcome = Outcome::default();
        for host in &object.bare_hosts {
            judged.claims.name(host, object);
            outcome.live = true;
        }
        for rule in &object.rules {
            let route = resolve(rule, backends, &mut outcome);
            for host in rule.hosts.iter() {
                claim(&mut judged.claims, host, object, rule, &route, &mut outcome);
            }
        }
        if let Some(rule) = &object.default {
            judged.defaults.push(DefaultBackend {
                object,
                rule,
                route: resolve(rule, backends, &mut outcome),
                position,
            });
        }
        judged.outcomes.push(outcome);
    }
    judged
}

fn resolve(rule: &Rule, backends: &Backends<'_>, outcome: &mut Outcome) -> Arc<Route> {
    let Outcome {
        unresolved,
        warnings,
        ..
    } = outcome;
    let missing = |index, missing: Unresolved| {
        let field = rule.ref_field(index);
        unresolved.push_once(Unresolved {
            reason: missing.reason,
            message: format!(
                "rule {}: {field}: {}",
                Quoted(&rule.id.rule),
                missing.message
            ),
        });
    };
    backends.resolve(rule, missing, warnings)
}

fn claim<'a>(
    claims: &mut Claims<'a>,
    host: &'a HostPattern,
    object: &'a RouteObject,
    rule: &'a Rule,
    route: &Arc<Route>,
    outcome: &mut Outcome,
) {
    for matched in &rule.matches {
        let served = Served {
            object,
            rule,
            matched,
            route: Arc::clone(route),
        };
        match claims.claim(host, served) {
            Ok(()) => outcome.live = true,
            Err(winner) => {
                let field = rule.match_field(matched.item);
                let message = conflict(host, &matched.path, &winner.id);
                outcome.conflicts.push(conflicted(rule, field, message));
            }
        }
    }
}

/// A rule or match that lost.
pub(super) fn conflicted(rule: &Rule, field: String, message: String) -> Fault {
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
