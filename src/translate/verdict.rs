//! What became of each object, in the words of the contract.

use super::{
    backend::Unresolved,
    fault::{Fault, Listed},
    inputs::Inputs,
    judge::{Judged, Outcome},
    prepare::RouteObject,
};
use crate::{
    api::{
        self,
        conditions::{
            ACCEPTED, PARTIALLY_INVALID, PROGRAMMED, RESOLVED_REFS, accepted, programmed,
            resolved_refs,
        },
    },
    ir::ObjectId,
};

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The object.
    pub object: api::ObjectKey,
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

/// One verdict per object, in total order.
pub(super) fn verdicts(inputs: &Inputs<'_>, judged: Judged<'_>) -> Vec<Verdict> {
    let foreign = inputs.foreign.iter().map(|object| {
        let verdict = Verdict {
            object: key(&object.id),
            ours: false,
            conditions: Vec::new(),
            warnings: Vec::new(),
        };
        (&object.id, verdict)
    });
    let ours = inputs.routes.iter().zip(judged.outcomes);
    let mut all: Vec<(&ObjectId, Verdict)> = ours
        .map(|(object, outcome)| (&object.id, verdict(object, outcome)))
        .chain(foreign)
        .collect();
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(_, verdict)| verdict).collect()
}

fn key(id: &ObjectId) -> api::ObjectKey {
    api::ObjectKey {
        kind: id.kind.as_str().to_owned(),
        namespace: String::from(&*id.namespace),
        name: String::from(&*id.name),
    }
}

fn verdict(object: &RouteObject, outcome: Outcome) -> Verdict {
    let mut conditions = Vec::with_capacity(2);
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
    conditions.push(resolved(&outcome.unresolved));
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
    warnings.extend(outcome.warnings);
    Verdict {
        object: key(&object.id),
        ours: true,
        conditions,
        warnings: warnings.into_lines(),
    }
}

/// A rule that would have been served but for another object says more than one that never could.
fn reason(faults: &Listed<Fault>) -> &'static str {
    use super::fault::Reason::{Conflicted, InvalidSpec};
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
