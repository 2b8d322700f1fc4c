//! What was told about each object in this term of leadership, so that only transitions are told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    tell::Telling,
    verdict::{problems, recovered},
};
use crate::{
    api::ObjectKey,
    source::{pace::Bucket, rebuild::Moves},
    translate::Verdict,
};

/// Events about one object: as many at once, then one in five minutes (the spam filter of client-go).
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_mins(5);

/// Objects that are well again are remembered until their bucket is full, but never more than these.
const MAX_WELL: usize = 10_000;

/// What was told. Objects that nothing is wrong with are not in it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: BTreeMap<ObjectKey, Known>,
}

#[derive(Debug)]
struct Known {
    uid: Arc<str>,
    /// Names of the events about what is wrong now.
    wrong: Vec<String>,
    bucket: Bucket,
}

impl Memory {
    /// Hands on what is new. Returns how many were held back because their object has had too many.
    pub(super) fn take(&mut self, moves: &Moves, mut tell: impl FnMut(Telling)) -> usize {
        if moves.complete {
            // Whoever is not named is gone. Both are in this process, so this happens once, or when a very long
            // step was missed.
            let there: std::collections::BTreeSet<_> = moves
                .changed
                .iter()
                .map(|verdict| &verdict.object)
                .collect();
            self.known.retain(|key, _| there.contains(key));
        }
        for (key, _) in &moves.gone {
            self.known.remove(key);
        }
        let limited = moves
            .changed
            .iter()
            .map(|verdict| self.change(verdict, &mut tell))
            .sum();
        self.tidy();
        limited
    }

    fn change(&mut self, verdict: &Verdict, tell: &mut impl FnMut(Telling)) -> usize {
        let problems = problems(verdict);
        // Made anew with the same name, it is another object.
        if self
            .known
            .get(&verdict.object)
            .is_some_and(|known| known.uid != verdict.version.uid)
        {
            self.known.remove(&verdict.object);
        }
        if problems.is_empty() && !self.known.contains_key(&verdict.object) {
            return 0;
        }
        let known = self
            .known
            .entry(verdict.object.clone())
            .or_insert_with(|| Known {
                uid: Arc::clone(&verdict.version.uid),
                wrong: Vec::new(),
                bucket: Bucket::new(BURST, REFILL, Instant::now()),
            });
        let was_wrong = !known.wrong.is_empty();
        let mut wrong = Vec::with_capacity(problems.len());
        let mut new = Vec::new();
        for problem in problems {
            let name = problem.name();
            if !known.wrong.contains(&name) && !wrong.contains(&name) {
                new.push(problem);
            }
            wrong.push(name);
        }
        if was_wrong && wrong.is_empty() && verdict.ours {
            new.push(recovered(verdict));
        }
        known.wrong = wrong;
        let mut limited = 0;
        for telling in new {
            match known.bucket.take(Instant::now()) {
                Ok(()) => tell(telling),
                Err(_) => limited += 1,
            }
        }
        limited
    }

    /// Forgets objects that are well and have had no event for long.
    fn tidy(&mut self) {
        self.known
            .retain(|_, known| !known.wrong.is_empty() || !known.bucket.is_full());
        let well = self
            .known
            .values()
            .filter(|known| known.wrong.is_empty())
            .count();
        let mut too_many = well.saturating_sub(MAX_WELL);
        if too_many > 0 {
            self.known.retain(|_, known| {
                let goes = known.wrong.is_empty() && too_many > 0;
                too_many -= usize::from(goes);
                !goes
            });
        }
    }
}
