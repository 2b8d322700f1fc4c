//! What became of each object, as the admin API and the log tell it.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use tracing::{info, warn};

use super::Refused;
use crate::{
    api::{
        ObjectKey, Problem,
        conditions::{ACCEPTED, PARTIALLY_INVALID, PROGRAMMED, accepted, programmed},
    },
    translate::{Condition, Verdict},
};

/// Verdicts that one change may write to the log. Ten thousand objects that are well need no line each when
/// Hawser starts; all of them stand in the admin API.
const MAX_LINES: usize = 100;

/// The verdicts of the live table.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// In total order.
    pub verdicts: RwLock<Arc<Vec<Verdict>>>,
}

impl Verdicts {
    /// Takes the verdicts of a table that is live now, and logs those that are not what they were.
    pub(super) fn replace(&self, translated: Vec<Verdict>, refused: &[Refused<'_>]) {
        let new = Arc::new(complete(translated, refused));
        let old = std::mem::replace(&mut *self.verdicts.write(), Arc::clone(&new));
        log(&old, &new);
    }
}

/// Adds what translation cannot know: what is live, and what the schema refused.
fn complete(mut verdicts: Vec<Verdict>, refused: &[Refused<'_>]) -> Vec<Verdict> {
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.ours) {
        let conditions = &mut verdict.conditions;
        if conditions.iter().all(|known| known.type_ != PROGRAMMED) {
            conditions.push(Condition {
                type_: PROGRAMMED,
                status: true,
                reason: programmed::PROGRAMMED,
                message: String::new(),
            });
        }
    }
    // Translation orders by namespace and name first; this is the order of all that follows.
    verdicts.sort_by(|a, b| a.object.cmp(&b.object));
    // Gathered apart: ten thousand may come at once.
    let mut new: BTreeMap<&ObjectKey, Verdict> = BTreeMap::new();
    for refused in refused {
        if !matches!(&*refused.object.kind, "WebSocketRoute" | "Ingress") {
            continue;
        }
        let known = verdicts.binary_search_by(|verdict| verdict.object.cmp(refused.object));
        if let Ok(place) = known {
            if let Some(verdict) = verdicts.get_mut(place).filter(|verdict| verdict.ours) {
                refuse(verdict, refused);
            }
            continue;
        }
        let verdict = new.entry(refused.object).or_insert_with(|| Verdict {
            object: refused.object.clone(),
            ours: true,
            conditions: Vec::new(),
            warnings: Vec::new(),
        });
        refuse(verdict, refused);
    }
    if !new.is_empty() {
        verdicts.extend(new.into_values());
        verdicts.sort_by(|a, b| a.object.cmp(&b.object));
    }
    verdicts
}

fn refuse(verdict: &mut Verdict, refused: &Refused<'_>) {
    let replaced = [ACCEPTED, PARTIALLY_INVALID, PROGRAMMED];
    verdict
        .conditions
        .retain(|condition| !replaced.contains(&condition.type_));
    let live = if refused.kept {
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
    verdict.conditions.insert(
        0,
        bad(
            ACCEPTED,
            accepted::INVALID_SPEC,
            format!("{}; {live}", texts(refused.problems)),
        ),
    );
    verdict.conditions.push(bad(
        PROGRAMMED,
        programmed::NO_VALID_RULE,
        format!("the schema refuses the object; {live}"),
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

/// Both are in total order.
fn log(old: &[Verdict], new: &[Verdict]) {
    let mut lines = 0_usize;
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.object.cmp(&new.object),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        if before == after {
            continue;
        }
        lines += 1;
        if lines > MAX_LINES {
            continue;
        }
        match (before, after) {
            (_, Some(verdict)) => tell(verdict),
            (Some(verdict), None) => info!(object = %verdict.object, "gone"),
            (None, None) => {}
        }
    }
    if lines > MAX_LINES {
        info!("{} more objects changed", lines - MAX_LINES);
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
