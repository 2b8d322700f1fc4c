//! What became of each object, as the admin API and the log tell it.

mod store;

use std::sync::Arc;

use tracing::{info, warn};

use super::Refusal;
use crate::{
    api::{
        ObjectKey, Problem,
        conditions::{
            ACCEPTED, PARTIALLY_INVALID, PROGRAMMED, RESOLVED_REFS, accepted, programmed,
        },
    },
    ir,
    translate::{Condition, Verdict},
};

/// Verdicts that one change may write to the log. Ten thousand objects that are well need no line each when
/// Hawser starts; all of them stand in the admin API.
const MAX_LINES: usize = 100;

pub use store::{Moves, Verdicts};

/// How a problem begins that only a newer Hawser may not have.
const UNSUPPORTED: &str = "unsupported value";

impl Verdicts {
    /// Takes verdicts over that are true now, `None` for objects that are gone, and logs those that are not what they
    /// were.
    pub(super) fn replace(&self, verdicts: impl IntoIterator<Item = (ObjectKey, Option<Verdict>)>) {
        let changed: Vec<_> = verdicts
            .into_iter()
            .filter(|(key, verdict)| self.get(key).as_deref() != verdict.as_ref())
            .map(|(key, verdict)| (key, verdict.map(Arc::new)))
            .collect();
        self.apply(changed.iter().cloned());
        log(&changed);
    }
}

/// Adds to what translation says what it cannot know: what is live, and what is refused. `None`: the object is gone,
/// or its kind is not judged.
pub(super) fn complete(
    key: &ObjectKey,
    translated: Option<Verdict>,
    refusal: Option<&Refusal>,
) -> Option<Verdict> {
    if !matches!(&*key.kind, "WebSocketRoute" | "Ingress") {
        return None;
    }
    let kept = translated.is_some() && refusal.is_none_or(|refusal| !refusal.bare);
    let mut verdict = match (translated, refusal) {
        (Some(verdict), _) => verdict,
        (None, None) => return None,
        (None, Some(_)) => Verdict {
            object: key.clone(),
            version: ir::ObjectVersion::default(),
            backends: Vec::new(),
            ours: true,
            conditions: Vec::new(),
            warnings: Vec::new(),
        },
    };
    if !verdict.ours {
        return Some(verdict);
    }
    let conditions = &mut verdict.conditions;
    match refusal {
        Some(refusal) => refuse(&mut verdict, refusal, kept),
        None if conditions.iter().all(|known| known.type_ != PROGRAMMED) => {
            conditions.push(Condition {
                type_: PROGRAMMED,
                status: true,
                reason: programmed::PROGRAMMED,
                message: String::new(),
            });
        }
        None => {}
    }
    Some(verdict)
}

/// Only what is known of references stays: they are those of the version that is live.
fn refuse(verdict: &mut Verdict, refusal: &Refusal, kept: bool) {
    verdict.version = refusal.version.clone();
    verdict
        .conditions
        .retain(|condition| condition.type_ == RESOLVED_REFS);
    let live = if kept {
        "the last version that was valid stays live"
    } else {
        "no version of it was valid yet"
    };
    let bad = |type_, reason, message| Condition {
        type_,
        status: false,
        reason,
        message,
    };
    let unsupported = |problem: &Problem| problem.message.starts_with(UNSUPPORTED);
    let reason = if !refusal.problems.is_empty() && refusal.problems.iter().all(unsupported) {
        accepted::UNSUPPORTED_VALUE
    } else {
        accepted::INVALID_SPEC
    };
    let message = format!("{}; {live}", texts(&refusal.problems));
    verdict.conditions.insert(0, bad(ACCEPTED, reason, message));
    verdict.conditions.push(bad(
        PROGRAMMED,
        programmed::NO_VALID_RULE,
        format!("the newest version is not used, see Accepted; {live}"),
    ));
}

fn texts(problems: &[Problem]) -> String {
    let texts: Vec<_> = problems
        .iter()
        .map(|problem| match &*problem.field {
            "" => problem.message.clone(),
            field => format!("{field}: {}", problem.message),
        })
        .collect();
    texts.join("; ")
}

fn log(changed: &[(ObjectKey, Option<Arc<Verdict>>)]) {
    for (object, verdict) in changed.iter().take(MAX_LINES) {
        if let Some(verdict) = verdict {
            tell(verdict);
        } else {
            info!(%object, "gone");
        }
    }
    if changed.len() > MAX_LINES {
        info!("{} more objects changed", changed.len() - MAX_LINES);
    }
}

fn tell(verdict: &Verdict) {
    let object: &ObjectKey = &verdict.object;
    if !verdict.ours {
        info!(%object, "not ours");
        return;
    }
    let words: Vec<_> = verdict
        .conditions
        .iter()
        .map(|condition| {
            let status = if condition.status { "True" } else { "False" };
            let word = format!("{}={status}/{}", condition.type_, condition.reason);
            match &*condition.message {
                "" => word,
                message => format!("{word} ({message})"),
            }
        })
        .collect();
    let conditions = words.join(", ");
    let well = verdict
        .conditions
        .iter()
        .all(|condition| condition.status && condition.type_ != PARTIALLY_INVALID);
    if well && verdict.warnings.is_empty() {
        info!(%object, %conditions);
    } else if verdict.warnings.is_empty() {
        warn!(%object, %conditions);
    } else {
        warn!(%object, %conditions, warnings = %verdict.warnings.join("; "));
    }
}
