//! What was handed over, to hand over only what is different.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::{
    files::{Refusal, View},
    key::Key,
};
use crate::{
    api::{ObjectKey, Problem},
    ir::ObjectVersion,
    source::rebuild::Change,
    translate::Prepared,
};

/// What was handed over.
#[derive(Debug, Default)]
pub(super) struct Handed {
    objects: HashMap<Key, Prepared>,
    refused: HashMap<Key, Arc<[Problem]>>,
}

impl Handed {
    /// From here on the view counts as handed over.
    pub(super) fn took(&mut self, view: &View<'_, Prepared>) {
        let objects = view.objects.iter();
        self.objects = objects
            .map(|(key, object)| ((*key).clone(), (*object).clone()))
            .collect();
        let refused = view.refused.iter();
        self.refused = refused
            .map(|refusal| (refusal.key.clone(), Arc::clone(&refusal.problems)))
            .collect();
    }

    /// What is different in the view.
    pub(super) fn changes(&self, view: &View<'_, Prepared>) -> Vec<(ObjectKey, Change)> {
        let mut changes: Vec<(&Key, Change)> = Vec::new();
        let there: HashSet<&Key> = view.objects.iter().map(|(key, _)| *key).collect();
        let refused: HashSet<&Key> = view.refused.iter().map(|refusal| &refusal.key).collect();
        let objects = self.objects.keys().filter(|key| !there.contains(key));
        let never_good = self.refused.keys().filter(|key| {
            !self.objects.contains_key(*key) && !there.contains(key) && !refused.contains(key)
        });
        changes.extend(objects.chain(never_good).map(|key| (key, Change::Gone)));
        for (key, object) in &view.objects {
            let same = self.objects.get(*key).is_some_and(|it| it.is(object));
            // Handed over again, it is no longer refused.
            let well_again = self.refused.contains_key(*key) && !refused.contains(key);
            if !same || well_again {
                changes.push((key, Change::Set((*object).clone())));
            }
        }
        let moved: HashSet<&Key> = changes.iter().map(|(key, _)| *key).collect();
        for Refusal { key, problems, .. } in &view.refused {
            if moved.contains(key) || self.refused.get(key) != Some(problems) {
                // Behind what happened to the version that stays live.
                let change = Change::Refused {
                    version: ObjectVersion::default(),
                    problems: problems.to_vec(),
                    bare: None,
                };
                changes.push((key, change));
            }
        }
        let changes = changes.into_iter();
        changes
            .map(|(key, change)| ((**key).clone(), change))
            .collect()
    }
}
