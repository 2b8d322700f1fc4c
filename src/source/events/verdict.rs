//! What a verdict has to tell.

use super::{
    note::note,
    tell::{Regarding, Telling},
};
use crate::{
    api::conditions::{ACCEPTED, PARTIALLY_INVALID, RESOLVED_REFS, accepted},
    translate::{Condition, Verdict},
};

/// An annotation of ours that is not known.
const UNKNOWN_ANNOTATION: &str = "UnknownAnnotation";

/// An annotation of ours with a value that means nothing.
const BAD_ANNOTATION: &str = "BadAnnotation";

/// Addresses or ports of an EndpointSlice that are not used.
const ENDPOINTS_IGNORED: &str = "EndpointsIgnored";

/// Anything else that has no effect or not the one that it seems to have.
const IGNORED: &str = "Ignored";

/// Everything that is wrong with an object, nothing if all is well or it is not ours.
///
/// `Programmed` is never told: `Pending` passes, and why no rule is valid stands in `Accepted`.
pub(super) fn problems(verdict: &Verdict) -> Vec<Telling> {
    if !verdict.ours {
        return Vec::new();
    }
    let conditions = verdict.conditions.iter().filter(|it| is_bad(it));
    let conditions = conditions.map(|condition| (condition.reason, note(&condition.message)));
    let warnings = verdict.warnings.iter();
    let warnings = warnings.map(|text| (reason_of(text), note(text)));
    conditions
        .chain(warnings)
        .map(|(reason, note)| Telling {
            regarding: regarding(verdict),
            warning: true,
            reason,
            note,
        })
        .collect()
}

/// That everything which was told is over.
pub(super) fn recovered(verdict: &Verdict) -> Telling {
    Telling {
        regarding: regarding(verdict),
        warning: false,
        reason: accepted::ACCEPTED,
        note: "nothing is wrong with it any more".to_owned(),
    }
}

fn regarding(verdict: &Verdict) -> Regarding {
    Regarding::Route {
        key: verdict.object.clone(),
        version: verdict.version.clone(),
    }
}

fn is_bad(condition: &Condition) -> bool {
    match condition.type_ {
        ACCEPTED | RESOLVED_REFS => !condition.status,
        PARTIALLY_INVALID => condition.status,
        _ => false,
    }
}

/// A warning is a text. A test holds this against what translation writes.
fn reason_of(warning: &str) -> &'static str {
    if warning.starts_with("annotation ") {
        if warning.contains(" is not known ") {
            UNKNOWN_ANNOTATION
        } else if warning.contains(" has the bad value ") {
            BAD_ANNOTATION
        } else {
            IGNORED
        }
    } else if warning.starts_with("EndpointSlice ") || warning.starts_with("no EndpointSlice ") {
        ENDPOINTS_IGNORED
    } else {
        IGNORED
    }
}
