//! A failure of Hawser in translation costs the object that causes it: its last good version stays live, and
//! everything else goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::error;

use super::{Rebuild, Refusal};
use crate::{
    api::{ObjectKey, Problem},
    translate::{Delta, Prepared, Translator},
};

/// What objects are now; `None` for one that is gone.
pub(super) type Batch = [(ObjectKey, Option<Prepared>)];

/// Failures that one batch may take to find its culprits: each costs a copy of the translator. What still fails
/// then is refused together.
const TRIES: usize = 64;

impl Rebuild {
    /// Translates changes. `None` where that failed: the translator was made anew, so anything may be different, and
    /// the culprits are refused.
    pub(super) fn advance(&mut self, batch: &Batch) -> Option<Delta> {
        let before: Vec<_> = batch
            .iter()
            .map(|(key, _)| (key.clone(), self.translator.get(key)))
            .collect();
        let delta = attempt(&mut self.translator, batch);
        if delta.is_none() {
            self.recover(before, batch);
        }
        delta
    }

    /// Of the translator that failed nothing is used but the objects in it.
    fn recover(&mut self, before: Vec<(ObjectKey, Option<Prepared>)>, batch: &Batch) {
        let objects = self.translator.list().into_iter();
        let mut good: Vec<_> = objects.map(|it| (it.key(), Some(it))).collect();
        good.extend(before);
        self.translator = Translator::new(self.options.clone());
        let mut tries = 0;
        // The next one last.
        let mut parts: Vec<&Batch> = vec![batch, &good];
        while let Some(part) = parts.pop() {
            let mut copy = self.translator.clone();
            if attempt(&mut copy, part).is_some() {
                self.translator = copy;
                continue;
            }
            tries += 1;
            if part.len() > 1 && tries < TRIES {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            } else {
                for (key, object) in part {
                    self.blame(key, object.as_ref());
                }
            }
        }
    }

    fn blame(&mut self, key: &ObjectKey, object: Option<&Prepared>) {
        error!(object = %key, "made Hawser fail; its last good version stays live. Please report it");
        self.metrics.source().failed();
        let refusal = Refusal {
            version: object.map(Prepared::version).unwrap_or_default(),
            problems: vec![Problem {
                field: String::new(),
                message: "made Hawser fail; please report it".to_owned(),
            }],
            bare: false,
        };
        self.refused.insert(key.clone(), refusal);
    }
}

/// A translator that fails is in no good state.
fn attempt(translator: &mut Translator, batch: &Batch) -> Option<Delta> {
    let changes = batch.iter().map(|(key, object)| (key, object.clone()));
    catch_unwind(AssertUnwindSafe(|| translator.apply(changes))).ok()
}
